"""The writer's inbox: live changes first, then listed pages, both bounded, so that streams wait instead of dropping.

Live changes overtake pages: a seed of a large type must not delay a change, and a page that is written after a newer
live Event of the same object becomes `stale` (DESIGN section 2, "Live during a seed"). Calls travel with the live
changes, in order: what a stream handed over before a call is written before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from app.kube import watching
from app.rules import types
from app.watch import routing

# Changes that wait; about half a second's worth. A stream that finds it full reads on later: TCP holds the server.
LIVE_CAPACITY = 2_000
# Pages that wait, over all listings: 4 pages of 500 objects of 10 kB are 20 MB.
PAGE_CAPACITY = 4
# How often a waiting producer looks whether it was told to stop.
_POLL = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Live:
    """One line of a stream. A BOOKMARK only moves the cursor."""

    key: routing.StreamKey
    type: types.ResourceType
    change: watching.Change
    source_epoch: int
    observed_at: datetime


@dataclass(eq=False, slots=True)
class Listing:
    """One listing of a stream's type, and the seed scopes that it serves: (run id, scope) pairs.

    `namespace` is what the cluster is asked for: what the stream covers, or the one namespace that all scopes are in.
    `since` is the resourceVersion up to which the stream had read before. `given` counts the objects that were handed
    over, `cancelled` is set when nobody waits for it any more.
    """

    key: routing.StreamKey
    type: types.ResourceType
    scopes: tuple[tuple[str, routing.WantedScope], ...]
    source_epoch: int
    namespace: str = ""
    since: str = ""
    given: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def seeds(self) -> int:
        """How many seeds it serves: an object gives each of them a row at most."""
        return len({run_id for run_id, _ in self.scopes}) or 1


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of a listing; the last item of a listing has none, and says how it ended."""

    listing: Listing
    objects: list[dict[str, Any]]
    observed_at: datetime
    ended_at: str = ""

    def split(self, size: int) -> tuple[Page, Page | None]:
        """The first `size` objects, and the rest."""
        if len(self.objects) <= size:
            return self, None
        first = Page(self.listing, self.objects[:size], self.observed_at)
        return first, Page(self.listing, self.objects[size:], self.observed_at, self.ended_at)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Something that only the writer may do, between two batches."""

    function: Callable[[], T]
    answer: Future[T]


class Inbox:
    """Two bounded queues with one lock; many producers, one consumer."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._live: deque[Live | Call[Any]] = deque()
        self._pages: deque[Page] = deque()

    def put_live(self, item: Live, *, stop: threading.Event) -> bool:
        """Hand over a change; False when `stop` was set before there was room."""
        return self._put(self._live, item, LIVE_CAPACITY, stop)

    def put_page(self, item: Page, *, stop: threading.Event) -> bool:
        """Hand over a page; False when `stop` was set before there was room."""
        return self._put(self._pages, item, PAGE_CAPACITY, stop)

    def put_call(self, item: Call[Any]) -> None:
        """Hand over a call; there is always room for one."""
        with self._changed:
            self._live.append(item)
            self._changed.notify_all()

    def _put(self, where: deque[Any], item: object, capacity: int, stop: threading.Event) -> bool:
        with self._changed:
            while len(where) >= capacity:
                if stop.is_set() or self._stop.is_set():
                    return False
                self._changed.wait(_POLL)
            where.append(item)
            self._changed.notify_all()
        return not (stop.is_set() or self._stop.is_set())

    def wait(self, timeout: float) -> None:
        """Wait until there is something to take, at most `timeout` seconds."""
        with self._changed:
            if not self._live and not self._pages:
                self._changed.wait(timeout)

    def take_live(self) -> Live | Call[Any] | None:
        """The next change or call, or None."""
        with self._changed:
            item = self._live.popleft() if self._live else None
            self._changed.notify_all()
            return item

    def take_page(self, rows: int) -> Page | None:
        """As much of the next page as gives at most that many rows, but at least one object; or None."""
        with self._changed:
            if not self._pages:
                return None
            page = self._pages.popleft()
            first, rest = page.split(max(1, rows // page.listing.seeds))
            if rest is not None:
                self._pages.appendleft(rest)
            self._changed.notify_all()
            return first

    def next_is_call(self) -> bool:
        """Whether a call is first in line: a batch ends before it."""
        with self._changed:
            return bool(self._live) and isinstance(self._live[0], Call)

    def drain_calls(self) -> list[Call[Any]]:
        """Take everything away, at the end; the calls among it, whose callers wait for an answer."""
        with self._changed:
            calls = [item for item in self._live if isinstance(item, Call)]
            self._live.clear()
            self._pages.clear()
            self._changed.notify_all()
        return calls

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()
