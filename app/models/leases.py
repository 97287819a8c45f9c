"""Leases with fencing tokens: who may write a repository branch, and who leads the watching of a cluster.

A takeover raises the token under FOR UPDATE; every write of a holder takes FOR KEY SHARE on the row and compares
the token, so that a frozen holder that wakes finds out inside its own transaction (promise P6). Renewals change
no key and therefore never wait for a writer. Expiry is judged by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Text, UniqueConstraint, case, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from app import errors
from app.models import base

# Whether the remote has the branch, as last recorded. It tells a branch that was never there from a deleted one.
UNKNOWN = "unknown"
MISSING = "missing"
PRESENT = "present"


class RepositoryBranch(base.Base):
    """One branch of one repository: its lease and its last recorded head."""

    __tablename__ = "repository_branch"
    __table_args__ = (UniqueConstraint("url_key", "branch"),)

    id: Mapped[base.AutoId]
    url_key: Mapped[str] = mapped_column(Text)
    branch: Mapped[base.Name]
    # The last recorded head; with state `missing`, the commit that the branch will start from.
    head: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=UNKNOWN)
    owner: Mapped[str] = mapped_column(Text, default="")
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    until: Mapped[base.Moment]
    # Which destination the last holder drained, and whether it said how that ended: recorded, put off, or released.
    destination_id: Mapped[int | None] = mapped_column(base.RowId)
    settled: Mapped[bool] = mapped_column(default=True)


class WatchLease(base.Base):
    """Who leads the watching of one cluster, and which cluster that is (the uid of its kube-system namespace)."""

    __tablename__ = "watch_lease"

    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    cluster_uid: Mapped[str] = mapped_column(Text, default="")
    # Rises when the cluster's history was put back (etcd restored), and never falls: this row is never dropped.
    source_epoch: Mapped[int] = mapped_column(BigInteger, default=1)
    owner: Mapped[str] = mapped_column(Text, default="")
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    until: Mapped[base.Moment]
    # Why the leader's publisher drops messages at the moment, with the count since its start; null where none says so.
    drops: Mapped[Any] = mapped_column(JSON, nullable=True)


@dataclass(frozen=True, slots=True)
class BranchLease:
    """A lease that was taken. `crashed` names the destination whose last holder vanished without a word."""

    branch_id: int
    token: int
    owner: str
    head: str | None
    state: str
    crashed: int | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """The leadership of one cluster."""

    cluster: str
    token: int
    owner: str


def insert_ignore(connection: Connection, table: type[base.Base], **values: object) -> None:
    """Insert a row unless its key is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())


def ensure_branch(connection: Connection, *, url_key: str, branch: str) -> int:
    """The id of a repository branch; made when it is new."""
    wanted = select(RepositoryBranch.id).filter_by(url_key=url_key, branch=branch)
    found = connection.scalar(wanted)
    if found is None:
        long_ago = base.now(-1.0)
        insert_ignore(connection, RepositoryBranch, url_key=url_key, branch=branch, until=long_ago)
        found = connection.scalar(wanted)
    assert found is not None
    return found


def take_branch(
    connection: Connection, *, branch_id: int, owner: str, seconds: float, destination_id: int | None
) -> BranchLease | None:
    """Take the lease of a branch, or None while somebody else holds it.

    Should its holder vanish, that is counted to a destination, where one is named.
    """
    row = select(RepositoryBranch).with_only_columns(
        RepositoryBranch.token,
        RepositoryBranch.head,
        RepositoryBranch.state,
        RepositoryBranch.settled,
        RepositoryBranch.destination_id,
    )
    free = row.where(RepositoryBranch.id == branch_id, RepositoryBranch.until <= base.now())
    # A row that is locked is in use, whatever its time says: its holder is recording or renews, or a place is being
    # written that refers to it. Whoever finds it so tries again for a moment.
    found = connection.execute(free.with_for_update(skip_locked=True)).one_or_none()
    if found is None:
        return None
    token = found.token + 1
    connection.execute(
        update(RepositoryBranch)
        .where(RepositoryBranch.id == branch_id)
        .values(owner=owner, token=token, until=base.now(seconds), destination_id=destination_id, settled=False)
    )
    crashed = None if found.settled else found.destination_id
    return BranchLease(branch_id, token, owner, found.head, found.state, crashed)


def renew_branch(connection: Connection, lease: BranchLease, *, seconds: float) -> bool:
    """Hold the lease for `seconds` from now; False when somebody took it over."""
    renewed = connection.execute(
        update(RepositoryBranch)
        .where(RepositoryBranch.id == lease.branch_id, RepositoryBranch.token == lease.token)
        .values(until=base.now(seconds))
    )
    return renewed.rowcount == 1


def release_branch(connection: Connection, lease: BranchLease) -> None:
    """Give the lease back; a no-op when somebody took it over."""
    connection.execute(
        update(RepositoryBranch)
        .where(RepositoryBranch.id == lease.branch_id, RepositoryBranch.token == lease.token)
        .values(owner="", until=base.now(-1.0), settled=True)
    )


def fence_branch(connection: Connection, lease: BranchLease) -> None:
    """Prove inside a transaction that the lease is still ours. Raises LeaseLostError."""
    token = connection.scalar(
        select(RepositoryBranch.token)
        .where(RepositoryBranch.id == lease.branch_id)
        .with_for_update(read=True, key_share=True)
    )
    if token != lease.token:
        raise errors.LeaseLostError("the lease of the branch was taken over; the new holder works on from the ledger")


