"""Objects in protobuf, as kubectl sends what it makes by itself (`kubectl create configmap`), read into plain JSON.

The body is `k8s` and a zero byte, then an envelope that names the type and holds the object. What is in `messages.py`
is understood; a field that is not, and has a value, refuses the body: nothing a client wrote is lost in silence.
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import orjson

from app.sandbox import messages

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10

Value = int | bytes


class UnreadableError(ValueError):
    """The body is no protobuf, or holds what nobody here knows."""


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises UnreadableError."""
    if not body.startswith(_MAGIC):
        raise UnreadableError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = dict(_values(body[len(_MAGIC) :]))
    head = _message("TypeMeta", _content(envelope.get(1, b"")))
    if head.get("kind") not in messages.MESSAGES:
        raise UnreadableError(f"{head.get('kind') or 'an object without a kind'} is read as JSON or YAML only")
    return {**head, **_message(str(head["kind"]), _content(envelope.get(2, b"")))}


def _values(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message, in their order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _varint(data, at) if wire == _BYTES else (_SIZES.get(wire), at)
        if size is None or at + size > len(data):
            raise UnreadableError("unexpected end of a protobuf message")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says whether there is more
            return value, at + shift + 1
    raise UnreadableError("unexpected end of a protobuf message")


def _content(value: Value) -> bytes:
    if isinstance(value, int):
        raise UnreadableError("a number stands where a message was expected")
    return value


def _message(name: str, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _values(data):
        field = messages.MESSAGES[name].get(number)
        if field is None:
            if _is_empty(value):
                continue
            raise UnreadableError(f"field {number} of {name} is read as JSON or YAML only")
        _add(found, field, value)
    return found


def _is_empty(value: Value) -> bool:
    """Zero, nothing, or a message of nothing else: what Go writes for a field that was not set."""
    if isinstance(value, int):
        return value == 0
    try:
        return not value or all(_is_empty(below) for _, below in _values(value))
    except UnreadableError:
        return False


def _add(found: dict[str, Any], field: messages.Field, value: Value) -> None:
    """Put one field into the object as JSON has it: fields that were not set are left out."""
    if field.mapped:
        entry = dict(_values(_content(value)))
        key = _content(entry.get(1, b"")).decode()
        found.setdefault(field.name, {})[key] = _read(field.type, entry.get(2, b""))
        return
    read = _read(field.type, value)
    if field.listed:
        found.setdefault(field.name, []).append(read)
    elif field.inline:
        found.update(read)
    elif field.kept or read not in (None, "", 0):
        found[field.name] = read


def _read(type_: str, value: Value) -> Any:
    """One value as JSON has it."""
    match type_:
        case "text":
            return _content(value).decode()
        case "bytes":
            return base64.b64encode(_content(value)).decode()
        case "int":
            return _signed(value)
        case "bool":
            return bool(value)
        case _ if type_ in _SPECIAL:
            return _SPECIAL[type_](dict(_values(_content(value))))
        case _:
            return _message(type_, _content(value))


def _signed(value: Value) -> int:
    if not isinstance(value, int):
        raise UnreadableError("a text stands where a number was expected")
    return value - (1 << 64) if value >> 63 else value


def _time(parts: dict[int, Value]) -> str | None:
    """RFC 3339 in UTC; None for the time of an object that has none yet."""
    seconds = _signed(parts.get(1, 0))
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if parts else None


def _int_or_string(parts: dict[int, Value]) -> int | str:
    return _content(parts.get(3, b"")).decode() if parts.get(1) else _signed(parts.get(2, 0))


def _quantity(parts: dict[int, Value]) -> str:
    return _content(parts.get(1, b"")).decode()


def _fields(parts: dict[int, Value]) -> Any:
    return orjson.loads(_content(parts.get(1, b"{}")))


# Messages that JSON writes as one value.
_SPECIAL = {"FieldsV1": _fields, "IntOrString": _int_or_string, "Quantity": _quantity, "Time": _time}
