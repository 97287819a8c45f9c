"""Writes down what each stream does, for people who ask from elsewhere (`reverser status --streams`).

Neighbours: `streams.py` knows it, `app/models/streams.py` keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import structlog

from app import db, errors
from app.models import leases
from app.models import streams as stored
from app.settings import Settings
from app.watch import streams

log = structlog.get_logger(__name__)

_BEAT = 1.0
# When something was heard last moves all the time, and is written this seldom.
_HEARD_EVERY = timedelta(seconds=30)


class Board:
    """One thread of the leading watch daemon."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: db.Database,
        lead: leases.Lead,
        running: streams.Streams,
        stop: threading.Event,
    ) -> None:
        self._cluster = settings.cluster
        self._database = database
        self._lead = lead
        self._streams = running
        self._stop = stop
        # What stands in the database; None before it was read.
        self._written: Mapping[stored.Key, stored.StreamState] | None = None

    def run(self) -> None:
        """Write what changed at each beat, until told to stop. Raises LeaseLostError."""
        while not self._stop.wait(_BEAT):
            try:
                self.write()
            except errors.LeaseLostError:
                raise
            except errors.TemporaryError as error:
                log.debug("streams_not_written", error=error.message)

    def write(self) -> None:
        """Write what changed. Raises TemporaryError."""
        if self._written is None:
            with self._database.read() as connection:
                self._written = {one.key: one for one in stored.load(connection, cluster=self._cluster)}
        told = {one.key: one for one in (stream.tell() for stream in self._streams.running.values())}
        changed = [one for key, one in told.items() if _is_news(self._written.get(key), one)]
        gone = self._written.keys() - told.keys()
        if not changed and not gone:
            return
        with self._database.write() as connection:
            leases.fence_lead(connection, self._lead)
            stored.save(connection, cluster=self._cluster, states=changed, gone=gone)
        kept = {key: one for key, one in self._written.items() if key in told}
        self._written = kept | {one.key: one for one in changed}


def _is_news(before: stored.StreamState | None, now: stored.StreamState) -> bool:
    if before is None or replace(before, heard_at=now.heard_at) != now:
        return True
    if before.heard_at is None or now.heard_at is None:
        return before.heard_at != now.heard_at
    return now.heard_at - before.heard_at > _HEARD_EVERY
