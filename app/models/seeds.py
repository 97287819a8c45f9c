"""Seeds: one complete listing of what a destination should hold, made of scopes (type x namespace).

A seed is written in the transaction of its cause, counted page by page, and closed by a SEED_SYNC Event only in a
transaction that sees written = listed for each complete scope (promise P10).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, ForeignKey, Integer, Text, delete, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base, destinations

# States of a run: listing -> synced (SEED_SYNC is in the ledger) -> swept; or superseded at any time before.
# What may not disturb a run that is open waits beside it as a run of its own, queued until that one is synced.
QUEUED = "queued"
LISTING = "listing"
SYNCED = "synced"
SWEPT = "swept"
SUPERSEDED = "superseded"

# What a person may allow a sweep to remove at most: what the column holds.
MOST_FILES = 2**31 - 1

# Outcomes of a scope. Only a complete one may be swept.
COMPLETE = "complete"
NOT_LISTED = "pending"


class SeedRun(base.Base):
    """One seed of one destination at one place."""

    __tablename__ = "seed_run"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    destination_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("git_destination.id"), index=True)
    place_id: Mapped[int] = mapped_column(base.RowId, ForeignKey("place.id"))
    cause: Mapped[base.Name]
    state: Mapped[str] = mapped_column(Text)
    started_at: Mapped[base.Moment]
    finished_at: Mapped[datetime | None] = mapped_column(base.Utc)
    # So many files a person allows its sweep to remove, whatever share of all that is.
    allow_prune: Mapped[int | None] = mapped_column(Integer)


class SeedScope(base.Base):
    """One type in one namespace (or all) of a seed."""

    __tablename__ = "seed_scope"

    seed_run_id: Mapped[str] = mapped_column(Text, ForeignKey("seed_run.id"), primary_key=True)
    api_group: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    namespace: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    # Whether a rule on it has DELETE: a scope is swept only then.
    sweepable: Mapped[bool]
    listed: Mapped[int] = mapped_column(Integer)
    written: Mapped[int] = mapped_column(Integer)
    list_resource_version: Mapped[str] = mapped_column(Text)
    # Of the list's resourceVersion: versions of different epochs say nothing about each other.
    source_epoch: Mapped[int] = mapped_column(BigInteger)
    # `pending`, `complete`, or the reason why the listing did not end: Forbidden, NotServed, ...
    outcome: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True, slots=True, order=True)
class ScopeKey:
    """Type x namespace; an empty namespace means cluster scope or all namespaces."""

    group: str
    resource: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope of a run as stored."""

    key: ScopeKey
    version: str
    sweepable: bool
    listed: int
    written: int
    list_resource_version: str
    outcome: str
    source_epoch: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """An open seed and its scopes."""

    id: str
    destination_id: int
    place_id: int
    cause: str
    scopes: tuple[Scope, ...]
    allow_prune: int = 0


_R, _S = SeedRun, SeedScope


def start(
    connection: Connection,
    *,
    destination_id: int,
    place_id: int,
    cause: str,
    scopes: Iterable[tuple[ScopeKey, str, bool]],
    allow_prune: int = 0,
) -> str:
    """Begin a seed and supersede the one that is listed for the destination; its id.

    Scopes are (key, version, sweepable). What is queued stays so. What a person allowed the superseded one to remove at
    this place, this one may.
    """
    of_place = _R.destination_id == destination_id, _R.place_id == place_id, _R.state == LISTING
    allow_prune = max(allow_prune, connection.scalar(select(func.max(_R.allow_prune)).where(*of_place)) or 0)
    supersede(connection, destination_id, states=(LISTING,))
    run = _insert(
        connection,
        destination_id=destination_id,
        place_id=place_id,
        cause=cause,
        state=LISTING,
        allow_prune=allow_prune,
    )
    _add_scopes(connection, run, scopes)
    return run


def queue(
    connection: Connection,
    *,
    destination_id: int,
    place_id: int,
    cause: str,
    scopes: Iterable[tuple[ScopeKey, str, bool]],
) -> None:
    """Let these scopes, and no others, wait for the end of the seed that is open: they are listed next."""
    query = select(_R.id).where(_R.destination_id == destination_id, _R.state == QUEUED)
    run = connection.scalar(query)
    if run is None:
        run = _insert(connection, destination_id=destination_id, place_id=place_id, cause=cause, state=QUEUED)
    connection.execute(delete(_S).where(_S.seed_run_id == run))
    _add_scopes(connection, run, scopes)


def open_queued(connection: Connection, destination_id: int) -> bool:
    """The open seed of a destination was closed: what waited for that is listed now, if anything did."""
    query = update(_R).where(_R.destination_id == destination_id, _R.state == QUEUED)
    return connection.execute(query.values(state=LISTING, started_at=base.now())).rowcount > 0


def _insert(connection: Connection, **values: object) -> str:
    run = uuid.uuid4().hex
    connection.execute(base.insert(_R).values(id=run, started_at=base.now(), **values))
    return run


def _add_scopes(connection: Connection, run: str, scopes: Iterable[tuple[ScopeKey, str, bool]]) -> None:
    rows = [
        {
            "seed_run_id": run,
            "api_group": key.group,
            "resource": key.resource,
            "namespace": key.namespace,
            "version": version,
            "sweepable": sweepable,
            "listed": 0,
            "written": 0,
            "list_resource_version": "",
            "source_epoch": 1,
            "outcome": NOT_LISTED,
        }
        for key, version, sweepable in scopes
    ]
    base.insert_many(connection, _S, rows)


