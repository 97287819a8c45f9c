"""The keeper: drops what nobody needs any more, a little at a time (`app/models/retention.py` says what).

One thread of the leading watch daemon. It goes through all destinations of its cluster, deleted ones too, once an hour,
and rests after each transaction: on SQLite everybody else waits for it.
"""

from __future__ import annotations

import threading

import structlog

from app import db, errors
from app.models import destinations, leases, retention
from app.settings import Settings

log = structlog.get_logger(__name__)

EVERY = 3_600.0
_REST = 0.1
_DAY = 86_400.0


class Keeper:
    """`run` is a thread of its own."""

    def __init__(self, settings: Settings, *, database: db.Database, lead: leases.Lead, stop: threading.Event) -> None:
        self._settings, self._database, self._lead, self._stop = settings, database, lead, stop

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
            ids = destinations.ids_ever(connection, cluster=self._settings.cluster)
        rows = sum(self._drop_rows(destination_id) for destination_id in ids)
        with self._database.write() as connection:
            leases.fence_lead(connection, self._lead)
            runs = retention.drop_seeds(connection, keep=self._settings.keep_rows * _DAY)
        if rows or runs:
            log.info("old rows were dropped", rows=rows, seeds=runs)

    def _drop_rows(self, destination_id: int) -> int:
        dropped, last = 0, 0
        while not self._stop.is_set():
            with self._database.write() as connection:
                leases.fence_lead(connection, self._lead)
                looked = retention.drop_rows(
                    connection,
                    destination_id,
                    after=last,
                    keep=self._settings.keep_rows * _DAY,
                    keep_problems=self._settings.keep_problems * _DAY,
                )
            dropped += looked.dropped
            if looked.last is None:
                break
            last = looked.last
            self._stop.wait(_REST)
        return dropped
