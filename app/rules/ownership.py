"""Who manages a field: reading `metadata.managedFields`, which the API server keeps for every object.

`evidence.py` asks who owns one field, to tell what the server allocated from what somebody chose; `sanitising.py` asks
for all that only certain managers own. A set of fields is a tree of `f:` keys of a map, `k:` items of a list by their
keys, `v:` items by value and `i:` items by position; `.` is the map or item itself, and an empty set is the field with
all that is in it. Objects of strangers may hold anything here: what cannot be read tells nothing, and no object takes
longer than its size asks for: each part of each set is read once, however often somebody asks.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from app.rules import ignoring

Path = tuple[str | int, ...]
FieldSet = dict[str, Any]
# What goes, as a tree: a reason where something goes as a whole, the same one level down where a part of it goes.
Marks = dict[Any, Any]

# Deeper than any set of a real object; what stands deeper stays.
_DEEPEST = 100
# The API server keeps ten managers that update, and a few apply: more than these are no help to anybody.
_MOST_ENTRIES = 100
# The items of one list have the same keys for everybody, perhaps other ones in another version of the type.
_MOST_WAYS = 8


class Owner(NamedTuple):
    """A field manager, and the subresource through which it wrote: `scale`, or nothing for the object itself."""

    manager: str
    subresource: str


class _Share(NamedTuple):
    """What one owner has of a place: the set of fields, and whether it owns the place with all that is in it."""

    owner: Owner
    fields: FieldSet
    whole: bool


# Has what two items of a list have in common: a name that is not theirs alone. No rule can mean it.
_SOMEBODY = _Share(Owner("", ""), {}, whole=True)


class _UnreadableError(ValueError):
    """managedFields that no API server wrote."""


class _Place:
    """A map, a list or a value, with what each owner has of it; `held` are the owners of all that it stands in."""

    def __init__(self, value: Any, held: frozenset[Owner]) -> None:
        self.value = value
        self.shares: list[_Share] = []
        # The keys by which sets name this item of a list.
        self.named_by: set[str] = set()
        self._held = held

    @functools.cached_property
    def held(self) -> frozenset[Owner]:
        """Who owns whatever is in it."""
        return self._held.union(share.owner for share in self.shares if not share.fields)

    @functools.cached_property
    def below(self) -> dict[str | int, _Place] | None:
        """What the sets name of a map or a list, as far as it is there; None when one of them cannot be read."""
        try:
            return self._read()
        except _UnreadableError:
            return None

    def _read(self) -> dict[str | int, _Place]:
        found: dict[str | int, _Place] = {}
        named = [(share.owner, *pair) for share in self.shares for pair in share.fields.items() if pair[0] != "."]
        if not all(isinstance(fields, dict) for _, _, fields in named):
            raise _UnreadableError
        if isinstance(self.value, dict):
            for owner, name, fields in named:
                if not name.startswith("f:"):
                    raise _UnreadableError
                if (key := name[2:]) in self.value:
                    self._at(found, key).shares.append(_Share(owner, fields, whole=not fields))
        elif isinstance(self.value, list):
            for index, names, shares in _items(named, self.value):
                place = self._at(found, index)
                place.shares += shares
                place.named_by.update(names or ())
        return found

    def _at(self, found: dict[str | int, _Place], key: Any) -> _Place:
        if key not in found:
            found[key] = _Place(self.value[key], self.held)
        return found[key]


class Managed:
    """What managedFields say of one object. They are read when somebody asks, and as far as he asks."""

    def __init__(self, obj: Mapping[str, Any]) -> None:
        self._obj = obj

    def owners(self, path: Path) -> frozenset[Owner] | None:
        """Who owns a field that is there; None when nothing tells: no managedFields, or none that can be read."""
        place = self._whole
        if place is None:
            return None
        for key in path:
            if place.below is None:
                return None
            if key not in place.below:
                return place.held
            place = place.below[key]
        return place.held.union(share.owner for share in place.shares)

    def alone(self, managers: Sequence[str]) -> Marks:
        """What nobody but these managers owns, with the reason of each; never what tells one object from another.

        What nobody owns stays, and so do the keys of a list's item that stays. Nothing goes when a set cannot be read.
        """
        place = self._whole
        if place is None:
            return {}
        owners = {share.owner for share in place.shares}
        reasons = {owner: reason for owner in owners if (reason := _reason(owner, managers))}
        try:
            return _alone(place, reasons, path=()) if reasons else {}
        except _UnreadableError:
            return {}

    @functools.cached_property
    def _whole(self) -> _Place | None:
        """The object itself, which nobody owns as a whole."""
        try:
            entries = _entries(self._obj)
        except _UnreadableError:
            return None
        place = _Place(self._obj, frozenset())
        place.shares = [_Share(owner, fields, whole=False) for owner, fields in entries if fields]
        return place if entries else None


def _entries(obj: Mapping[str, Any]) -> list[tuple[Owner, FieldSet]]:
    listed = obj["metadata"].get("managedFields") or []
    if not isinstance(listed, list) or len(listed) > _MOST_ENTRIES:
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


def _alone(place: _Place, reasons: Mapping[Owner, str], *, path: Path) -> Marks:
    """What goes of a map or a list that stays itself."""
    marks: Marks = {}
    if len(path) > _DEEPEST:
        return marks
    if place.below is None:
        raise _UnreadableError
    for key, child in place.below.items():
        here = (*path, key)
        of_others = [share for share in child.shares if share.owner not in reasons]
        if not of_others and any(share.whole for share in child.shares):
            if here not in ignoring.IDENTITY:
                marks[key] = min(reasons[share.owner] for share in child.shares)
        elif all(share.fields for share in of_others):
            # Where somebody else has a part of an item, the keys that name it stay with it.
            below = _alone(child, reasons, path=here)
            if kept := {name: mark for name, mark in below.items() if name not in child.named_by}:
                marks[key] = kept
    return marks


# How a set names an item: by which keys (none: by its own value; None: by its position), and their values.
_Way = tuple[str, ...] | None
_Values = tuple[tuple[type, Any], ...]
_Named = Iterable[tuple[Owner, str, FieldSet]]
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _items(named: _Named, items: Sequence[Any]) -> Iterator[tuple[int, _Way, list[_Share]]]:
    """The items that sets name, each as often as there are ways to name it."""
    ways: dict[_Way, dict[_Values | None, list[_Share]]] = {}
    for owner, name, fields in named:
        way, values = _slot(name)
        share = _Share(owner, fields, whole=not fields or "." in fields)
        ways.setdefault(way, {}).setdefault(values, []).append(share)
    if len(ways) > _MOST_WAYS:
        raise _UnreadableError
    for way, shares in ways.items():
        places: dict[_Values | None, list[int]] = {}
        for index, item in enumerate(items):
            if (identity := _named(item, way, position=index)) in shares:
                places.setdefault(identity, []).append(index)
        for identity, same in places.items():
            yield from ((index, way, shares[identity] if len(same) == 1 else [_SOMEBODY]) for index in same)


def _slot(name: str) -> tuple[_Way, _Values]:
    how, text = name[:2], name[2:]
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _UnreadableError from error
    if how == "k:" and isinstance(key, dict) and key:
        way: _Way = tuple(sorted(key))
    elif how in ("v:", "i:"):
        way = () if how == "v:" else None
    else:
        raise _UnreadableError
    values = _scalars(key[part] for part in way) if way else _scalars([key])
    if values is None:
        raise _UnreadableError
    return way, values


def _named(item: Any, way: _Way, *, position: int) -> _Values | None:
    if way is None:
        return _scalars([position])
    if not way:
        return _scalars([item])
    if not isinstance(item, dict) or not all(name in item for name in way):
        return None
    return _scalars(item[name] for name in way)


def _scalars(values: Iterable[Any]) -> _Values | None:
    """Values with their types, because true is not 1; None when one is a map or a list, which names nothing."""
    found = tuple((type(value), value) for value in values)
    return found if all(kind in _SCALARS for kind, _ in found) else None
