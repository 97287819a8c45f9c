"""The database of a command: for reading, where it only asks, or to write down what a person wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from app import db, errors
from app.cli import options

_Answer = TypeVar("_Answer")


def read(data_dir: Path, question: Callable[[Any], _Answer]) -> _Answer:
    """Ask the database of these settings; `question` takes a connection. Raises as `opened` does."""
    with opened(data_dir) as database, database.read() as connection:
        return question(connection)


@contextmanager
def opened(data_dir: Path, *, statement_timeout: float | None = None, writing: bool = False) -> Iterator[db.Database]:
    """The database of these settings, for reading only unless something is to be written.

    Raises PermanentError for a database that is not there or not of this version.
    """
    settings = options.settings_in(data_dir)
    if db.is_sqlite(settings.database_url) and not db.sqlite_file(settings.database_url).exists():
        raise errors.PermanentError(
            f"nothing ran here yet, there is no database at {settings.database_url}: start `reverser up`, or run this "
            "in its folder, give --data-dir, or set REVERSER_DATABASE_URL"
        )
    timeout = statement_timeout or settings.statement_timeout
    with closing(db.Database(settings.database_url, statement_timeout=timeout, read_only=not writing)) as database:
        database.check_schema()
        yield database
