"""The regular check: each destination is listed anew once a day, in case something was missed that nobody knows of.

Asked for as a person asks (`reverser seed`), by the sweeper's thread. Destinations that are half due are listed with
the first that is due: one listing of a type serves them all.
"""

from __future__ import annotations

import random
from collections.abc import Collection

import structlog

from app import db
from app.models import destinations, leases, wishes
from app.settings import Settings

log = structlog.get_logger(__name__)

CAUSE = "the regular check"
# So many are listed together: their rows pend at the same time.
AT_ONCE = 50


class Checks:
    """Asks for what is due. The distance of two checks varies by a tenth, so that clusters do not keep in step."""

    def __init__(self, settings: Settings, *, database: db.Database, lead: leases.Lead) -> None:
        self._settings, self._database, self._lead = settings, database, lead
        self._distance = self._drawn()

    def ask(self, among: Collection[int]) -> None:
        """Ask for the seeds of these destinations that are due. Raises TemporaryError."""
        with self._database.read() as connection:
            if not wishes.unchecked(connection, among=among, after=self._distance, limit=1):
                return
        with self._database.write() as connection:
            leases.fence_lead(connection, self._lead)
            due = wishes.unchecked(connection, among=among, after=self._distance / 2, limit=AT_ONCE)
            wishes.ask_check(connection, destinations.locked(connection, due), cause=CAUSE)
        self._distance = self._drawn()
        log.info("regular check", destinations=len(due))

    def _drawn(self) -> float:
        return self._settings.seed_interval * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
