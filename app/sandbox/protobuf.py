"""Bodies in protobuf, as kubectl sends them for built-in types, read into the JSON that they stand for.

The envelope and its magic are those of k8s.io/apimachinery (runtime/serializer/protobuf), the fields those of
`messages.py`. Answers are JSON: every client that sends this format reads both.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from app.sandbox import messages

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPE_META, _RAW = 1, 2
_LONGEST_VARINT = 10


class Unreadable(ValueError):  # noqa: N818 - what a client sent, not an error of ours.
    """The body is no object of a type that is served."""


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises Unreadable."""
    if not body.startswith(_MAGIC):
        raise Unreadable("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        head = {number: value.decode() for number, value in _fields(envelope[_TYPE_META])}
        kind = head.get(2, "")
        if kind not in messages.MESSAGES:
            raise Unreadable(f'no kind "{kind}" is registered for version "{head.get(1, "")}"')
        return {"apiVersion": head.get(1, ""), "kind": kind, **_message(kind, envelope.get(_RAW, b""))}
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError, OverflowError) as error:
        raise Unreadable(f"unexpected end of the message ({type(error).__name__})") from error


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int for a varint, bytes for all else. Raises Unreadable, IndexError."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(raw, at)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise Unreadable(f"illegal wireType {wire}")
        if at + length > len(raw):
            raise Unreadable("unexpected EOF")
        yield number, raw[at : at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        byte = raw[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint has no top bit.
            return value, at + shift + 1
    raise Unreadable("integer overflow")


def _message(name: str, raw: bytes) -> dict[str, Any]:
    """A message as a JSON object, with the fields that Go would write."""
    known: Mapping[int, messages.Field] = messages.MESSAGES[name]
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        field = known.get(number)
        if field:
            _add(found, field, value)
    return found


def _add(found: dict[str, Any], field: messages.Field, value: Any) -> None:
    if field.shape == "{}":
        entry = dict(_fields(value))
        found.setdefault(field.name, {})[entry.get(1, b"").decode()] = _value(field.content, entry.get(2, b""))
    elif field.shape == "[]":
        found.setdefault(field.name, []).append(_value(field.content, value))
    elif not field.name:
        found |= _message(field.content, value)
    else:
        one = _value(field.content, value)
        if one or field.keeps_zero or isinstance(one, dict):
            found[field.name] = one


def _value(content: str, value: Any) -> Any:
    read = _WORDS.get(content)
    return read(value) if read else _message(content, value)


def _integer(value: int) -> int:
    """Negative numbers are written as 64 bits in two's complement."""
    return value - 2**64 if value >= 2**63 else value


def _time(value: bytes) -> str:
    """RFC 3339; "" for the zero time, which JSON leaves out."""
    fields = dict(_fields(value))
    if not fields:
        return ""
    moment = dt.datetime.fromtimestamp(_integer(fields.get(1, 0)), dt.UTC)
    micros = fields.get(2, 0) // 1000
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{micros:06}Z" if micros else "Z")


def _integer_or_text(value: bytes) -> int | str:
    fields = dict(_fields(value))
    return fields.get(3, b"").decode() if fields.get(1) else _integer(fields.get(2, 0))


def _within(value: bytes) -> bytes:
    """What a message of one field holds."""
    found = dict(_fields(value)).get(1, b"")
    assert isinstance(found, bytes)
    return found


_WORDS: dict[str, Callable[[Any], Any]] = {
    "string": lambda value: value.decode(),
    "bytes": lambda value: base64.b64encode(value).decode(),
    "int": _integer,
    "bool": bool,
    "time": _time,
    "quantity": lambda value: _within(value).decode(),
    "int-or-string": _integer_or_text,
    "json": lambda value: orjson.loads(_within(value) or b"null"),
}
