"""Pushed commits and the files in them: the record that people query. Rows here outlive the ledger's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, ForeignKey, Index, Text, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from app import events
from app.models import base


class CommitRow(base.Base):
    """One pushed commit of ours. `sha` is unique on its branch, so a commit is recorded once."""

    __tablename__ = "commit"
    __table_args__ = (UniqueConstraint("branch_id", "sha"), Index(None, "destination_id", "id"))

    id: Mapped[base.AutoId]
    destination_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("git_destination.id"))
    place_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("place.id"))
    branch_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("repository_branch.id"))
    sha: Mapped[str] = mapped_column(Text)
    author: Mapped[base.Name]
    subject: Mapped[base.Name]
    message: Mapped[base.Name]
    first_sequence: Mapped[int] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    pushed_at: Mapped[base.Moment]


class CommitChange(base.Base):
    """One file in one commit. No foreign key into the ledger, whose rows are dropped in time."""

    __tablename__ = "commit_change"
    __table_args__ = (
        Index(None, "resource", "namespace", "name"),
        Index(None, "user_name"),
    )

    commit_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("commit.id"), primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(base.Escaped, primary_key=True)
    operation: Mapped[str] = mapped_column(Text)
    api_group: Mapped[base.Name]
    version: Mapped[base.Name]
    resource: Mapped[base.Name]
    namespace: Mapped[base.Name]
    name: Mapped[base.Name]
    uid: Mapped[base.Name]
    resource_version: Mapped[base.Name]
    user_name: Mapped[str | None] = mapped_column(base.Escaped)
    user_source: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[base.Name]
    sequence: Mapped[int] = mapped_column(BigInteger)
    blob_id: Mapped[str | None] = mapped_column(Text)
    observed_at: Mapped[datetime | None] = mapped_column(base.Utc)


@dataclass(frozen=True, slots=True)
class Change:
    """One file of a commit on its way into the record; `operation` is the object's."""

    path: str
    operation: str
    identifier: events.Identifier
    resource_version: str
    user: events.UserInfo | None
    rule: str
    sequence: int
    blob_id: str | None
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewCommit:
    """A commit that was pushed, with its files."""

    sha: str
    author: str
    message: str
    first_sequence: int
    last_sequence: int
    changes: tuple[Change, ...]


def record(
    connection: Connection, new: Sequence[NewCommit], *, destination_id: int, place_id: int, branch_id: int
) -> list[int | None]:
    """Write commits and their files; the row id of each, or None for one that was recorded before."""
    known = shas(connection, branch_id=branch_id, among=[commit.sha for commit in new])
    fresh = [commit for commit in new if commit.sha not in known]
    if not fresh:
        return [None] * len(new)
    where = {"destination_id": destination_id, "place_id": place_id, "branch_id": branch_id}
    insert = base.insert(CommitRow).values(pushed_at=base.now()).returning(CommitRow.sha, CommitRow.id)
    written = connection.execute(insert, [where | _commit(commit) for commit in fresh])
    ids: dict[str, int] = {row.sha: row.id for row in written}
    base.insert_many(
        connection, CommitChange, [_change(ids[commit.sha], change) for commit in fresh for change in commit.changes]
    )
    return [ids.get(commit.sha) for commit in new]


def _commit(commit: NewCommit) -> dict[str, object]:
    return {
        "sha": commit.sha,
        "author": commit.author,
        "subject": commit.message.partition("\n")[0],
        "message": commit.message,
        "first_sequence": commit.first_sequence,
        "last_sequence": commit.last_sequence,
    }


def _change(commit_id: int, change: Change) -> dict[str, object]:
    what = change.identifier
    return {
        "commit_id": commit_id,
        "path": change.path,
        "operation": change.operation,
        "api_group": what.group,
        "version": what.version,
        "resource": what.resource,
        "namespace": what.namespace,
        "name": what.name,
        "uid": what.uid,
        "resource_version": change.resource_version,
        "user_name": change.user.username if change.user else None,
        "user_source": change.user.source if change.user else None,
        "rule": change.rule,
        "sequence": change.sequence,
        "blob_id": change.blob_id,
        "observed_at": change.observed_at,
    }


def id_of(connection: Connection, *, branch_id: int, sha: str) -> int | None:
    """The row id of a recorded commit."""
    return connection.scalar(select(CommitRow.id).where(CommitRow.branch_id == branch_id, CommitRow.sha == sha))


def shas(connection: Connection, *, branch_id: int, among: Sequence[str]) -> set[str]:
    """Which of some commits are recorded on a branch."""
    query = select(CommitRow.sha).where(CommitRow.branch_id == branch_id, base.among(connection, CommitRow.sha, among))
    return set(connection.scalars(query))
