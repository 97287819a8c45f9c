"""Watch streams: the events of one type from a resourceVersion on, in order, without a gap to the list before.

A stream keeps no events. It keeps its position in the history of `storing.py` and is woken when its type changes; one
that reads slower than the history forgets is ended, as the real server ends it, and costs nothing until then.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.sandbox import problems, requests, selecting, storing

# Between two bookmarks of a quiet stream, and before the end of one that asked for bookmarks. Seconds.
_BOOKMARK = 60.0
_LAST_BOOKMARK = 2.0
# How long a stream lives that names no time: the real server takes 30 to 60 minutes.
_LONGEST = (1800.0, 3600.0)
# Encoded events that several streams share: the newest, which they all want at once. Large ones are not kept.
_SHARED = 256
_LARGE = 65_536
# Events that go out in one piece: enough to be fast, little enough that a slow reader is noticed.
_AT_ONCE = 64

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How a client sees objects of a type. Streams with the same view share encoded events, where it can be shared."""

    kind: str
    api_version: str
    # From an object as it is kept to what stands in an event or an answer.
    render: Callable[[Object], Object]
    # Whether other streams have the same view; tables depend on what a stream has seen.
    is_shared: bool = True


@dataclass(frozen=True, slots=True)
class Watch:
    """What one stream is about. `revision` is None where it starts with the objects that are there."""

    # As it was asked for, with its query.
    path: str
    kind: storing.Type
    namespace: str
    selector: selecting.Selector
    view: View
    revision: int | None
    timeout: float | None
    bookmarks: bool
    # Whether a bookmark says where the initial events end.
    marks_end: bool


class Hub:
    """All open streams of a store."""

    def __init__(self, store: storing.Store) -> None:
        self.store = store
        self._shared = functools.lru_cache(_SHARED)(_encode)
        self._open: dict[storing.Type, set[Stream]] = defaultdict(set)
        self.closing = False
        store.listeners.append(self._wake)

    def open(self, watch: Watch) -> Stream:
        """Begin a stream: what happens from now on is in it, however late it is read."""
        return Stream(watch, hub=self)

    def add(self, stream: Stream) -> None:
        """Wake this stream from now on."""
        self._open[stream.watch.kind].add(stream)
        if self.closing:
            stream.end()

    def remove(self, stream: Stream) -> None:
        """Nobody reads this stream any more."""
        self._open[stream.watch.kind].discard(stream)

    def encode(self, change: storing.Change, name: str, view: View) -> bytes:
        """A change as a line of a stream."""
        return (self._shared if view.is_shared and change.size < _LARGE else _encode)(change, name, view)

    def streams(self) -> Iterator[Stream]:
        """The open streams."""
        yield from (stream for streams in list(self._open.values()) for stream in list(streams))

    def end(self, kind: storing.Type) -> None:
        """End the streams of a type that is no longer served."""
        for stream in list(self._open[kind]):
            stream.end()

    def close(self) -> None:
        """End all streams, and those that are still to come."""
        self.closing = True
        for stream in self.streams():
            stream.end()

    def _wake(self, changes: Sequence[storing.Change]) -> None:
        for kind in {storing.Type(change.place.group, change.place.resource) for change in changes}:
            for stream in self._open[kind]:
                stream.wake()


class Broken(Exception):  # noqa: N818 - a fault that a test asked for.
    """The connection of a stream is to be cut."""


