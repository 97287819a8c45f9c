"""Connections: what a lost database, a lost answer and a wrong file or version are to those who use them."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app import db, errors
from app.models import leases, ledger
from tests.models.records import Records, append, entry
from tests.servers import postgres, proxy
from tests.waiting import wait_until

NO_FILE = ("sqlite://", "sqlite:///:memory:")
# How a server says that it is none at the moment, or no primary: shutdown, crash, start, no connection left, read-only.
AWAY = ("57P01", "57P02", "57P03", "53300", "25006")
# How it says that others were in the way: serialization failure, deadlock, lock timeout, statement timeout.
BUSY = ("40001", "40P01", "55P03", "57014")


def end_session(records: Records, connection: db.Connection) -> None:
    """Cut a session from the side of the server; returns when it is gone."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with postgres.connect(make_url(records.url)) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(
            lambda: admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is None,
            what="the end of the session",
        )


def end_all_sessions(url: str) -> int:
    """Cut every session of our processes on a database; how many there were."""
    ours = "application_name = 'reverser' AND datname = %s"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"
    with postgres.connect(make_url(url)) as admin:
        return admin.execute(cut, (make_url(url).database,)).rowcount


def again(call: Callable[[], object]) -> list[errors.TemporaryError]:
    """Call until the database does not refuse it; what it refused with."""
    refusals: list[errors.TemporaryError] = []
    while True:
        try:
            call()
        except errors.TemporaryError as error:
            refusals.append(error)
        else:
            return refusals


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


def refuse(database: db.Database, code: str) -> errors.TemporaryError:
    """What a transaction raises in which the server answers with an error code."""
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(errors.TemporaryError, match="in the way") as caught, database.write() as connection:
        connection.execute(text(statement))
    return caught.value


@pytest.mark.postgres
def test_what_passes_by_itself_is_worth_another_try(postgres_records: Records) -> None:
    """A failover and a lock in the way are pauses; a server that answers is not said to be away."""
    database = postgres_records.database
    assert {code: refuse(database, code).reason for code in AWAY} == dict.fromkeys(AWAY, "DatabaseAway")
    full = refuse(database, "53100")
    assert full.reason == "DatabaseFull"
    assert "free some space on its disk" in full.message
    busy = {code: refuse(database, code) for code in BUSY}
    assert {code: error.reason for code, error in busy.items()} == dict.fromkeys(BUSY, "DatabaseBusy")
    assert {error.message for error in busy.values()} == {"the database is busy (in the way); it is asked again"}


@pytest.mark.postgres
def test_of_two_that_lock_each_other_one_may_try_again(postgres_records: Records) -> None:
    """A deadlock ends for one of the two, who is told so; the other one goes on."""
    records = postgres_records
    lock = text("SELECT 1 FROM git_destination WHERE id = :id FOR UPDATE")
    one, two = ({"id": records.destination(name).id} for name in ("one", "two"))

    def crosswise() -> None:
        with records.database.write() as connection:
            connection.execute(lock, two)
            connection.execute(lock, one)

    def straight() -> Future[None]:
        with records.database.write() as connection:
            connection.execute(lock, one)
            other = records.blocked_call(crosswise)
            connection.execute(lock, two)
            return other

    # Whose patience ends first is the one that the server ends.
    with pytest.raises(errors.TemporaryError, match=r"busy \(deadlock detected\)") as caught:
        straight().result()
    assert caught.value.reason == "DatabaseBusy"


@pytest.mark.postgres
def test_a_database_that_is_read_only_is_away(postgres_records: Records) -> None:
    """Of a standby nothing is read to decide on, and nothing written; people may read it; it ends by itself."""
    records = postgres_records
    database = str(make_url(records.url).database)
    with postgres.connect(make_url(records.url)) as admin:
        admin.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')  # type: ignore[arg-type]
        end_all_sessions(records.url)
        for transaction in (records.database.read, records.database.write):
            with pytest.raises(errors.TemporaryError, match="read-only") as caught, transaction():
                pass
            assert caught.value.reason == "DatabaseAway"
        people = db.Database(records.url, read_only=True)
        assert people.ask("SELECT count(*) FROM event")[1] == [(0,)]
        people.close()
        admin.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')  # type: ignore[arg-type]
    assert records.append(entry(records.destination())) == [1]


@pytest.mark.postgres
def test_a_connection_that_became_read_only_is_given_up(postgres_records: Records) -> None:
    """A server that is made a standby under our connections costs one try: the next one looks for the primary."""
    records = postgres_records
    prod = records.destination()
    with records.database.write() as connection:
        connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    with pytest.raises(errors.TemporaryError, match="read-only") as caught:
        records.append(entry(prod))
    assert caught.value.reason == "DatabaseAway"
    assert records.append(entry(prod)) == [1]


