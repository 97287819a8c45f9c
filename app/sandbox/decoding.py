"""Reads an object as its type: drops unknown fields, fills the schema's defaults, brings quantities into one form.

A built-in type is decoded as Go decodes it: a value of another type refuses the whole object (400), `null` means
"not set". For custom resources only `metadata` is, and the rest is left to `validating.py`; there `null` means "not
set" where the schema does not say `nullable` (apiextensions-apiserver, structural schemas).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.sandbox import schemas

_GO_NAMES: Mapping[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_GO_TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "int32",
    "number": "float64",
    "boolean": "bool",
    "int-or-string": "int32",
}
_INT32 = 2**31
_INT64 = 2**63
# The fields of built-in types that hold 64 bits; all others hold 32.
_LONG_FIELDS = re.compile(r"(Seconds|[gG]eneration|runAsUser|runAsGroup|fsGroup|max\w+|min\w+)$")

_QUANTITY = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Mapping[str, int] = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BAD_QUANTITY = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"  # Go's own words.
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class DecodingError(ValueError):
    """A value is of another type than its field; the text says it as Go does."""

    def __init__(self, text: str, *, wanted: str = "") -> None:
        super().__init__(text)
        self._text = text
        # The Go type of the field; "" where Go does not name the field either.
        self._wanted = wanted
        self._struct = ""
        self._path: list[str] = []

    def within(self, schema: schemas.Schema, name: str) -> None:
        """Note on the way out where it was. Keys of maps are not named."""
        if name in schema.fields:
            self._struct = self._struct or go_name(schema.model)
            self._path.insert(0, name)

    def __str__(self) -> str:
        if not self._wanted:
            return self._text
        where = ".".join([self._struct, *self._path])
        return f"json: cannot unmarshal {self._text} into Go struct field {where} of type {self._wanted}"


@dataclass(slots=True)
class Decoder:
    """Reads one object. `unknown` holds the fields that were dropped."""

    # As Go does: for built-in types, and the metadata of all.
    strict: bool
    # Fill in the defaults of the schema.
    defaults: bool = True
    unknown: list[str] = field(default_factory=list)

    def read(self, schema: schemas.Schema, value: Any, path: str = "") -> Any:
        """The value as it is stored. Raises DecodingError. What is kept may be shared with the input."""
        if isinstance(value, dict) and schema.type in {"object", ""}:
            return self._object(schema, value, path)
        if isinstance(value, list) and schema.type in {"array", ""}:
            items = schema.items
            return [self.read(items, one, f"{path}[{i}]") for i, one in enumerate(value)] if items else value
        return self._scalar(schema, value, path) if self.strict else value

    def _object(self, schema: schemas.Schema, value: dict[str, Any], path: str) -> dict[str, Any]:
        kept = {}
        for name, one in value.items():
            child = schema.fields.get(name) or schema.values
            below = f"{path}.{name}" if path else name
            if child is None:
                if schema.preserves or not schema.type:
                    kept[name] = one
                else:
                    self.unknown.append(below)
            elif (one is None and not self._keeps_null(schema, child)) or (self.strict and _is_omitted(child, one)):
                continue
            else:
                kept[name] = self._child(schema, child, (name, one, below))
        if schema.defaulted and self.defaults:
            self._default(schema, kept)
        return kept

    def _child(self, schema: schemas.Schema, child: schemas.Schema, found: tuple[str, Any, str]) -> Any:
        name, value, path = found
        if name == "metadata" and schema.embedded and not self.strict:
            return self._metadata(child, value, path)
        try:
            return self.read(child, value, path)
        except DecodingError as error:
            error.within(schema, name)
            raise

    def _keeps_null(self, schema: schemas.Schema, child: schemas.Schema) -> bool:
        """A map's values and what has no type keep `null`; a field does where the schema allows it."""
        if self.strict:
            return not child.type
        return child.nullable or not child.type or child is schema.values

    def _metadata(self, schema: schemas.Schema, value: Any, path: str) -> Any:
        self.strict = True
        try:
            return self.read(schema, value, path)
        finally:
            self.strict = False

    def _default(self, schema: schemas.Schema, kept: dict[str, Any]) -> None:
        """Fill what is missing; a default may be completed by defaults below it."""
        for name in schema.defaulted:
            child = schema.fields[name]
            if name not in kept and not isinstance(child.default, schemas._Missing):  # noqa: SLF001 - the type of MISSING, which narrows.
                kept[name] = self.read(child, child.default)

    def _scalar(self, schema: schemas.Schema, value: Any, path: str) -> Any:
        match schema.type:
            case "quantity":
                return canonical_quantity(value)
            case "string" if isinstance(value, str):
                self._format(schema.format, value)
            case "integer" if type(value) is int and _fits(value, path):
                pass
            case "number" if type(value) in {int, float}:
                pass
            case "boolean" if isinstance(value, bool):
                pass
            case "int-or-string" if isinstance(value, str) or type(value) is int:
                pass
            case "":
                pass
            case _:
                raise _mismatch(schema, value)
        return value

    @staticmethod
    def _format(name: str, value: str) -> None:
        if name == "byte":
            check_base64(value)
        if name == "date-time" and not _TIME.fullmatch(value):
            shown = f'"{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
            raise DecodingError(f"parsing time {shown}")


