"""The roster: how long a worker believes what it was assigned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app import db
from app.models import nodes
from app.settings import Settings
from app.worker import roster
from tests.models.records import Records
from tests.waiting import wait_until

# Whatever hangs here hangs for longer than anybody waits.
PATIENT = 2 * 60.0


class Clock:
    """The time as the roster knows it, which can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr(roster, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + self._ahead))

    def pass_by(self, seconds: float) -> None:
        """Time goes by, and nothing else happens."""
        self._ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The roster's."""
    return Clock(monkeypatch)


@contextlib.contextmanager
def beating(url: str) -> Iterator[roster.Roster]:
    """The roster of a worker that has a broker."""
    own = roster.Roster(Settings(database_url=url, node="one", statement_timeout=PATIENT), globs=(), dedicated=False)
    own.start()
    own.connected()
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def records(sqlite_url: str) -> Iterator[Records]:
    """A migrated SQLite database."""
    with contextlib.closing(Records(sqlite_url)) as found:
        yield found


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Keep every beat waiting."""
    with contextlib.closing(db.Database(url, statement_timeout=PATIENT)) as database, database.write() as connection:
        connection.execute(text("LOCK TABLE worker_node"))
        yield


@pytest.mark.postgres
def test_a_beat_that_hangs_gives_the_queues_up(postgres_migrated_url: str, clock: Clock) -> None:
    """A worker that its database keeps waiting serves nothing while others take over, and goes on when it answers."""
    with contextlib.closing(Records(postgres_migrated_url)) as records, beating(records.url) as own:
        prod = records.destination().ref
        wait_until(lambda: own.assigned == {prod}, what="the first beat")
        with locked(records.url):
            clock.pass_by(2 * nodes.STALE_AFTER)
            wait_until(lambda: not own.assigned, what="queues that are given up")
        wait_until(lambda: own.assigned == {prod}, what="the next beat")


def test_an_old_assignment_is_not_believed(records: Records, clock: Clock) -> None:
    """A worker whose last beat is too old when it has a broker again serves nothing until it has asked."""
    prod = records.destination().ref
    with beating(records.url) as own:
        wait_until(lambda: own.assigned == {prod}, what="the first beat")
        own.disconnected()
        clock.pass_by(2 * nodes.STALE_AFTER)
        wait_until(lambda: not own.assigned, what="queues that are given up")
        own.connected()
        wait_until(lambda: own.assigned == {prod}, what="a new beat")