@pytest.mark.postgres
def test_writers_whose_connections_are_cut_again_and_again_lose_nothing(postgres_records: Records) -> None:
    """Each of many writers that tries again ends with each of its rows written once."""
    records = postgres_records
    names = [f"d{number}" for number in range(4)]
    found = {name: records.destination(name) for name in names}
    cuts = []

    def write(name: str) -> int:
        """Write each row, and try again; how often that was."""
        rows = (entry(found[name], version=version) for version in range(1, 16))
        return sum(len(again(functools.partial(records.append, row))) for row in rows)

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write, name) for name in names]
        while not all(writer.done() for writer in writers):
            cuts.append(end_all_sessions(records.url))
        pauses = sum(writer.result() for writer in writers)
    assert sum(cuts) >= pauses > 0
    # The last cut is found out by using what was cut.
    records.database.close()
    assert {name: len(records.states(found[name])) for name in names} == dict.fromkeys(names, 15)


@pytest.mark.postgres
def test_a_process_has_so_many_connections_and_no_more(postgres_migrated_url: str) -> None:
    """Threads beyond the pool wait for a connection, instead of opening one more at a server that counts them."""
    most, url = 32, postgres_migrated_url
    database = db.Database(url, statement_timeout=60.0)
    with ThreadPoolExecutor(2 * most) as threads, postgres.connect(make_url(postgres_migrated_url)) as admin:
        admin.execute("SELECT pg_advisory_lock(1)")
        waits = [threads.submit(wait_for_lock, database) for _ in range(2 * most)]
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: admin.execute(asked).fetchone() == (most,), what="all connections of the pool")
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reverser' AND datname = %s"
        assert admin.execute(sessions, (make_url(postgres_migrated_url).database,)).fetchone() == (most,)
        admin.execute("SELECT pg_advisory_unlock(1)")
        assert [wait.result() for wait in waits] == [None] * 2 * most
    database.close()


def wait_for_lock(database: db.Database) -> None:
    """Hold a connection for as long as a lock is held by somebody else."""
    with database.read() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(1)"))


@pytest.mark.postgres
def test_options_of_the_url_reach_the_server(postgres_migrated_url: str) -> None:
    """What a URL says of TLS, names and options is heard, beside what we say ourselves."""
    url = make_url(postgres_migrated_url)
    named = url.update_query_dict({"application_name": "mine", "options": "-c work_mem=7MB"})
    database = db.Database(named.render_as_string(hide_password=False), statement_timeout=2.0)
    with database.read() as connection:
        asked = ("application_name", "work_mem", "statement_timeout", "TimeZone")
        assert [connection.execute(text(f"SHOW {name}")).scalar_one() for name in asked] == ["mine", "7MB", "2s", "UTC"]
    database.close()
    wrong = db.Database(url.update_query_dict({"sslmode": "verify-nothing"}).render_as_string(hide_password=False))
    with pytest.raises(errors.TemporaryError, match="sslmode"), wrong.read():
        pass
    wrong.close()


@contextlib.contextmanager
def asked_through(url: str, before: proxy.Proxy, **options: str) -> Iterator[db.Database]:
    """A database behind a proxy, asked by somebody who waits for a short time only."""
    through = postgres.through(make_url(url), before).update_query_dict({"connect_timeout": "2", **options})
    with (
        before,
        contextlib.closing(
            db.Database(through.render_as_string(hide_password=False), statement_timeout=0.2)
        ) as database,
    ):
        yield database


def answer(database: db.Database) -> int:
    """Ask the server something."""
    with database.read() as connection:
        return int(connection.execute(text("SELECT 42")).scalar_one())


@pytest.mark.postgres
def test_a_server_that_fell_silent_is_away(postgres_migrated_url: str) -> None:
    """A peer that takes what is sent and never answers is an outage of seconds, and the next try after it works."""
    before = proxy.Proxy(postgres.address(make_url(postgres_migrated_url)))
    with asked_through(postgres_migrated_url, before) as database, ThreadPoolExecutor(1) as threads:
        assert answer(database) == 42
        before.silence()
        asked = threads.submit(answer, database)
        try:
            wait_until(asked.done, what="the end of a question that nobody answers")
        finally:
            before.cut()
        with pytest.raises(errors.TemporaryError) as caught:
            asked.result()
        assert caught.value.reason == "DatabaseAway"
        before.speak()
        assert answer(database) == 42


@pytest.mark.postgres
def test_a_server_that_falls_silent_at_commit_leaves_an_unknown_outcome(postgres_records: Records) -> None:
    """What a COMMIT did that nobody answers is not known, and is read back."""
    records = postgres_records
    before = proxy.Proxy(postgres.address(make_url(records.url)))
    prod = records.destination()
    with asked_through(records.url, before) as database, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(_commit_into_silence, database, before, entry(prod))
        try:
            wait_until(asked.done, what="the end of a COMMIT that nobody answers")
        finally:
            before.cut()
        with pytest.raises(errors.UnknownOutcomeError, match="no answer"):
            asked.result()
    assert records.states(prod) == []


