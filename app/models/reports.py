"""What people ask: the views `audit_log` and `destination_lag` as typed rows, and the commits as they are recorded.

For `reverser audit`, `status` and `up`. The views are the SQL that people are expected to type; these functions ask the
same, so that the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, Connection, Float, Integer, Text, column, func, or_, select, table

from app.models import base, commits, destinations, leases

_AUDIT = table(
    "audit_log",
    column("pushed_at", base.Utc),
    column("cluster", Text),
    column("destination", Text),
    column("operation", Text),
    column("object", base.Escaped),
    column("namespace", base.Escaped),
    column("name", base.Escaped),
    column("user_name", base.Escaped),
    column("user_source", Text),
    column("rule", base.Escaped),
    column("branch", base.Escaped),
    column("path", base.Escaped),
    column("commit_sha", Text),
    column("sequence", Integer),
)

_LAG = table(
    "destination_lag",
    column("destination", Text),
    column("cluster", Text),
    column("branch", base.Escaped),
    column("base_folder", base.Escaped),
    column("ready", Boolean),
    column("reason", Text),
    column("message", base.Escaped),
    column("pending", Integer),
    column("events", Integer),
    column("queue", Text),
    column("lag_seconds", Float),
    column("last_sha", Text),
    column("last_pushed_at", base.Utc),
    column("last_error", base.Escaped),
    column("not_before", base.Utc),
    column("failed_drains", Integer),
    column("deleted_at", base.Utc),
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One file of one pushed commit: what changed, by whom as far as that is known, and where it stands in Git."""

    pushed_at: datetime
    cluster: str
    destination: str
    operation: str
    object: str
    namespace: str
    name: str
    user_name: str | None
    user_source: str | None
    rule: str
    branch: str
    path: str
    commit_sha: str
    sequence: int


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """How far one destination is.

    `events` counts the numbers given out so far, `lag_seconds` is the age of the oldest pending row, `not_before` the
    next try.
    """

    destination: str
    cluster: str
    branch: str | None
    base_folder: str | None
    ready: bool
    reason: str
    message: str
    pending: int
    events: int
    queue: str
    lag_seconds: float | None
    last_sha: str | None
    last_pushed_at: datetime | None
    last_error: str | None
    not_before: datetime | None
    failed_drains: int
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class PushedCommit:
    """One pushed commit as it was recorded; a higher `id` was recorded later."""

    id: int
    pushed_at: datetime
    destination: str
    branch: str
    sha: str
    subject: str


def last_commit(connection: Connection) -> int:
    """The id of the commit that was recorded last; 0 before the first."""
    return connection.scalar(select(func.max(commits.CommitRow.id))) or 0


def commits_after(connection: Connection, last: int, *, limit: int) -> list[PushedCommit]:
    """The commits that were recorded after one, the oldest first."""
    commit, destination = commits.CommitRow, destinations.GitDestinationRow
    query = (
        select(
            commit.id,
            commit.pushed_at,
            destination.namespace + "/" + destination.name,
            leases.RepositoryBranch.branch,
            commit.sha,
            commit.subject,
        )
        .join(destination, destination.id == commit.destination_id)
        .join(leases.RepositoryBranch, leases.RepositoryBranch.id == commit.branch_id)
        .where(commit.id > last)
        .order_by(commit.id)
    )
    return [PushedCommit(*row) for row in connection.execute(query.limit(limit))]


def destinations_ever(connection: Connection) -> list[str]:
    """The names of all destinations that there are or were: what was pushed for one that is gone is still asked."""
    row = destinations.GitDestinationRow
    return sorted(set(connection.scalars(select(row.namespace + "/" + row.name))))


def audit_entries(
    connection: Connection, *, destination: str = "", name: str = "", limit: int = 50
) -> list[AuditEntry]:
    """The newest entries first; of one destination (`namespace/name`) or of objects of one name where given."""
    view = _AUDIT.c
    query = select(_AUDIT).order_by(view.pushed_at.desc(), view.destination, view.sequence.desc(), view.path)
    if destination:
        query = query.where(view.destination == destination)
    if name:
        query = query.where(view.name == name)
    return [AuditEntry(*row) for row in connection.execute(query.limit(limit))]


def destination_statuses(connection: Connection) -> list[DestinationStatus]:
    """Every destination by name; a deleted one as long as rows of it pend."""
    view = _LAG.c
    query = select(_LAG).where(or_(view.deleted_at.is_(None), view.pending > 0))
    return [DestinationStatus(*row) for row in connection.execute(query.order_by(view.destination, view.cluster))]