class Stream:
    """One open stream, read once by `lines`. It may be ended or broken from outside at any time."""

    def __init__(self, watch: Watch, *, hub: Hub) -> None:
        self.watch = watch
        self._hub = hub
        self._store = hub.store
        self._awake = asyncio.Event()
        self._over = False
        self._broken = False
        self._cut = False
        self._initial = self._first_objects()
        self._position = hub.store.revision if watch.revision is None else watch.revision
        # The counter when it was last looked for something to send: what came later is not sent yet, so that no
        # bookmark may name a later one, however long the reader takes for what was found.
        self._looked_at = hub.store.revision

    def wake(self) -> None:
        """There may be something to send."""
        self._awake.set()

    def end(self) -> None:
        """Send what is there, then end cleanly."""
        self._over = True
        self.wake()

    def break_off(self) -> None:
        """Close the connection without an end."""
        self._broken = True
        self.wake()

    def cut_next(self) -> None:
        """Send half of the next event, then close the connection."""
        self._cut = True

    async def lines(self) -> AsyncIterator[bytes]:
        """What to send, one or more whole events at a time. Raises Broken."""
        self._hub.add(self)
        try:
            async for chunk in self._chunks():
                if self._cut:
                    yield chunk[: len(chunk.split(b"\n", 1)[0]) // 2]
                    raise Broken
                yield chunk
        finally:
            self._hub.remove(self)

    async def _chunks(self) -> AsyncIterator[bytes]:
        for chunk in _together(self._initial_lines()):
            yield chunk
        self._initial = []
        deadline = time.monotonic() + (self.watch.timeout or random.uniform(*_LONGEST))  # noqa: S311 - no secret
        bookmarks = _Bookmarks(deadline, wanted=self.watch.bookmarks)
        while not self._broken:
            self._awake.clear()
            try:
                pending = self._pending()
            except storing.Forgotten:
                return
            for chunk in _together(self._changed(pending)):
                yield chunk
                if self._broken:
                    raise Broken
            if bookmarks.due():
                yield self._bookmark()
            if self._over or time.monotonic() >= deadline:
                break
            await self._sleep(bookmarks.next)
        if self._broken:
            raise Broken

    async def _sleep(self, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._awake.wait()
        except TimeoutError:
            return

    def _pending(self) -> Sequence[storing.Change]:
        """The changes that were not sent yet. Raises Forgotten."""
        pending = self._store.changes_after(self.watch.kind, self._position)
        self._looked_at = self._store.revision
        # Not beyond a change that is still to come: a position in the future waits there.
        self._position = max(self._position, pending[-1].revision) if pending else self._position
        return pending

    def _first_objects(self) -> list[Object]:
        if self.watch.revision is not None:
            return []
        found = self._store.objects(self.watch.kind, namespace=self.watch.namespace)
        return [one for one in found if self.watch.selector.matches(one)]

    def _initial_lines(self) -> Iterator[bytes]:
        for one in self._initial:
            yield event_line("ADDED", self.watch.view.render(one))
        if self.watch.marks_end:
            yield self._bookmark(annotations={"k8s.io/initial-events-end": "true"})

    def _changed(self, changes: Sequence[storing.Change]) -> Iterator[bytes]:
        for change in changes:
            if self.watch.namespace and change.place.namespace != self.watch.namespace:
                continue
            name = self._event(change)
            if name:
                yield self._hub.encode(change, name, self.watch.view)

    def _event(self, change: storing.Change) -> str:
        """What the change is to this client: an object that leaves its selection is deleted for it."""
        matches = self.watch.selector.matches
        before = change.before is not None and matches(change.before)
        after = change.after is not None and matches(change.after)
        return {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((before, after), "")

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        metadata: Object = {"resourceVersion": str(max(self._looked_at, self._position))}
        if annotations:
            metadata["annotations"] = annotations
        view = self.watch.view
        return event_line("BOOKMARK", {"kind": view.kind, "apiVersion": view.api_version, "metadata": metadata})


class _Bookmarks:
    """When the next bookmark is due: each minute, and shortly before the end."""

    def __init__(self, deadline: float, *, wanted: bool) -> None:
        self._deadline = deadline
        self._wanted = wanted
        now = time.monotonic()
        self._last = deadline - _LAST_BOOKMARK
        self._next = self._after(now) if wanted else deadline

    @property
    def next(self) -> float:
        """When to look again."""
        return min(self._next, self._deadline)

    def due(self) -> bool:
        """Whether one is to be sent now."""
        now = time.monotonic()
        if not self._wanted or now < self._next:
            return False
        self._next = self._after(now)
        return True

    def _after(self, now: float) -> float:
        # Streams that began together do not all wake at once.
        usual = now + _BOOKMARK * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        return min(usual, self._last) if now < self._last else float("inf")


def event_line(name: str, found: Object) -> bytes:
    """One event as it goes over the wire."""
    return orjson.dumps({"type": name, "object": found}, option=orjson.OPT_APPEND_NEWLINE)


def _encode(change: storing.Change, name: str, view: View) -> bytes:
    found = change.last
    if name == "DELETED" and change.after is not None:
        # It left the selection: the client gets what it knew, at the revision of the change.
        assert change.before is not None
        found = storing.stamped(change.before, change.revision)
    return event_line(name, view.render(found))


def _together(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines in pieces of some."""
    piece: list[bytes] = []
    for line in lines:
        piece.append(line)
        if len(piece) == _AT_ONCE:
            yield b"".join(piece)
            piece = []
    if piece:
        yield b"".join(piece)


def start_of(options: requests.ListOptions, store: storing.Store) -> int | None:
    """Where a watch begins; None for the objects that are there. Raises Refused (410, 504).

    A revision that is still to come is waited for, except by a streaming list.
    """
    version = options.resource_version
    if options.initial_events is False and not version:
        return store.revision
    if options.initial_events:
        check_reached(version or 0, store)
        return None
    if not version:
        return None
    if version < store.compacted:
        raise problems.expired(f"too old resource version: {version} ({store.compacted})")
    return version


def check_reached(version: int, store: storing.Store) -> None:
    """Refuse to answer with a state older than the client has seen. Raises Refused (504)."""
    if version > store.revision:
        raise problems.Refused(
            code=504,
            reason="Timeout",
            message=f"Timeout: Too large resource version: {version}, current: {store.revision}",
            details={
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
        )
