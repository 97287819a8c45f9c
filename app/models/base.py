"""What every table shares: the declarative base, the naming convention and the column types.

Neighbours: the other modules of `app/models` (tables and the queries on them) and `app/db.py` (connections).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy
from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(naming_convention=NAMING)


class Utc(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC. SQLite stores it as text that sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write UTC."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


# PostgreSQL's text takes neither U+0000 nor half of a surrogate pair; both are legal in JSON.
_AWKWARD = re.compile("[\\\\\x00\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")


def escape(text: str) -> str:
    r"""Write U+0000 and lone surrogates as `\uXXXX`, and a backslash as two: one-to-one."""
    if not _AWKWARD.search(text):
        return text
    return _AWKWARD.sub(lambda hit: "\\\\" if hit[0] == "\\" else f"\\u{ord(hit[0]):04x}", text)


def unescape(text: str) -> str:
    """Undo `escape`."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda hit: "\\" if hit[1] == "\\" else chr(int(hit[1][1:], 16)), text)


class Escaped(TypeDecorator[str]):
    """Text from outside: object names, labels of managers, messages."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Escape."""
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Undo it."""
        return None if value is None else unescape(value)


# SQLite numbers rows by itself only in a column that is spelt INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

AutoId = Annotated[int, mapped_column(RowId, primary_key=True, autoincrement=True)]
Name = Annotated[str, mapped_column(Escaped)]
Moment = Annotated[datetime, mapped_column(Utc)]
Json = Annotated[Any, mapped_column(JSON)]


class now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's own clock, now, plus `offset` seconds: leases are judged by one clock only.

    PostgreSQL's `now()` is the time of the transaction's start, hence `clock_timestamp()`.
    """

    type = Utc()
    inherit_cache = True

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__(sqlalchemy.literal(float(offset), sqlalchemy.Float()))


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    # Milliseconds, filled up to the six digits that SQLAlchemy writes, so that text compares as time.
    offset = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.6f seconds', {offset}))"


# Names for the few SQLAlchemy types that query functions spell out.
Connection = sqlalchemy.Connection
AnySelect = sqlalchemy.Select[*tuple[Any, ...]]
Update = sqlalchemy.Update
AnyRow = sqlalchemy.Row[*tuple[Any, ...]]
Condition = sqlalchemy.ColumnElement[bool]
insert = sqlalchemy.insert
