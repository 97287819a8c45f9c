"""How destinations stand, read for the sweeper and for the status of our objects: queries, no tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Case, Connection, case, func, or_, select

from app.events import Identifier, Operation, Ref
from app.models import base, destinations, inventory, ledger, places, seeds

_D, _P, _I = destinations.GitDestinationRow, destinations.PlaceRow, inventory.InventoryRow
_C, _R, _S, _E = destinations.GitRepoConfigRow, seeds.SeedRun, seeds.SeedScope, ledger.EventRow
# For so many seconds it is told that another installation wrote to a folder.
FOREIGN_SHOWN = 3_600.0
# So many dead rows of one destination are looked at, the newest, and so many objects are told of.
_DEAD_ROWS, _DEAD_OBJECTS = 10_000, 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that pend for a destination; `due` says whether `not_before` has passed, by the database's clock."""

    destination_id: int
    ref: Ref
    first: int
    last: int
    due: bool


@dataclass(frozen=True, slots=True)
class DestinationState:
    """How the drains of a destination went, as its row says."""

    destination_id: int
    place_id: int | None
    last_error: str | None
    last_error_reason: str | None
    stalled: bool
    not_before: datetime | None
    last_sha: str | None
    last_pushed_at: datetime | None
    branch_exists: bool | None
    pending: int
    # Rows that were left out because too many pended, ever.
    superseded: int = 0
    # A commit of another installation in its folder, found within the last hour.
    foreign_sha: str | None = None


@dataclass(frozen=True, slots=True)
class RepoState:
    """How the connections to a repository went, as workers saw it."""

    secret_name: str | None
    connection_check: str | None
    branch_count: int | None


def of_repo_configs(connection: Connection) -> dict[str, RepoState]:
    """The live repository configs, by uid."""
    query = select(_C.uid, _C.secret_name, _C.connection_check, _C.branch_count).where(_C.deleted_at.is_(None))
    return {row.uid: RepoState(*row[1:]) for row in connection.execute(query)}


def waiting(connection: Connection, *, cluster: str) -> list[Waiting]:
    """Destinations of a cluster with pending rows, deleted ones included, by id."""
    due = or_(_D.not_before.is_(None), _D.not_before <= base.now())
    rows = {
        row.id: row
        for row in connection.execute(
            select(_D.id, _D.namespace, _D.name, due.label("due")).where(_D.cluster == cluster)
        )
    }
    return [
        Waiting(
            backlog.destination_id,
            Ref(rows[backlog.destination_id].namespace, rows[backlog.destination_id].name),
            backlog.first,
            backlog.last,
            bool(rows[backlog.destination_id].due),
        )
        for backlog in sorted(ledger.backlogs(connection, list(rows)), key=lambda backlog: backlog.destination_id)
    ]


def of_destinations(connection: Connection, *, cluster: str) -> dict[str, DestinationState]:
    """The live destinations of a cluster, by uid."""
    query = select(_D.__table__, _told_foreign().label("told_foreign")).where(
        _D.cluster == cluster, _D.deleted_at.is_(None)
    )
    rows = list(connection.execute(query))
    pending = {one.destination_id: one.count for one in ledger.backlogs(connection, [row.id for row in rows])}
    return {
        row.uid: DestinationState(
            destination_id=row.id,
            place_id=row.place_id,
            last_error=row.last_error,
            last_error_reason=row.last_error_reason,
            stalled=row.stalled,
            not_before=row.not_before,
            last_sha=row.last_sha,
            last_pushed_at=row.last_pushed_at,
            branch_exists=row.branch_exists,
            superseded=row.superseded or 0,
            foreign_sha=row.told_foreign,
            pending=pending.get(row.id, 0),
        )
        for row in rows
    }


def foreign_commits(connection: Connection, destination_ids: Sequence[int]) -> dict[int, str | None]:
    """What `DestinationState.foreign_sha` says, of some destinations."""
    query = select(_D.id, _told_foreign()).where(_D.id.in_(destination_ids))
    return {row[0]: row[1] for row in connection.execute(query)}


def _told_foreign() -> Case[str]:
    return case((_D.foreign_at > base.now(-FOREIGN_SHOWN), _D.foreign_sha))


@dataclass(frozen=True, slots=True)
class FileCount:
    """How many files of one place are of one type and namespace, and were selected in the same way; the first path.

    `orphans` counts those of them whose object is gone, `waiting` of these the ones about which a person has to decide.
    """

    place_id: int
    group: str
    resource: str
    namespace: str
    selection: str | None
    rule: str | None
    files: int
    first: str
    orphans: int = 0
    waiting: int = 0


def file_counts(connection: Connection, destination_ids: Sequence[int]) -> Mapping[int, list[FileCount]]:
    """What stands in Git for some destinations, at all their places that nobody else has, by destination id."""
    others = places.of_others(connection, destination_ids)
    columns = _I.place_id, _I.api_group, _I.resource, _I.namespace, _I.selection, _I.rule
    query: base.AnySelect = (
        select(
            _P.destination_id,
            *columns,
            func.count(),
            func.min(_I.path),
            func.count(_I.orphan),
            func.count().filter(_I.orphan == inventory.HELD),
        )
        .join(_P, _P.id == _I.place_id)
        .where(_P.destination_id.in_(destination_ids), ~_I.removed, _P.id.not_in(others))
        .group_by(_P.destination_id, *columns)
    )
    found: dict[int, list[FileCount]] = {}
    for row in connection.execute(query):
        found.setdefault(row[0], []).append(FileCount(*row[1:]))
    return found


