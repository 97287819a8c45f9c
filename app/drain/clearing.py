"""Places that nobody has any more: what a person wants gone is removed there (`reverser prune`), nothing is written.

A person waits for the answer, and the destination has other work to do: what cannot be done at once is given up, with
the reason, and no next try is put off. It can be asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from app import db, errors, settings
from app.drain import leasing, pacing, pushing
from app.models import destinations, leases, ledger

log = structlog.get_logger()

# Errors after which the next ring finds the rows as they are: the database was away, or the branch was rewritten.
_NOT_THE_PLACE = db.REASONS | {"BranchDiverged", "LeaseLost"}


@dataclass(frozen=True, slots=True)
class Clearing:
    """What it takes beside the place."""

    database: db.Database
    options: settings.Settings
    pusher: pushing.Pusher

    def is_for(self, destination: destinations.Destination) -> bool:
        """Whether there is nothing to do but this. A deleted destination ends what pended for it as any other."""
        return destination.former or (destination.deleted and all(row.is_pruned for row in self._rows(destination)))

    def clear(
        self, held: leasing.HeldBranch, destination: destinations.Destination, *, end: float
    ) -> Iterator[pushing.Result]:
        """Push what pends at a place, one push after the other until `end`. Raises the errors of a push."""
        if pacing.is_poison(pending=1, failed_drains=destination.failed_drains):
            raise errors.PermanentError(f"{pacing.DEATHS_OF_ONE_ROW} workers died over it")
        while time.monotonic() < end and (rows := self._rows(destination)):
            self._check(destination, rows)
            yield self._push(held, destination)

    def _check(self, destination: destinations.Destination, rows: Sequence[ledger.Pending]) -> None:
        """Whoever has the folder now wrote nothing that this would not see: it needs the branch for it."""
        place = destination.place_id, destination.place_generation
        with self.database.read() as connection:
            if destinations.former_at(connection, destination.id, place=place) is None:
                raise errors.PermanentError("the folder is another destination's by now")
        if not all(row.is_pruned for row in rows):
            raise errors.PermanentError("the destination points to another place now")

    def _rows(self, destination: destinations.Destination) -> list[ledger.Pending]:
        with self.database.read() as connection:
            most = self.options.seed_commit_rows
            return ledger.pending(connection, destination.id, place_id=destination.place_id, limit=most)

    def _push(self, held: leasing.HeldBranch, destination: destinations.Destination) -> pushing.Result:
        most = self.options.seed_commit_rows
        try:
            return self.pusher.push(held, destination, limit=most, max_commits=most, look=True, creates=False)
        except errors.StalledError as error:
            if error.reason != pushing.BRANCH_DELETED:
                raise
            return self.pusher.forget(held, destination, limit=most)

    def give_up(
        self, held: leasing.HeldBranch, destination: destinations.Destination, error: errors.ReverserError
    ) -> None:
        """End what pends at a place, with the reason, unless the next ring may do it."""
        log.warning("clearing_failed", destination=str(destination.ref), reason=error.reason, error=error.message)
        if error.reason in _NOT_THE_PLACE:
            return
        try:
            with self.database.write() as connection:
                leases.fence_branch(connection, held.lease)
                destinations.locked(connection, [destination.id])
                ledger.supersede_pending(
                    connection, destination.id, place_id=destination.place_id, reason=error.message
                )
                leases.settle_branch(connection, held.lease)
        except errors.TemporaryError as problem:
            log.warning("clearing_not_given_up", destination=str(destination.ref), error=problem.message)
