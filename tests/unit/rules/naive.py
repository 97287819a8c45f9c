"""The slow and obvious way to leave out what a rule ignores, which the real one is held to.

It asks every place of an object whether it goes, where the real one walks object and wishes side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

Path = tuple[str | int, ...]

KEPT = {("apiVersion",), ("kind",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")}
ALWAYS = {("status",), ("metadata", "managedFields")}


def sanitised(obj: dict[str, Any], pointers: tuple[str, ...], managers: tuple[str, ...]) -> dict[str, Any]:
    """An object of an unknown kind, of whose metadata only managedFields is the server's."""
    places = {path for path, _ in every_place(obj)}
    gone = {path for path in places if any(is_named(obj, path, pointer) for pointer in pointers)}
    gone |= {path for path in places if is_theirs(obj, path, managers)}
    return dict(without(obj, (gone - KEPT) | ALWAYS))


def every_place(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All places below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield (*path, key), child
        yield from every_place(child, (*path, key))


def at(value: Any, path: Path) -> Any:
    """What stands at a place."""
    for key in path:
        value = value[key]
    return value


def is_named(obj: Any, path: Path, pointer: str) -> bool:
    """Whether a pointer means a place; an item of a list is only every item."""
    wanted = [segment.replace("~1", "/").replace("~0", "~") for segment in pointer.split("/")[1:]]
    return len(wanted) == len(path) and all(one in ("*", key) for one, key in zip(wanted, path, strict=True))


def is_theirs(obj: dict[str, Any], path: Path, managers: tuple[str, ...]) -> bool:
    """Whether these managers own a place, and nobody else owns it, anything in it, or all that it stands in."""
    theirs, others = [], []
    for entry in obj["metadata"].get("managedFields", []):
        full = f"{entry['manager']}/{entry['subresource']}"
        ours = any(fnmatchcase(entry["manager"], name) or fnmatchcase(full, name) for name in managers)
        (theirs if ours else others).append(entry["fieldsV1"])
    whole = [node for node in nodes_at(theirs, obj, path) if not node or (isinstance(path[-1], int) and "." in node)]
    held = bool(nodes_at(others, obj, path))
    held |= any(node == {} for end in range(1, len(path)) for node in nodes_at(others, obj, path[:end]))
    every = [*theirs, *others]
    return bool(whole) and not held and not names_a_shared_item(obj, path, every) and not is_unclear(obj, path, every)


def is_unclear(obj: dict[str, Any], path: Path, sets: list[Any]) -> bool:
    """Whether a place is, or is in, an item that something names together with another item."""
    for end in (end for end, key in enumerate(path) if isinstance(key, int)):
        items, key = at(obj, path[:end]), path[end]
        for name in {name for node in nodes_at(sets, obj, path[:end]) for name in node}:
            alike = [position for position, item in enumerate(items) if names(name, item, position)]
            if key in alike and len(alike) > 1:
                return True
    return False


def names_a_shared_item(obj: dict[str, Any], path: Path, sets: list[Any]) -> bool:
    """Whether a place is a key that names the item it stands in, for anybody."""
    if len(path) < 2 or not isinstance(path[-2], int):
        return False
    items, position = at(obj, path[:-2]), path[-2]
    keys = [name for node in nodes_at(sets, obj, path[:-2]) for name in node if name.startswith("k:")]
    return any(names(name, items[position], position) and path[-1] in json.loads(name[2:]) for name in keys)


def nodes_at(sets: list[Any], value: Any, path: Path) -> list[Any]:
    """The parts of sets that stand for a place."""
    for key in path:
        if isinstance(key, str):
            sets = [fields[f"f:{key}"] for fields in sets if f"f:{key}" in fields]
        else:
            sets = [below for fields in sets for name, below in fields.items() if names(name, value[key], key)]
        value = value[key]
    return sets


def names(name: str, item: Any, position: int) -> bool:
    """Whether `k:`, `v:` or `i:` means an item."""
    if name.startswith("k:"):
        wanted = json.loads(name[2:])
        return isinstance(item, dict) and all(key in item and same(item[key], wanted[key]) for key in wanted)
    if name.startswith("v:"):
        return same(item, json.loads(name[2:]))
    return name == f"i:{position}"


def same(one: Any, other: Any) -> bool:
    """JSON equality: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def without(value: Any, gone: set[Path], path: Path = ()) -> Any:
    """A copy without places, nor keys that got empty."""
    if isinstance(value, dict):
        copies = {key: without(child, gone, (*path, key)) for key, child in value.items() if (*path, key) not in gone}
        return {key: copy for key, copy in copies.items() if is_full(copy) or not is_full(value[key])}
    if isinstance(value, list):
        return [without(item, gone, (*path, index)) for index, item in enumerate(value) if (*path, index) not in gone]
    return value


def is_full(value: Any) -> bool:
    """Whether it is no empty map or list."""
    return value not in ({}, [])
