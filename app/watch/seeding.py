"""The seeder: lists what open seeds wait for; one listing of a type serves every destination that needs it.

A listing begins only when the stream of its type runs, so that nothing falls between the two. Pages flow to the writer
as they come; a list that breaks off proves nothing, and its seeds start again (promise P10).
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import structlog

from app import errors, failpoints
from app.kube import listing, problems
from app.rules import versions
from app.watch import backoff, figures, inbox, routing, streams

log = structlog.get_logger(__name__)

# Listings at one time: each holds a page or two in memory, and the API server has others to serve.
LISTINGS = 4
_TICK = 0.5
# Nothing may make us list one type in a tight loop.
_LEAST_DISTANCE = 0.2


class Seeder:
    """Starts listings; `run` is a thread of its own."""

    def __init__(self, services: streams.Services, running: streams.Streams, counted: figures.Figures) -> None:
        self._services = services
        self._streams = running
        self._figures = counted
        self._active: dict[routing.StreamKey, Future[None]] = {}
        self._waits: dict[routing.StreamKey, backoff.Backoff] = {}
        self._not_before: dict[routing.StreamKey, float] = {}
        self._pool = ThreadPoolExecutor(LISTINGS, thread_name_prefix="listing")

    def run(self) -> None:
        """List whatever waits, until told to stop. Raises what a listing raised that is no error of the cluster."""
        stop, changed = self._services.stop, self._services.writer.seeds_changed
        try:
            while not stop.is_set():
                changed.wait(_TICK)
                changed.clear()
                self._reap()
                self._start()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _reap(self) -> None:
        for key in [key for key, future in self._active.items() if future.done()]:
            self._active.pop(key).result()

    def _start(self) -> None:
        waiting = self._services.writer.book.waiting
        for key, stream in self._streams.running.items():
            if key in self._active or not stream.running.is_set() or self._not_before.get(key, 0) > time.monotonic():
                continue
            if any(key.covers(scope) for scope in waiting):
                self._not_before[key] = time.monotonic() + _LEAST_DISTANCE
                self._active[key] = self._pool.submit(self._list, stream)

    def _list(self, stream: streams.Stream) -> None:
        begun = self._services.causes.begin_listing(stream.key, stream.type)
        if begun is None:
            return
        waits = self._waits.setdefault(stream.key, backoff.Backoff())
        try:
            self._pages(begun)
        except errors.TemporaryError as error:
            self._broke_off(begun, error, waits.failed(at_least=error.delay))
            if error.reason == problems.OUTDATED:
                # It may be the stream that is of another time.
                with contextlib.suppress(errors.ReverserError):
                    stream.compare()
        except errors.ReverserError as error:
            self._broke_off(begun, error, waits.failed())
            # The stream meets the same refusal, and ends the scopes without a sweep.
            stream.start_over("the listing was refused")
        else:
            waits.worked()
        finally:
            self._services.writer.seeds_changed.set()

    def _pages(self, begun: inbox.Listing) -> None:
        stop, settings = self._services.stop, self._services.settings
        started = time.perf_counter()
        pages = listing.list_pages(self._services.cluster, begun.type, begun.namespace, page_size=settings.page_size)
        for page in pages:
            self._figures.add("list_s", time.perf_counter() - started)
            if begun.cancelled.is_set() or stop.is_set():
                return
            if versions.newer(begun.since, page.resource_version):
                raise problems.outdated(str(begun.key), page.resource_version, seen=begun.since)
            begun.given += len(page.items)
            ended_at = page.resource_version if page.last else ""
            self._services.writer.inbox.put_page(inbox.Page(begun, page.items, datetime.now(UTC), ended_at), stop=stop)
            failpoints.reach("after_list" if page.last else "mid_page")
            started = time.perf_counter()

    def _broke_off(self, begun: inbox.Listing, error: errors.ReverserError, wait: float) -> None:
        log.warning("listing_broke_off", stream=str(begun.key), error=error.message, next_try_s=round(wait, 1))
        self._not_before[begun.key] = time.monotonic() + wait
        self._services.causes.end_listing(begun)
