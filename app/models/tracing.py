"""What became of one object in one destination: its files, its last commit, its last row. For `reverser explain`.

Queries, no tables. Neighbours: `reports.py` for what people ask of everything, `inventory.py` for what a drain asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from app.models import base, commits, destinations, inventory, leases, ledger

_D, _P, _I = destinations.GitDestinationRow, destinations.PlaceRow, inventory.InventoryRow
_C, _X, _B, _E = commits.CommitRow, commits.CommitChange, leases.RepositoryBranch, ledger.EventRow


@dataclass(frozen=True, slots=True)
class File:
    """One file that an object has, or had where `removed`; `branch` and `folder` say where, `place_id` of whom."""

    path: str
    branch: str
    folder: str
    place_id: int
    removed: bool
    remover: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """The last commit that touched an object's file; `sha` is whole."""

    operation: str
    path: str
    sha: str
    branch: str
    pushed_at: datetime
    rule: str
    uid: str


@dataclass(frozen=True, slots=True)
class Row:
    """The newest Event of an object in the ledger."""

    sequence: int
    operation: str
    state: str
    reason: str | None
    observed_at: datetime
    rule: str


def files(connection: Connection, destination_id: int, key: inventory.Key) -> list[File]:
    """The files of an object at all places that a destination ever had, the newest place first."""
    query = (
        select(_I.path, _P.branch, _P.base_folder, _P.id, _I.removed, _I.remover)
        .join(_P, _P.id == _I.place_id)
        .where(_P.destination_id == destination_id, *_same(_I, key))
        .order_by(_P.generation.desc(), _I.path)
    )
    return [File(*row) for row in connection.execute(query)]


def last_change(connection: Connection, destination_id: int, key: inventory.Key) -> Change | None:
    """The commit that touched the object last, or None where no commit of ours did."""
    query = (
        select(_X.operation, _X.path, _C.sha, _B.branch, _C.pushed_at, _X.rule, _X.uid)
        .join(_C, _C.id == _X.commit_id)
        .join(_B, _B.id == _C.branch_id)
        .where(_C.destination_id == destination_id, *_same(_X, key))
        .order_by(_C.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Change(*row)


def last_row(connection: Connection, destination_id: int, key: inventory.Key, *, place_id: int | None) -> Row | None:
    """The newest Event of the object for one place that the ledger still holds."""
    query = (
        select(_E.sequence, _E.operation, _E.state, _E.state_reason, _E.observed_at, _E.rule)
        .where(_E.destination_id == destination_id, _E.place_id == place_id, *_same(_E, key))
        .order_by(_E.sequence.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Row(*row)


def types_of(connection: Connection, destination_id: int) -> list[tuple[str, str, str, str, bool]]:
    """(group, version, plural, kind, namespaced) of everything that a destination has in Git."""
    query = (
        select(_I.api_group, _I.version, _I.resource, func.max(_I.kind), func.max(_I.namespace))
        .join(_P, _P.id == _I.place_id)
        .where(_P.destination_id == destination_id)
        .group_by(_I.api_group, _I.version, _I.resource)
    )
    return [(*row[:4], bool(row[4])) for row in connection.execute(query)]


def _same(
    table: type[inventory.InventoryRow | commits.CommitChange | ledger.EventRow], key: inventory.Key
) -> Iterable[base.Condition]:
    group, resource, namespace, name = key
    return table.api_group == group, table.resource == resource, table.namespace == namespace, table.name == name
