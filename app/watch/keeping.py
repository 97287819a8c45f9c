"""The keeper: drops what nobody needs any more, a little at a time (`app/models/retention.py` says what).

One thread of the leading watch daemon. It goes through all destinations of its cluster, deleted ones too, once an hour,
and rests after each transaction: on SQLite everybody else waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from app import db, errors
from app.models import destinations, leases, retention
from app.settings import Settings

log = structlog.get_logger(__name__)

EVERY = 3_600.0
# Numbers that one look takes, and rows that one transaction drops: with SQLite everybody else waits for it.
_SPAN, _DROPPED_AT_ONCE, _SEEDS_AT_ONCE = 20_000, 1_000, 100
_REST = 0.1
_DAY = 86_400.0


class Keeper:
    """`run` is a thread of its own."""

    def __init__(self, settings: Settings, *, database: db.Database, lead: leases.Lead, stop: threading.Event) -> None:
        self._cluster, self._database, self._lead, self._stop = settings.cluster, database, lead, stop
        most = settings.keep_rows * _DAY
        self._ages = retention.Ages(most, settings.keep_problems * _DAY, min(most, _DAY))

    def run(self) -> None:
        """Go through everything once an hour, until told to stop. Raises LeaseLostError."""
        while not self._stop.wait(EVERY):
            try:
                self.drop()
            except errors.LeaseLostError:
                raise
            except errors.TemporaryError as error:
                log.info("retention waits for the next hour", error=error.message)

    def drop(self) -> None:
        """Drop what ended long ago. Raises TemporaryError."""
        with self._database.read() as connection:
            ids = destinations.ids_ever(connection, cluster=self._cluster)
        rows = sum(self._drop_rows(destination_id) for destination_id in ids)
        runs = self._drop_seeds()
        if rows or runs:
            log.info("old rows were dropped", rows=rows, seeds=runs)

    def _drop_seeds(self) -> int:
        with self._database.read() as connection:
            old = retention.old_seeds(connection, cluster=self._cluster, keep=self._ages.most)
        for part in range(0, len(old), _SEEDS_AT_ONCE):
            with self._database.write() as connection:
                leases.fence_lead(connection, self._lead)
                retention.drop_seeds(connection, old[part : part + _SEEDS_AT_ONCE])
        return len(old)

    def _drop_rows(self, destination_id: int) -> int:
        with self._database.read() as connection:
            first, last = retention.bounds(connection, destination_id)
        dropped = 0
        for start in range(first, last + 1, _SPAN):
            with self._database.read() as connection:
                old = retention.old_rows(
                    connection, destination_id, first=start, last=start + _SPAN - 1, ages=self._ages
                )
            # At least one rest for each span that is read.
            for part in range(0, len(old) or 1, _DROPPED_AT_ONCE):
                if self._stop.wait(_REST):
                    return dropped
                dropped += self._drop(destination_id, old[part : part + _DROPPED_AT_ONCE])
        return dropped

    def _drop(self, destination_id: int, numbers: Sequence[int]) -> int:
        if not numbers:
            return 0
        with self._database.write() as connection:
            leases.fence_lead(connection, self._lead)
            return retention.drop_rows(connection, destination_id, numbers)
