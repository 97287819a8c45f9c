"""Repositories, destinations and places as last seen, with the queries that watch daemons and workers need.

A place is repository + branch + folder of a destination with a generation; the inventory, the pending rows and
"unchanged" all belong to one place. Watch daemons write what the resources say, workers write how drains went.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from app import errors
from app.events import Ref
from app.models import base, ledger
from app.rules import pruning, urls


class GitRepoConfigRow(base.Base):
    """A GitRepoConfig as last seen."""

    __tablename__ = "git_repo_config"

    id: Mapped[base.AutoId]
    uid: Mapped[str] = mapped_column(Text, unique=True)
    namespace: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    url: Mapped[base.Name]
    url_key: Mapped[base.Name]
    transport: Mapped[str] = mapped_column(Text)
    # What fails together: a host that does not answer lets all its destinations wait.
    host: Mapped[base.Name]
    secret_name: Mapped[str | None] = mapped_column(Text)
    push_interval: Mapped[float | None] = mapped_column(Float)
    max_commits: Mapped[int | None] = mapped_column(Integer)
    # Workers write these two: how the last connection ended (`Connected`, or a reason), and what it saw.
    connection_check: Mapped[str | None] = mapped_column(Text)
    branch_count: Mapped[int | None] = mapped_column(Integer)
    ready: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    message: Mapped[base.Name]
    deleted_at: Mapped[datetime | None] = mapped_column(base.Utc)


class GitDestinationRow(base.Base):
    """A GitDestination as last seen, and how its drains went."""

    __tablename__ = "git_destination"
    __table_args__ = (Index(None, "namespace", "name"),)

    id: Mapped[base.AutoId]
    uid: Mapped[str] = mapped_column(Text, unique=True)
    cluster: Mapped[str] = mapped_column(Text)
    namespace: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    place_id: Mapped[int | None] = mapped_column(base.RowId)
    ready: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    message: Mapped[base.Name]
    deleted_at: Mapped[datetime | None] = mapped_column(base.Utc)
    # Below here workers write.
    not_before: Mapped[datetime | None] = mapped_column(base.Utc)
    failed_drains: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str | None] = mapped_column(base.Escaped)
    last_error_reason: Mapped[str | None] = mapped_column(Text)
    # Whether a person has to act: the error does not pass by itself.
    stalled: Mapped[bool] = mapped_column(default=False)
    last_error_at: Mapped[datetime | None] = mapped_column(base.Utc)
    last_sha: Mapped[str | None] = mapped_column(Text)
    last_pushed_at: Mapped[datetime | None] = mapped_column(base.Utc)
    branch_exists: Mapped[bool | None]
    # Why a worker or a person wants a seed (the branch was rewritten); the watch daemon starts it and clears this.
    seed_wanted: Mapped[str | None] = mapped_column(Text)
    # When the regular check last asked for a seed; the watch daemon writes it.
    checked_at: Mapped[datetime | None] = mapped_column(base.Utc)
    # How many rows were superseded because too many pended; workers count them.
    superseded: Mapped[int | None] = mapped_column(BigInteger)
    # The newest commit in its folder of an installation that is not this one, and when it was found.
    foreign_sha: Mapped[str | None] = mapped_column(Text)
    foreign_at: Mapped[datetime | None] = mapped_column(base.Utc)
    # What its spec says of removing files; null is of a watch daemon that does not say.
    prune: Mapped[str | None] = mapped_column(Text)
    max_prune_ratio: Mapped[float | None] = mapped_column(Float)


class PlaceRow(base.Base):
    """One place of a destination: repository + branch + folder. Another one has a row and a generation of its own.

    A place that was not allowed for a while, or that was left and is taken again, keeps its row, with what stands
    there, and takes the next generation.
    """

    __tablename__ = "place"
    # The second finds who else has a folder, or had it.
    __table_args__ = (UniqueConstraint("destination_id", "generation"), Index(None, "branch_id", "base_folder"))

    id: Mapped[base.AutoId]
    destination_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("git_destination.id"), index=True)
    generation: Mapped[int] = mapped_column(BigInteger)
    repo_config_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("git_repo_config.id"))
    branch_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("repository_branch.id"))
    url_key: Mapped[base.Name]
    branch: Mapped[base.Name]
    base_folder: Mapped[base.Name]
    since: Mapped[base.Moment]
    retired_at: Mapped[datetime | None] = mapped_column(base.Utc)


@dataclass(frozen=True, slots=True)
class Destination:
    """Everything that a drain and an Event need to know of one destination at one place: the current one mostly."""

    id: int
    uid: str
    ref: Ref
    cluster: str
    place_id: int
    place_generation: int
    branch_id: int
    branch: str
    base_folder: str
    url: str
    url_key: str
    transport: urls.Transport
    host: str
    repo_config_id: int
    repo_config: Ref
    secret_name: str | None
    push_interval: float | None
    max_commits: int | None
    failed_drains: int
    last_error_reason: str | None
    # How long it was put off for that error, in seconds.
    last_wait: float
    last_pushed_at: datetime | None
    deleted: bool
    # Whether it may be drained now: `not_before` has passed.
    due: bool
    ledger_uuid: str
    pruning: pruning.Pruning
    # Whether it points elsewhere by now: nothing is written here, files are removed where a person wants that.
    former: bool
    # Whether its GitRepoConfig names the repository of this place.
    named: bool


@dataclass(frozen=True, slots=True)
class RepoConfigSeen:
    """What a watch daemon saw of a GitRepoConfig; `url` fields are empty while it is not ready."""

    uid: str
    ref: Ref
    url: str
    url_key: str
    transport: urls.Transport
    host: str
    secret_name: str | None
    push_interval: float | None
    max_commits: int | None
    ready: bool
    reason: str
    message: str


# The reason of an error that is the host's, and the longest time that one of its destinations waits for the others.
HOST_UNREACHABLE = "HostUnreachable"
LONGEST_SPREAD = 300.0
# What `connection_check` says while the repository answers.
CONNECTED = "Connected"

_D, _P, _C = GitDestinationRow, PlaceRow, GitRepoConfigRow

# What a drain depends on, beside the place.
_DECISIVE = (_C.url_key, _C.secret_name, _C.push_interval, _C.max_commits)
# A destination that works.
NO_ERROR: Mapping[str, object] = {
    "not_before": None,
    "failed_drains": 0,
    "last_error": None,
    "last_error_reason": None,
    "last_error_at": None,
    "stalled": False,
}


def save_repo_config(connection: Connection, seen: RepoConfigSeen) -> int:
    """Insert or update a repository config by uid; its id.

    Where it says something else now of address, credentials or pace, its destinations try again at once: they waited
    for what it said before.
    """
    values = {
        "namespace": seen.ref.namespace,
        "name": seen.ref.name,
        "url": seen.url,
        "url_key": seen.url_key,
        "transport": seen.transport,
        "host": seen.host,
        "secret_name": seen.secret_name,
        "push_interval": seen.push_interval,
        "max_commits": seen.max_commits,
        "ready": seen.ready,
        "reason": seen.reason,
        "message": seen.message,
        "deleted_at": None,
    }
    before = connection.execute(select(_C.id, *_DECISIVE).where(_C.uid == seen.uid)).one_or_none()
    config_id = _save(connection, _C, seen.uid, values)
    if before is not None and before[1:] != (seen.url_key, seen.secret_name, seen.push_interval, seen.max_commits):
        _release(connection, config_id)
    return config_id


def _release(connection: Connection, config_id: int) -> None:
    through = select(_P.id).where(_P.repo_config_id == config_id, _P.retired_at.is_(None))
    waiting = select(_D.id).where(_D.place_id.in_(through), _D.not_before.is_not(None))
    found = locked(connection, connection.scalars(waiting))
    connection.execute(update(_D).where(_D.id.in_(found)).values(not_before=None))


def save_destination(
    connection: Connection,
    *,
    uid: str,
    ref: Ref,
    cluster: str,
    ready: bool,
    reason: str,
    message: str,
    pruned: pruning.Pruning = pruning.DEFAULT,
) -> int:
    """Insert or update a destination by uid, and give a new one its ledger head; its id. The place is separate."""
    values = {
        "namespace": ref.namespace,
        "name": ref.name,
        "cluster": cluster,
        "ready": ready,
        "reason": reason,
        "message": message,
        "deleted_at": None,
        "prune": pruned.policy.value,
        "max_prune_ratio": pruned.max_ratio,
    }
    destination_id = _save(connection, _D, uid, values)
    ledger.open_head(connection, destination_id)
    return destination_id


def _save(
    connection: Connection, table: type[GitRepoConfigRow | GitDestinationRow], uid: str, values: Mapping[str, object]
) -> int:
    found = connection.execute(update(table).where(table.uid == uid).values(**values).returning(table.id)).scalar()
    if found is None:
        found = connection.execute(base.insert(table).values(uid=uid, **values).returning(table.id)).scalar_one()
    return int(found)


def retire_destinations(connection: Connection, *, cluster: str, keep: set[str]) -> list[int]:
    """Mark destinations of a cluster whose uid is not in `keep` as deleted; the ids that were marked now."""
    return _retire(connection, _D, keep, _D.cluster == cluster)


def retire_repo_configs(connection: Connection, *, keep: set[str]) -> list[int]:
    """Mark repository configs whose uid is not in `keep` as deleted."""
    return _retire(connection, _C, keep)


def _retire(
    connection: Connection, table: type[GitRepoConfigRow | GitDestinationRow], keep: set[str], *where: base.Condition
) -> list[int]:
    live = select(table.id, table.uid).where(table.deleted_at.is_(None), *where)
    gone = [row.id for row in connection.execute(live) if row.uid not in keep]
    if gone:
        connection.execute(update(table).where(table.id.in_(gone)).values(deleted_at=base.now()))
    return gone


def _query() -> base.AnySelect:
    """Destinations at the places that they have."""
    # A config that names another repository now says nothing about this place: its rows wait for a decision.
    return at_places().where(_P.id == _D.place_id, _C.url_key == _P.url_key)


def at_places() -> base.AnySelect:
    """Destinations at all their places, former ones too: for `of_row`. Joins both tables and the config's."""
    return (
        select(
            _D.id,
            _D.uid,
            _D.namespace,
            _D.name,
            _D.cluster,
            _D.failed_drains,
            _D.last_error_reason,
            _D.last_error_at,
            _D.not_before,
            _D.prune,
            _D.max_prune_ratio,
            _D.last_pushed_at,
            _D.deleted_at,
            _due().label("due"),
            ledger.LedgerHead.ledger_uuid,
            _P.id.label("place_id"),
            _P.generation,
            _P.branch_id,
            _P.branch,
            _P.base_folder,
            _P.id.is_distinct_from(_D.place_id).label("former"),
            (_C.url_key == _P.url_key).label("named"),
            _P.url_key,
            _C.url,
            _C.transport,
            _C.host,
            _C.id.label("repo_config_id"),
            _C.namespace.label("repo_namespace"),
            _C.name.label("repo_name"),
            _C.secret_name,
            _C.push_interval,
            _C.max_commits,
        )
        .join(ledger.LedgerHead, ledger.LedgerHead.destination_id == _D.id)
        .join(_P, _P.destination_id == _D.id)
        .join(_C, _C.id == _P.repo_config_id)
    )


