"""Connections: what a lost database, a lost answer and a wrong file or version are to those who use them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app import db, errors
from app.models import leases
from tests.models.records import Records, append, entry
from tests.servers import postgres
from tests.waiting import wait_until

NO_FILE = ("sqlite://", "sqlite:///:memory:")


def end_session(records: Records, connection: db.Connection) -> None:
    """Cut a session from the side of the server; returns when it is gone."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with postgres.connect(make_url(records.url)) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(
            lambda: admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is None,
            what="the end of the session",
        )


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.postgres
def test_a_connection_that_is_cut_at_commit_leaves_an_unknown_outcome(postgres_records: Records) -> None:
    """Nobody claims to know what a COMMIT did whose answer was lost; the next transaction works again."""
    records = postgres_records
    prod = records.destination()
    with pytest.raises(errors.UnknownOutcomeError, match="did not answer a COMMIT"):
        _commit_without_answer(records, prod_entry := entry(prod))
    assert records.append(prod_entry) == [1]


def _commit_without_answer(records: Records, *entries: object) -> None:
    with records.database.write() as connection:
        append(connection, *entries)  # type: ignore[arg-type]
        end_session(records, connection)


@pytest.mark.postgres
def test_a_connection_that_is_cut_before_commit_did_nothing(postgres_records: Records) -> None:
    """A statement that finds its session gone is worth another try: nothing was committed."""
    records = postgres_records
    prod = records.destination()
    with pytest.raises(errors.TemporaryError) as caught:
        _write_after_the_cut(records, prod.branch_id)
    assert not isinstance(caught.value, errors.UnknownOutcomeError)
    assert caught.value.reason == "DatabaseAway"
    assert records.states(prod) == []


def _write_after_the_cut(records: Records, branch_id: int) -> None:
    with records.database.write() as connection:
        end_session(records, connection)
        leases.waiting_until(connection, branch_id=branch_id)


@pytest.mark.postgres
def test_a_transaction_that_sleeps_is_ended_by_the_server(postgres_migrated_url: str) -> None:
    """A frozen holder loses its locks: the server ends its transaction, and when it wakes that is a TemporaryError."""
    database = db.Database(postgres_migrated_url, statement_timeout=0.2)
    with pytest.raises(errors.TemporaryError):
        _sleep_in_transaction(database, postgres_migrated_url)
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()


def _sleep_in_transaction(database: db.Database, url: str) -> None:
    with database.write() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with postgres.connect(make_url(url)) as admin:
            query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
            wait_until(lambda: admin.execute(query, (pid,)).fetchone() is None, what="the end of the session")
        connection.execute(text("SELECT 1"))


@pytest.mark.postgres
def test_a_statement_that_takes_too_long_is_ended(postgres_migrated_url: str) -> None:
    """No statement outlives a lease: the server ends it, and it may be tried again."""
    database = db.Database(postgres_migrated_url, statement_timeout=0.2)
    with pytest.raises(errors.TemporaryError, match="timeout"), database.read() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    database.close()


def test_a_server_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    """Without a server behind the URL every transaction is a TemporaryError, which names no password."""
    database = db.Database(f"postgresql://me:hunter2@/reverser?host={tmp_path}")
    for transaction in (database.read, database.write):
        with pytest.raises(errors.TemporaryError, match="not available") as caught, transaction():
            pass
        assert "hunter2" not in caught.value.message
    database.close()


def test_a_sqlite_file_that_stays_locked_is_worth_another_try(
    sqlite_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that waits longer than the busy timeout gives up and may try again; readers are not held up."""
    monkeypatch.setattr(db, "SQLITE_BUSY_SECONDS", 0.1)
    impatient = db.Database(sqlite_records.url)
    with sqlite_records.database.write():
        with pytest.raises(errors.TemporaryError, match="locked"), impatient.write():
            pass
        with impatient.read() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    impatient.close()


def test_a_failed_transaction_is_rolled_back(records: Records) -> None:
    """What a transaction wrote before it raised is not there, and the error is the one that was raised."""
    prod = records.destination()
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(records, entry(prod))
    assert records.states(prod) == []


def _write_and_fail(records: Records, *entries: object) -> None:
    with records.database.write() as connection:
        append(connection, *entries)  # type: ignore[arg-type]
        raise ZeroDivisionError


def test_reading_commits_nothing(records: Records) -> None:
    """A transaction of `read` is rolled back at its end."""
    prod = records.destination()
    with records.database.read() as connection:
        connection.execute(text("UPDATE git_destination SET reason = 'Changed'"))
    with records.database.read() as connection:
        assert connection.execute(text("SELECT reason FROM git_destination")).scalar_one() == "Ready"
    assert prod.id


def test_the_sqlite_file_is_private(tmp_path: Path) -> None:
    """The file and what stands beside it hold objects of a cluster: their owner alone may read them."""
    path = tmp_path / "new" / "reverser.db"
    old = os.umask(0)
    try:
        db.upgrade(f"sqlite:///{path}")
        records = Records(f"sqlite:///{path}")
        records.append(entry(records.destination()))
        assert {found.name: mode(found) for found in path.parent.iterdir()} == {
            "reverser.db": 0o600,
            "reverser.db-shm": 0o600,
            "reverser.db-wal": 0o600,
        }
        records.close()
    finally:
        os.umask(old)


def test_a_sqlite_file_that_others_may_read_is_closed_to_them(sqlite_url: str) -> None:
    """A file that was copied with loose permissions is made private when it is opened."""
    path = Path(str(make_url(sqlite_url).database))
    path.chmod(0o644)
    db.Database(sqlite_url).close()
    assert mode(path) == 0o600


@pytest.mark.parametrize("url", [*NO_FILE, "mysql://host/db", "no url", "postgresql://host:port/db", ""])
def test_a_url_that_cannot_serve_names_the_setting(url: str) -> None:
    """A database URL of another kind, without a file, or that is none, is refused with the name of its variable."""
    with pytest.raises(errors.SettingsError, match="REVERSER_DATABASE_URL"):
        db.Database(url)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A folder in the place of the file is a setting to correct."""
    with pytest.raises(errors.SettingsError, match="cannot open the database file"):
        db.Database(f"sqlite:///{tmp_path}")
