"""What each stream of the leading watch daemon does, as it says itself (`reverser status --streams`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Text, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base


class WatchStream(base.Base):
    """One stream (cluster x type x namespace) at the moment."""

    __tablename__ = "watch_stream"

    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    api_group: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    # Empty for cluster scope and for a stream over all namespaces.
    namespace: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    since: Mapped[base.Moment]
    heard_at: Mapped[datetime | None] = mapped_column(base.Utc)
    next_try: Mapped[datetime | None] = mapped_column(base.Utc)
    message: Mapped[base.Name]


# Group, version, resource and namespace.
Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class StreamState:
    """What one stream does: since when, when the API server last said something on it, and when it tries again."""

    api_group: str
    version: str
    resource: str
    namespace: str
    state: str
    since: datetime
    heard_at: datetime | None
    next_try: datetime | None
    message: str

    @property
    def key(self) -> Key:
        """What tells it from the other streams of its cluster."""
        return self.api_group, self.version, self.resource, self.namespace


_S = WatchStream
_KEY = (_S.api_group, _S.version, _S.resource, _S.namespace)


def save(connection: Connection, *, cluster: str, states: Sequence[StreamState], gone: Collection[Key]) -> None:
    """Write what some streams of a cluster do now, and forget those that are gone."""
    for key in gone:
        of_one = (column == value for column, value in zip(_KEY, key, strict=True))
        connection.execute(delete(_S).where(_S.cluster == cluster, *of_one))
    replaced = ("cluster", *(column.key for column in _KEY))
    base.insert_many(connection, _S, [{"cluster": cluster, **asdict(one)} for one in states], replace=replaced)


def load(connection: Connection, *, cluster: str) -> list[StreamState]:
    """What the streams of a cluster did last, by type and namespace."""
    query = select(_S.__table__).where(_S.cluster == cluster)
    query = query.order_by(_S.api_group, _S.resource, _S.namespace, _S.version)
    rows = (row._asdict() for row in connection.execute(query))
    return [StreamState(**{name: value for name, value in row.items() if name != "cluster"}) for row in rows]