def of_row(row: base.AnyRow) -> Destination:
    """A row of `at_places`."""
    return Destination(
        id=row.id,
        uid=row.uid,
        ref=Ref(row.namespace, row.name),
        cluster=row.cluster,
        place_id=row.place_id,
        place_generation=row.generation,
        branch_id=row.branch_id,
        branch=row.branch,
        base_folder=row.base_folder,
        url=row.url,
        url_key=row.url_key,
        transport=row.transport,
        host=row.host,
        repo_config_id=row.repo_config_id,
        repo_config=Ref(row.repo_namespace, row.repo_name),
        secret_name=row.secret_name,
        push_interval=row.push_interval,
        max_commits=row.max_commits,
        failed_drains=row.failed_drains,
        last_error_reason=row.last_error_reason,
        last_wait=_wait(row.last_error_at, row.not_before),
        last_pushed_at=row.last_pushed_at,
        deleted=row.deleted_at is not None,
        due=bool(row.due),
        ledger_uuid=row.ledger_uuid,
        pruning=_pruning(row.prune, row.max_prune_ratio),
        former=bool(row.former),
        named=bool(row.named),
    )


def _wait(since: datetime | None, until: datetime | None) -> float:
    return max(0.0, (until - since).total_seconds()) if since and until else 0.0