def _commit_into_silence(database: db.Database, before: proxy.Proxy, *entries: ledger.Entry) -> None:
    with database.write() as connection:
        append(connection, *entries)
        before.silence()


def test_a_server_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    """Without a server behind the URL every transaction is a TemporaryError, which names no password."""
    database = db.Database(f"postgresql://me:hunter2@/reverser?host={tmp_path}")
    for transaction in (database.read, database.write):
        with pytest.raises(errors.TemporaryError, match="not available") as caught, transaction():
            pass
        assert "hunter2" not in caught.value.message
    database.close()


def test_a_sqlite_file_that_stays_locked_is_worth_another_try(sqlite_records: Records) -> None:
    """A writer that waits longer than the busy timeout gives up and may try again; readers are not held up."""
    impatient = db.Database(sqlite_records.url, busy_timeout=0.1)
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


def test_reading_commits_nothing_on_sqlite(sqlite_records: Records) -> None:
    """A change that does not stand in `write` is lost there: whoever makes one so finds out in any test."""
    sqlite_records.destination()
    with sqlite_records.database.read() as connection:
        connection.execute(text("UPDATE git_destination SET reason = 'Changed'"))
    with sqlite_records.database.read() as connection:
        assert connection.execute(text("SELECT reason FROM git_destination")).scalar_one() == "Ready"


@pytest.mark.postgres
def test_reading_asks_the_server_nothing_but_the_question(
    postgres_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No BEGIN, no ROLLBACK, and on a connection that just answered no ping: each would be as long as the question."""
    postgres_records.destination()
    conversations = count_conversations(monkeypatch)
    for _ in range(10):
        with postgres_records.database.read() as connection:
            connection.execute(text("SELECT reason FROM git_destination")).one()
    assert len(conversations) == 10


def count_conversations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each time that a connection of ours waits for its server; the list grows."""
    noted: list[object] = []
    ask = psycopg.Connection.wait

    def wait(self: psycopg.Connection[Any], asking: Any, *args: Any, **kwargs: Any) -> Any:
        def noting() -> Any:
            try:
                ready = yield next(asking)
                noted.append(self)
                while True:
                    ready = yield asking.send(ready)
            except StopIteration as done:
                return done.value

        return ask(self, noting(), *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "wait", wait)
    return noted


@pytest.mark.postgres
def test_a_connection_that_was_silent_for_long_is_asked_first(
    postgres_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session may have been ended: that is found out before anything depends on it, and another one is opened."""
    postgres_records.destination()
    monkeypatch.setattr(db, "FRESH", 0.0)
    assert end_all_sessions(postgres_records.url) > 0
    with postgres_records.database.read() as connection:
        assert connection.execute(text("SELECT reason FROM git_destination")).scalar_one() == "Ready"


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


# A statement for each of many rows, more of them than buffers take, in a transaction that holds a lock.
MANY = """
import sys
from sqlalchemy import text
from app import db
with db.Database(sys.argv[1], statement_timeout=0.5).write() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(4711)"))
    print("locked", flush=True)
    connection.execute(text("SELECT pg_sleep(0.005), CAST(:row AS text)"), [{"row": "x" * 5_000}] * 5_000)
"""


@pytest.mark.postgres
def test_a_process_that_freezes_loses_its_locks(postgres_migrated_url: str) -> None:
    """The server ends its transaction in time, in the middle of many statements too."""
    command = [sys.executable, "-c", MANY, postgres_migrated_url]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
        postgres.connect(make_url(postgres_migrated_url)) as admin,
    ):
        try:
            assert process.stdout
            assert process.stdout.readline() == b"locked\n"
            assert admin.execute("SELECT pg_try_advisory_lock(4711)").fetchone() == (False,)
            # It is well in the middle of them by now: all take 25 s.
            time.sleep(1.0)
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: admin.execute("SELECT pg_try_advisory_lock(4711)").fetchone() == (True,), 10)
        finally:
            process.kill()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("changed", "do"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist: create it, or correct REVERSER_DATABASE_URL'),
        ({"username": "nobody"}, 'role "nobody" does not exist: create it, or correct REVERSER_DATABASE_URL'),
    ],
)
def test_a_login_that_is_refused_says_what_to_do(postgres_migrated_url: str, changed: dict[str, str], do: str) -> None:
    """It is waited for as for a server that is away: somebody may be mending it."""
    url = make_url(postgres_migrated_url).set(**changed).render_as_string(hide_password=False)
    with (
        contextlib.closing(db.Database(url)) as database,
        pytest.raises(errors.TemporaryError) as caught,
        database.read(),
    ):
        pass
    assert do in caught.value.message
