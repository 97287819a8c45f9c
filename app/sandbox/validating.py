"""Checks a custom resource against its schema, with the messages of kube-apiserver.

`jsonschema` does the checking, extended by what Kubernetes adds to OpenAPI: `nullable`, `x-kubernetes-int-or-string`,
list types, embedded resources. CEL rules (`x-kubernetes-validations`) are NOT evaluated: an object that only such a
rule refuses is accepted here. Where errors stand in the way of the rules, the answer says so as the real server does.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import json
import re
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft4Validator, ValidationError
from jsonschema import validators as jsonschema_validators

from app.sandbox import decoding, matching, problems, schemas

# What a value is called in messages; Go's JSON knows no other numbers.
_NAMES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
# Errors after which the real server does not evaluate CEL rules any more.
_BLOCKING = frozenset(
    {
        "FieldValueRequired",
        "FieldValueTypeInvalid",
        "FieldValueNotSupported",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueDuplicate",
    }
)
_RULES_SKIPPED = problems.Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
_RULES = "x-kubernetes-validations"
# What kube-openapi says of a value, after "<field> in body".
_PHRASES: Mapping[str, str] = {
    "pattern": "should match '{limit}'",
    "minLength": "should be at least {limit} chars long",
    "minItems": "should have at least {limit} items",
    "minProperties": "should have at least {limit} properties",
    "minimum": "should be greater than {inclusive}{limit}",
    "maximum": "should be less than {inclusive}{limit}",
    "multipleOf": "should be a multiple of {limit}",
    "uniqueItems": "shouldn't contain duplicates",
}
# Keywords that say nothing about a value: leaving them out halves the time of a check.
_SILENT = frozenset(
    {
        "description",
        "title",
        "example",
        "externalDocs",
        "default",
        _RULES,
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "nullable",
    }
)


def check(schema: schemas.Schema, value: Any, *, path: str = "") -> list[problems.Cause]:
    """Everything that the schema refuses. `path` is put before each field ("status" for that subresource alone)."""
    validator, has_rules = _validator(schema)
    causes = problems.Causes()
    for error in validator.iter_errors(value):
        _explain(error, causes, path)
    if has_rules and any(cause.reason in _BLOCKING for cause in causes.found):
        causes.found.append(_RULES_SKIPPED)
    return causes.found


@functools.lru_cache(maxsize=512)
def _validator(schema: schemas.Schema) -> tuple[Any, bool]:
    document = _prepared(schema.document)
    return _Validator(document), _RULES in json.dumps(schema.document)


def _prepared(document: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what says nothing about a value; what may be null, or an int or a string, as types."""
    kept = {key: _below(key, value) for key, value in document.items() if key not in _SILENT}
    if document.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
        kept.pop("x-kubernetes-int-or-string")
    if document.get("nullable") and "type" in kept:
        kept["type"] = [*_types(kept["type"]), "null"]
    if document.get("x-kubernetes-list-type") == "map":
        kept["x-kubernetes-list-type"] = [*(document.get("x-kubernetes-list-map-keys") or ())]
    if document.get("x-kubernetes-list-type") == "atomic":
        kept.pop("x-kubernetes-list-type")
    return kept


def _types(written: str | list[str]) -> list[str]:
    return [written] if isinstance(written, str) else written


def _below(key: str, value: Any) -> Any:
    match key:
        case "properties" | "patternProperties" | "definitions":
            return {name: _prepared(one) for name, one in value.items()}
        case "allOf" | "anyOf" | "oneOf":
            return [_prepared(one) for one in value]
        case "items" | "not" | "additionalProperties" if isinstance(value, Mapping):
            return _prepared(value)
    return value


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not matching.matches(pattern, instance):
        yield ValidationError("")