def pruning_of(connection: Connection, uid: str) -> pruning.Pruning | None:
    """What the spec of a destination said of removing files when it was stored; None for an unknown one."""
    row = connection.execute(select(_D.prune, _D.max_prune_ratio).where(_D.uid == uid)).one_or_none()
    return None if row is None else _pruning(row.prune, row.max_prune_ratio)


def _pruning(policy: str | None, ratio: float | None) -> pruning.Pruning:
    max_ratio = pruning.DEFAULT.max_ratio if ratio is None else ratio
    return pruning.Pruning(policy=pruning.Policy.read(policy), max_ratio=max_ratio)


def by_ref(connection: Connection, ref: Ref, *, pending: bool = False) -> list[Destination]:
    """Destinations of this name that have a place: the live one and deleted ones with pending rows, oldest first.

    With `pending`, only those that have rows to drain.
    """
    wanted = _pending() if pending else _served()
    query = _query().where(_D.namespace == ref.namespace, _D.name == ref.name, wanted)
    return [of_row(row) for row in connection.execute(query.order_by(_D.id))]


def finished(connection: Connection, ref: Ref) -> list[tuple[str, int]]:
    """Of each live destination of this name, by uid, up to which number every row is final.

    Not of deleted ones, which a name that comes and goes gathers for ever.
    """
    first = select(func.min(ledger.EventRow.sequence))
    first = first.where(ledger.EventRow.destination_id == _D.id, ledger.IS_PENDING)
    # Numbers that are not seen yet follow those that are: nothing can pend below `next` but what does now.
    end = func.coalesce(first.scalar_subquery(), ledger.LedgerHead.next) - 1
    query = select(_D.uid, end).join(ledger.LedgerHead, ledger.LedgerHead.destination_id == _D.id)
    query = query.where(_D.namespace == ref.namespace, _D.name == ref.name, _D.deleted_at.is_(None))
    return [(uid, number) for uid, number in connection.execute(query)]


