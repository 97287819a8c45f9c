"""Reads protobuf messages by a table of Kubernetes' own, `wire.json`; what they are as JSON is said in `protobuf.py`.

`tools/wire_table.py` makes the table. The reader is ours: that of the `protobuf` package works on generated classes or
descriptors, takes a field of the wrong wire type for an unknown one where Kubernetes refuses the body, and would be one
more compiled package for the few rules of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Mapping[int, int] = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
# A body of 3 MB that is nothing but the smallest messages would become a thousand times as much in memory.
_MOST_MESSAGES = 100_000
# Schemas of CustomResourceDefinitions nest, and every message costs some frames of Python's stack.
_DEEPEST = 60

# A number, or the bytes of a string or a message.
Value = int | bytes


class WireError(ValueError):
    """The bytes are no such message; the text says it as the Go code of Kubernetes does."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, and how its JSON looks."""

    name: str
    # string, bytes, bool, int32, int64, double, or the name of a message.
    type: str
    # A list, or a map from strings, of that type.
    repeated: bool
    mapped: bool
    # Absent and zero are two things.
    pointer: bool
    # Its fields stand in its parent's place.
    inline: bool
    # Go's `omitempty` and `omitzero`: left out of JSON when empty, or when zero.
    omits_empty: bool
    omits_zero: bool

    @property
    def single(self) -> bool:
        """Neither a list nor a map."""
        return not (self.repeated or self.mapped)

    @property
    def wire_type(self) -> int:
        """How one value is written. A map is written as messages of key and value; all maps here have no numbers."""
        return _WIRE_TYPES.get(self.type, _BYTES)


_WIRE_TYPES: Mapping[str, int] = {"bool": _VARINT, "int32": _VARINT, "int64": _VARINT, "double": _FIXED64}


def _field(written: str) -> Field:
    """A field as the table has it, for example "*int32 replicas,omitempty"."""
    type_, _, tag = written.rpartition(" ")
    name, *options = tag.split(",")
    return Field(
        name=name,
        type=type_.removeprefix("map ").removeprefix("[]").removeprefix("*"),
        repeated=type_.startswith("[]"),
        mapped=type_.startswith("map "),
        pointer=type_.startswith("*"),
        inline="inline" in options,
        omits_empty="omitempty" in options,
        omits_zero="omitzero" in options,
    )


_TABLE: Final = orjson.loads(Path(__file__).with_name("wire.json").read_bytes())
# The message of each kind that a body may hold.
KINDS: Final[Mapping[str, str]] = _TABLE["kinds"]
MESSAGES: Final[Mapping[str, Mapping[int, Field]]] = {
    name: {int(number): _field(written) for number, written in fields.items()}
    for name, fields in _TABLE["messages"].items()
}


class Reader:
    """Reads one body. It keeps count, so that a small body cannot become a huge object."""

    def __init__(self) -> None:
        self._left = _MOST_MESSAGES

    def message(self, name: str, data: bytes, *, depth: int) -> dict[int, list[Value]]:
        """What stands in a message, by the numbers of its fields: each value of a list, each entry of a map.

        Another field has one value: the last number or string, or the messages that came, merged. Raises WireError.
        """
        self._count(name, depth)
        found: dict[int, list[Value]] = {}
        for number, wire, value in _values(name, data):
            if field := MESSAGES[name].get(number):
                _add(found.setdefault(number, []), field, wire, value)
        return found

    def entry(self, field: Field, data: bytes, *, depth: int) -> tuple[bytes, list[Value]]:
        """The key of one entry of a map, and its value if it has one. Raises WireError."""
        self._count(field.name, depth)
        found: dict[int, list[Value]] = {1: [], 2: []}
        for number, wire, value in _values(field.name, data):
            if number in found:
                _add(found[number], field, wire, value)
        return b"".join(key for key in found[1] if isinstance(key, bytes)), found[2]

    def _count(self, name: str, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise WireError(f"proto: {name}: a body of more than {_MOST_MESSAGES} messages is not read")
        if depth > _DEEPEST:
            raise WireError(f"proto: {name}: more than {_DEEPEST} messages in each other are not read")


def _add(values: list[Value], field: Field, wire: int, value: Value) -> None:
    if field.repeated and wire == _BYTES and field.wire_type == _VARINT and isinstance(value, bytes):
        values += _packed(value)
        return
    if wire != field.wire_type:
        raise WireError(f"proto: wrong wireType = {wire} for field {field.name[:1].upper()}{field.name[1:]}")
    if values and isinstance(value, bytes) and isinstance(values[0], bytes) and field.type in MESSAGES and field.single:
        # Two messages one after the other are the message of both.
        values[0] += value
    elif field.single:
        values[:] = [value]
    else:
        values.append(value)


def _values(name: str, data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Number, wire type and value of each field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise WireError(f"proto: {name.rpartition('.')[2]}: illegal tag {number} (wire type {tag})")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in _WIDTHS:
            size = _WIDTHS[wire]
        else:
            raise WireError(f"proto: illegal wireType {wire}")
        if at + size > len(data):
            raise WireError("unexpected EOF")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(data):
            raise WireError("unexpected EOF")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - without the bit that says that more follows
            return value, at + index + 1
    raise WireError("proto: integer overflow")


def _packed(data: bytes) -> Iterator[int]:
    """Numbers of a list that are written as one field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value
