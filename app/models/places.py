"""Places: where destinations write, which they were given and lost, and who writes there now.

A place is repository + branch + folder of a destination with a generation. The watch daemon moves destinations in the
transaction that knows why; what pends for a place that is not theirs any more is superseded with it. The table stands
beside those that it is joined with, in `destinations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, exists, or_, select, update
from sqlalchemy.orm import aliased

from app.events import Ref
from app.models import base, destinations, ledger, seeds
from app.rules import paths

_D, _P, _C = destinations.GitDestinationRow, destinations.PlaceRow, destinations.GitRepoConfigRow


@dataclass(frozen=True, slots=True)
class Place:
    """One generation of a destination's place, current or former."""

    id: int
    destination_id: int
    base_folder: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a destination points now."""

    repo_config_id: int
    branch_id: int
    url_key: str
    branch: str
    base_folder: str


def save(connection: Connection, destination_id: int, seen: Seen) -> tuple[int, int, bool]:
    """(place id, generation, raised): a change of repository, branch or folder starts a new generation.

    A raised generation retires the former place and supersedes its pending rows at once (DESIGN section 6). A place
    that a destination had before, and that nobody else had since, keeps its inventory: what stands there is still ours.
    """
    query = select(_P.__table__).where(_P.destination_id == destination_id).order_by(_P.generation.desc())
    own = list(connection.execute(query))
    again = next((row for row in own if _is_at(row, seen)), None)
    if again is not None and again.retired_at is None:
        reach(connection, again.id, repo_config_id=seen.repo_config_id)
        _point(connection, destination_id, again.id)
        return again.id, again.generation, False
    generation = own[0].generation + 1 if own else 1
    connection.execute(
        update(_P).where(_P.destination_id == destination_id, _P.retired_at.is_(None)).values(retired_at=base.now())
    )
    if again is not None and not _had_by_another(connection, again):
        reach(connection, again.id, repo_config_id=seen.repo_config_id)
        opened = {"generation": generation, "since": base.now(), "retired_at": None}
        connection.execute(update(_P).where(_P.id == again.id).values(opened))
        place_id = again.id
    else:
        place_id = _open(connection, destination_id, seen, generation=generation)
    _point(connection, destination_id, place_id)
    give_up(connection, destination_id, reason="the destination points to another place now")
    return place_id, generation, True


def _is_at(row: base.AnyRow, seen: Seen) -> bool:
    return (row.url_key, row.branch, row.base_folder) == (seen.url_key, seen.branch, seen.base_folder)


def reach(connection: Connection, place_id: int, *, repo_config_id: int) -> None:
    """Let a place be reached as this repository config says, which names the same repository as before."""
    another = _P.id == place_id, _P.repo_config_id != repo_config_id
    connection.execute(update(_P).where(*another).values(repo_config_id=repo_config_id))


def _had_by_another(connection: Connection, former: base.AnyRow) -> bool:
    """Whether a place of another destination overlapped a former one since it was left."""
    # Two that overlap are never live together: who came after it came, came after it was left.
    since = select(_P.base_folder).where(
        _P.branch_id == former.branch_id, _P.destination_id != former.destination_id, _P.since >= former.since
    )
    return any(paths.folders_overlap(folder, former.base_folder) for folder in connection.scalars(since))


def _open(connection: Connection, destination_id: int, seen: Seen, *, generation: int) -> int:
    opened = base.insert(_P).values(
        destination_id=destination_id,
        generation=generation,
        repo_config_id=seen.repo_config_id,
        branch_id=seen.branch_id,
        url_key=seen.url_key,
        branch=seen.branch,
        base_folder=seen.base_folder,
        since=base.now(),
    )
    return connection.execute(opened.returning(_P.id)).scalar_one()


def _point(connection: Connection, destination_id: int, place_id: int) -> None:
    """Point to a place. What went wrong at another one, and how long to wait for it, says nothing of this one."""
    connection.execute(
        update(_D)
        .where(_D.id == destination_id, or_(_D.place_id.is_(None), _D.place_id != place_id))
        .values(place_id=place_id, **destinations.NO_ERROR)
    )


def clear(connection: Connection, destination_id: int, *, reason: str) -> None:
    """A destination may not write to its place any more: retire it, and supersede what pends for it."""
    connection.execute(
        update(_P).where(_P.destination_id == destination_id, _P.retired_at.is_(None)).values(retired_at=base.now())
    )
    connection.execute(
        update(_D).where(_D.id == destination_id, _D.place_id.is_not(None)).values(place_id=None, seed_wanted=None)
    )
    give_up(connection, destination_id, reason=reason)


def give_up(connection: Connection, destination_id: int, *, reason: str) -> int:
    """Supersede all rows that pend for a destination, how many, and the seeds whose end was among them."""
    seeds.supersede(connection, destination_id, states=(seeds.LISTING, seeds.QUEUED, seeds.SYNCED))
    return ledger.supersede_pending(connection, destination_id, reason=reason)


def retire_drained(connection: Connection, *, after: float) -> int:
    """Give up what still pends for destinations deleted more than `after` seconds ago; the number of rows."""
    return sum(
        give_up(connection, found, reason="the destination was deleted")
        for found in destinations.locked(connection, destinations.undrained(connection, after=after))
    )


def displaced(connection: Connection, place_id: int) -> list[int]:
    """Deleted destinations with pending rows for a folder that overlaps this place's: the place is not theirs now."""
    place = connection.execute(select(_P.branch_id, _P.base_folder).where(_P.id == place_id)).one()
    pending = exists().where(ledger.EventRow.destination_id == _D.id, ledger.IS_PENDING)
    query = (
        select(_D.id, _P.base_folder)
        .join(_P, _P.id == _D.place_id)
        .where(_P.branch_id == place.branch_id, _D.deleted_at.is_not(None), pending)
    )
    return [
        row.id
        for row in connection.execute(query.order_by(_D.id))
        if paths.folders_overlap(row.base_folder, place.base_folder)
    ]