def by_id(connection: Connection, destination_id: int) -> Destination | None:
    """One destination with its current place, or None before it has one."""
    row = connection.execute(_query().where(_D.id == destination_id)).one_or_none()
    return None if row is None else of_row(row)


def live(connection: Connection, *, cluster: str) -> list[Destination]:
    """Live and ready destinations of a cluster, by id."""
    query = _query().where(_D.cluster == cluster, _D.deleted_at.is_(None), _D.ready)
    return [of_row(row) for row in connection.execute(query.order_by(_D.id))]


def ids_ever(connection: Connection, *, cluster: str) -> list[int]:
    """The ids of all destinations of a cluster, those that are gone too."""
    return list(connection.scalars(select(_D.id).where(_D.cluster == cluster).order_by(_D.id)))


def queue_refs(connection: Connection) -> list[Ref]:
    """The destinations that need a queue: live ones, and deleted ones while rows of theirs pend."""
    rows = connection.execute(select(_D.namespace, _D.name).where(_served()).distinct())
    return sorted(Ref(row.namespace, row.name) for row in rows)


def gone_refs(connection: Connection, *, cluster: str) -> set[Ref]:
    """Names of deleted destinations of a cluster that need no queue any more, and that nobody has again."""
    query = select(_D.namespace, _D.name).where(_D.cluster == cluster, _D.deleted_at.is_not(None)).distinct()
    return {Ref(row.namespace, row.name) for row in connection.execute(query)} - set(queue_refs(connection))


def _served() -> base.Condition:
    pending = exists().where(ledger.EventRow.destination_id == _D.id, ledger.IS_PENDING)
    return or_(_D.deleted_at.is_(None), pending)


def _pending() -> base.Condition:
    """Whether a destination has rows to drain at its place."""
    rows = ledger.EventRow.destination_id == _D.id, ledger.EventRow.place_id == _D.place_id, ledger.IS_PENDING
    return exists().where(*rows)


def waiting_for(connection: Connection, *, branch_id: int, destination_id: int) -> list[Ref]:
    """Who has rows to drain and may do so now, of the destinations on a branch and the one that it was held for."""
    query = select(_D.namespace, _D.name).join(_P, _P.id == _D.place_id)
    query = query.where(or_(_P.branch_id == branch_id, _D.id == destination_id), _pending(), _due())
    return [Ref(row.namespace, row.name) for row in connection.execute(query.order_by(_D.id))]


def _due() -> base.Condition:
    return or_(_D.not_before.is_(None), _D.not_before <= base.now())


def put_off(
    connection: Connection, destination_id: int, *, seconds: float, error: errors.ReverserError | None = None
) -> None:
    """Let the next drain wait; with an error, say why."""
    values: dict[str, object] = {"not_before": base.now(seconds)}
    if error is not None:
        values |= {
            "last_error": error.message,
            "last_error_reason": error.reason,
            "last_error_at": base.now(),
            "stalled": not isinstance(error, errors.TemporaryError),
        }
    connection.execute(update(_D).where(_D.id == destination_id).values(**values))


