"""From a live object to what somebody meant: a deny-list, so that no intent is lost (DESIGN section 7).

`fields.py` is the table of what the server and its controllers write; a rule may leave out more: fields that it names
(`ignoring.py`), and fields of managers that it names (`ownership.py`). All three give places with reasons, and one
engine takes them out. What became empty because its content went, goes too, but for items of lists, whose positions
mean something; what was empty before stays.

Doing it twice is doing it once: a condition of the table holds only for a live object, which has a uid, and a
sanitised one has none. A core Secret is refused, whatever a rule says: without encryption it never leaves the watch
process (promise P12).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from app import errors
from app.rules import fields, ignoring, ownership

Json = Any
Path = fields.Path
# A place that goes, and why.
Place = tuple[Path, str]
# Places as a tree: a reason where something goes as a whole, the same one level down where a part of it goes.
Marks = dict[str | int, Any]

NOTHING_LEFT = "nothing is left in it"
# Of the fields that rules ignore, as many sets as an installation has in use, and more.
_PLANS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Removal:
    """A field that is not mirrored: where it stood, as a JSON pointer, and why."""

    pointer: str
    reason: str


def sanitise(obj: Mapping[str, Json], ignored: ignoring.Ignored = ignoring.NOTHING) -> dict[str, Json]:
    """A copy without what only the server or a tool means. The input is not changed; parts of it are shared.

    Raises PermanentError for what is no object, and PermanentError(EncryptionRequired) for a core Secret.
    """
    clean: dict[str, Json] = _taken(obj, _marked(obj, ignored), (), [])
    return clean


def removals(obj: Mapping[str, Json], ignored: ignoring.Ignored = ignoring.NOTHING) -> tuple[Removal, ...]:
    """What `sanitise` takes out, in the order of the object; what was emptied stands behind its content."""
    gone: list[tuple[Path, str]] = []
    _taken(obj, _marked(obj, ignored), (), gone)
    return tuple(Removal(ignoring.pointer(path), reason) for path, reason in gone)


def body(sanitised: Mapping[str, Json]) -> bytes:
    """The bytes that the ledger keeps and that are hashed: JSON, keys sorted.

    Raises PermanentError(NotWritable) for what JSON in UTF-8 cannot hold; the message says nothing of the content.
    """
    try:
        return orjson.dumps(sanitised, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise errors.PermanentError(
            "the object holds text that is no Unicode, or is nested too deep: it cannot be written",
            reason="NotWritable",
        ) from error


def content_hash(body: bytes) -> str:
    """32 hexadecimal digits; equal for equal bodies."""
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(slots=True)
class _Plan:
    """Rows of one path, and the plans of the paths that go on from there; `every` is that of `*`."""

    rows: list[fields.Field] = field(default_factory=list)
    keys: dict[str, _Plan] = field(default_factory=dict)
    every: _Plan | None = None

    @classmethod
    def of(cls, rows: Iterable[fields.Field]) -> _Plan:
        root = cls()
        for row in rows:
            plan = root
            for key in row.path:
                plan = plan.below(key)
            plan.rows.append(row)
        return root

    def below(self, key: str) -> _Plan:
        """The plan of what stands under a key, made if it is not there."""
        if key != ignoring.EVERY:
            return self.keys.setdefault(key, _Plan())
        self.every = self.every or _Plan()
        return self.every


_GENERAL = _Plan.of(fields.EVERYWHERE)
_BY_KIND = {of: _Plan.of((*fields.EVERYWHERE, *rows)) for of, rows in fields.BY_KIND.items()}


@functools.lru_cache(maxsize=_PLANS_KEPT)
def _plan_of(pointers: tuple[str, ...]) -> _Plan:
    return _Plan.of(fields.Field(pointer, f"ignoreFields {pointer}") for pointer in pointers)


def _marked(obj: Mapping[str, Json], ignored: ignoring.Ignored) -> Marks:
    metadata, kind, group = obj.get("metadata"), obj.get("kind"), _group_of(obj)
    if not isinstance(metadata, dict) or not isinstance(kind, str) or not kind:
        raise errors.PermanentError("an object without kind and metadata cannot be mirrored", reason="InvalidObject")
    if kind == "Secret" and not group:
        raise errors.PermanentError(
            "a Secret is mirrored only encrypted, and no encryption is configured", reason="EncryptionRequired"
        )
    search = _Search(obj, live=bool(metadata.get("uid")))
    search.visit(_BY_KIND.get((group, kind), _GENERAL), obj, ())
    if ignored:
        search.visit(_plan_of(ignored.fields), obj, ())
        search.places += ownership.fields_of(obj, ignored.managers)
    marks: Marks = {}
    for path, reason in search.places:
        _put(marks, path, reason)
    return marks


def _group_of(obj: Mapping[str, Json]) -> str:
    api_version = obj.get("apiVersion")
    if not isinstance(api_version, str) or not api_version:
        raise errors.PermanentError("an object without apiVersion cannot be mirrored", reason="InvalidObject")
    group, slash, _ = api_version.partition("/")
    return group if slash else ""


class _Search:
    """Looks for the places of a plan in one object."""

    def __init__(self, obj: Mapping[str, Json], *, live: bool) -> None:
        self._obj = obj
        self._live = live
        self.places: list[Place] = []

    def visit(self, plan: _Plan, value: Json, path: Path) -> None:
        """Note every place at or below `path` that a row of the plan names and that fulfils its condition."""
        for row in plan.rows:
            if row.when is None or (self._live and row.when.holds(fields.Found(self._obj, path, value))):
                self.places.append((path, row.reason))
        if isinstance(value, dict):
            for key in plan.keys.keys() & value.keys():
                self.visit(plan.keys[key], value[key], (*path, key))
            if plan.every:
                for key, child in value.items():
                    self.visit(plan.every, child, (*path, key))
        elif isinstance(value, list):
            self._visit_items(plan, value, path)

    def _visit_items(self, plan: _Plan, items: list[Json], path: Path) -> None:
        for index, item in enumerate(items):
            # What leads to a position leads to what is in it, and never takes the item: the next would take its place.
            below = plan.keys.get(str(index)) if plan.keys else None
            if below:
                self.visit(_Plan(keys=below.keys, every=below.every), item, (*path, index))
            if plan.every:
                self.visit(plan.every, item, (*path, index))


def _put(marks: Marks, path: Path, reason: str) -> None:
    """Note that a place goes; the first reason counts, and what goes as a whole takes its content along."""
    if path in ignoring.IDENTITY:
        return
    *above, last = path
    for key in above:
        below = marks.setdefault(key, {})
        if isinstance(below, str):
            return
        marks = below
    if not isinstance(marks.get(last), str):
        marks[last] = reason


def _taken(value: Json, marks: Marks, path: Path, gone: list[Place]) -> Json:
    """A copy of a mapping or a list without what is marked in it; `gone` gets each place."""
    if isinstance(value, dict):
        return dict(_left(value.items(), marks, path, gone))
    return [item for _, item in _left(enumerate(value), marks, path, gone)]


def _left(pairs: Iterable[tuple[Any, Json]], marks: Marks, path: Path, gone: list[Place]) -> Iterator[tuple[Any, Json]]:
    for key, child in pairs:
        mark = marks.get(key)
        if mark is None:
            yield key, child
        elif isinstance(mark, str):
            gone.append(((*path, key), mark))
        else:
            here = (*path, key)
            rest = _taken(child, mark, here, gone)
            if rest or isinstance(key, int) or here in ignoring.IDENTITY:
                yield key, rest
            else:
                gone.append((here, NOTHING_LEFT))