def former(connection: Connection, *, cluster: str, ref: Ref) -> list[destinations.Destination]:
    """The places that destinations of this name had and that nobody has now, the one that was left last first.

    Their GitRepoConfigs may name another repository by now.
    """
    named = _D.cluster == cluster, _D.namespace == ref.namespace, _D.name == ref.name
    query = destinations.at_places().where(*named, _is_nobodys()).order_by(_P.since.desc(), _P.id.desc())
    return [destinations.of_row(row) for row in connection.execute(query)]


def former_at(
    connection: Connection, destination_id: int, *, place: tuple[int, int]
) -> destinations.Destination | None:
    """One of them, by place and generation."""
    is_it = _D.id == destination_id, _P.id == place[0], _P.generation == place[1]
    row = connection.execute(destinations.at_places().where(*is_it, _is_nobodys())).one_or_none()
    return None if row is None else destinations.of_row(row)


def left_by_deleted(connection: Connection, *, cluster: str) -> list[destinations.Destination]:
    """The places of deleted destinations of a cluster that nobody has now, and that can be reached."""
    config = aliased(_C)
    same_name = config.namespace == _C.namespace, config.name == _C.name
    reachable = exists().where(*same_name, config.deleted_at.is_(None), config.url_key == _P.url_key)
    deleted = _D.cluster == cluster, _D.deleted_at.is_not(None)
    query = destinations.at_places().where(*deleted, reachable, _is_nobodys())
    return [destinations.of_row(row) for row in connection.execute(query.order_by(_D.namespace, _D.name, _P.id))]


def later_in_folder(connection: Connection, place_id: int) -> list[int]:
    """The places that somebody had later in the folder of one: what they know of a file counts."""
    later = aliased(_P)
    return list(connection.scalars(select(later.id).where(_P.id == place_id, *_is_later(later, than=_P))))


def earlier_in_folder(connection: Connection, place_id: int) -> list[int]:
    """The places before in the folder of one, of destinations of its cluster: what they wrote may stand there.

    On its branch they are anybody's; on another one of the repository its own, because a new branch begins with copies.
    """
    earlier, owner = aliased(_P), aliased(_D)
    own = earlier.destination_id == _P.destination_id, earlier.url_key == _P.url_key
    same_folder = earlier.base_folder == _P.base_folder, or_(earlier.branch_id == _P.branch_id, and_(*own))
    query = (
        select(earlier.id)
        .select_from(_P)
        .join(_D, _D.id == _P.destination_id)
        .join(earlier, and_(*same_folder, _is_after(_P, earlier)))
        .join(owner, (owner.id == earlier.destination_id) & (owner.cluster == _D.cluster))
        .where(_P.id == place_id)
    )
    return list(connection.scalars(query))


