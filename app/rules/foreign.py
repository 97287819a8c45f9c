"""Which object a file is about, when somebody else may have written it: the evidence for adoption (promise P2).

Reads events, never builds values: no tag is resolved, no alias expanded, and memory is bounded by the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import yaml

MAX_BYTES = 2_000_000

_WANTED = {("apiVersion",), ("kind",), ("metadata", "namespace"), ("metadata", "name")}


class FileIdentity(NamedTuple):
    """What a manifest calls itself; `namespace` is empty for cluster scope."""

    api_version: str
    kind: str
    namespace: str
    name: str


def identity_of(data: bytes) -> FileIdentity | None:
    """The identity in a file of one Kubernetes object, or None for everything else.

    None too for a file over 2 MB, of several documents, with anchors, or that names itself twice: what is not plainly
    one object is not ours to adopt.
    """
    if len(data) > MAX_BYTES:
        return None
    try:
        found = _scan(yaml.parse(data, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    if found is None or not all(found.get(path) for path in _WANTED - {("metadata", "namespace")}):
        return None
    return FileIdentity(
        api_version=found["apiVersion",],
        kind=found["kind",],
        namespace=found.get(("metadata", "namespace"), ""),
        name=found["metadata", "name"],
    )


class _Level:
    """An open collection: where it stands, and for a mapping the keys so far and the one whose value comes next."""

    def __init__(self, path: tuple[str, ...] | None, *, mapping: bool) -> None:
        self.path = path
        self.mapping = mapping
        self.key: str | None = None
        self.keys: set[str] = set()

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return self.mapping and self.key is None

    def next_path(self) -> tuple[str, ...] | None:
        """The path of the value that begins here; None below a list."""
        return None if self.path is None or self.key is None else (*self.path, self.key)


def _scan(events: Iterator[yaml.Event]) -> dict[tuple[str, ...], str] | None:
    """The wanted scalars by path, or None for a file that is not plainly one object."""
    found: dict[tuple[str, ...], str] = {}
    levels: list[_Level] = []
    documents = 0
    for event in events:
        match event:
            case yaml.AliasEvent():
                return None
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    return None
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if levels and levels[-1].wants_key:
                    return None
                path = levels[-1].next_path() if levels else ()
                levels.append(_Level(path, mapping=isinstance(event, yaml.MappingStartEvent)))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                levels.pop()
                _close_value(levels)
            case yaml.ScalarEvent() if not _scalar(event, levels, found):
                return None
    return found


def _scalar(event: yaml.ScalarEvent, levels: list[_Level], found: dict[tuple[str, ...], str]) -> bool:
    """Take a key or a value; False for a key that is there twice and for a wanted value with a tag of its own."""
    if not levels:
        return False
    level = levels[-1]
    if level.wants_key:
        level.key = event.value
        repeated = event.value in level.keys
        level.keys.add(event.value)
        return not repeated
    path = level.next_path()
    if path is not None and path in _WANTED:
        if event.tag is not None:
            return False
        found[path] = event.value
    _close_value(levels)
    return True


def _close_value(levels: list[_Level]) -> None:
    """The innermost mapping goes on with a key."""
    if levels:
        levels[-1].key = None
