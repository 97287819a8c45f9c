"""Holding the lease of a repository branch while a drain works.

A thread renews it each quarter of its time, up to the drain's deadline only, so that a hung call loses it. The lease
here is a courtesy that saves work; what makes a zombie harmless is the token, checked in every record transaction.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import structlog

from app import db, errors, failpoints
from app.models import destinations, leases

log = structlog.get_logger()

# Between two looks at a lease that somebody else holds.
LOOK_AGAIN = 0.05
# How long a worker tries to give a lease back while the database is away, and how often, in seconds: there is nothing
# else that it could do meanwhile, and a lease that runs out would be taken for a row that kills its worker. A failover
# that a person makes takes minutes.
RELEASE_PATIENCE = 600.0
RELEASE_PAUSE = 0.5


class HeldBranch:
    """A taken lease; leaving the context gives it back. `lease` changes as the head moves."""

    def __init__(self, database: db.Database, lease: leases.BranchLease, *, seconds: float, deadline: float) -> None:
        self.lease = lease
        # Whether the remote was read under this lease.
        self.looked = False
        self._database = database
        self._seconds = seconds
        self._deadline = deadline
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"lease-{lease.branch_id}", daemon=True)

    def __enter__(self) -> Self:
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._renewer.join()
        give_up = time.monotonic() + RELEASE_PATIENCE
        while not self._released() and time.monotonic() < give_up:
            time.sleep(RELEASE_PAUSE)

    def _released(self) -> bool:
        """Give the lease back; a lease that just runs out counts as the death of its holder."""
        try:
            with self._database.write() as connection:
                leases.release_branch(connection, self.lease)
        except errors.TemporaryError as problem:
            log.warning("lease_not_released", error=problem.message)
            return False
        return True

    def _renew(self) -> None:
        while not self._done.wait(self._seconds / 4):
            if time.monotonic() > self._deadline:
                return
            try:
                with self._database.write() as connection:
                    if not leases.renew_branch(connection, self.lease, seconds=self._seconds):
                        return
            except errors.TemporaryError as problem:
                log.warning("lease_not_renewed", error=problem.message)
            except Exception as problem:  # noqa: BLE001 - the lease runs out, and the text may quote an object
                log.error("lease_renewal_failed", error=type(problem).__name__, at=errors.trace(problem))  # noqa: TRY400
                return


def take(
    database: db.Database,
    destination: destinations.Destination,
    *,
    owner: str,
    seconds: float,
    patience: float,
    deadline: float,
    counted: bool = True,
) -> HeldBranch | None:
    """Take the lease of a destination's branch, waiting at most `patience` seconds; None when it stays taken.

    A former holder that vanished without a word is counted against the destination that it drained, if it was to be.
    """
    give_up = time.monotonic() + patience
    while True:
        with database.write() as connection:
            lease = leases.take_branch(
                connection,
                branch_id=destination.branch_id,
                owner=owner,
                seconds=seconds,
                destination_id=destination.id if counted else None,
            )
            if lease is not None and lease.crashed is not None:
                destinations.note_crash(connection, lease.crashed)
        if lease is not None:
            failpoints.reach("after_lease")
            return HeldBranch(database, lease, seconds=seconds, deadline=deadline)
        if time.monotonic() > give_up:
            return None
        time.sleep(LOOK_AGAIN)
