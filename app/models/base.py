"""What every table shares: the declarative base, the naming convention and the column types.

Neighbours: the other modules of `app/models` (tables and the queries on them) and `app/db.py` (connections).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy
from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

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


class _SqliteMoment(sqlite.DATETIME):
    """The text that SQLAlchemy writes, `2026-01-31 12:00:00.000000`, in a tenth of the time: each Event has one."""

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002 - SQLAlchemy's signature
        """Write it."""
        return lambda value: None if value is None else value.isoformat(sep=" ", timespec="microseconds")


class Utc(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC. SQLite stores it as text that sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite has no type for it."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SqliteMoment())  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(self.impl_instance)

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


_CENTURY = 100 * 365 * 86_400.0


class now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's own clock, now, plus `offset` seconds: leases are judged by one clock only.

    PostgreSQL's `now()` is the time of the transaction's start, hence `clock_timestamp()`. An offset of more than a
    century is one of a century: who sets a duration to that means for ever, and a calendar ends.
    """

    type = Utc()
    inherit_cache = True

    def __init__(self, offset: float = 0.0) -> None:
        bounded = max(-_CENTURY, min(_CENTURY, float(offset)))
        super().__init__(sqlalchemy.literal(bounded, sqlalchemy.Float()))


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
AnyColumn = InstrumentedAttribute[Any]
Condition = sqlalchemy.ColumnElement[bool]
insert = sqlalchemy.insert


def among(connection: Connection, column: InstrumentedAttribute[Any], values: Sequence[object]) -> Condition:
    """Whether a column holds one of up to thousands of values.

    PostgreSQL gets them as one array: a list of a thousand parameters takes it and SQLAlchemy six times as long.
    """
    if connection.dialect.name != "postgresql":
        return column.in_(values)
    return column == sqlalchemy.any_(sqlalchemy.literal(list(values), postgresql.ARRAY(column.type)))


def table_of(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, InstrumentedAttribute[Any]]
) -> sqlalchemy.TableValuedAlias:
    """Rows as a table within a statement of PostgreSQL: by name, what each of its columns is like."""
    arrays = [
        sqlalchemy.literal([row[name] for row in rows], postgresql.ARRAY(column.type))
        for name, column in columns.items()
    ]
    named = [sqlalchemy.column(name, column.type) for name, column in columns.items()]
    return sqlalchemy.func.unnest(*arrays).table_valued(*named).render_derived()


# More rows in one statement gain nothing, and each statement has to end within the statement timeout.
ROWS_PER_STATEMENT = 1_000


def insert_many(
    connection: Connection, table: type[Base], rows: Sequence[Mapping[str, object]], *, replace: Sequence[str] = ()
) -> None:
    """Insert rows that all name the same columns; with `replace`, a row of the same key columns is overwritten.

    PostgreSQL gets each column as one array: a third of the time that a statement per row takes, even in a pipeline.
    Columns of type JSON cannot be written so. With `replace`, `rows` may hold one row of a key only.
    """
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        names = list(part[0])
        values = zip(*map(operator.itemgetter(*names), part), strict=True)
        columns = [_bound(connection, table, *column) for column in zip(names, values, strict=True)]
        if connection.dialect.name == "postgresql":
            arrays = ", ".join(f"%b::{_sql_type(connection, table, name)}[]" for name in names)
            statement = _insert(table, names, f"SELECT * FROM unnest({arrays})", replace)  # noqa: S608 - our own names only
            connection.exec_driver_sql(statement, tuple(columns))
        else:
            marks = ", ".join("?" for _ in names)
            statement = _insert(table, names, f"VALUES ({marks})", replace)
            connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


def _insert(table: type[Base], names: Sequence[str], source: str, replace: Sequence[str]) -> str:
    return f'INSERT INTO "{table.__tablename__}" ({", ".join(names)}) {source}{_on_conflict(names, replace)}'


def _on_conflict(names: Sequence[str], key: Sequence[str]) -> str:
    if not key:
        return ""
    fresh = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {fresh}"


def _sql_type(connection: Connection, table: type[Base], name: str) -> str:
    return str(table.__table__.c[name].type.compile(connection.dialect))


def _bound(connection: Connection, table: type[Base], name: str, values: Sequence[object]) -> list[object]:
    """The values of one column as the driver takes them."""
    kind = table.__table__.c[name].type.dialect_impl(connection.dialect)
    process = kind.bind_processor(connection.dialect)
    if process is None:
        return list(values)
    # Most columns hold few values, many times: group, version, kind, rule.
    once = {value: process(value) for value in set(values)}
    return [once[value] for value in values]
