"""Bodies in Kubernetes' protobuf, as the object that the same body has in JSON.

kubectl sends what it makes by itself so (`kubectl create configmap`), as do many Go programs; the messages are read by
`wire.py`. What Go leaves out of JSON is left out: a zero with `omitempty`, unless it stands behind a pointer.
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app.sandbox import problems, wire

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_SHOWN = 30
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NO_TIME = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
# From here on Go writes a float with an exponent.
_LONGEST_WHOLE = 1e21
# Every group has it, under its own apiVersion.
_OPTIONS = "DeleteOptions"
_ENVELOPE = "runtime.Unknown"

_Found = Mapping[int, list[wire.Value]]


def decode(body: bytes, *, wanted: str) -> dict[str, Any]:
    """The object in a body; `wanted` is the kind that it should be. Raises Refused (400, 415)."""
    if wanted not in wire.KINDS:
        # Custom resources have no messages.
        raise problems.unsupported_media_type(("application/json", "application/yaml"))
    reader = wire.Reader()
    try:
        head, raw = _envelope(reader, body)
    except wire.WireError as error:
        problem = f"{error} ({_shown(body)})"
        raise problems.bad_request(
            f"the object provided is unrecognized (must be of type {wanted}): {problem}"
        ) from None
    kind, version = head.get("kind", wanted), head.get("apiVersion", "")
    try:
        return {**head, **_Converter(reader).message(_name(kind, version), raw)}
    except wire.WireError as error:
        label = version.rpartition("/")[2] or wire.KINDS[wanted].split(".")[1]
        raise problems.bad_request(f'{kind} in version "{label}" cannot be handled as a {wanted}: {error}') from None


def _envelope(reader: wire.Reader, body: bytes) -> tuple[dict[str, str], bytes]:
    """What a body says about the type of its object, and the object's message. Raises WireError."""
    if not body:
        raise wire.WireError("empty data")
    if not body.startswith(_MAGIC):
        raise wire.WireError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    if body == _MAGIC:
        raise wire.WireError("empty body")
    found = reader.message(_ENVELOPE, body[len(_MAGIC) :], depth=0)
    head = _Converter(reader).message("runtime.TypeMeta", _joined(found, 1))
    return head, _joined(found, 2)


def _shown(body: bytes) -> str:
    """The start of a body as the real server shows it: JSON as it is, all else as hexadecimal digits."""
    start = body[:_SHOWN].decode(errors="replace") if body.startswith(b"{") else body[:_SHOWN].hex()
    return f"{start} ..." if len(body) > _SHOWN else start or "<empty>"


def _name(kind: str, version: str) -> str:
    """The message of the object; its apiVersion is "" where the body leaves that to the path. Raises WireError."""
    name = wire.KINDS.get(kind, "")
    group, _, label = version.rpartition("/")
    if name and (not version or kind == _OPTIONS or name == f"{group.partition('.')[0] or 'core'}.{label}.{kind}"):
        return name
    raise wire.WireError(
        f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
    )


class _Converter:
    """Makes JSON of the messages of one body."""

    def __init__(self, reader: wire.Reader) -> None:
        self._reader = reader
        self._depth = 0

    def message(self, name: str, data: bytes) -> Any:
        """One message, with what lies below it. Raises WireError."""
        self._depth += 1
        found = self._reader.message(name, data, depth=self._depth)
        own = _OWN_FORM.get(name)
        document = own(self, found) if own else self._object(name, found)
        self._depth -= 1
        return document

    def _object(self, name: str, found: _Found) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for number, field in wire.MESSAGES[name].items():
            value = self._field(field, found.get(number))
            if field.inline:
                document |= value
            elif not self._is_left_out(field, value, there=number in found):
                document[field.name] = value
        return document

    def _field(self, field: wire.Field, values: list[wire.Value] | None) -> Any:
        """A field's value; None for a list, a map or a pointer that is not there."""
        if field.mapped:
            return dict(self._entry(field, entry) for entry in values or ()) or None
        if field.repeated:
            return [self._value(field.type, value) for value in values or ()] or None
        if field.pointer and not values:
            return None
        return self._value(field.type, values[0] if values else None)

    def _is_left_out(self, field: wire.Field, value: Any, *, there: bool) -> bool:
        if field.pointer:
            return field.omits_empty and not there
        if field.omits_zero and value == self._value(field.type, None):
            return True
        # A struct is never empty; a list or a map of such is.
        is_struct = field.single and field.type in wire.MESSAGES
        return field.omits_empty and not is_struct and not value

    def _entry(self, field: wire.Field, entry: wire.Value) -> tuple[str, Any]:
        key, values = self._reader.entry(field, _bytes(entry), depth=self._depth)
        return _text(key), self._value(field.type, values[-1] if values else b"")

    def _value(self, type_: str, value: wire.Value | None) -> Any:
        """One value; its type's zero where there is none."""
        if type_ in wire.MESSAGES:
            return self.message(type_, _bytes(value))
        return _SCALARS[type_](value)

    def choice(self, found: _Found) -> Any:
        """A schema or a list of schemas: JSONSchemaPropsOrArray."""
        listed = [self.message(_SCHEMA, _bytes(one)) for one in found.get(2, ())]
        return listed or self._schema(found, 1)

    def permission(self, found: _Found) -> Any:
        """Yes, no or a schema: JSONSchemaPropsOrBool."""
        return self._schema(found, 2) if 2 in found else _flag(_first(found, 1))  # noqa: PLR2004 - the schema's number

    def dependency(self, found: _Found) -> Any:
        """A schema or a list of names: JSONSchemaPropsOrStringArray."""
        return [_text(one) for one in found.get(2, ())] or self._schema(found, 1)

    def _schema(self, found: _Found, number: int) -> Any:
        return self.message(_SCHEMA, _bytes(_first(found, number))) if number in found else None