def supersede(connection: Connection, destination_id: int, *, states: Collection[str] = (LISTING, QUEUED)) -> int:
    """Give up seeds of a destination, by default what is listed or queued: one that died half-way is never swept."""
    return connection.execute(
        update(_R)
        .where(_R.destination_id == destination_id, _R.state.in_(states))
        .values(state=SUPERSEDED, finished_at=base.now())
    ).rowcount


def open_runs(connection: Connection, destination_ids: Iterable[int], *, state: str = LISTING) -> list[Run]:
    """Seeds without SEED_SYNC of some destinations, with their scopes: those that are listed, or those queued."""
    query = select(_R.__table__).where(_R.destination_id.in_(list(destination_ids)), _R.state == state)
    return [
        Run(row.id, row.destination_id, row.place_id, row.cause, scopes_of(connection, row.id), row.allow_prune or 0)
        for row in connection.execute(query.order_by(_R.started_at))
    ]


def scopes_of(connection: Connection, run: str) -> tuple[Scope, ...]:
    """The scopes of a seed."""
    query = select(_S.__table__).where(_S.seed_run_id == run).order_by(_S.api_group, _S.resource, _S.namespace)
    return tuple(
        Scope(
            ScopeKey(row.api_group, row.resource, row.namespace),
            row.version,
            row.sweepable,
            row.listed,
            row.written,
            row.list_resource_version,
            row.outcome,
            row.source_epoch,
        )
        for row in connection.execute(query)
    )


def allowed(connection: Connection, run: str) -> int:
    """How many files a person allowed the sweep of a seed to remove; 0 where nobody did."""
    return connection.scalar(select(_R.allow_prune).where(_R.id == run)) or 0


def next_of(connection: Connection, destination_id: int, run: str) -> str | None:
    """The seed of a destination that began after one; what is queued has not begun."""
    started = select(_R.started_at).where(_R.id == run).scalar_subquery()
    later = _R.destination_id == destination_id, _R.state != QUEUED, _R.started_at > started
    return connection.scalar(select(_R.id).where(*later).order_by(_R.started_at, _R.id).limit(1))


def state_of(connection: Connection, run: str) -> str | None:
    """The state of a seed, or None for an unknown one."""
    return connection.scalar(select(_R.state).where(_R.id == run))


def add_written(connection: Connection, run: str, key: ScopeKey, count: int) -> None:
    """Count rows of a scope, in the transaction that writes them."""
    connection.execute(_scope(run, key).values(written=_S.written + count))


def complete(
    connection: Connection, run: str, key: ScopeKey, *, listed: int, resource_version: str, source_epoch: int = 1
) -> None:
    """A scope was listed to its end: `listed` objects that the rules select, at one resourceVersion."""
    ended = {
        "listed": listed,
        "list_resource_version": resource_version,
        "source_epoch": source_epoch,
        "outcome": COMPLETE,
    }
    connection.execute(_scope(run, key).values(**ended))


def fail(connection: Connection, run: str, key: ScopeKey, *, reason: str) -> None:
    """A scope cannot be listed; it is not swept."""
    connection.execute(_scope(run, key).values(outcome=reason))


def _scope(run: str, key: ScopeKey) -> base.Update:
    return update(_S).where(
        _S.seed_run_id == run, _S.api_group == key.group, _S.resource == key.resource, _S.namespace == key.namespace
    )


def ready(connection: Connection, run: str) -> bool:
    """Whether SEED_SYNC may be written: no scope is unlisted, and each complete one is wholly in the ledger."""
    waiting = select(func.count()).where(
        _S.seed_run_id == run,
        (_S.outcome == NOT_LISTED) | ((_S.outcome == COMPLETE) & (_S.written != _S.listed)),
    )
    return state_of(connection, run) == LISTING and connection.execute(waiting).scalar_one() == 0


def finish(connection: Connection, run: str, *, state: str) -> None:
    """Move a seed on: synced by the watch daemon, swept by the worker."""
    connection.execute(update(_R).where(_R.id == run).values(state=state, finished_at=base.now()))


def incomplete_types(connection: Connection, place_id: int) -> set[tuple[str, str]]:
    """(group, resource) of the types of a place whose last listing did not come to its end anywhere."""
    query = (
        select(_S.api_group, _S.resource, _S.namespace, _S.outcome)
        .join(_R, _R.id == _S.seed_run_id)
        .where(_R.place_id == place_id, _R.state == SWEPT)
        .order_by(_R.started_at)
    )
    last = {(row.api_group, row.resource, row.namespace): row.outcome for row in connection.execute(query)}
    return {(group, resource) for (group, resource, _), outcome in last.items() if outcome != COMPLETE}


def synced_places(connection: Connection, destination_ids: Iterable[int]) -> set[int]:
    """The places of some destinations, former ones too, at which a seed of their present generation was closed."""
    place = destinations.PlaceRow
    query = (
        select(_R.place_id)
        .join(place, place.id == _R.place_id)
        .where(
            _R.destination_id.in_(list(destination_ids)),
            _R.state.in_([SYNCED, SWEPT]),
            _R.started_at >= place.since,
        )
    )
    return set(connection.scalars(query.distinct()))