def left_by_deleted(connection: Connection, *, cluster: str) -> list[tuple[destinations.Destination, int]]:
    """How many files deleted destinations left, by the place that each had."""
    left = {one.place_id: one for one in places.left_by_deleted(connection, cluster=cluster)}
    query = select(_I.place_id).where(base.among(connection, _I.place_id, sorted(left)), ~_I.removed).distinct()
    some = sorted(connection.scalars(query))
    counts = {place_id: connection.scalar(_left_behind(connection, place_id, func.count())) for place_id in some}
    return [(left[place_id], files) for place_id, files in counts.items() if files]


def left_behind(connection: Connection, place_id: int) -> list[inventory.Item]:
    """The files of a place that nobody has, by path, but for those of which who had it later knows."""
    found = connection.execute(_left_behind(connection, place_id, _I.__table__).order_by(_I.path))
    return [inventory.item_of(row) for row in found]


def _left_behind(connection: Connection, place_id: int, *what: Any) -> base.AnySelect:
    later = places.later_in_folder(connection, place_id)
    known = select(_I.path).where(_I.place_id.in_(later))
    query = select(*what).select_from(_I).where(_I.place_id == place_id, ~_I.removed)
    return query.where(_I.path.not_in(known)) if later else query


def paths(connection: Connection, count: FileCount, *, orphans: bool | None = None, limit: int) -> list[str]:
    """The first paths of what was counted together, or of the orphans among them, or of all others."""
    same = (
        _I.place_id == count.place_id,
        _I.api_group == count.group,
        _I.resource == count.resource,
        _I.namespace == count.namespace,
        _I.selection.is_not_distinct_from(count.selection),
        _I.rule.is_not_distinct_from(count.rule),
    )
    query = select(_I.path).where(*same, ~_I.removed)
    if orphans is not None:
        query = query.where(_I.orphan.is_not(None) == orphans)
    return list(connection.scalars(query.order_by(_I.path).limit(limit)))


def in_seed(connection: Connection, destination_ids: Sequence[int]) -> set[int]:
    """The destinations with a seed that has not come to its end in Git: not all files say what selects them now."""
    query = (
        select(_R.destination_id)
        .join(_D, (_D.id == _R.destination_id) & (_D.place_id == _R.place_id))
        .join(_P, _P.id == _R.place_id)
        .where(
            _R.destination_id.in_(destination_ids),
            _R.state.in_([seeds.LISTING, seeds.SYNCED]),
            _R.started_at >= _P.since,
        )
    )
    return set(connection.scalars(query.distinct()))


@dataclass(frozen=True, slots=True)
class Unwritable:
    """An object whose newest row is dead, and why; without an identity, the end of a seed."""

    identifier: Identifier
    reason: str


def unwritable(connection: Connection, destination_ids: Sequence[int]) -> Mapping[int, list[Unwritable]]:
    """The objects that destinations cannot write at their places, the newest first, by destination id.

    Not those that were recorded since, nor those that a listing which ended in Git since then did not find, or could
    write. One that is deleted before it ever was written stands here until the next seed.
    """
    some_dead = select(_E.sequence).where(_E.destination_id == _D.id, ledger.IS_DEAD).exists()
    query = select(_D.id, _D.place_id).where(_D.id.in_(destination_ids), _D.place_id.is_not(None), some_dead)
    found = {row.id: _unwritable(connection, row.id, row.place_id) for row in connection.execute(query)}
    return {destination_id: objects for destination_id, objects in found.items() if objects}


def _unwritable(connection: Connection, destination_id: int, place_id: int) -> list[Unwritable]:
    """Of each object the newest of the newest rows: one that changes all the time has many."""
    identity = _E.api_group, _E.resource, _E.namespace, _E.name
    newest = (
        select(_E.sequence, *identity)
        .where(
            _E.destination_id == destination_id,
            ledger.IS_DEAD,
            _E.place_id == place_id,
            # A file that could not be removed is no object that cannot be written.
            _E.operation != Operation.DELETE.value,
        )
        .order_by(_E.sequence.desc())
        .limit(_DEAD_ROWS)
        .subquery()
    )
    last = select(func.max(newest.c.sequence)).group_by(*(newest.c[column.key] for column in identity))
    query = select(_E.__table__).where(
        _E.destination_id == destination_id, _E.sequence.in_(last), ~_listed_since(), ~inventory.recorded_since(_E)
    )
    return [
        Unwritable(ledger.identifier_of(row), row.state_reason or "")
        for row in connection.execute(query.order_by(_E.sequence.desc()).limit(_DEAD_OBJECTS))
    ]


def _listed_since() -> base.Condition:
    """Whether a seed that began after a row died came to its end in Git, and had listed the type of its object."""
    covers = (_S.api_group == _E.api_group) & (_S.resource == _E.resource) & _S.namespace.in_(["", _E.namespace])
    return (
        select(_R.id)
        .join(_S, _S.seed_run_id == _R.id)
        .where(
            _R.destination_id == _E.destination_id,
            _R.place_id == _E.place_id,
            _R.state == seeds.SWEPT,
            _R.started_at > _E.settled_at,
            _S.outcome == seeds.COMPLETE,
            or_(_E.operation == Operation.SEED_SYNC.value, covers),
        )
        .exists()
    )
