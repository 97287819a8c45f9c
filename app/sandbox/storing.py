"""What the sandbox holds: objects and the history of their changes, in memory and in `database.py`.

There is one counter for all types, the resourceVersion, which rises by one with each change. The history is bounded;
what is older than `compacted` is forgotten, as etcd forgets after a compaction. Everything runs in one thread: a
write is in the file before any reader or stream can see it. Objects are shared, so nobody may change one in place.
"""

from __future__ import annotations

import bisect
import operator
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from app.sandbox import database

Place = database.Place
Object = dict[str, Any]

# etcd keeps five minutes; a count and a size are the same on any machine.
HISTORY = 10_000
HISTORY_BYTES = 64_000_000
# The largest request that etcd takes.
LARGEST = 1_572_864
# How far the history may outgrow its bounds before it is cut: cutting costs a pass over it.
_SLACK = 1.2

_REVISION = operator.attrgetter("revision")
_LOG = structlog.get_logger(__name__)


class Type(NamedTuple):
    """What objects are kept under: every version of a type holds the same ones."""

    group: str
    resource: str


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One step of the history. `before` and `after` are the object around it, None where there is none."""

    revision: int
    place: Place
    before: Object | None
    after: Object | None
    size: int

    @property
    def last(self) -> Object:
        """The object as the change leaves it; a deleted one as it was, at the revision of its end."""
        if self.after is not None:
            return self.after
        assert self.before is not None
        return stamped(self.before, self.revision)


@dataclass(frozen=True, slots=True)
class Write:
    """One object to write, or None to remove what stands there."""

    place: Place
    object: Object | None


class Forgotten(Exception):  # noqa: N818 - a fact about the history, not an error of ours.
    """The history does not reach back that far."""


class TooLarge(Exception):  # noqa: N818 - the same.
    """An object is larger than etcd takes one."""


class Store:
    """All objects of the cluster. `listeners` are called after each write with its changes.

    A jump back calls them with no changes: what they derived from objects has to be derived anew.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises PermanentError when it cannot be used."""
        self._database = database.Database(path)
        self._objects: dict[Type, dict[Place, Object]] = defaultdict(dict)
        self._history: list[Change] = []
        self._by_type: dict[Type, list[Change]] = defaultdict(list)
        # The last forgotten change of each type: a stream that stands before it has missed something.
        self._forgotten: dict[Type, int] = {}
        self._bytes = 0
        self.listeners: list[Callable[[Sequence[Change]], None]] = []
        self.compacted = int(self._database.value("compacted") or 0)
        self._load()
        self.revision = self._history[-1].revision if self._history else self.compacted

    def get(self, place: Place) -> Object | None:
        """One object as it stands."""
        return self._objects[Type(place.group, place.resource)].get(place)

    def objects(self, kind: Type, *, namespace: str = "", at: int | None = None) -> list[Object]:
        """The objects of a type in etcd's order, now or as they stood at a revision. Raises Forgotten."""
        found = self._objects[kind] if at is None or at == self.revision else self._at(kind, at)
        places = [place for place in found if not namespace or place.namespace == namespace]
        return [found[place] for place in sorted(places, key=key_of)]

    def types(self) -> list[Type]:
        """The types that have objects."""
        return [kind for kind, objects in self._objects.items() if objects]

    def write(self, writes: Sequence[Write]) -> list[Change]:
        """Write objects in one transaction, each at a revision of its own.

        Raises TooLarge and sqlite3.Error, and then nothing was written.
        """
        changes = [self._change(one, revision=revision) for revision, one in enumerate(writes, start=self.revision + 1)]
        bodies = [None if change.after is None else orjson.dumps(change.after) for change in changes]
        if any(body is not None and len(body) > LARGEST for body in bodies):
            raise TooLarge
        self._database.write(
            database.Row(change.revision, change.place, body) for change, body in zip(changes, bodies, strict=True)
        )
        for change in changes:
            self._apply(change)
        self.revision = changes[-1].revision
        for listener in self.listeners:
            listener(changes)
        self._cut()
        return changes

    def changes_after(self, kind: Type, revision: int) -> Sequence[Change]:
        """The changes of a type since a revision. Raises Forgotten when some of them are gone."""
        if revision < self._forgotten.get(kind, 0):
            raise Forgotten
        changes = self._by_type[kind]
        return changes[bisect.bisect_right(changes, revision, key=_REVISION) :]

    def compact(self) -> None:
        """Forget the whole history, as a compaction of etcd at this moment would."""
        self._forget(self.revision)

    def rewind(self, revision: int) -> None:
        """Jump back to an earlier state and counter, as an etcd that was restored from a backup.

        Open streams are told nothing. Raises Forgotten.
        """
        if not self.compacted <= revision <= self.revision:
            raise Forgotten
        undone = [change for change in self._history if change.revision > revision]
        older = {change.place: change.before for change in reversed(undone)}
        self._database.rewind(
            revision, [(place, None if body is None else orjson.dumps(body)) for place, body in older.items()]
        )
        for place, body in older.items():
            self._put(place, body)
        self._keep([change for change in self._history if change.revision <= revision])
        self.revision = revision
        for listener in self.listeners:
            listener([])

    def value(self, name: str) -> str:
        """A value of the server itself; "" when it was never set."""
        return self._database.value(name)

    def set_value(self, name: str, value: str) -> None:
        """Keep a value of the server itself."""
        self._database.set_value(name, value)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _at(self, kind: Type, revision: int) -> Mapping[Place, Object]:
        """The objects of a type as they stood: what came later is taken back."""
        if revision < self.compacted:
            raise Forgotten
        found = dict(self._objects[kind])
        for change in reversed(self.changes_after(kind, revision)):
            if change.before is None:
                del found[change.place]
            else:
                found[change.place] = change.before
        return found

    def _change(self, write: Write, *, revision: int) -> Change:
        after = None if write.object is None else stamped(write.object, revision)
        before = self.get(write.place)
        assert before is not None or after is not None
        return Change(revision, write.place, before, after, size=_size(before, after))

    def _apply(self, change: Change) -> None:
        self._put(change.place, change.after)
        self._history.append(change)
        self._by_type[Type(change.place.group, change.place.resource)].append(change)
        self._bytes += change.size

    def _put(self, place: Place, body: Object | None) -> None:
        objects = self._objects[Type(place.group, place.resource)]
        if body is None:
            objects.pop(place, None)
        else:
            objects[place] = body

    def _cut(self) -> None:
        """Forget the oldest changes when there are too many, or too large ones.

        The write that it follows is done, and answered as done: where the disk refuses, the next one tries again.
        """
        try:
            if len(self._history) > HISTORY * _SLACK:
                self._forget(self._history[-HISTORY - 1].revision)
            if self._bytes > HISTORY_BYTES * _SLACK:
                self._forget(self._oldest_to_spare())
        except sqlite3.Error as error:
            _LOG.warning("history_not_cut", reason=str(error), changes=len(self._history))

    def _oldest_to_spare(self) -> int:
        spare = self._bytes - HISTORY_BYTES
        for change in self._history[:-1]:
            spare -= change.size
            if spare <= 0:
                return change.revision
        return self._history[-2].revision

    def _forget(self, revision: int) -> None:
        self._database.forget(revision)
        for change in self._history:
            if change.revision > revision:
                break
            self._forgotten[Type(change.place.group, change.place.resource)] = change.revision
        self._keep([change for change in self._history if change.revision > revision])
        self.compacted = revision

    def _keep(self, changes: Iterable[Change]) -> None:
        self._history, self._bytes = [], 0
        self._by_type.clear()
        for change in changes:
            self._history.append(change)
            self._by_type[Type(change.place.group, change.place.resource)].append(change)
            self._bytes += change.size

    def _load(self) -> None:
        for place, body in self._database.objects():
            self._put(place, orjson.loads(body))
        self._keep(reversed(list(self._read_history())))

    def _read_history(self) -> Iterable[Change]:
        """From the newest change to the oldest: what one replaced is what the one before it left."""
        state: dict[Place, Object | None] = {}
        for revision, place, body in self._database.changes_backwards():
            after = state[place] if place in state else self.get(place)
            before = state[place] = None if body is None else orjson.loads(body)
            yield Change(revision, place, before, after, size=_size(before, after))


def key_of(place: Place) -> str:
    """What etcd sorts by: the namespace, a slash and the name, as bytes."""
    return f"{place.namespace}/{place.name}"


def stamped(body: Object, revision: int) -> Object:
    """A copy of an object at a revision."""
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(revision)}}


def _size(before: Object | None, after: Object | None) -> int:
    """What a change adds to memory, roughly: the body that would be free without it."""
    body = after if before is None else before
    return len(orjson.dumps(body))
