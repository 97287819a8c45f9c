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
from dataclasses import dataclass
from typing import Any

import orjson

from app import errors
from app.rules import evidence, fields, ignoring, ownership

Json = Any
Path = ownership.Path
Marks = ownership.Marks

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
    clean: dict[str, Json] = _taken(obj, _marked(obj, ignored))
    return clean


def removals(obj: Mapping[str, Json], ignored: ignoring.Ignored = ignoring.NOTHING) -> tuple[Removal, ...]:
    """What `sanitise` takes out, in the order of the object; what was emptied stands behind its content."""
    return tuple(_listed(obj, _marked(obj, ignored), path=()))


def is_bare(obj: Mapping[str, Json]) -> bool:
    """Whether all that would be written of an object is its identity; of what is refused, nothing is known."""
    try:
        clean = sanitise(obj)
    except errors.PermanentError:
        return False
    said = {(key,) for key in clean} | {("metadata", key) for key in clean["metadata"]}
    return said.issubset(ignoring.IDENTITY)


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


class _Plan:
    """The rows of a table as a tree of keys. What goes without a condition stands in `always`, to be found fast."""

    __slots__ = ("always", "every", "keys", "rows")

    def __init__(self, rows: Iterable[fields.Field] = ()) -> None:
        self.rows: list[fields.Field] = []
        self.always: dict[str, str] = {}
        self.keys: dict[str, _Plan] = {}
        self.every: _Plan | None = None
        for row in rows:
            self._add(row)

    def _add(self, row: fields.Field) -> None:
        plan, (*above, last) = self, row.path
        for key in above:
            plan = plan.below(key)
        if row.when or ignoring.EVERY in row.path:
            plan.below(last).rows.append(row)
        else:
            plan.always.setdefault(last, row.reason)

    def below(self, key: str) -> _Plan:
        """The plan of what stands under a key, made if it is not there."""
        if key != ignoring.EVERY:
            return self.keys.setdefault(key, _Plan())
        self.every = self.every or _Plan()
        return self.every


_GENERAL = _Plan(fields.EVERYWHERE)
_BY_KIND = {of: _Plan((*fields.EVERYWHERE, *rows)) for of, rows in fields.BY_KIND.items()}


@functools.lru_cache(maxsize=_PLANS_KEPT)
def _plan_of(pointers: tuple[str, ...]) -> _Plan:
    rows = [fields.Field(pointer, f"ignoreFields {pointer}") for pointer in pointers]
    return _Plan(row for row in rows if row.path not in ignoring.IDENTITY)


def _marked(obj: Mapping[str, Json], ignored: ignoring.Ignored) -> Marks:
    metadata, kind, group = obj.get("metadata"), obj.get("kind"), _group_of(obj)
    if kind == "Secret" and not group:
        raise errors.PermanentError(
            "a Secret is mirrored only encrypted, and no encryption is configured", reason="EncryptionRequired"
        )
    if not isinstance(metadata, dict) or not kind or not isinstance(kind, str):
        raise errors.PermanentError("an object without kind and metadata cannot be mirrored", reason="InvalidObject")
    name = metadata.get("name")
    if not name or not isinstance(name, str):
        raise errors.PermanentError("an object without a name cannot be mirrored", reason="InvalidObject")
    search = _Search(obj, live=bool(metadata.get("uid")))
    marks = search.marks(_BY_KIND.get((group, kind), _GENERAL), obj, path=())
    if ignored:
        _merge(marks, search.marks(_plan_of(ignored.fields), obj, path=()))
        _merge(marks, search.managed.alone(ignored.managers))
    return marks


def _group_of(obj: Mapping[str, Json]) -> str:
    api_version = obj.get("apiVersion")
    if not isinstance(api_version, str) or not api_version:
        raise errors.PermanentError("an object without apiVersion cannot be mirrored", reason="InvalidObject")
    return api_version.rpartition("/")[0]


class _Search:
    """Looks for the places of a plan in one object."""

    def __init__(self, obj: Mapping[str, Json], *, live: bool) -> None:
        self.managed = ownership.Managed(obj)
        self._obj = obj
        self._live = live

    def marks(self, plan: _Plan, value: Json, *, path: Path) -> Marks:
        """What goes of a map or a list that stands at `path`."""
        marks: Marks = {}
        below: list[tuple[Any, _Plan]]
        if isinstance(value, dict):
            for key in plan.always.keys() & value.keys():
                marks[key] = plan.always[key]
            below = [(key, plan.keys[key]) for key in plan.keys.keys() & value.keys()]
            if plan.every:
                below += [(key, plan.every) for key in value]
        elif isinstance(value, list) and plan.every:
            # No row names a position (`ignoring.check`): positions move.
            below = [(index, plan.every) for index in range(len(value))]
        else:
            return marks
        for key, deeper in below:
            child, here = value[key], (*path, key)
            mark = (deeper.rows and self._reason(deeper.rows, child, path=here)) or self.marks(deeper, child, path=here)
            if mark and key not in marks:
                marks[key] = mark
            elif mark:
                _merge(marks, {key: mark})
        return marks

    def _reason(self, rows: Iterable[fields.Field], value: Json, *, path: Path) -> str:
        found = evidence.Found(self._obj, self.managed, path, value)
        for row in rows:
            if row.when is None or (self._live and row.when.holds(found)):
                return "" if path in ignoring.IDENTITY else row.reason
        return ""


def _merge(marks: Marks, more: Marks) -> None:
    """Add marks to others: the first reason counts, and what goes as a whole takes its content along."""
    for key, mark in more.items():
        present = marks.get(key)
        if present is None or (isinstance(present, dict) and isinstance(mark, str)):
            marks[key] = mark
        elif isinstance(present, dict):
            _merge(present, mark)


def _taken(value: Json, marks: Marks) -> Json:
    """A copy of a map or a list without what is marked in it."""
    clean, gone = value.copy(), set()
    for key, mark in marks.items():
        if not isinstance(mark, str):
            clean[key] = _taken(value[key], mark)
            if clean[key] or isinstance(key, int):
                continue
        gone.add(key)
    if isinstance(clean, list):
        return [item for index, item in enumerate(clean) if index not in gone]
    for key in gone:
        del clean[key]
    return clean


def _listed(value: Json, marks: Marks, *, path: Path) -> Iterator[Removal]:
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        mark, here = marks.get(key), (*path, key)
        if isinstance(mark, str):
            yield Removal(ignoring.pointer(here), mark)
        elif mark:
            yield from _listed(child, mark, path=here)
            if isinstance(key, str) and not _taken(child, mark):
                yield Removal(ignoring.pointer(here), NOTHING_LEFT)
