"""The sweeper: rings for destinations whose pending rows nobody works on (DESIGN section 2, "Rings").

A message that was lost, or could not be sent, costs latency only, because this finds its rows. It also ends what pends
for deleted destinations and deletes their queues, and starts the seeds that were asked for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from app import db, errors, publishing, queues
from app.events import Ref
from app.models import commands, destinations, leases, nodes, places, states, wishes
from app.settings import Settings
from app.watch import causing, checks

log = structlog.get_logger(__name__)

# The first distance of two rings; it doubles without progress.
FIRST = 1.0
# Rows of a deleted destination drain for so long, then they are superseded (DESIGN section 9).
GRACE = 60.0
_RETIRE_EVERY, _CHECK_EVERY = 5.0, 60.0
# A message that was handed to a publisher before its queue was deleted declares it anew; by then it was sent.
AGAIN_AFTER = 60.0
# Deleting takes some milliseconds for each, and the next rings wait.
_DELETE_AT_ONCE = 100


@dataclass(slots=True)
class _Watched:
    """One destination's oldest pending row, and when it is rung for next. Times are of one monotonic clock."""

    first: int
    ring_at: float
    distance: float = FIRST


class Bells:
    """Decides for whom to ring: pure but for its memory; `now` is passed in."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._watched: dict[int, _Watched] = {}

    def due(self, waiting: Sequence[states.Waiting], *, now: float, lost: bool = False) -> list[states.Waiting]:
        """The destinations to ring for. What pends newly was just published, and gets its first second.

        While rings are `lost`, one asks whether they still are; all begin with the first distance after that.
        """
        if lost:
            self._watched = {}
            return [one for one in waiting if one.due][:1]
        self._watched = {
            one.destination_id: self._look(self._watched.get(one.destination_id), one, now) for one in waiting
        }
        rung = [one for one in waiting if one.due and self._watched[one.destination_id].ring_at <= now]
        for one in rung:
            watched = self._watched[one.destination_id]
            watched.ring_at = now + watched.distance
            watched.distance = min(2 * watched.distance, self._longest)
        return rung

    @staticmethod
    def _look(before: _Watched | None, one: states.Waiting, now: float) -> _Watched:
        if before is not None and before.first == one.first:
            return before
        return _Watched(first=one.first, ring_at=now + FIRST)


class Leftovers:
    """Deletes the queues of destinations that are gone, each twice: a late message brings a queue back.

    A worker that listens declares a deleted queue again, so each queue waits until its worker has given it up.
    """

    def __init__(self, settings: Settings, *, database: db.Database) -> None:
        self._settings, self._database = settings, database
        # When each is deleted next: at once, again, never.
        self._due: dict[Ref, float] = {}

    def expect(self, refs: Iterable[Ref]) -> None:
        """These get a queue now: where nobody has the name, it is one more to delete."""
        for ref in refs:
            self._due.pop(ref, None)

    def clear(self, *, now: float) -> None:
        """Delete what may go by now, a monotonic time. Raises TemporaryError."""
        with self._database.read() as connection:
            gone = destinations.gone_refs(connection, cluster=self._settings.cluster)
            live = nodes.live(connection)
        # Who takes the name of a deleted one gives it a queue again.
        self._due = {ref: self._due.get(ref, 0.0) for ref in gone}
        served = {name for node in live for name in node.serves}
        due = sorted(ref for ref in gone if self._due[ref] <= now and str(ref) not in served)[:_DELETE_AT_ONCE]
        if due:
            queues.delete(self._settings, due)
            self._due |= {ref: math.inf if self._due[ref] else now + AGAIN_AFTER for ref in due}
            log.info("queues of deleted destinations were deleted", queues=len(due))


class Sweeper:
    """One thread, in the leading watch daemon only."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: db.Database,
        lead: leases.Lead,
        publisher: publishing.Publisher,
        causes: causing.Causes,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._database = database
        self._lead = lead
        self._publisher = publisher
        self._causes = causes
        self._stop = stop
        self._bells = Bells(settings.ring_longest)
        self._leftovers = Leftovers(settings, database=database)
        self._checks = checks.Checks(settings, database=database, lead=lead)
        self._retire_at = self._check_at = 0.0

    def run(self) -> None:
        """Sweep at each beat, until told to stop. Raises LeaseLostError."""
        while not self._stop.wait(self._settings.sweep_interval):
            try:
                self._sweep()
            except errors.LeaseLostError:
                raise
            except errors.TemporaryError as error:
                log.debug("sweep_failed", error=error.message)

    def _sweep(self) -> None:
        with self._database.read() as connection:
            waiting = states.waiting(connection, cluster=self._settings.cluster)
            wanted = wishes.any_waits(connection, cluster=self._settings.cluster, routed=self._causes.scopes)
            removing = commands.is_waiting(connection, verbs=commands.REMOVALS, cluster=self._settings.cluster)
        self._leftovers.expect(one.ref for one in waiting)
        for one in self._bells.due(waiting, now=time.monotonic(), lost=self._publisher.outage is not None):
            log.debug("ring", destination=str(one.ref), first=one.first, last=one.last)
            self._publisher.ring(one.ref, one.first, one.last)
        if wanted:
            self._causes.seed_wanted()
        for ref in self._causes.removals_wanted() if removing else ():
            self._leftovers.expect([ref])
            # At once: an error of its place makes a destination wait, and these may stand at a former one.
            self._publisher.ring(ref, 0, 0)
        if time.monotonic() >= self._retire_at:
            self._retire_at = time.monotonic() + _RETIRE_EVERY
            self._retire()
            self._leftovers.clear(now=time.monotonic())
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_EVERY
            self._checks.ask([one for one, scopes in self._causes.scopes.items() if scopes])

    def _retire(self) -> None:
        with self._database.write() as connection:
            leases.fence_lead(connection, self._lead)
            count = places.retire_drained(connection, after=GRACE)
        if count:
            log.info("rows of deleted destinations were superseded", rows=count)