def settle_branch(connection: Connection, lease: BranchLease, *, head: str | None = None) -> BranchLease:
    """Note in a fenced transaction that the holder said how its drain ended; with a head, that it pushed it.

    The lease with the new head.
    """
    if head is None:
        _set_branch(connection, lease, settled=True)
        return lease
    _set_branch(connection, lease, settled=True, head=head, state=PRESENT)
    return replace(lease, head=head, state=PRESENT)


def move_head(connection: Connection, lease: BranchLease, *, head: str | None, state: str) -> BranchLease:
    """Record in a fenced transaction where the branch stands; the lease with the new head."""
    _set_branch(connection, lease, head=head, state=state)
    return replace(lease, head=head, state=state)


def _set_branch(connection: Connection, lease: BranchLease, **values: object) -> None:
    connection.execute(
        update(RepositoryBranch)
        .where(RepositoryBranch.id == lease.branch_id, RepositoryBranch.token == lease.token)
        .values(**values)
    )


def take_lead(connection: Connection, *, cluster: str, cluster_uid: str, owner: str, seconds: float) -> Lead | None:
    """Lead the watching of a cluster, or None while somebody else does.

    Raises StalledError when the cluster behind this name is another one than the recorded one.
    """
    insert_ignore(connection, WatchLease, cluster=cluster, until=base.now(-1.0))
    free = WatchLease.until <= base.now()
    if connection.scalar(select(WatchLease.cluster).where(WatchLease.cluster == cluster, free)) is None:
        return None
    query = select(WatchLease.token, WatchLease.cluster_uid).where(WatchLease.cluster == cluster, free)
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        return None
    if found.cluster_uid not in {"", cluster_uid}:
        raise errors.StalledError(
            f"cluster {cluster!r} is another one than the recorded one (its kube-system namespace has another uid): "
            "nothing is watched; correct the kubeconfig, or set REVERSER_CLUSTER to a new name",
            reason="WrongCluster",
        )
    token = found.token + 1
    connection.execute(
        update(WatchLease)
        .where(WatchLease.cluster == cluster)
        .values(cluster_uid=cluster_uid, owner=owner, token=token, until=base.now(seconds), drops={})
    )
    return Lead(cluster, token, owner)


def renew_lead(connection: Connection, lead: Lead, *, seconds: float, drops: Mapping[str, int]) -> bool:
    """Lead for `seconds` from now, and say what is dropped at the moment; False when somebody took over."""
    renewed = connection.execute(
        update(WatchLease)
        .where(WatchLease.cluster == lead.cluster, WatchLease.token == lead.token)
        .values(until=base.now(seconds), drops=dict(drops))
    )
    return renewed.rowcount == 1


def release_lead(connection: Connection, lead: Lead) -> None:
    """Step down; a no-op when somebody took over."""
    connection.execute(
        update(WatchLease)
        .where(WatchLease.cluster == lead.cluster, WatchLease.token == lead.token)
        .values(owner="", until=base.now(-1.0))
    )


def fence_lead(connection: Connection, lead: Lead) -> None:
    """Prove inside a transaction that we still lead. Raises LeaseLostError."""
    token = connection.scalar(
        select(WatchLease.token).where(WatchLease.cluster == lead.cluster).with_for_update(read=True, key_share=True)
    )
    if token != lead.token:
        raise errors.LeaseLostError(f"another watch daemon leads cluster {lead.cluster!r} now; this one stands by")


def source_epoch(connection: Connection, *, cluster: str) -> int:
    """The epoch of a cluster's history: resourceVersions of two epochs say nothing about each other."""
    return connection.execute(select(WatchLease.source_epoch).where(WatchLease.cluster == cluster)).scalar_one()


def raise_source_epoch(connection: Connection, *, cluster: str, above: int) -> int:
    """The epoch after `above`, in which a stream met a cluster that went back in time.

    The streams of a cluster meet one restore one after the other: only the first of them raises the epoch.
    """
    newest = source_epoch(connection, cluster=cluster)
    if newest > above:
        return newest
    raised = update(WatchLease).where(WatchLease.cluster == cluster).values(source_epoch=newest + 1)
    return connection.execute(raised.returning(WatchLease.source_epoch)).scalar_one()


def leader(connection: Connection, *, cluster: str) -> str | None:
    """The name of the watch daemon that leads a cluster now, or None."""
    return connection.scalar(
        select(case((WatchLease.until > base.now(), WatchLease.owner), else_=None)).where(WatchLease.cluster == cluster)
    )


def dropped(connection: Connection, *, cluster: str) -> dict[str, int]:
    """What the publisher of the leader drops at the moment, by reason, with the count since its start."""
    found = connection.scalar(
        select(WatchLease.drops).where(WatchLease.cluster == cluster, WatchLease.until > base.now())
    )
    return dict(found or {})


def recorded_uid(connection: Connection, *, cluster: str) -> str:
    """The uid of the kube-system namespace that a cluster was first met with; empty before that."""
    return connection.scalar(select(WatchLease.cluster_uid).where(WatchLease.cluster == cluster)) or ""


def waiting_until(connection: Connection, *, branch_id: int) -> datetime | None:
    """When the lease of a branch ends, or None while it is free."""
    return connection.scalar(
        select(RepositoryBranch.until).where(RepositoryBranch.id == branch_id, RepositoryBranch.until > base.now())
    )
