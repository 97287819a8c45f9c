"""Commits of ours that are on the remote but not in the record: a crash between push and record, or a lost answer.

After every fetch, the commits from the recorded head to the tip are read. One whose trailer matches in all parts
(destination, ledger, numbers, digest of ids) is recorded with its changes from its own tree diff, even when its rows
were superseded meanwhile; any other commit is somebody else's and stays history. One of another installation, whose
trailer names a ledger that is not here, is told of where it writes into a folder of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from app import db
from app.drain import building, sweeping
from app.events import Operation
from app.git import cache as caches
from app.git import commits as git_commits
from app.git.names import Sha
from app.models import commits, inventory, ledger, places, rules
from app.rules import commits as texts

log = structlog.get_logger()

# How far back a scan goes; more commits than this between two looks is not a branch that we serve alone.
SCAN_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """A commit of ours, with what its record transaction needs; `rows` are the numbers that it settles."""

    commit: commits.NewCommit
    place: places.Place
    items: tuple[inventory.Item, ...]
    rows: tuple[int, ...]
    swept: str | None


@dataclass(frozen=True, slots=True)
class Scan:
    """Unrecorded commits of ours, oldest first; and by destination the newest one of another installation."""

    own: Sequence[Found] = ()
    foreign: Mapping[int, Sha] = field(default_factory=dict)


def find(database: db.Database, cache: caches.Cache, *, tip: Sha, until: Sha | None, branch_id: int) -> Scan:
    """What came to the branch between `until` (exclusive) and `tip`."""
    own, strangers = [], _Strangers(cache, branch_id)
    for info, is_pushed in _with_pushed(git_commits.ancestry(cache, tip, until, SCAN_LIMIT), tip):
        trailer = texts.parse_trailers(info.message)
        if trailer is None:
            continue
        with database.read() as connection:
            ours = _ours(connection, trailer, branch_id=branch_id)
            if ours is None:
                if is_pushed:
                    strangers.look(connection, info, trailer)
                continue
            if commits.id_of(connection, branch_id=branch_id, sha=info.sha) is not None:
                continue
            own.append(_describe(connection, ours, info, git_commits.changes(cache, info.sha)))
        log.info("own_commit_found", sha=info.sha, destination=str(trailer.destination), first=trailer.first)
    return Scan(own[::-1], strangers.found)


def _with_pushed(infos: Iterable[git_commits.CommitInfo], tip: Sha) -> Iterator[tuple[git_commits.CommitInfo, bool]]:
    """Each commit, children before parents, and whether it was pushed to the branch itself: no merge brought it in."""
    following: Sha | None = tip
    for info in infos:
        is_pushed = info.sha == following
        if is_pushed:
            following = info.parents[0] if info.parents else None
        yield info, is_pushed


class _Strangers:
    """Which destinations another installation writes to."""

    def __init__(self, cache: caches.Cache, branch_id: int) -> None:
        self.found: dict[int, Sha] = {}
        self._cache, self._branch_id = cache, branch_id
        self._places: Sequence[places.Place] | None = None

    def look(self, connection: db.Connection, info: git_commits.CommitInfo, trailer: texts.Trailer) -> None:
        """One commit that is none of ours."""
        # Behind the boundary of a shallow cache nobody can tell what a commit changed.
        if (info.parents and not self._cache.has(info.parents[0])) or ledger.is_known(connection, trailer.ledger):
            return
        if self._places is None:
            self._places = places.live_on_branch(connection, self._branch_id)
        if left := [place for place in self._places if place.destination_id not in self.found]:
            paths = [file.path for file in git_commits.changes(self._cache, info.sha)]
            for place in left:
                if any(path.startswith(f"{place.base_folder}/") for path in paths):
                    self.found[place.destination_id] = info.sha


@dataclass(frozen=True, slots=True)
class _Ours:
    place: places.Place
    rows: Sequence[ledger.Pending]


def _ours(connection: db.Connection, trailer: texts.Trailer, *, branch_id: int) -> _Ours | None:
    for place in places.on_branch(connection, branch_id=branch_id, ref=trailer.destination):
        if ledger.ledger_uuid(connection, place.destination_id) != trailer.ledger:
            continue
        rows = ledger.rows_between(connection, place.destination_id, first=trailer.first, last=trailer.last)
        if any(row.place_id == place.id for row in rows) and texts.digest([row.id for row in rows]) == trailer.digest:
            return _Ours(place, rows)
    return None


def _describe(
    connection: db.Connection, ours: _Ours, info: git_commits.CommitInfo, files: Sequence[git_commits.FileChange]
) -> Found:
    # Between rows of a seed there may be some of a former place.
    own = [row for row in ours.rows if row.place_id == ours.place.id]
    by_path = {path: row for row in own if (path := building.path_of(row, ours.place.base_folder)) is not None}
    sync = next((row for row in own if row.operation is Operation.SEED_SYNC), None)
    known = inventory.by_paths(connection, ours.place.id, [file.path for file in files]) if sync else {}
    removers = sweeping.Removers(rules.specs_of(connection, ours.place.destination_id) if sync else {})
    changes, items = [], []
    for file in files:
        if (row := by_path.get(file.path)) is not None:
            items.append(building.item_of(row, file.path, file.new, seed_run_id=row.seed_run_id))
            changes.append(building.change(row, file.path, file.new))
        elif sync is not None and file.new is None and (item := known.get(file.path)) is not None:
            items.append(sweeping.tombstone(item, version=item.resource_version, epoch=item.source_epoch))
            # What is in force may be other rules than when the file went.
            rule = removers.of(item) or item.remover or item.rule or ""
            changes.append(sweeping.change(sync, item, rule=rule))
    return Found(
        commit=commits.NewCommit(
            sha=info.sha,
            author=f"{info.author_name} <{info.author_email}>",
            message=info.message,
            first_sequence=ours.rows[0].sequence,
            last_sequence=ours.rows[-1].sequence,
            changes=tuple(changes),
        ),
        place=ours.place,
        items=tuple(items),
        rows=tuple({change.sequence for change in changes}),
        swept=sync.seed_run_id if sync else None,
    )
