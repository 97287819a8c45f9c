"""Resume points of streams: they move only in the transaction that writes the Events before them (promise P8)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Text, delete, false, select, update
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
    # No resume point: nobody read on from here, and changes were missed. It says how far the cluster was.
    suspended: Mapped[bool] = mapped_column(default=False, server_default=false())


@dataclass(frozen=True, slots=True)
class Cursor:
    """One resume point."""

    group: str
    resource: str
    namespace: str
    version: str
    resource_version: str
    source_epoch: int

    @property
    def resource_key(self) -> tuple[str, str, str]:
        """What has one resume point: two versions of a type share it."""
        return self.group, self.resource, self.namespace

    @property
    def type_key(self) -> tuple[str, str]:
        """What has one history of resourceVersions."""
        return self.group, self.resource


_W = WatchCursor


def load(connection: Connection, *, cluster: str) -> list[Cursor]:
    """All resume points of a cluster."""
    return _read(connection, _W.cluster == cluster, ~_W.suspended)


def ever(connection: Connection, *, cluster: str) -> list[Cursor]:
    """How far the streams of a cluster have come, those that cannot resume from there as well."""
    return _read(connection, _W.cluster == cluster)


def _read(connection: Connection, *which: base.Condition) -> list[Cursor]:
    return [
        Cursor(row.api_group, row.resource, row.namespace, row.version, row.resource_version, row.source_epoch)
        for row in connection.execute(select(_W.__table__).where(*which))
    ]


def move(connection: Connection, *, cluster: str, cursor: Cursor) -> None:
    """Set a resume point."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = {
        "version": cursor.version,
        "resource_version": cursor.resource_version,
        "source_epoch": cursor.source_epoch,
        "moved_at": base.now(),
        "suspended": False,
    }
    key = {
        "cluster": cluster,
        "api_group": cursor.group,
        "resource": cursor.resource,
        "namespace": cursor.namespace,
    }
    insert = dialect.insert(_W).values(**key, **fresh)
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=fresh))


def suspend(connection: Connection, *, cluster: str, cursor: Cursor) -> None:
    """Nobody resumes from this point any more."""
    connection.execute(update(_W).where(*_is(cluster, cursor)).values(suspended=True))


def drop(connection: Connection, *, cluster: str, cursor: Cursor) -> None:
    """Forget a resume point: its stream is covered by another one."""
    connection.execute(delete(_W).where(*_is(cluster, cursor)))


def _is(cluster: str, cursor: Cursor) -> tuple[base.Condition, ...]:
    columns = _W.api_group, _W.resource, _W.namespace
    is_it = (column == value for column, value in zip(columns, cursor.resource_key, strict=True))
    return _W.cluster == cluster, *is_it
