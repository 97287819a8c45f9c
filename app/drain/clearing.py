"""Places that nobody has any more: what a person wants gone is removed there (`reverser prune`), nothing is written.

A person waits for the answer, and the destination has other work to do: what cannot be done at once is given up, with
the reason, and no next try is put off. It can be asked for again. Only the rows of that request are looked at: the
destination may come back to the place at any moment, and what it writes there then is no matter of this.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from app import db, errors, settings
from app.drain import leasing, pushing
from app.models import destinations, leases, ledger, places

log = structlog.get_logger()

# Errors after which the next ring finds the rows as they are: the database was away, the branch was rewritten, nobody
# knows whether it is done.
NOT_THE_PLACE = db.REASONS | {"BranchDiverged", "LeaseLost", "UnknownOutcome"}
# How old a request may be.
VALID = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Clearing:
    """What it takes beside the place."""

    database: db.Database
    options: settings.Settings
    pusher: pushing.Pusher

    def clear(
        self, held: leasing.HeldBranch, destination: destinations.Destination, *, end: float
    ) -> Iterator[pushing.Result]:
        """Remove what pends at a place, one push after the other until `end`. Raises the errors of a push."""
        while time.monotonic() < end and (rows := self._rows(destination)):
            self._check(destination, rows[0])
            yield self._push(held, destination, rows)

    def _rows(self, destination: destinations.Destination) -> list[ledger.Pending]:
        most = self.options.seed_commit_rows
        with self.database.read() as connection:
            return ledger.unwanted(connection, destination.id, place_id=destination.place_id, limit=most)

    def _check(self, destination: destinations.Destination, first: ledger.Pending) -> None:
        """Whoever has the folder by now wrote nothing that this would not see: it needs the branch for it."""
        if datetime.now(UTC) - first.observed_at > VALID:
            # Nobody waits any more, and workers may have died over it all the time.
            raise errors.PermanentError("it was not done within five minutes: ask again", reason="TookTooLong")
        place = destination.place_id, destination.place_generation
        with self.database.read() as connection:
            found = places.former_at(connection, destination.id, place=place)
        if found is None:
            raise errors.PermanentError("the folder is in use by now", reason="PlaceTaken")
        if not found.named:
            raise errors.PermanentError(
                f"GitRepoConfig {found.repo_config} names another repository now", reason="RepoConfigChanged"
            )

    def _push(
        self, held: leasing.HeldBranch, destination: destinations.Destination, rows: Sequence[ledger.Pending]
    ) -> pushing.Result:
        try:
            return self.pusher.remove(held, destination, rows)
        except errors.StalledError as error:
            if error.reason != pushing.BRANCH_DELETED:
                raise
            return self.pusher.record_gone(held, destination, rows)

    def give_up(
        self, held: leasing.HeldBranch, destination: destinations.Destination, error: errors.ReverserError
    ) -> None:
        """End what pends at a place, with the reason, unless the next ring may do it."""
        log.warning("clearing_failed", destination=str(destination.ref), reason=error.reason, error=error.message)
        if error.reason in NOT_THE_PLACE:
            return
        try:
            with self.database.write() as connection:
                leases.fence_branch(connection, held.lease)
                destinations.locked(connection, [destination.id])
                ledger.give_up_unwanted(connection, destination.id, place_id=destination.place_id, reason=error.message)
                leases.settle_branch(connection, held.lease)
        except errors.TemporaryError as problem:
            log.warning("clearing_not_given_up", destination=str(destination.ref), error=problem.message)
