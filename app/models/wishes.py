"""Seeds that somebody wants: a worker after a branch was rewritten, a person, the regular check.

They are written on the destination; the leading watch daemon starts them.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, select, update

from app.models import base, destinations

_D, _P = destinations.GitDestinationRow, destinations.PlaceRow


def of_branch(connection: Connection, *, branch_id: int, cause: str) -> None:
    """Ask the watch daemon for a seed of every live destination on a branch."""
    on_branch = select(_P.id).where(_P.branch_id == branch_id, _P.retired_at.is_(None))
    query = select(_D.id).where(_D.place_id.in_(on_branch), _D.deleted_at.is_(None))
    found = destinations.locked(connection, connection.scalars(query))
    connection.execute(update(_D).where(_D.id.in_(found)).values(seed_wanted=cause))


def ask(connection: Connection, destination_id: int, *, cause: str) -> None:
    """Ask the watch daemon for a seed of one destination; a wish that it did not see yet keeps its cause."""
    wanted = func.coalesce(_D.seed_wanted, cause)
    connection.execute(update(_D).where(_D.id == destination_id).values(seed_wanted=wanted))


def any_waits(connection: Connection, *, cluster: str, routed: Collection[int]) -> bool:
    """Whether somebody wants a seed of any of these destinations of a cluster."""
    return any(row.id in routed for row in connection.execute(_wanted(cluster)))


def take(connection: Connection, *, cluster: str, routed: Collection[int]) -> dict[int, str]:
    """Destination id -> cause of the seeds that were asked for; clear them in the same transaction.

    The wish of a destination that is not among `routed` stays, for whoever can fulfil it.
    """
    rows = connection.execute(_wanted(cluster).order_by(_D.id).with_for_update(key_share=True))
    wanted = {row.id: str(row.seed_wanted) for row in rows if row.id in routed}
    if wanted:
        connection.execute(update(_D).where(_D.id.in_(wanted)).values(seed_wanted=None))
    return wanted


def _wanted(cluster: str) -> base.AnySelect:
    return select(_D.id, _D.seed_wanted).where(
        _D.cluster == cluster, _D.deleted_at.is_(None), _D.seed_wanted.is_not(None)
    )


def unchecked(connection: Connection, *, among: Collection[int], after: float, limit: int) -> list[int]:
    """Those of some destinations whose place and last check are older than `after` seconds, the oldest first."""
    since = base.now(-after)
    checked = func.coalesce(_D.checked_at, _P.since)
    own = base.among(connection, _D.id, list(among)), _D.deleted_at.is_(None), _D.seed_wanted.is_(None)
    query = select(_D.id).join(_P, _P.id == _D.place_id).where(*own, _P.since <= since, checked <= since)
    return list(connection.scalars(query.order_by(checked, _D.id).limit(limit)))


def ask_check(connection: Connection, ids: Collection[int], *, cause: str) -> None:
    """Ask the watch daemon for a regular seed of some destinations."""
    wanted = func.coalesce(_D.seed_wanted, cause)
    connection.execute(update(_D).where(_D.id.in_(ids)).values(seed_wanted=wanted, checked_at=base.now()))
