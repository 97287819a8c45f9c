"""The SQLite file of the sandbox: the objects, what each change replaced, and a few values of the server itself.

One process owns the file; a second one is told so. A change is one transaction, which the operating system keeps
when the process is killed. `storing.py` holds the same in memory and is the only caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from app import errors

# Says in the file's header that it is ours ("RvSb"), and which tables it has.
_APPLICATION = 0x52765362
_VERSION = 1
# Long enough for a predecessor that is just ending.
_BUSY_SECONDS = 3.0

_SCHEMA = """
CREATE TABLE object (
    "group" TEXT NOT NULL, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY ("group", resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE change (
    revision INTEGER PRIMARY KEY,
    "group" TEXT NOT NULL, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    before BLOB
);
CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_WHERE = 'WHERE "group" = ? AND resource = ? AND namespace = ? AND name = ?'


class Place(NamedTuple):
    """Where an object stands, whatever version it is read in. `namespace` is "" for cluster scope."""

    group: str
    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One change to write: the new body of an object, or None when it goes."""

    revision: int
    place: Place
    body: bytes | None


class Database:
    """An open file. Every method is one transaction; sqlite3.Error means that nothing of it was written."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises PermanentError that says what to do with a file that cannot be used."""
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error) from error

    def objects(self) -> Iterator[tuple[Place, bytes]]:
        """Every object as it stands."""
        for *place, body in self._connection.execute("SELECT * FROM object"):
            yield Place(*place), body

    def changes_backwards(self) -> Iterator[tuple[int, Place, bytes | None]]:
        """The remembered changes, the newest first, each with the body that it replaced."""
        for revision, *place, before in self._connection.execute("SELECT * FROM change ORDER BY revision DESC"):
            yield revision, Place(*place), before

    def value(self, name: str) -> str:
        """A value of the server itself; "" when it was never set."""
        row = self._connection.execute("SELECT value FROM value WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_value(self, name: str, value: str) -> None:
        """Keep a value of the server itself."""
        self._connection.execute("INSERT OR REPLACE INTO value VALUES (?, ?)", (name, value))

    def write(self, rows: Iterable[Row]) -> None:
        """Write changes, each after the body that it replaces."""
        with self._transaction():
            for row in rows:
                before = f"(SELECT body FROM object {_WHERE})"  # noqa: S608 - a constant
                self._connection.execute(
                    f"INSERT INTO change VALUES (?, ?, ?, ?, ?, {before})",  # noqa: S608 - the same
                    (row.revision, *row.place, *row.place),
                )
                self._put(row.place, row.body)

    def forget(self, revision: int) -> None:
        """Drop the changes up to and including a revision."""
        with self._transaction():
            self._connection.execute("DELETE FROM change WHERE revision <= ?", (revision,))
            self.set_value("compacted", str(revision))

    def rewind(self, revision: int, undone: Iterable[tuple[Place, bytes | None]]) -> None:
        """Put older bodies back and drop the changes after a revision."""
        with self._transaction():
            for place, body in undone:
                self._put(place, body)
            self._connection.execute("DELETE FROM change WHERE revision > ?", (revision,))

    def close(self) -> None:
        """Close the file; its write-ahead log is folded in."""
        self._connection.close()

    def _put(self, place: Place, body: bytes | None) -> None:
        if body is None:
            self._connection.execute(f"DELETE FROM object {_WHERE}", place)  # noqa: S608 - a constant
        else:
            self._connection.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)", (*place, body))

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)

    def _prepare(self) -> None:
        connection = self._connection
        # Exclusive for as long as we live: whoever opens the file beside us is refused.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # What was written survives the end of the process; the end of the machine may cost the last changes.
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                self._make()
        self._check()

    def _make(self) -> None:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _check(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            self.close()
            raise errors.PermanentError(f"{self._path} is not a database of the sandbox: {self._afresh()}")
        if version != _VERSION:
            self.close()
            raise errors.PermanentError(
                f"{self._path} was written by another version of Reverser (tables {version}, here {_VERSION}): "
                f"use that version, or {self._afresh()}"
            )
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            self.close()
            raise self._damaged(found)

    def _unusable(self, error: sqlite3.Error) -> errors.ReverserError:
        match error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return errors.PermanentError(
                    f"another sandbox runs on {self._path}: stop it first, or name another folder with --data-dir"
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return self._damaged(str(error))
        return errors.PermanentError(
            f"{self._path} cannot be used ({error}): look at the folder's rights and at the free space of its disk"
        )

    def _damaged(self, found: str) -> errors.ReverserError:
        return errors.PermanentError(
            f"{self._path} is damaged or no SQLite file ({found}): put a backup in its place, or {self._afresh()}"
        )

    def _afresh(self) -> str:
        """How to begin anew: the mirror that stands beside it is of the cluster of this file, and of no other one."""
        away = f"move the whole data folder {self._path.parents[1]} away"
        return f"begin with an empty cluster: {away}, or name another one with --data-dir"


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT; an exception rolls back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself where the disk is full.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