def is_at(connection: Connection, destination_id: int, *, place_id: int) -> bool:
    """Whether a destination still points to this place."""
    return connection.scalar(select(_D.id).where(_D.id == destination_id, _D.place_id == place_id)) is not None


def seconds_since_push(connection: Connection, destination_id: int) -> float | None:
    """Seconds since the last push of a destination, by the database's clock; None before the first."""
    last, now = connection.execute(select(_D.last_pushed_at, base.now()).where(_D.id == destination_id)).one()
    return None if last is None else float((now - last).total_seconds())


def note_success(connection: Connection, destination_id: int, *, sha: str | None) -> None:
    """A drain was recorded: errors are over; with a sha, something was pushed."""
    values = dict(NO_ERROR)
    if sha is not None:
        values |= {"last_sha": sha, "last_pushed_at": base.now(), "branch_exists": True}
    connection.execute(update(_D).where(_D.id == destination_id).values(**values))


def note_superseded(connection: Connection, destination_id: int, *, count: int) -> None:
    """Rows were left out for later states of their objects."""
    total = func.coalesce(_D.superseded, 0) + count
    connection.execute(update(_D).where(_D.id == destination_id).values(superseded=total))


def note_foreign(connection: Connection, destination_id: int, *, sha: str) -> None:
    """Another installation writes to the folder of a destination, too."""
    values = {"foreign_sha": sha, "foreign_at": base.now()}
    connection.execute(update(_D).where(_D.id == destination_id).values(values))


def note_connection(connection: Connection, repo_config_id: int, *, check: str, branches: int | None = None) -> None:
    """How the last connection to a repository ended: CONNECTED, or the reason of an error."""
    values: dict[str, object] = {"connection_check": check}
    stale: base.Condition = _C.connection_check.is_distinct_from(check)
    if branches is not None:
        values["branch_count"] = branches
        stale = or_(stale, _C.branch_count.is_distinct_from(branches))
    connection.execute(update(_C).where(_C.id == repo_config_id, stale).values(**values))


def note_crash(connection: Connection, destination_id: int) -> None:
    """The last holder of the branch vanished while it drained this destination."""
    raised = update(_D).where(_D.id == destination_id).values(failed_drains=_D.failed_drains + 1)
    connection.execute(raised)


def lock_all(connection: Connection, *, cluster: str) -> None:
    """Lock what is served of a cluster's destinations in id order, before a transaction writes to many of them."""
    locked(connection, connection.scalars(select(_D.id).where(_D.cluster == cluster, _served())))


def locked(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Lock the rows of some destinations in id order, so that two transactions never wait in a circle; their ids.

    Call it before a transaction writes to several destinations. What they and their repositories say stays as it is
    until it ends: a watch daemon locks its destinations before it writes anything, and everybody writes to the row of
    a repository last.
    """
    query = select(_D.id).where(_D.id.in_(list(ids))).order_by(_D.id)
    return list(connection.scalars(query.with_for_update(key_share=True)))


def put_off_host(
    connection: Connection, *, host: str, except_id: int, error: errors.TemporaryError, seconds: float, step: float
) -> None:
    """A host did not answer: its other destinations wait too, one after the other, so that one at a time probes it."""
    locked(connection, connection.scalars(_on_host(host)))
    query = _on_host(host).where(_D.id != except_id, _served(), _due())
    for number, destination_id in enumerate(connection.scalars(query.order_by(_D.id)).all(), start=1):
        later = min(number * step, LONGEST_SPREAD)
        put_off(connection, destination_id, seconds=seconds + later, error=error)


def release_host(connection: Connection, *, host: str) -> None:
    """A host answers again: nobody waits for it any longer."""
    waiting = connection.scalars(_on_host(host).where(_D.last_error_reason == HOST_UNREACHABLE))
    connection.execute(update(_D).where(_D.id.in_(locked(connection, waiting))).values(not_before=None))


def _on_host(host: str) -> sqlalchemy.Select[int]:
    joined = select(_D.id).join(_P, _P.id == _D.place_id).join(_C, _C.id == _P.repo_config_id)
    return joined.where(_C.host == host, _C.host != "")


def undrained(connection: Connection, *, after: float) -> list[int]:
    """Destinations deleted more than `after` seconds ago for which rows pend still that are as old."""
    row, long_ago = ledger.EventRow, base.now(-after)
    pending = exists().where(row.destination_id == _D.id, ledger.IS_PENDING, row.observed_at <= long_ago)
    return list(connection.scalars(select(_D.id).where(_D.deleted_at <= long_ago, pending)))