def of_others(connection: Connection, destination_ids: Sequence[int]) -> list[int]:
    """Former places of live destinations whose folder another one has, or had later: what stands there is its."""
    left = _P.destination_id.in_(destination_ids), _P.id.is_distinct_from(_D.place_id), _D.place_id.is_not(None)
    query = select(_P.id).join(_D, _D.id == _P.destination_id)
    had_later = exists().where(*_is_later(aliased(_P), than=_P))
    return list(connection.scalars(query.where(*left, or_(~_is_nobodys(), had_later))))


def _is_later(later: type[destinations.PlaceRow], *, than: type[destinations.PlaceRow]) -> tuple[base.Condition, ...]:
    """Whether somebody had the folder of a place later."""
    return later.branch_id == than.branch_id, later.base_folder == than.base_folder, _is_after(later, than)


def _is_after(later: type[destinations.PlaceRow], earlier: type[destinations.PlaceRow]) -> base.Condition:
    """Of two places of one tick of the clock, the one made later is the later one."""
    return or_(later.since > earlier.since, (later.since == earlier.since) & (later.id > earlier.id))


def _is_nobodys() -> base.Condition:
    """Whether nobody has the folder of a place.

    A live destination without a place, because it is in conflict or its config is gone, has each that it, or who had
    its name before, ever had: what stands there is what it points to still, for all that anybody knows.
    """
    other, owner, namesake = aliased(_P), aliased(_D), aliased(_D)
    same_folder = other.branch_id == _P.branch_id, other.base_folder == _P.base_folder
    has = owner.deleted_at.is_(None), or_(owner.place_id == other.id, owner.place_id.is_(None))
    same_name = namesake.cluster == _D.cluster, namesake.namespace == _D.namespace, namesake.name == _D.name
    unready = namesake.deleted_at.is_(None), namesake.place_id.is_(None)
    return and_(
        ~exists().where(*same_folder, owner.id == other.destination_id, *has), ~exists().where(*same_name, *unready)
    )


def unwanted(connection: Connection, ref: Ref) -> list[destinations.Destination]:
    """Places that destinations of this name have no more, and at which files pend that a person wants gone."""
    query = destinations.at_places().where(_D.namespace == ref.namespace, _D.name == ref.name, *_has_unwanted())
    return [destinations.of_row(row) for row in connection.execute(query.order_by(_P.id))]


def waiting_for(connection: Connection, *, branch_id: int, destination_id: int) -> list[Ref]:
    """Who has such places on a branch, with the one that it was held for, whatever delays them where they are now."""
    query = select(_D.namespace, _D.name).join(_P, _P.destination_id == _D.id).distinct()
    query = query.where(or_(_P.branch_id == branch_id, _D.id == destination_id), *_has_unwanted())
    return sorted(Ref(row.namespace, row.name) for row in connection.execute(query))


def _has_unwanted() -> tuple[base.Condition, ...]:
    row = ledger.EventRow
    of_place = row.destination_id == _D.id, row.place_id == _P.id
    # What a deleted destination has to end at its last place is done in its order.
    only = _D.deleted_at.is_not(None) & ~exists().where(*of_place, ledger.IS_WANTED)
    return or_(_P.id.is_distinct_from(_D.place_id), only), exists().where(*of_place, ledger.IS_UNWANTED)


def live_on_branch(connection: Connection, branch_id: int) -> list[Place]:
    """The present places of the live destinations on a branch."""
    query = (
        select(_P.id, _P.destination_id, _P.base_folder)
        .join(_D, _D.place_id == _P.id)
        .where(_P.branch_id == branch_id, _P.retired_at.is_(None), _D.deleted_at.is_(None))
    )
    return [Place(row.id, row.destination_id, row.base_folder) for row in connection.execute(query.order_by(_P.id))]


def on_branch(connection: Connection, *, branch_id: int, ref: Ref) -> list[Place]:
    """All places, former ones too, that destinations of this name have had on a branch, newest first."""
    query = (
        select(_P.id, _P.destination_id, _P.base_folder)
        .join(_D, _D.id == _P.destination_id)
        .where(_P.branch_id == branch_id, _D.namespace == ref.namespace, _D.name == ref.name)
    )
    return [
        Place(row.id, row.destination_id, row.base_folder) for row in connection.execute(query.order_by(_P.id.desc()))
    ]