def _is_omitted(schema: schemas.Schema, value: Any) -> bool:
    """Go leaves an empty list or map out (`omitempty`); a struct without fields set is there."""
    return not value and (
        (schema.type == "array" and value == []) or (schema.type == "object" and not schema.fields and value == {})
    )


def _fits(value: int, path: str) -> bool:
    limit = _INT64 if _LONG_FIELDS.search(path) else _INT32
    return -limit <= value < limit


def check_base64(value: str) -> None:
    """Raises DecodingError."""
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        alien = re.search(r"[^A-Za-z0-9+/=\r\n]", value)
        at = alien.start() if alien else len(value)
        raise DecodingError(f"illegal base64 data at input byte {at}") from error


def _mismatch(schema: schemas.Schema, value: Any) -> DecodingError:
    found = _GO_NAMES[type(value)]
    if found == "number" and schema.type == "integer":
        found = f"number {value}"
    return DecodingError(found, wanted=_go_type(schema))


def go_name(model: str) -> str:
    """The name of a model's struct: "V1PodSpec" is PodSpec."""
    return re.sub(r"^[A-Z]?[a-z]*V\d+([a-z]+\d+)?", "", model)


def _go_type(schema: schemas.Schema) -> str:
    if schema.type == "array":
        return f"[]{_go_type(schema.items) if schema.items else 'any'}"
    if schema.type == "object":
        return f"map[string]{_go_type(schema.values)}" if schema.values else f"v1.{go_name(schema.model)}"
    return _GO_TYPES.get(schema.type, schema.type)


def canonical_quantity(value: Any) -> str:
    """A quantity as Kubernetes writes it: "0.5Gi" is "512Mi", 1.5 is "1500m". Raises DecodingError."""
    text = value if isinstance(value, str) else str(value)
    match = None if isinstance(value, bool | dict | list) else _QUANTITY.fullmatch(text)
    if not match:
        raise DecodingError(_BAD_QUANTITY)
    sign, digits, suffix = match.groups()
    number = Decimal(digits)
    if suffix.endswith("i"):
        return _signed(sign, _binary(number, _BINARY.index(suffix)))
    if suffix[:1] in {"e", "E"} and len(suffix) > 1:
        return _signed(sign, _exponent(number, int(suffix[1:])))
    return _signed(sign, _decimal(number, _DECIMAL[suffix]))


def _signed(sign: str, text: str) -> str:
    return f"-{text}" if sign == "-" and text.strip("0") else text


def _binary(number: Decimal, power: int) -> str:
    """The largest suffix that leaves a whole number; below one, as a decimal quantity."""
    bytes_ = number * 1024**power
    if bytes_ != bytes_.to_integral_value():
        return _decimal(bytes_, 0)
    whole, power = int(bytes_), 0
    while whole and whole % 1024 == 0 and power < len(_BINARY) - 1:
        whole, power = whole // 1024, power + 1
    return f"{whole}{_BINARY[power]}"


def _decimal(number: Decimal, exponent: int) -> str:
    whole, exponent = _whole(number, exponent)
    return f"{whole}{next(suffix for suffix, power in _DECIMAL.items() if power == exponent)}"


def _exponent(number: Decimal, exponent: int) -> str:
    whole, exponent = _whole(number, exponent)
    return f"{whole}e{exponent}" if exponent else str(whole)


def _whole(number: Decimal, exponent: int) -> tuple[int, int]:
    """The same value as a whole number times a power of 1000, the largest that can be; never finer than nano."""
    nano = int((number * Decimal(10) ** (exponent + 9)).to_integral_value(rounding="ROUND_CEILING"))
    if not nano:
        return 0, 0
    power = -9
    while nano % 1000 == 0 and power < _DECIMAL["E"]:
        nano, power = nano // 1000, power + 3
    return nano, power
