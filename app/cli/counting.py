"""Files of destinations as their status counts them: those that a rule holds, and those that no rule stands behind.

For `explain`, `status` and `doctor`, which say the numbers of the watch daemon: the tally is its own. Neighbours:
`surveying.py` compiles the rules, `app/models/states.py` counts the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app import db, errors, events
from app.cli import surveying
from app.models import base, destinations, inventory, places, states
from app.rules import compiling, selecting
from app.watch import judging, routing

# So many paths are named of those that are kept; the rest is a number.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Counted:
    """Files of a destination. `retained`, `orphans` and `by_rule` are None where they cannot be told now.

    `kept` names some of those that no rule stands behind, `gone` some of those whose object is gone.
    """

    files: int
    retained: int | None = None
    orphans: int | None = None
    by_rule: Mapping[str, int] | None = None
    kept: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def of_rule(self, rule: str) -> int | None:
        """Those that a rule holds."""
        return None if self.by_rule is None else self.by_rule.get(rule, 0)


def count(
    connection: base.Connection,
    compilation: compiling.Compilation,
    ref: events.Ref,
    *,
    destination_id: int,
    place_id: int | None,
) -> Counted:
    """The files of one destination, some of those that are kept by path."""
    counts = states.file_counts(connection, [destination_id]).get(destination_id, [])
    files = sum(one.files for one in counts)
    if states.in_seed(connection, [destination_id]):
        # Each file gets its mark with the seed.
        return Counted(files)
    marks = _marks(compilation, ref)
    tally = judging.tally(counts, place_id=place_id, marks=marks)
    of_before = any(one.selection is None for one in counts)
    left = [one for one in counts if judging.is_left(one, place_id=place_id, marks=marks)]
    gone = [one for one in counts if judging.has_orphans(one, place_id=place_id, marks=marks)]
    return Counted(
        files,
        tally.retained,
        tally.orphans,
        None if of_before else tally.held,
        tuple(_paths(connection, [(one, False if one in gone else None) for one in left])),
        tuple(_paths(connection, [(one, True) for one in gone])),
    )


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Files at one place that no rule stands behind any more; `placed` is the destination at that place."""

    placed: destinations.Destination
    items: Sequence[inventory.Item]


def left_over(
    connection: base.Connection, compilation: compiling.Compilation, placed: destinations.Destination
) -> LeftOver | None:
    """Those at the current place of a destination; None while a seed gives each file its mark."""
    if states.in_seed(connection, [placed.id]):
        return None
    marks, items = _marks(compilation, placed.ref), inventory.present(connection, placed.place_id)
    return LeftOver(placed, [one for one in items if judging.is_left_over(one, marks=marks)])


def left_behind(connection: base.Connection, ref: events.Ref, *, cluster: str) -> list[LeftOver]:
    """Those at places that destinations of this name had and nobody has now."""
    every = places.former(connection, cluster=cluster, ref=ref)
    found = (LeftOver(one, states.left_behind(connection, one.place_id)) for one in every)
    return [one for one in found if one.items]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many files a destination keeps for no rule, None during a seed; and what a person has to see to."""

    retained: int | None = None
    wanting: tuple[judging.Wanting, ...] = ()


def standings(database: db.Database, *, cluster: str) -> Mapping[events.Ref, Standing]:
    """How each destination of a cluster stands, by the rules in force in SQL.

    Nothing where the database does not count in its time: whoever asks has more to say than this.
    """
    with contextlib.suppress(errors.TemporaryError), database.read() as connection:
        return _standings(connection, cluster=cluster)
    return {}


def _standings(connection: base.Connection, *, cluster: str) -> Mapping[events.Ref, Standing]:
    placed = destinations.live(connection, cluster=cluster)
    ids = [one.id for one in placed]
    compilation = surveying.in_force(connection, cluster=cluster).compilation
    counts, unsettled = states.file_counts(connection, ids), states.in_seed(connection, ids)
    unwritable, foreign = states.unwritable(connection, ids), states.foreign_commits(connection, ids)
    found = {}
    for one in placed:
        marks = _marks(compilation, one.ref)
        tally = judging.tally(counts.get(one.id, []), place_id=one.place_id, marks=marks)
        dead = judging.selected(unwritable.get(one.id, ()), marks=marks)
        wanting = judging.wanting(one.ref, files=tally, unwritable=dead, foreign_sha=foreign.get(one.id))
        found[one.ref] = Standing(None if one.id in unsettled else tally.retained, wanting)
    return found


def _marks(compilation: compiling.Compilation, ref: events.Ref) -> routing.Marks:
    return routing.marks(selecting.scopes_of(compilation, ref))


def _paths(connection: base.Connection, counts: Sequence[tuple[states.FileCount, bool | None]]) -> list[str]:
    """The first of all paths, as Git lists them: all files of a count, or the orphans among them, or the others.

    No more counts than paths can have one of these.
    """
    first = sorted(counts, key=lambda pair: pair[0].first)[:_NAMED]
    every = (path for one, orphans in first for path in states.paths(connection, one, orphans=orphans, limit=_NAMED))
    return sorted(every)[:_NAMED]
