"""Live workers and what they serve; workers compute their queues from these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base

# A worker whose last beat is so many seconds ago is taken for dead, and others take over. Three beats: a busy database
# may hold one of them up for a while, and a worker that is taken for dead by mistake only gives its queues up.
STALE_AFTER = 3.0


class WorkerNode(base.Base):
    """One worker process group; it lives while its heartbeat is young."""

    __tablename__ = "worker_node"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    # Patterns of `namespace/name`; a dedicated worker wins over the pool.
    globs: Mapped[base.Json]
    dedicated: Mapped[bool]
    serves: Mapped[base.Json]
    started_at: Mapped[base.Moment]
    heartbeat: Mapped[base.Moment]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One live worker."""

    name: str
    globs: tuple[str, ...]
    dedicated: bool
    serves: tuple[str, ...]


_N = WorkerNode


def beat(
    connection: Connection,
    *,
    name: str,
    globs: Sequence[str],
    dedicated: bool,
    serves: Sequence[str],
) -> None:
    """Say that a worker lives and what it serves; the rows of long dead ones are dropped."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = {"globs": list(globs), "dedicated": dedicated, "serves": list(serves), "heartbeat": base.now()}
    insert = dialect.insert(_N).values(name=name, started_at=base.now(), **fresh)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=fresh))
    # Not one that another worker is about to bring back: two that drop each other's row would wait in a circle.
    dead = select(_N.name).where(_N.heartbeat < base.now(-10 * STALE_AFTER)).with_for_update(skip_locked=True)
    connection.execute(delete(_N).where(_N.name.in_(dead)))


def live(connection: Connection) -> list[NodeRow]:
    """Workers whose heartbeat is younger than `STALE_AFTER`, by name."""
    query = select(_N.__table__).where(_N.heartbeat >= base.now(-STALE_AFTER)).order_by(_N.name)
    return [NodeRow(row.name, tuple(row.globs), row.dedicated, tuple(row.serves)) for row in connection.execute(query)]


def remove(connection: Connection, name: str) -> None:
    """A worker ends."""
    connection.execute(delete(_N).where(_N.name == name))
