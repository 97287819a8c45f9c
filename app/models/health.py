"""What `reverser doctor` asks of the database itself, and how each destination stands. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlalchemy import Connection, func, select

from app.events import Ref
from app.models import base, destinations, leases

_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """One live destination: what the watch daemon judged, and how its last drain ended.

    `branch_recorded` says that the branch was there once, so that a missing one was deleted.
    """

    id: int
    ref: Ref
    ready: bool
    reason: str
    message: str
    not_before: datetime | None
    last_error: str | None
    last_error_reason: str | None
    stalled: bool
    last_sha: str | None
    last_pushed_at: datetime | None
    branch_recorded: bool


def product(connection: Connection) -> str:
    """What answers: `SQLite 3.40.1`, `PostgreSQL 15.14`."""
    name = "SQLite" if connection.dialect.name == "sqlite" else "PostgreSQL"
    return f"{name} {'.'.join(str(part) for part in connection.dialect.server_version_info or ())}".strip()


def clock(connection: Connection) -> datetime:
    """The database's clock: leases are judged by it."""
    return connection.execute(select(base.now())).scalar_one()


def refuses_writes(connection: Connection) -> bool:
    """Whether this server is a standby, or was told to take no writes. PostgreSQL only."""
    if connection.dialect.name != "postgresql":
        return False
    told = func.current_setting("default_transaction_read_only") == "on"
    return bool(connection.execute(select(func.pg_is_in_recovery() | told)).scalar_one())


def take_room(connection: Connection) -> None:
    """Have PostgreSQL lay out some pages on its disk, which are gone with the transaction.

    Raises what the lack of room is mapped to, and what the lack of the right to temporary tables is.
    """
    filled = "SELECT repeat('x', 1000) AS filling FROM generate_series(1, 100)"
    connection.execute(sqlalchemy.text(f"CREATE TEMPORARY TABLE reverser_room ON COMMIT DROP AS {filled}"))


def role_only_reads(connection: Connection) -> bool:
    """Whether it is our role that was told so, as that of auditors is. PostgreSQL only."""
    if connection.dialect.name != "postgresql":
        return False
    query = (
        "SELECT source LIKE '%user' FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'"
    )
    return bool(connection.execute(sqlalchemy.text(query)).scalar())


def foreign_tables(connection: Connection) -> list[str]:
    """The tables of a database that holds some and none of ours; nothing for one that is empty or ours."""
    found = set(sqlalchemy.inspect(connection).get_table_names())
    ours = set(base.Base.metadata.tables)
    return [] if found & ours else sorted(found - {"alembic_version"})


def missing_rights(connection: Connection) -> list[str]:
    """What the role of this connection may not do with our tables, as in `INSERT on event`. PostgreSQL only."""
    if connection.dialect.name != "postgresql":
        return []
    asked = dict(_rights())
    row = connection.execute(select(*(answer.label(right) for right, answer in asked.items()))).one()
    return [right for right, allowed in zip(asked, row, strict=True) if not allowed]


def _rights() -> Iterator[tuple[str, sqlalchemy.ColumnElement[bool]]]:
    for name, table in base.Base.metadata.tables.items():
        quoted = f'"{name}"'
        for verb in _VERBS:
            yield f"{verb} on {name}", func.has_table_privilege(quoted, verb)
        if table.autoincrement_column is not None:
            sequence = func.pg_get_serial_sequence(quoted, table.autoincrement_column.name)
            yield (
                f"USAGE on the sequence of {name}",
                func.coalesce(func.has_sequence_privilege(sequence, "USAGE"), True),
            )


def of_destinations(connection: Connection, *, cluster: str) -> list[DestinationHealth]:
    """The live destinations of a cluster, by name."""
    d, p, b = destinations.GitDestinationRow, destinations.PlaceRow, leases.RepositoryBranch
    query = (
        select(d.__table__, b.state)
        .outerjoin(p, p.id == d.place_id)
        .outerjoin(b, b.id == p.branch_id)
        .where(d.cluster == cluster, d.deleted_at.is_(None))
        .order_by(d.namespace, d.name)
    )
    return [_health(row) for row in connection.execute(query)]


def _health(row: base.AnyRow) -> DestinationHealth:
    return DestinationHealth(
        id=row.id,
        ref=Ref(row.namespace, row.name),
        ready=row.ready,
        reason=row.reason,
        message=row.message,
        not_before=row.not_before,
        last_error=row.last_error,
        last_error_reason=row.last_error_reason,
        stalled=row.stalled,
        last_sha=row.last_sha,
        last_pushed_at=row.last_pushed_at,
        branch_recorded=row.state == leases.PRESENT,
    )