def _embedded(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    for name in ("apiVersion", "kind"):
        if wanted and isinstance(instance, dict) and not instance.get(name):
            yield ValidationError("", validator="required", validator_value=name)


def _required(_validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    for name in names:
        if isinstance(instance, dict) and name not in instance:
            yield ValidationError("", validator="required", validator_value=name)


def _list_type(_validator: Any, keys: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """`keys` is "set", or the keys of a list map."""
    if not isinstance(instance, list):
        return
    seen = set()
    for index, item in enumerate(instance):
        shown = item if keys == "set" or not isinstance(item, dict) else {k: item[k] for k in keys if k in item}
        text = json.dumps(shown, sort_keys=True)
        if text in seen:
            yield ValidationError("", validator="duplicate", path=[index], instance=shown)
        seen.add(text)


def _format(_validator: Any, name: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    checks = _FORMATS.get(name)
    if checks and isinstance(instance, str) and not checks(instance):
        yield ValidationError("")


def _reads(reader: Callable[[str], Any]) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        try:
            reader(text)
        except ValueError:
            return False
        return True

    return holds


def _is_time(text: str) -> bool:
    return bool(re.match(r"\d{4}-\d\d-\d\d[Tt]", text)) and _reads(dt.datetime.fromisoformat)(text)


_LABEL = "[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?"
# The formats of k8s.io/kube-openapi/pkg/validation/strfmt that people use; others are not checked.
_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date-time": _is_time,
    "datetime": _is_time,
    "date": lambda text: bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and _reads(dt.date.fromisoformat)(text),
    "byte": _reads(decoding.check_base64),
    "uuid": _reads(uuid.UUID),
    "ipv4": _reads(ipaddress.IPv4Address),
    "ipv6": _reads(ipaddress.IPv6Address),
    "cidr": lambda text: "/" in text and _reads(lambda one: ipaddress.ip_network(one, strict=False))(text),
    "email": lambda text: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", text)),
    "hostname": lambda text: bool(re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?", text)),
    "uri": lambda text: bool(urllib.parse.urlsplit(text).scheme) or text.startswith("/"),
    "duration": lambda text: bool(re.fullmatch(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+|0", text)),
}

_Validator: Any = jsonschema_validators.extend(  # type: ignore[no-untyped-call]
    Draft4Validator,
    validators={
        "required": _required,
        "format": _format,
        "pattern": _pattern,
        "x-kubernetes-embedded-resource": _embedded,
        "x-kubernetes-list-type": _list_type,
    },
    # JSON knows one kind of number; 1.0 is an integer here and in Go's validator.
    type_checker=Draft4Validator.TYPE_CHECKER.redefine(
        "integer", lambda _checker, value: type(value) is int or (type(value) is float and value.is_integer())
    ),
)


def _explain(error: ValidationError, causes: problems.Causes, prefix: str) -> None:
    """One error of `jsonschema` in the words of kube-openapi (validation/errors)."""
    inner = _dotted(error.absolute_path)
    path = ".".join(filter(None, (prefix, inner))) if not inner.startswith("[") else prefix + inner
    value: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "required":
            causes.required(f"{path}.{limit}" if path else str(limit))
        case "type":
            wanted = ",".join(one for one in _types(limit) if one != "null")
            name = _NAMES[type(value)]
            causes.wrong_type(path, name, f"{inner} in body must be of type {wanted}: {problems.quoted(name)}")
        case "format":
            causes.wrong_type(path, value, f"{inner} in body must be of type {limit}: {problems.quoted(value)}")
        case "enum":
            causes.unsupported(path, value, map(str, limit))
        case "maxLength":
            causes.too_long(path, limit)
        case "maxItems" | "maxProperties":
            causes.too_many(path, len(value), limit)
        case "duplicate":
            causes.duplicate(path, value)
        case "anyOf" | "oneOf" | "not":
            _explain_choice(error, causes, (prefix, inner))
        case _:
            causes.wrong(path, _measured(error), f"{inner} in body {_phrase(error)}")


def _explain_choice(error: ValidationError, causes: problems.Causes, place: tuple[str, str]) -> None:
    prefix, inner = place
    phrase = {
        "anyOf": "must validate at least one schema (anyOf)",
        "oneOf": "must validate one and only one schema (oneOf)",
        "not": "must not validate the schema (not)",
    }[str(error.validator)]
    causes.found.append(problems.Cause("FieldValueInvalid", f'Invalid value: "": "{inner}" {phrase}', "<nil>"))
    # The real server adds what the nearest of the schemas had against the value.
    for below in [one for one in error.context or () if one.schema_path and one.schema_path[0] == 0]:
        _explain(below, causes, prefix)


def _measured(error: ValidationError) -> Any:
    """What stands for the value: a size where the size is wrong."""
    value: Any = error.instance
    return len(value) if error.validator in {"minItems", "minProperties"} else value


def _phrase(error: ValidationError) -> str:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    inclusive = "" if schema.get(f"exclusive{str(error.validator).title()}") else "or equal to "
    phrase = _PHRASES.get(str(error.validator), f"is refused by {error.validator}")
    return phrase.format(limit=error.validator_value, inclusive=inclusive)


def _dotted(path: Any) -> str:
    """A path as messages write it: spec.list[0].name."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
