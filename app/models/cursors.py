"""Resume points of streams: they move only in the transaction that writes the Events before them (promise P8)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base


class WatchCursor(base.Base):
    """How far one stream (cluster x type x namespace) has been written into the ledger."""

    __tablename__ = "watch_cursor"

    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    api_group: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    # Empty for cluster scope and for a stream over all namespaces.
    namespace: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    resource_version: Mapped[str] = mapped_column(Text)
    # Rises when the source's history was put back (etcd restored from a backup).
    source_epoch: Mapped[int] = mapped_column(BigInteger)
    moved_at: Mapped[base.Moment]


@dataclass(frozen=True, slots=True)
class Cursor:
    """One resume point."""

    group: str
    resource: str
    namespace: str
    version: str
    resource_version: str
    source_epoch: int


_W = WatchCursor


def load(connection: Connection, *, cluster: str) -> list[Cursor]:
    """All resume points of a cluster."""
    return [
        Cursor(row.api_group, row.resource, row.namespace, row.version, row.resource_version, row.source_epoch)
        for row in connection.execute(select(_W.__table__).where(_W.cluster == cluster))
    ]


def move(connection: Connection, *, cluster: str, cursor: Cursor) -> None:
    """Set a resume point."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = {
        "version": cursor.version,
        "resource_version": cursor.resource_version,
        "source_epoch": cursor.source_epoch,
        "moved_at": base.now(),
    }
    key = {
        "cluster": cluster,
        "api_group": cursor.group,
        "resource": cursor.resource,
        "namespace": cursor.namespace,
    }
    insert = dialect.insert(_W).values(**key, **fresh)
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=fresh))


def drop(connection: Connection, *, cluster: str, cursor: Cursor) -> None:
    """Forget a resume point: its stream is covered by another one, or wanted by nobody."""
    connection.execute(
        delete(_W).where(
            _W.cluster == cluster,
            _W.api_group == cursor.group,
            _W.resource == cursor.resource,
            _W.namespace == cursor.namespace,
        )
    )
