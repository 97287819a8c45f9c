"""Pressure: where too many changes of one destination pend, only the last state of each object is written.

The rows in between are superseded: recorded, and counted on the destination. Seeds have one row for each object anyway,
and are left as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import structlog

from app import db, errors, settings
from app.drain import leasing
from app.models import destinations, leases, ledger

log = structlog.get_logger()

# Rows that one statement reads.
_ROWS_PER_READ = 10_000


class Relief:
    """For the drains of one process. Safe to use from many threads: each works for another destination."""

    def __init__(self, database: db.Database, options: settings.Settings) -> None:
        self._database, self._options = database, options
        # Destination id -> the last row that was looked at: where each pending row is of another object, looking again
        # finds nothing until many more came.
        self._looked: dict[int, int] = {}

    def is_due(self, backlog: ledger.Backlog) -> bool:
        """Whether more changes pend than may, and many of them are new."""
        most = self._options.max_pending
        looked = self._looked.get(backlog.destination_id, 0)
        return backlog.count - backlog.seed_rows > most and backlog.last - looked > most // 10

    def give(
        self, held: leasing.HeldBranch, destination: destinations.Destination, backlog: ledger.Backlog, *, end: float
    ) -> None:
        """Supersede the changes that a later and newer one of their object follows, newest first, until `end`.

        Each part is a short transaction. A database that is too slow for them must not keep Git from what it can get.
        Raises LeaseLostError.
        """
        count = 0
        try:
            for numbers in self._earlier(destination, backlog):
                self._supersede(held, destination.id, numbers)
                count += len(numbers)
                if time.monotonic() > end:
                    break
            else:
                self._looked[destination.id] = backlog.last
        except errors.LeaseLostError:
            raise
        except errors.TemporaryError as error:
            self._looked[destination.id] = backlog.last
            log.warning("relief_broke_off", destination=str(destination.ref), error=error.message)
        log.warning("superseded_under_pressure", destination=str(destination.ref), rows=count, pending=backlog.count)

    def _earlier(self, destination: destinations.Destination, backlog: ledger.Backlog) -> Iterator[list[int]]:
        """The numbers of changes that need not be written, in parts of one transaction."""
        newest: dict[bytes, ledger.ChangeOf] = {}
        before = backlog.last + 1
        while True:
            with self._database.read() as connection:
                changes = ledger.changes_before(
                    connection, destination.id, before, place_id=destination.place_id, limit=_ROWS_PER_READ
                )
            if not changes:
                return
            before = changes[-1].sequence
            earlier = []
            for change in changes:
                later = newest.get(change.object)
                # A stream that was resumed from further back repeats some versions, and they are later rows.
                if later is not None and change.is_older(later):
                    earlier.append(change.sequence)
                    continue
                if later is not None and later.is_older(change):
                    earlier.append(later.sequence)
                newest[change.object] = change
            for start in range(0, len(earlier), self._options.batch_rows):
                yield earlier[start : start + self._options.batch_rows]

    def _supersede(self, held: leasing.HeldBranch, destination_id: int, numbers: Sequence[int]) -> None:
        reason = f"more than {self._options.max_pending} changes pended, and a later one of the object did"
        with self._database.write() as connection:
            leases.fence_branch(connection, held.lease)
            destinations.locked(connection, [destination_id])
            ends = [ledger.Settled(one, ledger.SUPERSEDED, reason) for one in numbers]
            ledger.settle(connection, destination_id, ends)
            destinations.note_superseded(connection, destination_id, count=len(numbers))
