"""The heart: turn a destination's pending rows, in order, into commits and one push after the other, and record them.

A message only rings. The drain takes the lease of the branch and works on the ledger: whatever pends when it begins, in
order, until the pace says wait or its turn is over. What is left then, and what came meanwhile, it rings for anew, so
that a destination that never comes to rest does not keep its worker from the others. Where it cannot go on it writes
`not_before` and the reason on the destination and leaves; nothing is ever retried through the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from app import db, errors, settings
from app.drain import clearing, credentials, leasing, pacing, planning, pushing, relieving
from app.events import Operation, Ref
from app.git import remote as remotes
from app.models import destinations, leases, ledger, places, seeds

log = structlog.get_logger()

# How long a message waits in place for a branch that somebody else drains, in seconds.
PATIENCE = 2.0
# After this no further push begins, in seconds: other destinations wait for the worker, and so does who ends it.
TURN = 10.0
IN_USE = "the branch is in use; it rings when free"
# How long a destination rests when a person has to act, and after an error that nobody foresaw, in seconds.
STALLED_DELAY = 60.0
UNEXPECTED_DELAY = 30.0
# Of an error that may be over in a moment, the first wait; each further one is twice as long, up to the error's delay.
FIRST_DELAY = 2.0
MAY_BE_BRIEF = frozenset({destinations.HOST_UNREACHABLE, errors.UnknownOutcomeError.default_reason})
# Errors that say nothing against the repository: it answered, or was not the one that was asked.
NOT_THE_CONNECTION = frozenset({"BranchDiverged", "BranchDeleted", "RemoteMoved"}) | db.REASONS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drain did.

    `rings` names the destinations that wait for the branch it gave back. `done` says of destinations, by uid, up to
    which number no row is left, whoever drained it.
    """

    destination: Ref
    commits: int = 0
    rows: int = 0
    branch: str = ""
    head: str = ""
    note: str = ""
    rings: tuple[Ref, ...] = ()
    done: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Tally:
    commits: int = 0
    rows: int = 0
    done: int = 0
    head: str = ""
    note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, result: pushing.Result) -> None:
        self.commits += result.commits
        self.rows += result.rows
        self.head = result.head or self.head
        for name, seconds in result.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Drainer:
    """Drains destinations; one per process, made after a fork, safe to use from many threads."""

    def __init__(self, options: settings.Settings, database: db.Database) -> None:
        self._options = options
        self._database = database
        self._helpers = remotes.Helpers(options.work_dir)
        self._credentials = credentials.CredentialSource(options)
        self._pusher = pushing.Pusher(database, options, self._helpers, self._credentials)
        self._clearing = clearing.Clearing(database, options, self._pusher)
        self._relief = relieving.Relief(database, options)

    def drain(self, destination: Ref, *, deadline: float | None = None) -> Outcome:
        """Drain what pends for a destination now.

        `deadline` is in seconds from now. Errors of Git and of the repository are written on the destination and told
        in the note. Raises TemporaryError only when the database itself is away.
        """
        end = time.monotonic() + (self._options.drain_deadline if deadline is None else deadline)
        with self._database.read() as connection:
            pending = destinations.by_ref(connection, destination, pending=True)
            unwanted = places.unwanted(connection, destination)
            if not pending and not unwanted:
                # A queue that was taken over begins with messages of what its former worker did.
                done = tuple(destinations.finished(connection, destination))
                return Outcome(destination, note="nothing pending", done=done)
        cleared = [self._clear_one(one, end) for one in unwanted]
        own = {one.place_id for one in unwanted}
        outcome = _joined(
            destination, cleared + [self._drain_one(one, end) for one in pending if one.place_id not in own]
        )
        if not unwanted:
            return outcome
        # What is left after an error is rung for by the sweeper, ever more slowly; what is counted is the place of now.
        failed = any(one.note for one in cleared)
        rings = tuple(one for one in outcome.rings if not failed or one != destination)
        return replace(outcome, done=(), rings=rings)

    def close(self) -> None:
        """End the helper processes."""
        self._helpers.close()

    def _drain_one(self, destination: destinations.Destination, end: float) -> Outcome:
        if not self._may_start(destination):
            return Outcome(destination.ref, branch=destination.branch, note="waits for its next try")
        held = self._take(destination, end)
        if held is None:
            return Outcome(destination.ref, branch=destination.branch, note=IN_USE)
        tally = _Tally()
        with held:
            turn = partial(self._take_turn, held, destination.id, tally, min(end, time.monotonic() + TURN))
            self._work(destination.id, tally, turn, partial(self._put_off, held, destination.id))
        return self._outcome(destination, tally)

    def _clear_one(self, place: destinations.Destination, end: float) -> Outcome:
        """Remove files at a place that the destination has no more. A note says why some are left."""
        if time.monotonic() > end:
            return Outcome(place.ref, branch=place.branch, note="there was no time for it")
        held = self._take(place, end, counted=False)
        if held is None:
            return Outcome(place.ref, branch=place.branch, note=IN_USE)
        tally, failed = _Tally(), []

        def clear() -> None:
            for result in self._clearing.clear(held, place, end=min(end, time.monotonic() + TURN)):
                tally.add(result)

        def give_up(error: errors.ReverserError) -> None:
            failed.append(error)
            self._clearing.give_up(held, place, error)

        with held:
            self._work(place.id, tally, clear, give_up)
        if any(isinstance(error, errors.StalledError) for error in failed):
            self._credentials.forget(place)
        # Two that fail on one branch would ring for each other.
        return self._outcome(place, tally, clears=not failed)

    def _take(
        self, destination: destinations.Destination, end: float, *, counted: bool = True
    ) -> leasing.HeldBranch | None:
        return leasing.take(
            self._database,
            destination,
            owner=self._options.node,
            seconds=self._options.branch_lease,
            patience=PATIENCE,
            deadline=end,
            counted=counted,
        )

    def _may_start(self, destination: destinations.Destination) -> bool:
        """Whether it is time. A wait for push.interval ends early when maxCommits are ready, one after an error not."""
        if destination.due or destination.last_error_reason is not None:
            return destination.due
        with self._database.read() as connection:
            return self._commits_ready(connection, destination) >= self._most(destination)

    def _commits_ready(self, connection: db.Connection, destination: destinations.Destination) -> int:
        most = self._options.seed_commit_rows
        rows = ledger.pending(connection, destination.id, place_id=destination.place_id, limit=most)
        return planning.commits_of(rows, seed_rows=most)

    def _seconds_to_wait(self, destination: destinations.Destination) -> float:
        """The wait for push.interval; without one nothing is read."""
        if destination.push_interval is None:
            return 0.0
        with self._database.read() as connection:
            return pacing.seconds_to_wait(
                interval=destination.push_interval,
                since_last_push=destinations.seconds_since_push(connection, destination.id),
                commits_ready=self._commits_ready(connection, destination),
                max_commits=self._most(destination),
            )

    def _most(self, destination: destinations.Destination) -> int:
        return destination.max_commits or self._options.max_commits

    @staticmethod
    def _work(
        destination_id: int,
        tally: _Tally,
        turn: Callable[[], None],
        put_off: Callable[[errors.ReverserError], None],
    ) -> None:
        try:
            turn()
        except errors.ReverserError as error:
            tally.note = error.message
            put_off(error)
        except Exception as error:  # noqa: BLE001 - one destination must not end the worker that serves the others
            # The text of an unforeseen error may quote an object: only its type and place are shown.
            log.error("drain_failed", destination_id=destination_id, error=type(error).__name__, at=errors.trace(error))  # noqa: TRY400
            tally.note = f"unexpected {type(error).__name__}; see the worker's log"
            put_off(errors.TemporaryError(tally.note, delay=UNEXPECTED_DELAY))

    def _take_turn(self, held: leasing.HeldBranch, destination_id: int, tally: _Tally, end: float) -> None:
        """Push what pends now, one push after the other, until it is done, has to wait, or the turn is over."""
        last = None
        while True:
            with self._database.read() as connection:
                destination = destinations.by_id(connection, destination_id)
                if destination is None or destination.branch_id != held.lease.branch_id:
                    return
                backlog = ledger.backlog(connection, destination_id, place_id=destination.place_id)
            if backlog is None:
                return
            # A number below the first that pends is final, and none can appear there any more.
            tally.done = backlog.first - 1
            last = last or backlog.last
            if self._relief.is_due(backlog):
                self._relief.give(held, destination, backlog, end=end)
                if time.monotonic() > end:
                    return
                continue
            if backlog.first > last or not self._step(held, destination, backlog, tally) or time.monotonic() > end:
                return

    def _step(
        self,
        held: leasing.HeldBranch,
        destination: destinations.Destination,
        backlog: ledger.Backlog,
        tally: _Tally,
    ) -> bool:
        """One push; whether rows of the backlog may be left."""
        wait = self._seconds_to_wait(destination)
        if wait > 0:
            return not self._wait(held, destination, wait, tally)
        if pacing.is_poison(pending=backlog.count, failed_drains=destination.failed_drains):
            self._give_up(held, destination)
            return True
        limit = pacing.rows_to_try(pending=backlog.count, failed_drains=destination.failed_drains)
        limit = min(limit, self._options.seed_commit_rows)
        # A seed repairs what somebody changed in Git, so the first one of a turn looks there before it builds.
        look = backlog.seed_rows > 0 and not held.looked
        result = self._pusher.push(held, destination, limit=limit, max_commits=self._most(destination), look=look)
        tally.add(result)
        if destination.last_error_reason in MAY_BE_BRIEF:
            with self._database.write() as connection:
                destinations.release_host(connection, host=destination.host)
        if result.rows < backlog.count:
            return True
        tally.done = backlog.last
        return False

    def _wait(
        self, held: leasing.HeldBranch, destination: destinations.Destination, seconds: float, tally: _Tally
    ) -> bool:
        """Put the next push off; False when push.interval is another one by now, whose change freed who waited."""
        with self._database.write() as connection:
            leases.fence_branch(connection, held.lease)
            destinations.locked(connection, [destination.id])
            fresh = destinations.by_id(connection, destination.id)
            if fresh is None or fresh.push_interval != destination.push_interval:
                return False
            destinations.put_off(connection, destination.id, seconds=seconds)
            leases.settle_branch(connection, held.lease)
        tally.note = f"waits {seconds:.1f} s for push.interval"
        return True

    def _give_up(self, held: leasing.HeldBranch, destination: destinations.Destination) -> None:
        reason = f"{pacing.DEATHS_OF_ONE_ROW} workers died while they wrote this row alone; it is left out"
        with self._database.write() as connection:
            leases.fence_branch(connection, held.lease)
            destinations.locked(connection, [destination.id])
            row = ledger.pending(connection, destination.id, place_id=destination.place_id, limit=1)[0]
            ledger.settle(connection, destination.id, [ledger.Settled(row.sequence, ledger.DEAD, reason)])
            if row.operation is Operation.SEED_SYNC:
                seeds.finish(connection, row.seed_run_id or "", state=seeds.SUPERSEDED)
            destinations.note_success(connection, destination.id, sha=None)
        log.error("row_dead", destination=str(destination.ref), sequence=row.sequence, reason="KillsItsWorker")

    def _put_off(self, held: leasing.HeldBranch, destination_id: int, error: errors.ReverserError) -> None:
        """Write when the next try is due, and why; all destinations of a host that does not answer wait."""
        try:
            with self._database.write() as connection:
                leases.fence_branch(connection, held.lease)
                destination = destinations.by_id(connection, destination_id)
                delay = _delay(error, destination)
                if destination is not None and error.reason == destinations.HOST_UNREACHABLE:
                    self._put_off_host(connection, destination, error, seconds=delay)
                destinations.put_off(connection, destination_id, seconds=delay, error=error)
                if destination is not None and error.reason not in NOT_THE_CONNECTION:
                    destinations.note_connection(connection, destination.repo_config_id, check=error.reason)
                leases.settle_branch(connection, held.lease)
        except errors.TemporaryError as problem:
            # The lease is lost, and its new holder says how things stand; or the database is away, and the rows pend.
            log.warning("put_off_not_written", destination_id=destination_id, error=problem.message)
            return
        log.warning(
            "drain_put_off", destination_id=destination_id, reason=error.reason, error=error.message, delay=delay
        )
        if destination is not None and isinstance(error, errors.StalledError):
            self._credentials.forget(destination)

    def _put_off_host(
        self,
        connection: db.Connection,
        destination: destinations.Destination,
        error: errors.ReverserError,
        *,
        seconds: float,
    ) -> None:
        if isinstance(error, errors.TemporaryError):
            destinations.put_off_host(
                connection,
                host=destination.host,
                except_id=destination.id,
                error=error,
                seconds=seconds,
                step=self._options.git_timeout,
            )

    def _outcome(self, destination: destinations.Destination, tally: _Tally, *, clears: bool = True) -> Outcome:
        """How it went, and whom to ring for: with `clears`, those that wait to remove files, too."""
        with self._database.read() as connection:
            # Its own name too, where rows came meanwhile or the end of the turn left some over.
            of_branch = {"branch_id": destination.branch_id, "destination_id": destination.id}
            rings = destinations.waiting_for(connection, **of_branch)
            rings += places.waiting_for(connection, **of_branch) if clears else []
        if tally.rows:
            spent = {name: round(seconds, 4) for name, seconds in tally.seconds.items()}
            log.info(
                "drained",
                destination=str(destination.ref),
                commits=tally.commits,
                rows=tally.rows,
                head=tally.head[:10],
                **spent,
            )
        done = ((destination.uid, tally.done),) if tally.done else ()
        return Outcome(
            destination.ref,
            tally.commits,
            tally.rows,
            destination.branch,
            tally.head,
            tally.note,
            tuple(dict.fromkeys(rings)),
            done,
        )


def _delay(error: errors.ReverserError, destination: destinations.Destination | None) -> float:
    """Seconds until the next try. `destination` says how long it waited before, where it failed like this."""
    if not isinstance(error, errors.TemporaryError):
        return STALLED_DELAY
    if destination is None or error.reason not in MAY_BE_BRIEF:
        return error.delay
    before = destination.last_wait if destination.last_error_reason in MAY_BE_BRIEF else 0.0
    return min(error.delay, max(FIRST_DELAY, 2 * before))


def _joined(destination: Ref, outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome for a name that several destinations had, one after the other."""
    every = list(outcomes)
    return Outcome(
        destination,
        commits=sum(one.commits for one in every),
        rows=sum(one.rows for one in every),
        branch=every[-1].branch,
        head=every[-1].head,
        note="; ".join(one.note for one in every if one.note),
        rings=tuple(dict.fromkeys(ring for one in every for ring in one.rings)),
        done=tuple(done for one in every for done in one.done),
    )
