"""Connections: engines, read and write transactions, migrations; database errors become ours here.

SQLite and PostgreSQL behave the same from here on. On SQLite writes have a connection of their own that starts
BEGIN IMMEDIATE, so that a transaction never has to be upgraded half-way and refused.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
import alembic.util
import psycopg
import psycopg.waiting
import sqlalchemy
from sqlalchemy import Engine, create_engine, event, exc, pool
from sqlalchemy.engine import URL, ExceptionContext, make_url

from app import errors

# What read() and write() hand out; other rooms name it without importing SQLAlchemy.
Connection: TypeAlias = sqlalchemy.Connection

_T = TypeVar("_T")
# What psycopg waits with: it yields whether it wants to read or write, and is sent what became possible, 0 for nothing.
_Asking: TypeAlias = Generator[Any, Any, _T]

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
SQLITE_BUSY_SECONDS = 10.0
# PostgreSQL ends each statement in time: a server that says nothing for so much longer is frozen, or cut off from us.
# With the statement's time it is less than a watch daemon's lease, and TCP would take a quarter of an hour to say so.
SILENCE_GRACE = 2.0
# A connection that the server answered on within so many seconds is taken for one that works: to ask it first would be
# a third of what a small drain asks at all. One that is lost all the same ends in an error that says so.
FRESH = 1.0

# The reasons of what is wrong with the database, and not with what was asked of it.
AWAY, BUSY, FULL, FORBIDDEN = "DatabaseAway", "DatabaseBusy", "DatabaseFull", "DatabaseForbidden"
REASONS = frozenset({AWAY, BUSY, FULL, FORBIDDEN})

# What a server answers that others keep busy, and that would answer a second try: serialization failure, deadlock,
# lock timeout, statement timeout; and SQLite's one word for all of it.
_BUSY = frozenset({"40001", "40P01", "55P03", "57014", "SQLITE_BUSY"})
# No room on its disk.
_FULL = frozenset({"53100", "SQLITE_FULL"})
# A right that is missing; and a schema that may not be used, which PostgreSQL hides instead of refusing it.
_FORBIDDEN = frozenset({"42501", "3F000"})
# The server is a standby, or was told to refuse writes: as good as none until another one is the primary.
_READ_ONLY = "25006"
# What PostgreSQL says of a login that it refuses, and what to do; it may be right with the next try.
_LOGINS = {
    "authentication failed": "correct user or password in REVERSER_DATABASE_URL",
    "no pg_hba.conf entry": "allow this user from this machine in its pg_hba.conf",
    " does not exist": "create it, or correct REVERSER_DATABASE_URL",
}
_GRANT = "grant it the right, as deploy/postgresql/roles.sql does"


class Database:
    """One database; safe to use from many threads. Open it after a fork, never before.

    With `read_only` nothing is changed, not even the mode of a file, and `write` fails. `busy_timeout` is how long
    SQLite waits for the lock of another process, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        statement_timeout: float = 3.0,
        read_only: bool = False,
        busy_timeout: float = SQLITE_BUSY_SECONDS,
    ) -> None:
        self.url = _parse(url)
        if self.url.get_backend_name() != "sqlite":
            self._writer = _postgresql(self.url, statement_timeout, read_only=read_only)
            # Each statement by itself: BEGIN and ROLLBACK are questions to the server too, and between statements of
            # READ COMMITTED they hold nothing together. What is read only stays in the transaction that makes it so.
            self._reader = self._writer if read_only else self._writer.execution_options(isolation_level="AUTOCOMMIT")
        elif read_only:
            self._reader = self._writer = _sqlite_read_only(sqlite_file(url))
        else:
            _private_file(self.url)
            self._reader = _sqlite(self.url, "BEGIN", busy_timeout)
            self._writer = _sqlite(self.url, "BEGIN IMMEDIATE", busy_timeout)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read from; each statement may see what was committed since the one before.

        Raises TemporaryError when the database is away, busy or full, StalledError when it refuses the role.
        """
        with _mapped(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed at the end and rolled back on an exception.

        Raises as `read` does, and UnknownOutcomeError when the answer to COMMIT was lost.
        """
        with _mapped(), self._writer.connect() as connection:
            transaction = connection.begin()
            try:
                yield connection
            except BaseException:
                _roll_back(transaction)
                raise
            try:
                transaction.commit()
            except exc.DBAPIError as error:
                raise errors.UnknownOutcomeError(
                    f"the database did not answer a COMMIT ({_words(error)}); what it did is read back before anything "
                    "else"
                ) from error

    def ask(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Columns and rows of a query that a person wrote; a database opened `read_only` lets it change nothing.

        It is one statement: after a first one that asks for more rights or ends the transaction, a second one could
        change what it likes. Raises PermanentError with the database's words when it refuses the query.
        """
        with self.read() as connection:
            _take_single_statements(connection)
            try:
                # Without parameters, a % of the query is a %.
                found = connection.execution_options(no_parameters=True).exec_driver_sql(query)
                return (list(found.keys()), [tuple(row) for row in found]) if found.returns_rows else ([], [])
            except exc.DBAPIError as error:
                raise errors.PermanentError(f"the database refuses this query: {_words(error)}") from error

    def check_schema(self) -> None:
        """Raises PermanentError for a database that was not migrated, or that a newer version wrote."""
        current, head = self.revision(), head_revision()
        if current == head:
            return
        if current is None or current in {script.revision for script in _scripts().walk_revisions()}:
            raise errors.PermanentError(
                f"the database is at revision {current or 'none'}, this version needs {head}: run `reverser migrate`",
                reason="DatabaseNotMigrated",
            )
        raise _too_new(current)

    def revision(self) -> str | None:
        """Which migration was the last; None for a database without our tables."""
        with self.read() as connection:
            return alembic.runtime.migration.MigrationContext.configure(connection).get_current_revision()

    def close(self) -> None:
        """Close all connections."""
        self._reader.dispose()
        self._writer.dispose()


def describe(url: str) -> str:
    """Which database a URL names, without its password. Raises SettingsError."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return f"SQLite file {sqlite_file(url)}"
    hosts = parsed.query.get("host") or "the local socket"
    host = parsed.host or (hosts if isinstance(hosts, str) else ", ".join(hosts))
    place = f"{host}{f':{parsed.port}' if parsed.port else ''}"
    user = f" as {parsed.username}" if parsed.username else ""
    return f"PostgreSQL database {parsed.database or '(default)'} at {place}{user}"


def is_sqlite(url: str) -> bool:
    """Whether a URL names a SQLite file. Raises SettingsError."""
    return _parse(url).get_backend_name() == "sqlite"


def sqlite_file(url: str) -> Path:
    """The file of a SQLite URL. Raises SettingsError for a database in memory."""
    database = _parse(url).database
    if database in {None, "", ":memory:"}:
        raise errors.SettingsError("REVERSER_DATABASE_URL: SQLite needs a file, such as sqlite:///reverser.db")
    return Path(str(database))


def head_revision() -> str:
    """The migration that this version ends with."""
    return str(_scripts().get_current_head())


def _too_new(current: str | None) -> errors.PermanentError:
    return errors.PermanentError(
        f"the database is at revision {current}, which this version ({head_revision()}) does not know: it was written "
        "by a newer version of Reverser; upgrade this one, or restore a backup of before that upgrade",
        reason="DatabaseTooNew",
    )


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate a database (`reverser migrate`).

    Raises PermanentError when a newer version wrote it, StalledError for a role that may not change tables.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _private_file(parsed)
    try:
        with _mapped(grant="run `reverser migrate` as the role that owns the tables"):
            alembic.command.upgrade(alembic_config(url), revision)
    except alembic.util.CommandError as error:
        database = Database(url)
        try:
            raise _too_new(database.revision()) from error
        finally:
            database.close()


def alembic_config(url: str) -> alembic.config.Config:
    """The configuration of our migrations for a database."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = _parse(url)
    return config


def _scripts() -> alembic.script.ScriptDirectory:
    return alembic.script.ScriptDirectory(str(MIGRATIONS))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError) as error:
        raise errors.SettingsError("REVERSER_DATABASE_URL is no database URL, such as sqlite:///file.db") from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed
    raise errors.SettingsError(f"REVERSER_DATABASE_URL: {backend} is not supported, use sqlite or postgresql")


def _private_file(url: URL) -> None:
    """The file holds the objects of a cluster: nobody else on the machine may read it."""
    path = sqlite_file(str(url))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise errors.SettingsError(f"cannot open the database file {path}: {error.strerror}") from error


def _sqlite(url: URL, begin: str, busy_timeout: float) -> Engine:
    # isolation_level None keeps the driver from starting transactions by itself; the listener below does.
    arguments = {"timeout": busy_timeout, "isolation_level": None, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True, pool_size=8, max_overflow=24)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={busy_timeout * 1000:.0f}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _sqlite_read_only(path: Path) -> Engine:
    """An engine that leaves nothing behind.

    A reader makes the side files of write-ahead logging where they are missing. They are missing while no process
    works on the database: then it can be read as a file that does not change. That is looked at for each connection,
    where the file really stands: a process may begin to write at any time.
    """

    def connect() -> sqlite3.Connection:
        file = path.resolve()
        how = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "mode=ro&immutable=1"
        return sqlite3.connect(
            f"file:{quote(str(file))}?{how}",
            uri=True,
            timeout=SQLITE_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    return create_engine("sqlite://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)


def _postgresql(url: URL, statement_timeout: float, *, read_only: bool) -> Engine:
    milliseconds = int(statement_timeout * 1000)
    options = (
        f"{url.query.get('options', '')} -c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={milliseconds} -c timezone=UTC"
    )
    # A process that writes also reads nothing from a standby: what it decides on would be of before.
    target = "any" if read_only else "read-write"
    defaults = {"connect_timeout": 5, "application_name": "reverser", "target_session_attrs": target}
    arguments = {name: value for name, value in defaults.items() if name not in url.query} | {"options": options}
    engine = create_engine(
        url,
        connect_args=arguments,
        # Said with each BEGIN, because a pooler between us and the server may keep options from it.
        execution_options={"postgresql_readonly": True} if read_only else {},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
    )

    @event.listens_for(engine, "do_connect")
    def _on_connect(_dialect: Any, _record: Any, words: Any, arguments: Any) -> _Impatient:
        connection = _Impatient.connect(*words, **arguments)
        connection.patience = statement_timeout + SILENCE_GRACE
        return connection

    @event.listens_for(engine, "do_executemany")
    def _one_by_one(cursor: Any, statement: str, rows: Any, _context: Any) -> bool:
        # The driver would send them without a pause. While the server waits for the next of such statements no timeout
        # of it counts: a process that freezes there would keep the locks of its transaction until it wakes.
        for row in rows:
            cursor.execute(statement, row)
        return True

    asked = engine.dialect.do_ping

    def ping(connection: Any) -> bool:
        return connection.is_fresh() or asked(connection)

    engine.dialect.do_ping = ping  # type: ignore[assignment, method-assign]
    if not read_only:
        event.listen(engine, "handle_error", _leave_a_standby)
    return engine


class _Impatient(psycopg.Connection[Any]):
    """A connection that is given up when its server falls silent.

    Options of TCP would not do: behind a pooler, or of a frozen server, the kernel goes on answering.
    """

    # Longest time without a word, in seconds.
    patience = float("inf")
    _heard = float("-inf")

    def wait(self, gen: _Asking[_T], *args: Any, **kwargs: Any) -> _T:
        """Wait for what the server answers: all that the driver does on an open connection comes through here."""
        try:
            return super().wait(self._unless_silent(gen), *args, **kwargs)
        except TimeoutError as error:
            # Nothing can be asked on it any more, and SQLAlchemy takes only a closed one out of its pool.
            self.close()
            raise psycopg.OperationalError(f"no answer from the server within {self.patience:g} s") from error

    def is_fresh(self) -> bool:
        """Whether the server answered on it a moment ago."""
        return not self.closed and time.monotonic() - self._heard < FRESH

    def _unless_silent(self, asking: _Asking[_T]) -> _Asking[_T]:
        """Hand on what the driver waits for, and what became ready. Raises TimeoutError after too long a silence.

        Only silence counts: many statements at once, or many rows, may take longer.
        """
        try:
            wanted, moved = next(asking), time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    moved = time.monotonic()
                    if ready & psycopg.waiting.Ready.R:
                        self._heard = moved
                elif time.monotonic() - moved > self.patience:
                    raise TimeoutError
                wanted = asking.send(ready)
        except StopIteration as done:
            answer: _T = done.value
            return answer


def _leave_a_standby(context: ExceptionContext) -> None:
    """Connections to a server that became read-only are good for nothing: the next ones look for the primary."""
    if _code(context.original_exception) == _READ_ONLY:
        context.is_disconnect = True


def _take_single_statements(connection: Connection) -> None:
    """Have each statement of this connection prepared, which PostgreSQL does for one at a time.

    A first statement fixes the rights of the transaction: SET TRANSACTION READ WRITE comes too late then. SQLite's
    driver takes one statement anyway, and the file is opened for reading.
    """
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        driver.prepare_threshold = 0
        connection.exec_driver_sql("SELECT 1").close()


def _roll_back(transaction: Any) -> None:
    try:
        transaction.rollback()
    except exc.DBAPIError:
        # The connection is gone, and with it the transaction; the first error is the one to tell.
        transaction.connection.invalidate()


@contextmanager
def _mapped(*, grant: str = _GRANT) -> Iterator[None]:
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        ours = _ours(error, grant)
        if ours is None:
            raise
        raise ours from error


def _ours(error: exc.DBAPIError | exc.TimeoutError, grant: str) -> errors.ReverserError | None:
    """What an error of the driver means for the caller; None for what is a mistake of ours."""
    words, code = _words(error), _code(getattr(error, "orig", None))
    if type(error) is exc.DatabaseError:
        # SQLite's word for a file that is no database, or not a whole one.
        return errors.PermanentError(
            f"the database cannot be read ({words}): name the right file, or restore a backup",
            reason="DatabaseUnreadable",
        )
    if code in _FORBIDDEN:
        return errors.StalledError(f"the database refuses this role ({words}): {grant}", reason=FORBIDDEN)
    # The pool's own timeout says that all connections of this process are in use.
    if code in _BUSY or isinstance(error, exc.TimeoutError):
        return errors.TemporaryError(f"the database is busy ({words}); it is asked again", reason=BUSY)
    if code in _FULL:
        do = "free some space on its disk, and all goes on by itself"
        return errors.TemporaryError(f"the database has no room left ({words}): {do}", reason=FULL)
    # A session that the server ended has one of many classes, among them that of our own mistakes.
    away = isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated
    if away or code == _READ_ONLY:
        hint = next((f": {do}" for said, do in _LOGINS.items() if said in words), "")
        return errors.TemporaryError(f"the database is not available: {words}{hint}", reason=AWAY)
    return None


def _code(error: BaseException | None) -> str | None:
    """What names an error: the SQLSTATE of PostgreSQL, the word of SQLite."""
    return getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)


def _words(error: exc.DBAPIError | exc.TimeoutError) -> str:
    """The driver's first line; values are hidden by `hide_parameters`."""
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
