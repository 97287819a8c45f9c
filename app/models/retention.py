"""What is dropped in time: rows of the ledger that ended long ago, and the bookkeeping of seeds.

Never a row that pends, nor one that an open seed may still look at; never commits, files, rules or places.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, select
from sqlalchemy.orm import aliased

from app.models import base, ledger, seeds

_E, _R, _S = ledger.EventRow, seeds.SeedRun, seeds.SeedScope
# A person may want to see why something is not in Git for longer than what went well.
_PROBLEMS = (ledger.DEAD, ledger.HELD)
_ENDED = (seeds.SWEPT, seeds.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Looked:
    """How many rows went, and up to which number was looked; None at the end."""

    dropped: int
    last: int | None


def drop_rows(connection: Connection, destination_id: int, *, after: int, keep: float, keep_problems: float) -> Looked:
    """Of the next rows of a destination, drop those that ended more than `keep` seconds ago; dead ones stay longer.

    The oldest stand first: where none ended so long ago, none did behind them either.
    """
    own = _E.destination_id == destination_id
    window = select(_E.sequence, _E.settled_at).where(own, _E.sequence > after)
    rows = window.order_by(_E.sequence).limit(base.ROWS_PER_STATEMENT).subquery().c
    last, is_old = connection.execute(
        select(func.max(rows.sequence), func.min(rows.settled_at) < base.now(-keep))
    ).one()
    if not is_old:
        return Looked(0, None)
    opened = select(func.min(_R.started_at)).where(_R.destination_id == destination_id, _R.state.not_in(_ENDED))
    before = case((_E.state.in_(_PROBLEMS), base.now(-keep_problems)), else_=base.now(-keep))
    ended = _E.state != ledger.PENDING, _E.settled_at < before
    undisturbed = _E.settled_at < func.coalesce(opened.scalar_subquery(), base.now())
    query = delete(_E).where(own, _E.sequence > after, _E.sequence <= last, *ended, undisturbed)
    return Looked(connection.execute(query).rowcount, last)


def drop_seeds(connection: Connection, *, keep: float) -> int:
    """Drop seeds that ended more than `keep` seconds ago; how many. The last one of each place that was swept stays."""
    later = aliased(_R)
    has_later = (
        select(later.id)
        .where(later.place_id == _R.place_id, later.state == seeds.SWEPT, later.started_at > _R.started_at)
        .exists()
    )
    old = select(_R.id).where(_R.state.in_(_ENDED), _R.finished_at < base.now(-keep))
    old = old.where((_R.state == seeds.SUPERSEDED) | has_later).limit(base.ROWS_PER_STATEMENT)
    found = list(connection.scalars(old))
    for part in range(0, len(found), 100):
        ids = found[part : part + 100]
        connection.execute(delete(_S).where(_S.seed_run_id.in_(ids)))
        connection.execute(delete(_R).where(_R.id.in_(ids)))
    return len(found)
