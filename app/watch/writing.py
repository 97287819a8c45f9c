"""The writer: the one thread that writes the ledger, the cursors and the seeds of a cluster.

It takes changes, pages and calls from the inbox, makes batches, and commits each in ONE transaction whose first
statement takes the numbers (DESIGN section 2). What it knows (routing, unchanged map, seeds, cursors) changes only
after a commit, so a failed transaction is simply written again. Everything else that must be ordered with the batches
(`causing.py`) runs here too, as a call. After a commit the Events are published.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from app import db, errors, events, failpoints, publishing
from app.models import base, cursors, inventory, leases, ledger, seeds
from app.settings import Settings
from app.watch import backoff, batching, eventing, figures, inbox, routing, runs

log = structlog.get_logger(__name__)

# Listed objects of one batch: enough for the rate, few enough that a live change never waits for long.
SEED_ROWS = 500
# Changes of one batch for each row that it may have: most changes may select nothing, and what they leave has to be
# written, and the seeds have to have their turn, while more of them come.
CHANGES_A_ROW = 10
# How long the writer sleeps when nothing is to do before it looks for a stop.
_IDLE = 0.5

T = TypeVar("T")


class Writer:
    """Owns everything that only one thread may touch. `run` is the thread; other threads use `call` and the inbox."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: db.Database,
        lead: leases.Lead,
        publisher: publishing.Publisher,
        stop: threading.Event,
        counted: figures.Figures,
    ) -> None:
        self.settings = settings
        self.database = database
        self.lead = lead
        self.inbox = inbox.Inbox(stop)
        self.book = runs.SeedBook()
        self.routes = routing.NOTHING
        self.known: dict[int, dict[inventory.Key, inventory.Known]] = {}
        self.positions: dict[routing.StreamKey, cursors.Cursor] = {}
        # Woken when seeds or streams changed in a way that the seeder has to look at.
        self.seeds_changed = threading.Event()
        # Objects of running listings that went through committed batches.
        self._passed: Counter[inbox.Listing] = Counter()
        self._reread = False
        self._publisher = publisher
        self._stop = stop
        self._figures = counted

    def run(self) -> None:
        """Write until told to stop. Raises LeaseLostError when another daemon leads."""
        try:
            while not self._stop.is_set():
                self.inbox.wait(_IDLE)
                self._answer_calls()
                self._write_next()
        finally:
            self._stop.set()
            for call in self.inbox.drain_calls():
                call.answer.set_exception(_stopping())

    def call(self, function: Callable[[], T]) -> T:
        """Run something in the writer's thread, after what was handed over before; its result or its error."""
        answer: Future[T] = Future()
        self.inbox.put_call(inbox.Call(function, answer))
        while not answer.done() and not self._stop.is_set():
            try:
                return answer.result(_IDLE)
            except TimeoutError:
                continue
        if answer.done():
            return answer.result()
        raise _stopping()

    def durably(self, work: Callable[[base.Connection], T]) -> T:
        """One fenced transaction, tried again while the database is away. Raises LeaseLostError."""

        def fenced() -> T:
            with self.database.write() as connection:
                leases.fence_lead(connection, self.lead)
                return work(connection)

        return self._retried(fenced)

    def follow(self, routes: routing.Routing) -> None:
        """Make Events with another routing from now on. What a destination knows is read where its place is new."""
        before = {target.id: target.place_id for target in self.routes.targets.values()}
        places = {target.id: target.place_id for target in routes.targets.values()}
        fresh = {id_: place for id_, place in places.items() if before.get(id_) != place}
        loaded = self._retried(lambda: self._load_known(fresh))
        self.known = {id_: loaded[id_] if id_ in loaded else self.known[id_] for id_ in places}
        self.routes = routes
        self.read_seeds()

    def doubt(self, key: routing.StreamKey) -> None:
        """What was known through a stream is of another history: whatever comes now is news, as it may stand in Git."""
        for known in self.known.values():
            for one, found in known.items():
                if one[0] == key.group and one[1] == key.resource and key.namespace in {"", one[2]}:
                    known[one] = replace(found, content_hash="")

    def read_seeds(self) -> None:
        """Follow what SQL says of open seeds."""

        def load() -> list[seeds.Run]:
            with self.database.read() as connection:
                return seeds.open_runs(connection, self.known)

        self.book.replace(self._retried(load))
        self.seeds_changed.set()

    def _load_known(self, places: dict[int, int]) -> dict[int, dict[inventory.Key, inventory.Known]]:
        with self.database.read() as connection:
            return {
                id_: inventory.known(connection, destination_id=id_, place_id=place) for id_, place in places.items()
            }

    def _answer_calls(self) -> None:
        while self.inbox.next_is_call() and not self._stop.is_set():
            call = self.inbox.take_live()
            assert isinstance(call, inbox.Call)
            try:
                call.answer.set_result(call.function())
            except errors.LeaseLostError as error:
                call.answer.set_exception(error)
                raise
            except Exception as error:  # noqa: BLE001 - whoever called decides what its error means.
                call.answer.set_exception(error)

    def _write_next(self) -> None:
        with self._figures.timed("sanitise_s"):
            batch = self._fill()
        if batch.empty and not batch.closing():
            return
        batch.add_passed_over()
        self._check_whole(batch)
        failpoints.reach("before_events")
        started = time.perf_counter()
        written = self._commit(batch)
        spent = time.perf_counter() - started
        failpoints.reach("after_events")
        self._take_effect(batch)
        with self._figures.timed("publish_s"):
            self._publisher.publish(events.messages_for([row.event for row in written if row.state == ledger.PENDING]))
        self._count(batch, written, spent)

    def _fill(self) -> batching.Batch:
        known = {id_: batching.Overlay(found) for id_, found in self.known.items()}
        batch = batching.Batch(self.settings.cluster, self.routes, self.book, known)
        # One object may give many destinations a row each: a batch is full afterwards, by what its last one gave. A
        # flood of changes leaves a tenth to the seeds, so that they end.
        most = self.settings.batch_rows
        while (len(batch) < most - most // 10 and batch.changes < most * CHANGES_A_ROW) or batch.empty:
            if self.inbox.next_is_call():
                return batch
            item = self.inbox.take_live()
            if item is None:
                break
            assert isinstance(item, inbox.Live)
            batch.add_live(item)
        while (room := min(SEED_ROWS, most - len(batch))) > 0 or batch.empty:
            page = self.inbox.take_page(room)
            if page is None:
                break
            batch.add_page(page)
            if batch.pages_full(SEED_ROWS):
                break
        return batch

    def _check_whole(self, batch: batching.Batch) -> None:
        """A listing proves something only if each of its objects came through here."""
        for listing, _ in batch.ended:
            passed = self._passed[listing] + batch.taken[listing]
            if passed != listing.given:
                raise RuntimeError(f"{listing.given - passed} listed objects of {listing.key} were lost on the way")

    def _commit(self, batch: batching.Batch) -> list[ledger.Entry]:
        """Write a batch, whatever it takes; the rows that were new. Raises LeaseLostError."""
        try:
            return self._retried(lambda: self._transaction(batch))
        except errors.ReverserError:
            # The database as a whole, which is no fault of a row: what is not written is read again.
            raise
        except Exception as error:
            if not batch.entries:
                raise
            log.warning("a batch was refused, it is split", rows=len(batch), error=type(error).__name__)
            return self._split(batch, error)

    def _split(self, batch: batching.Batch, error: Exception) -> list[ledger.Entry]:
        """Write a refused batch in parts, down to the one object that cannot be written: its row is dead."""
        if len(batch) == 1:
            dead = _dead(batch.entries[0], f"the database refused the row ({type(error).__name__})")
            if batch.entries[0].state == ledger.DEAD:
                raise error
            return self._commit(batch.part([dead], last=True))
        middle = len(batch) // 2
        first = self._commit(batch.part(batch.entries[:middle], last=False))
        return first + self._commit(batch.part(batch.entries[middle:], last=True))

    def _transaction(self, batch: batching.Batch) -> list[ledger.Entry]:
        closing = batch.closing()
        counts = Counter(row.destination_id for row in batch.entries)
        counts.update(run.destination_id for run in closing)
        with self.database.write() as connection:
            numbers = ledger.take_numbers(connection, counts)
            leases.fence_lead(connection, self.lead)
            written = ledger.append(connection, batch.entries, numbers)
            self._count_seeds(connection, batch, written)
            self._move_cursors(connection, batch)
            for row in written:
                numbers[row.destination_id] += 1
            for run in closing:
                written += self._close(connection, run, numbers)
        return written

    def _count_seeds(self, connection: base.Connection, batch: batching.Batch, written: list[ledger.Entry]) -> None:
        selected = Counter(batch.scope_of.values())
        counted = Counter(batch.scope_of[row.event.id] for row in written if row.event.id in batch.scope_of)
        for (run_id, scope), count in counted.items():
            seeds.add_written(connection, run_id, scope.key, count)
        for listing, resource_version in batch.ended:
            for run_id, scope in listing.scopes:
                run = self.book.runs.get(run_id)
                if run is not None:
                    listed = run.scopes[scope].selected + selected[run_id, scope]
                    seeds.complete(
                        connection,
                        run_id,
                        scope.key,
                        listed=listed,
                        resource_version=resource_version,
                        source_epoch=listing.source_epoch,
                    )

    def _move_cursors(self, connection: base.Connection, batch: batching.Batch) -> None:
        moved = self._moved(batch)
        for key in {key.resource_key for key in batch.positions}:
            shared = [cursor for other, cursor in moved.items() if other.resource_key == key]
            lowest = min(shared, key=order_of)
            cursors.move(connection, cluster=self.settings.cluster, cursor=lowest)

    def _moved(self, batch: batching.Batch) -> dict[routing.StreamKey, cursors.Cursor]:
        """Where the streams stand once the batch is committed; a stream that was given up meanwhile stays away."""
        fresh = {
            key: cursors.Cursor(key.group, key.resource, key.namespace, key.version, version, epoch)
            for key, (version, epoch) in batch.positions.items()
        }
        return {**self.positions, **fresh}

    def _close(self, connection: base.Connection, run: runs.OpenRun, numbers: dict[int, int]) -> list[ledger.Entry]:
        """Write SEED_SYNC when this transaction sees written = listed for each scope (promise P10)."""
        if seeds.state_of(connection, run.id) != seeds.LISTING:
            # This batch was committed before, and only the answer was lost.
            return []
        counted = seeds.scopes_of(connection, run.id)
        if not seeds.ready(connection, run.id):
            log.error("rows of a seed are missing in the ledger, it starts again", seed=run.id)
            again = [(scope.key, scope.version, scope.sweepable) for scope in counted]
            target = self.routes.target_of(run.destination_id)
            seeds.start(connection, destination_id=target.id, place_id=target.place_id, cause=run.cause, scopes=again)
            self._reread = True
            return []
        epoch = leases.source_epoch(connection, cluster=self.settings.cluster)
        origin = eventing.Origin(self.settings.cluster, epoch, datetime.now(UTC))
        target = self.routes.target_of(run.destination_id)
        row = eventing.sync_entry(target, origin, seed=run.id, scopes=tuple(_scope_count(scope) for scope in counted))
        seeds.finish(connection, run.id, state=seeds.SYNCED)
        self._reread |= seeds.open_queued(connection, run.destination_id)
        return ledger.append(connection, [row], numbers)

    def _take_effect(self, batch: batching.Batch) -> None:
        """The batch is committed: let it change what the writer knows."""
        closing = batch.closing()
        for overlay in batch.known.values():
            overlay.apply()
        self.positions = self._moved(batch)
        for (run_id, scope), count in Counter(batch.scope_of.values()).items():
            if run_id in self.book.runs:
                self.book.runs[run_id].scopes[scope].selected += count
        self._passed.update(batch.taken)
        for listing, _ in batch.ended:
            del self._passed[listing]
            self.book.end(listing.scopes)
        if closing:
            self.book.forget(run.id for run in closing)
        for run in closing:
            log.info("seed_closed", destination_id=run.destination_id, seed=run.id)
        if self._reread:
            self._reread = False
            self.read_seeds()

    def _count(self, batch: batching.Batch, written: list[ledger.Entry], spent: float) -> None:
        self._figures.add("ledger_s", spent)
        self._figures.add("rows", len(written))
        self._figures.add("batches", 1)
        self._figures.add("changes", batch.changes)
        self._figures.add("unchanged", batch.unchanged)
        log.debug("batch_written", rows=len(written), changes=batch.changes, ledger_s=round(spent, 4))

    def _retried(self, work: Callable[[], T]) -> T:
        """Try until it works, with backoff while the database is away; the same batch again is idempotent."""
        waits = backoff.Backoff(first=0.1, longest=5.0)
        while True:
            try:
                return work()
            except errors.LeaseLostError:
                raise
            except errors.TemporaryError as error:
                wait = waits.failed()
                log.warning("the ledger cannot be written", error=error.message, next_try_s=round(wait, 1))
                if self._stop.wait(wait):
                    raise _stopping() from error


def _stopping() -> errors.TemporaryError:
    return errors.TemporaryError("this watch daemon stops", reason="Stopping")


def _dead(row: ledger.Entry, reason: str) -> ledger.Entry:
    return ledger.Entry(row.destination_id, row.place_id, row.event, None, ledger.DEAD, reason)


def order_of(cursor: cursors.Cursor) -> tuple[int, int]:
    """Orders resume points of one type: epoch, then resourceVersion."""
    text = cursor.resource_version
    return cursor.source_epoch, int(text) if text.isdecimal() else 0


def _scope_count(scope: seeds.Scope) -> events.ScopeCount:
    return events.ScopeCount(
        group=scope.key.group,
        resource=scope.key.resource,
        namespace=scope.key.namespace,
        list_resource_version=scope.list_resource_version,
        listed=scope.listed,
        complete=scope.outcome == seeds.COMPLETE and scope.sweepable and scope.written == scope.listed,
    )
