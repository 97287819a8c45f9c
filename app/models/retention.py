"""What is dropped in time: rows of the ledger that ended long ago, and the bookkeeping of seeds.

Never a row that pends, nor one that an open seed may still look at; never commits, files, rules or places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select
from sqlalchemy.orm import aliased

from app.models import base, destinations, ledger, seeds

_D, _E, _R, _S = destinations.GitDestinationRow, ledger.EventRow, seeds.SeedRun, seeds.SeedScope
# A person may want to see why something is not in Git for longer than what went well.
_PROBLEMS = (ledger.DEAD, ledger.HELD)
# What a seed found as it was: a row for each object, each day.
_NOTHING_NEW = (ledger.STALE, ledger.UNCHANGED)
_ENDED = (seeds.SWEPT, seeds.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Ages:
    """After how many seconds rows go: most; those that say why something is not in Git; what seeds found unchanged."""

    most: float
    problems: float
    unchanged: float


def bounds(connection: Connection, destination_id: int) -> tuple[int, int]:
    """The first and the last number that a destination's ledger holds; (1, 0) for none."""
    found = func.coalesce(func.min(_E.sequence), 1), func.coalesce(func.max(_E.sequence), 0)
    first, last = connection.execute(select(*found).where(_E.destination_id == destination_id)).one()
    return first, last


def old_rows(connection: Connection, destination_id: int, *, first: int, last: int, ages: Ages) -> list[int]:
    """The numbers of a span whose rows ended long enough ago."""
    open_run = select(_R.id).where(_R.id == _E.seed_run_id, _R.state.not_in(_ENDED)).exists()
    before = case(
        (_E.state.in_(_PROBLEMS), base.now(-ages.problems)),
        (_E.state.in_(_NOTHING_NEW) & _E.seed_run_id.is_not(None), base.now(-ages.unchanged)),
        else_=base.now(-ages.most),
    )
    span = _E.destination_id == destination_id, _E.sequence.between(first, last)
    query = select(_E.sequence).where(*span, _E.state != ledger.PENDING, _E.settled_at < before, ~open_run)
    return list(connection.scalars(query.order_by(_E.sequence)))


def drop_rows(connection: Connection, destination_id: int, numbers: Sequence[int]) -> int:
    """Drop rows that ended; how many."""
    of_numbers = base.among(connection, _E.sequence, numbers)
    ended = _E.destination_id == destination_id, _E.state != ledger.PENDING
    return connection.execute(delete(_E).where(*ended, of_numbers)).rowcount


def old_seeds(connection: Connection, *, cluster: str, keep: float) -> list[str]:
    """Some of the seeds of a cluster that ended more than `keep` seconds ago.

    The last one of each place that was swept stays: whether a place was ever seeded is known from it.
    """
    later = aliased(_R)
    has_later = (
        select(later.id)
        .where(
            later.destination_id == _R.destination_id,
            later.place_id == _R.place_id,
            later.state == seeds.SWEPT,
            later.started_at > _R.started_at,
        )
        .exists()
    )
    own = select(_D.id).where(_D.id == _R.destination_id, _D.cluster == cluster).exists()
    old = select(_R.id).where(_R.state.in_(_ENDED), _R.finished_at < base.now(-keep), own)
    old = old.where((_R.state == seeds.SUPERSEDED) | has_later)
    return list(connection.scalars(old.order_by(_R.finished_at).limit(base.ROWS_PER_STATEMENT)))


def drop_seeds(connection: Connection, runs: Sequence[str]) -> None:
    """Drop seeds with their scopes."""
    connection.execute(delete(_S).where(_S.seed_run_id.in_(runs)))
    connection.execute(delete(_R).where(_R.id.in_(runs)))
