"""One line in `worker_node` for this worker, and from everybody's lines what it serves.

A thread of its own asks SQL once a second, so that a slow database never holds up the consumer's loop, which only reads
`assigned`. The row lives while the broker connection does: a worker that cannot consume must not be given queues, and
one whose last beat is as long ago as others wait before they take over gives its queues up, whatever keeps it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app import db, errors
from app.events import Ref
from app.models import destinations, nodes
from app.settings import Settings
from app.worker import assignment

log = structlog.get_logger(__name__)

BEAT = 1.0


class Roster:
    """Beats while the worker is connected. `assigned` may be read from any thread."""

    def __init__(self, settings: Settings, *, globs: Sequence[str], dedicated: bool) -> None:
        # What the consumer listens to at the moment; written by it, shown to operators in SQL.
        self.serves: tuple[str, ...] = ()
        self._settings, self._globs, self._dedicated = settings, tuple(globs), dedicated
        self._connected, self._ended = threading.Event(), threading.Event()
        # What the last beat found, and when that was: one value, for it is read while it is replaced.
        self._found = _Found(frozenset(), time.monotonic())
        self._failing = False
        # A fork in the middle of a query would copy locks that nobody in the child ever releases, SQLite's included.
        self._in_sql = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)

    @property
    def assigned(self) -> frozenset[Ref]:
        """What is ours; nothing once the last beat is so long ago that it is somebody else's by now, or nobody's."""
        found = self._found
        return frozenset() if found.is_stale() else found.assigned

    def start(self) -> None:
        """Begin to beat, once `connected` was called."""
        os.register_at_fork(
            before=self._in_sql.acquire, after_in_parent=self._in_sql.release, after_in_child=self._in_sql.release
        )
        self._thread.start()

    def connected(self) -> None:
        """The consumer has a broker connection."""
        self._connected.set()

    def disconnected(self) -> None:
        """The consumer lost its broker: the row grows stale and others take over."""
        self._connected.clear()

    def stop(self) -> None:
        """Stop beating and remove the row, so that others take over at once."""
        self._ended.set()
        self._thread.join()
        try:
            with self._in_sql, _opened(self._settings) as database, database.write() as connection:
                nodes.remove(connection, self._settings.node)
        except errors.TemporaryError:
            log.warning("the worker's row could not be removed; it grows stale by itself")

    def _run(self) -> None:
        while not self._ended.is_set():
            if self._connected.wait(BEAT):
                self._attempt()
                self._ended.wait(BEAT)

    def _attempt(self) -> None:
        try:
            with self._in_sql:
                # The others count from the row that the beat begins with.
                began = time.monotonic()
                self._found = _Found(self._beat(), began)
        except Exception as error:  # noqa: BLE001 - a worker without its roster would serve a stale list for ever.
            self._failed(error)
        else:
            if self._failing:
                log.info("the database answers again")
            self._failing = False

    def _beat(self) -> frozenset[Ref]:
        name = self._settings.node
        # Opened anew for each beat: a prefork pool may fork between two, and no connection may cross a fork.
        with _opened(self._settings) as database:
            with database.write() as connection:
                nodes.beat(
                    connection,
                    name=name,
                    globs=self._globs,
                    dedicated=self._dedicated,
                    serves=self.serves,
                )
            with database.read() as connection:
                live = nodes.live(connection)
                return assignment.assigned(name, live, destinations.queue_refs(connection))

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            log.warning("the database does not answer; queues are kept for a while", error=type(error).__name__)
        self._failing = True
        if self._found.assigned and self._found.is_stale():
            log.warning("queues are given up until the database is back: other workers take them over")
            self._found = _Found(frozenset(), self._found.at)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a beat found, and when it began."""

    assigned: frozenset[Ref]
    at: float

    def is_stale(self) -> bool:
        return time.monotonic() - self.at > nodes.STALE_AFTER


def _opened(settings: Settings) -> contextlib.closing[db.Database]:
    return contextlib.closing(db.Database(settings.database_url, statement_timeout=settings.statement_timeout))
