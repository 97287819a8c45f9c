"""Who manages a field: reading `metadata.managedFields`, which the API server keeps for every object.

`fields.py` asks who owns one field, to tell what the server allocated from what somebody chose; `sanitising.py` asks
for all the fields that only certain managers own. A set of fields is a tree of `f:` keys of a map, `k:` items of a list
by their keys, `v:` items by value and `i:` items by position; `.` is the map or item itself, and an empty set is the
field with all that is in it. Objects of strangers may hold anything here: what cannot be read tells nothing.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from app.rules import ignoring

Path = tuple[str | int, ...]
FieldSet = dict[str, Any]

# Deeper than any set of a real object; what stands deeper stays.
_DEEPEST = 100


class Owner(NamedTuple):
    """A field manager, and the subresource through which it wrote: `scale`, or nothing for the object itself."""

    manager: str
    subresource: str


class _Share(NamedTuple):
    """A set of fields, and why they go: empty for the set of a manager that no rule ignores."""

    fields: FieldSet
    reason: str


class _Part(NamedTuple):
    """A child of a map or a list that a set names: whether it is owned as a whole, and the keys that name an item."""

    key: str | int
    fields: FieldSet
    whole: bool
    named_by: tuple[str, ...] = ()


class _UnreadableError(ValueError):
    """managedFields that no API server wrote."""


def owners(obj: Mapping[str, Any], path: Path) -> list[Owner] | None:
    """Who owns a field that is there; None when nothing tells: no managedFields, or none that can be read."""
    try:
        entries = _entries(obj)
        return [owner for owner, fields in entries if _owns(fields, obj, path=path)] if entries else None
    except _UnreadableError:
        return None


def fields_of(obj: Mapping[str, Any], managers: Sequence[str]) -> list[tuple[Path, str]]:
    """The places that nobody but these managers owns, with the reason of each.

    What nobody owns stays, and so do the keys of a list's item that stays. Nothing goes when a set cannot be read.
    """
    try:
        shares = [_Share(fields, _reason(owner, managers)) for owner, fields in _entries(obj)]
        return list(_alone(obj, shares, path=())) if any(share.reason for share in shares) else []
    except _UnreadableError:
        return []


def _entries(obj: Mapping[str, Any]) -> list[tuple[Owner, FieldSet]]:
    listed = obj["metadata"].get("managedFields") or []
    if not isinstance(listed, list):
        raise _UnreadableError
    return [_entry(entry) for entry in listed]


def _entry(entry: Any) -> tuple[Owner, FieldSet]:
    if not isinstance(entry, dict):
        raise _UnreadableError
    owner, fields = Owner(entry.get("manager", ""), entry.get("subresource", "")), entry.get("fieldsV1", {})
    if not (isinstance(owner.manager, str) and isinstance(owner.subresource, str) and isinstance(fields, dict)):
        raise _UnreadableError
    return owner, fields


def _reason(owner: Owner, managers: Sequence[str]) -> str:
    for entry in managers:
        if ignoring.names_manager(entry, manager=owner.manager, subresource=owner.subresource):
            return f"ignoreManagers {entry}"
    return ""


def _owns(fields: FieldSet, value: Any, *, path: Path) -> bool:
    if not path:
        return True
    key, rest = path[0], path[1:]
    if isinstance(key, str):
        sets = [fields.get(f"f:{key}")]
    else:
        sets = [part.fields for part in _parts(fields, value) if part.key == key]
    # An empty set is the whole of what it stands for.
    return any(isinstance(below, dict) and (not below or _owns(below, value[key], path=rest)) for below in sets)


def _alone(value: Any, shares: Sequence[_Share], *, path: Path) -> Iterator[tuple[Path, str]]:
    """What goes of a map or a list that stays itself."""
    if len(path) > _DEEPEST:
        return
    parts: dict[str | int, list[tuple[_Part, str]]] = {}
    for share in shares:
        for part in _parts(share.fields, value):
            parts.setdefault(part.key, []).append((part, share.reason))
    for key, owned in parts.items():
        here = (*path, key)
        of_others = [part for part, reason in owned if not reason]
        if not of_others and any(part.whole for part, _ in owned):
            yield here, min(reason for _, reason in owned)
        elif all(part.fields for part in of_others):
            # Where somebody else has a part of an item, the keys that name it stay with it.
            below = [_Share(part.fields, reason) for part, reason in owned]
            kept = {(*here, name) for part, _ in owned for name in part.named_by}
            yield from (place for place in _alone(value[key], below, path=here) if place[0] not in kept)


def _parts(fields: FieldSet, value: Any) -> list[_Part]:
    """The parts of a map or a list that a set names, as far as they are there."""
    for below in fields.values():
        if not isinstance(below, dict):
            raise _UnreadableError
    named = {name: below for name, below in fields.items() if name != "."}
    if isinstance(value, dict):
        return list(_keys(named, value))
    return list(_items(named, value)) if isinstance(value, list) else []


def _keys(named: FieldSet, value: Mapping[str, Any]) -> Iterator[_Part]:
    for name, below in named.items():
        if not name.startswith("f:"):
            raise _UnreadableError
        if name[2:] in value:
            yield _Part(name[2:], below, whole=not below)


def _items(named: FieldSet, items: Sequence[Any]) -> Iterator[_Part]:
    """By what names an item: the values of some keys, its own value, or its position."""
    sets = {_slot(name): below for name, below in named.items()}
    keys = {slot[0] for slot in sets}
    for index, item in enumerate(items):
        for names in keys:
            value = _named(item, names, position=index)
            below = None if value is None else sets.get((names, value))
            if below is not None:
                yield _Part(index, below, whole=not below or "." in below, named_by=names or ())


# How a set names an item: by which keys (none: by its own value; None: by its position), and their values as JSON.
_Slot = tuple[tuple[str, ...] | None, bytes]


def _slot(name: str) -> _Slot:
    how, text = name[:2], name[2:]
    if how == "i:":
        return None, text.encode()
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _UnreadableError from error
    if how == "v:":
        return (), _json(key)
    if how != "k:" or not isinstance(key, dict) or not key:
        raise _UnreadableError
    return tuple(sorted(key)), _json([key[name] for name in sorted(key)])


def _named(item: Any, names: tuple[str, ...] | None, *, position: int) -> bytes | None:
    if names is None:
        return str(position).encode()
    if not names:
        return _json(item)
    if not isinstance(item, dict) or not all(name in item for name in names):
        return None
    return _json([item[name] for name in names])


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise _UnreadableError from error