def _first(found: _Found, number: int) -> wire.Value | None:
    return next(iter(found.get(number, ())), None)


def _joined(found: _Found, number: int) -> bytes:
    return b"".join(map(_bytes, found.get(number, ())))


def _bytes(value: wire.Value | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: wire.Value | None) -> str:
    return _bytes(value).decode(errors="replace")


def _base64(value: wire.Value | None) -> str | None:
    return None if value is None else base64.b64encode(_bytes(value)).decode()


def _flag(value: wire.Value | None) -> bool:
    return bool(value)


def _int32(value: wire.Value | None) -> int:
    return _signed(value, bits=32)


def _int64(value: wire.Value | None) -> int:
    return _signed(value, bits=64)


def _signed(value: wire.Value | None, *, bits: int) -> int:
    """A number of so many bits, of which the highest is the sign; more bits are cut off, as Go does."""
    kept = value & ((1 << bits) - 1) if isinstance(value, int) else 0
    return kept - (1 << bits) if kept >> (bits - 1) else kept


def _double(value: wire.Value | None) -> float | int:
    found: float = struct.unpack("<d", _bytes(value))[0] if value else 0.0
    if not math.isfinite(found):
        raise wire.WireError(f"json: unsupported value: {found}")
    return int(found) if found.is_integer() and abs(found) < _LONGEST_WHOLE else found


def _time(_: _Converter, found: _Found) -> str | None:
    return _moment(found, "seconds")


def _micro_time(_: _Converter, found: _Found) -> str | None:
    return _moment(found, "microseconds")


def _moment(found: _Found, precision: str) -> str | None:
    """RFC 3339 in UTC; None for the time that stands for none: nothing at all, or the year 1."""
    if not found:
        return None
    micros = int(_int32(_first(found, 2)) / 1000) if precision == "microseconds" else 0
    try:
        moment = _EPOCH + dt.timedelta(seconds=_int64(_first(found, 1)), microseconds=micros)
    except OverflowError:
        raise wire.WireError("Time: year outside of range [1,9999]") from None
    if moment == _NO_TIME:
        return None
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def _quantity(_: _Converter, found: _Found) -> str:
    return _text(_first(found, 1)) if found else "0"


def _int_or_string(_: _Converter, found: _Found) -> int | str:
    match _int64(_first(found, 1)):
        case 0:
            return _int32(_first(found, 2))
        case 1:
            return _text(_first(found, 3))
    raise wire.WireError("impossible IntOrString.Type")


def _json(_: _Converter, found: _Found) -> Any:
    raw = _joined(found, 1)
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise wire.WireError(f"json parse error: {error}") from None


def _texts(_: _Converter, found: _Found) -> list[str]:
    return [_text(one) for one in found.get(1, ())]


_SCALARS: Final[Mapping[str, Callable[[wire.Value | None], Any]]] = {
    "string": _text,
    "bytes": _base64,
    "bool": _flag,
    "int32": _int32,
    "int64": _int64,
    "double": _double,
}
_SCHEMA = "apiextensions.v1.JSONSchemaProps"
# Messages that are something else than an object in JSON.
_OWN_FORM: Final[Mapping[str, Callable[[_Converter, _Found], Any]]] = {
    "apiextensions.v1.JSON": _json,
    "apiextensions.v1.JSONSchemaPropsOrArray": _Converter.choice,
    "apiextensions.v1.JSONSchemaPropsOrBool": _Converter.permission,
    "apiextensions.v1.JSONSchemaPropsOrStringArray": _Converter.dependency,
    "authentication.v1.ExtraValue": _texts,
    "intstr.IntOrString": _int_or_string,
    "meta.v1.FieldsV1": _json,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.Time": _time,
    "resource.Quantity": _quantity,
}
