"""The transactions that cause something: what rules and destinations say, the seeds they start, where streams resume.

Causes are atomic (DESIGN section 2): a compiled-rule version, a place generation and the seed they cause stand in one
transaction. All of this runs in the writer's thread, between two batches, so that no batch is made with a routing or a
place that is not the current one. `reconciling.py`, `streams.py` and `seeding.py` call in from their threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from app import errors, events
from app.models import base, commands, cursors, destinations, inventory, leases, places, rules, seeds, states, wishes
from app.rules import compiling, types
from app.watch import comparing, inbox, recording, removing, routing, writing

log = structlog.get_logger(__name__)

# What the cause of a seed says when a new leader started it again.
TAKEN_OVER = " (taken over)"
# Why single namespaces are listed after a seed that was open when they came or went.
RELABELLED = "the labels of namespaces changed"


class Causes:
    """What other threads may ask the writer to do. Each method returns after its transaction is committed.

    All of them raise TemporaryError(Stopping) when the daemon stops, and LeaseLostError when another one leads.
    """

    def __init__(self, writer: writing.Writer) -> None:
        self._writer = writer
        self._cluster = writer.settings.cluster
        self._first = True
        self._recorded = recording.NOTHING
        # Our objects as the routing of now has them; None before the first.
        self._seen: recording.Seen | None = None

    def adopt(self, seen: recording.Seen) -> routing.Routing:
        """Write what was compiled, start the seeds that it causes, and let the writer follow it."""
        return self._writer.call(lambda: self._adopt(seen))

    def members(self) -> dict[str, frozenset[str]]:
        """Who belongs to the namespaceSelectors of the rules in force, as their compilation had it."""

        def work(connection: base.Connection) -> dict[str, frozenset[str]]:
            return compiling.members_of(row.spec for row in rules.in_force(connection, cluster=self._cluster))

        return self._writer.call(lambda: self._writer.durably(work))

    def resume(self, wanted: Iterable[routing.StreamKey]) -> dict[routing.StreamKey, cursors.Cursor]:
        """Give the streams that are wanted their cursors, and nobody resumes from any other.

        A wider stream goes on from the lowest cursor of the narrower ones, a narrower one from the wider one's.
        """
        keys = tuple(wanted)
        return self._writer.call(lambda: self._resume(keys))

    def left_off(self, keys: Iterable[routing.StreamKey]) -> dict[routing.StreamKey, cursors.Cursor]:
        """How far the type of a stream was once read, where anybody knows: a cluster behind that was restored."""

        def work(connection: base.Connection) -> dict[routing.StreamKey, cursors.Cursor]:
            furthest = _furthest(cursors.ever(connection, cluster=self._cluster))
            return {key: furthest[key.type_key] for key in keys if key.type_key in furthest}

        return self._writer.call(lambda: self._writer.durably(work))

    def begin_stream(
        self, key: routing.StreamKey, *, resource_version: str, cause: str, lost: int | None = None
    ) -> int:
        """Start a stream from here and seed what it covers, unless that is about to be listed; its source epoch.

        `lost` is the epoch that the stream was in, if that history was put back: its numbers mean nothing any more.
        """
        return self._writer.call(lambda: self._begin_stream(key, resource_version, cause, lost=lost))

    def refuse_stream(self, key: routing.StreamKey, *, reason: str) -> None:
        """A type cannot be read: nobody resumes from its cursor, and its scopes end without a sweep (promise P10)."""
        self._writer.call(lambda: self._refuse_stream(key, reason))

    def begin_listing(self, key: routing.StreamKey, type_: types.ResourceType) -> inbox.Listing | None:
        """A listing for all waiting scopes that a stream covers; None when there are none, or no running stream."""
        return self._writer.call(lambda: self._begin_listing(key, type_))

    def end_listing(self, listing: inbox.Listing) -> None:
        """A listing broke off: half of it proves nothing, so each seed that it served starts again."""
        self._writer.call(lambda: self._end_listing(listing))

    def seed_wanted(self) -> None:
        """Start the seeds that were asked for: by workers (a branch that was rewritten), by people."""
        self._writer.call(self._seed_wanted)

    def removals_wanted(self) -> set[events.Ref]:
        """Write the rows that remove what people want gone; the destinations to ring for."""
        return self._writer.call(self._removals_wanted)

    @property
    def scopes(self) -> Mapping[int, Sequence[routing.WantedScope]]:
        """What the rules select, by destination, as it is followed at the moment."""
        return self._writer.routes.scopes

    def _adopt(self, seen: recording.Seen) -> routing.Routing:
        def work(connection: base.Connection) -> recording.Recorded:
            before = rules.in_force(connection, cluster=self._cluster)
            recorded = recording.record(connection, seen, cluster=self._cluster, before=self._recorded)
            changed = comparing.changes(before, rules.in_force(connection, cluster=self._cluster))
            open_runs, queued = (
                {run.destination_id: run for run in seeds.open_runs(connection, recorded.routes.scopes, state=state)}
                for state in (seeds.LISTING, seeds.QUEUED)
            )
            synced = seeds.synced_places(connection, recorded.routes.scopes)
            for target in recorded.routes.targets.values():
                wanted = recorded.routes.scopes.get(target.id, ())
                need = _Need(
                    wanted=wanted,
                    change=changed.get(target.id, comparing.NO_CHANGE),
                    taken_over=self._first,
                    synced=target.place_id in synced,
                    run=open_runs.get(target.id),
                    queued=queued.get(target.id),
                )
                self._seed(connection, target, need)
            return recorded

        self._recorded = self._writer.durably(work)
        self._first = False
        self._seen = seen
        self._writer.follow(self._recorded.routes)
        return self._recorded.routes

    def _seed(self, connection: base.Connection, target: routing.Target, need: _Need) -> None:
        """Start the seed of one destination that a change of places or rules makes necessary, if any.

        A run of a former leader, or one whose rules changed, starts again: what it counted is not what is wanted now.
        Namespaces that come and go do so at the pace of the cluster, and a run that starts again for them might never
        end: they wait for it, unless it will list them anyway.
        """
        run = need.run if need.run is not None and need.run.place_id == target.place_id else None
        if run is not None and not (need.change.rules or need.taken_over):
            if later := self._writer.book.missed(run.id, need.touched):
                _queue(connection, target, need.with_left(later, need.queued))
            return
        # Until a seed came to its end, everything is wanted, however little of it the last change touched.
        scopes = need.with_left(need.touched, need.run, need.queued) if need.synced else set(need.wanted)
        if need.run is not None:
            seeds.supersede(connection, target.id)
        if scopes:
            allowed = run.allow_prune if run is not None else 0
            _start(connection, target, scopes, _cause(need, run), allow_prune=allowed)

    def _resume(self, keys: Sequence[routing.StreamKey]) -> dict[routing.StreamKey, cursors.Cursor]:
        def work(connection: base.Connection) -> dict[routing.StreamKey, cursors.Cursor]:
            stored = cursors.load(connection, cluster=self._cluster)
            resumed = {key: found for key in keys if (found := _resume_point(key, stored)) is not None}
            wanted, followed = {key.resource_key for key in resumed}, {key.type_key for key in resumed}
            ever = cursors.ever(connection, cluster=self._cluster)
            last = _furthest(ever)
            for cursor in ever:
                if cursor.resource_key in wanted:
                    continue
                covered = cursor.type_key in followed or cursor != last[cursor.type_key]
                (cursors.drop if covered else cursors.suspend)(connection, cluster=self._cluster, cursor=cursor)
            for cursor in resumed.values():
                cursors.move(connection, cluster=self._cluster, cursor=cursor)
            return resumed

        self._writer.positions = self._writer.durably(work)
        return dict(self._writer.positions)

    def _begin_stream(self, key: routing.StreamKey, resource_version: str, cause: str, *, lost: int | None) -> int:
        def work(connection: base.Connection) -> cursors.Cursor:
            if lost is None:
                found = leases.source_epoch(connection, cluster=self._cluster)
            else:
                found = leases.raise_source_epoch(connection, cluster=self._cluster, above=lost)
            cursor = cursors.Cursor(key.group, key.resource, key.namespace, key.version, resource_version, found)
            cursors.move(connection, cluster=self._cluster, cursor=cursor)
            self._seed_covered(connection, key, cause, always=lost is not None)
            return cursor

        cursor = self._writer.durably(work)
        self._writer.positions[key] = cursor
        if lost is not None:
            self._writer.doubt(key)
        self._writer.read_seeds()
        return cursor.source_epoch

    def _seed_covered(self, connection: base.Connection, key: routing.StreamKey, cause: str, *, always: bool) -> None:
        """What a stream missed, a listing has to bring; what no listing has touched yet is listed anyway."""
        for destination_id, covered in self._writer.routes.covered(key):
            run = self._writer.book.of_destination(destination_id)
            if run is not None and not always and all(self._writer.book.untouched(run.id, scope) for scope in covered):
                continue
            scopes = set(covered) | (set(run.scopes) if run else set())
            target = self._writer.routes.target_of(destination_id)
            _start(connection, target, scopes, cause)

    def _refuse_stream(self, key: routing.StreamKey, reason: str) -> None:
        unlisted = self._writer.book.unlisted(key)

        def work(connection: base.Connection) -> None:
            cursor = cursors.Cursor(key.group, key.resource, key.namespace, key.version, "", 0)
            cursors.suspend(connection, cluster=self._cluster, cursor=cursor)
            for run_id, scope in unlisted:
                seeds.fail(connection, run_id, scope.key, reason=reason)

        self._writer.durably(work)
        self._writer.positions.pop(key, None)
        self._writer.book.end(unlisted)

    def _begin_listing(self, key: routing.StreamKey, type_: types.ResourceType) -> inbox.Listing | None:
        position = self._writer.positions.get(key)
        namespace, begun = self._writer.book.begin(key) if position else ("", ())
        if position is None or not begun:
            return None
        return inbox.Listing(
            key=key,
            type=type_,
            scopes=begun,
            source_epoch=position.source_epoch,
            namespace=namespace,
            since=position.resource_version,
        )

    def _end_listing(self, listing: inbox.Listing) -> None:
        listing.cancelled.set()
        if not listing.given:
            self._writer.book.put_back(listing)
            return
        again = [
            self._writer.book.runs[run_id]
            for run_id in {run_id for run_id, _ in listing.scopes}
            if run_id in self._writer.book.runs
        ]

        def work(connection: base.Connection) -> None:
            for run in again:
                _start(connection, self._writer.routes.target_of(run.destination_id), run.scopes, run.cause)

        self._writer.durably(work)
        self._writer.read_seeds()

    def _seed_wanted(self) -> None:
        def work(connection: base.Connection) -> None:
            # What is not routed, because nothing is before the first adoption, keeps its wish.
            scopes = self._writer.routes.scopes
            taken = wishes.take(connection, cluster=self._cluster, routed=scopes)
            asked = commands.take_waiting(connection, verb=commands.SEED, among=taken)
            for destination_id, cause in taken.items():
                own = [one for one in asked if one.destination_id == destination_id]
                self._seed_asked(connection, destination_id, cause, own)

        self._writer.durably(work)
        self._writer.read_seeds()

    def _seed_asked(
        self, connection: base.Connection, destination_id: int, cause: str, asked: Sequence[commands.Request]
    ) -> None:
        """One seed for everybody who asked, and the answer to the requests that are written down."""
        scopes = self._writer.routes.scopes[destination_id]
        outcome, run = commands.NOTHING_SELECTED, None
        if scopes:
            target = self._writer.routes.target_of(destination_id)
            # What somebody allowed at another place, or before this one was taken away for a while, is void.
            allowed = [one.allow_prune for one in asked if one.is_at(target.place_id, target.place_generation)]
            # A number that SQL refuses would end each leader that reads it.
            allow_prune = min(max(allowed, default=0), seeds.MOST_FILES)
            run = _start(connection, target, scopes, cause, allow_prune=allow_prune)
            outcome = commands.STARTED
        for one in asked:
            commands.answer(connection, one.id, outcome=outcome, seed_run_id=run)

    def _removals_wanted(self) -> set[events.Ref]:
        if (seen := self._seen) is None:
            return set()
        targets = {target.id: target for target in self._writer.routes.targets.values()}

        def is_current(one: commands.Request) -> bool:
            target = targets.get(one.destination_id)
            return target is not None and one.is_at(target.place_id, target.place_generation)

        def work(connection: base.Connection) -> list[tuple[str, commands.Request]]:
            everybody = destinations.ids_ever(connection, cluster=self._cluster)
            asked = [
                (verb, one)
                for verb in commands.REMOVALS
                for one in commands.take_waiting(connection, verb=verb, among=everybody)
            ]
            # A seed gives each file its mark: until its end in Git nobody knows which are left over, or unknown.
            seeded = states.in_seed(connection, [one.destination_id for _, one in asked if is_current(one)])
            return [(verb, one) for verb, one in asked if one.destination_id not in seeded or not is_current(one)]

        wanted = self._writer.durably(work)
        rung = set()
        for verb, one in wanted:
            removal = (
                self._removal(verb, one, targets[one.destination_id], seen)
                if is_current(one)
                else self._leaving(verb, one, seen)
            )
            if removal is not None and self._remove(one, removal):
                rung.add(removal.destination)
        return rung

    def _removal(
        self, verb: str, asked: commands.Request, target: routing.Target, seen: recording.Seen
    ) -> removing.Removal:
        if verb == commands.ADOPT:
            return removing.Adoption(asked, target, cluster=self._cluster)
        marks = self._writer.routes.marks[target.id]
        return removing.Pruning(asked, target, marks=marks, cluster=self._cluster, present=seen.present)

    def _leaving(self, verb: str, asked: commands.Request, seen: recording.Seen) -> removing.Leaving | None:
        """Files at a place that nobody has any more, where its repository still admits whoever had it.

        None after the answer that there are none to remove.
        """
        config_ids = self._recorded.config_ids

        def find(connection: base.Connection) -> removing.Leaving:
            left = places.former_at(connection, asked.destination_id, place=asked.place)
            if left is None or verb != commands.PRUNE:
                raise errors.PermanentError(commands.MOVED)
            url = compiling.reachable(
                left.repo_config,
                branch=left.branch,
                namespace=left.ref.namespace,
                configs=seen.repo_configs,
                verdicts=seen.compilation.repo_configs,
            )
            if url.key != left.url_key:
                raise errors.PermanentError(f"GitRepoConfig {left.repo_config} names another repository now")
            # The config may have been deleted and created again since.
            places.reach(connection, left.place_id, repo_config_id=config_ids[left.repo_config])
            return removing.Leaving(asked, left, cluster=self._cluster)

        try:
            return self._writer.durably(find)
        except errors.PermanentError as error:
            words = error.message
            self._writer.durably(lambda connection: commands.answer(connection, asked.id, outcome=words))
            return None

    def _remove(self, asked: commands.Request, removal: removing.Removal) -> int:
        """Write the rows of one request, in transactions that are as short as any, and answer it; how many rows."""
        paths, gone = sorted(asked.files), 0
        for start in range(0, len(paths), self._writer.settings.batch_rows):
            some = {path: asked.files[path] for path in paths[start : start + self._writer.settings.batch_rows]}
            objects = self._writer.durably(partial(removal.write, seen=some))
            if not isinstance(removal, removing.Leaving):
                self._forget(asked.destination_id, objects)
            gone += len(objects)

        def finish(connection: base.Connection) -> None:
            commands.answer(connection, asked.id, outcome=commands.STARTED, seed_run_id=removal.seed)
            commands.forget_files(connection, asked.id)

        self._writer.durably(finish)
        log.info("files_unwanted", destination=str(removal.destination), seed=removal.seed, files=gone, by=asked.by)
        return gone

    def _forget(self, destination_id: int, objects: Iterable[events.Identifier]) -> None:
        """Whoever selects these objects again finds that their files are not there."""
        known = self._writer.known[destination_id]
        for what in objects:
            found = known.get(inventory.key_of(what))
            if found is not None and found.uid == what.uid:
                del known[inventory.key_of(what)]


@dataclass(frozen=True, slots=True)
class _Need:
    """What decides whether a destination is seeded, and with what."""

    wanted: Sequence[routing.WantedScope]
    # What the rules select now that they did not before.
    change: comparing.Change
    # Whether this leader sees the destination's seeds for the first time.
    taken_over: bool
    # Whether the place was ever seeded to the end.
    synced: bool
    # The open seed, possibly of a former place, and what waits for its end.
    run: seeds.Run | None
    queued: seeds.Run | None

    @property
    def rules_changed(self) -> bool:
        """Whether anything is selected otherwise than before."""
        return self.change.rules or bool(self.change.members)

    @property
    def touched(self) -> set[routing.WantedScope]:
        """The scopes, or single namespaces of them, in which something else is selected, or in another way."""
        selected = comparing.touched(self.wanted, self.change.selected)
        return selected | comparing.parts(self.wanted, self.change.members)

    def with_left(self, scopes: Iterable[routing.WantedScope], *runs: seeds.Run | None) -> set[routing.WantedScope]:
        """Scopes with what is left to list of seeds: the rule that asked for that may have been wider or narrower."""
        left = (scope.key for run in runs if run is not None for scope in run.scopes)
        return comparing.parts(self.wanted, {*(scope.key for scope in scopes), *left})


def _cause(need: _Need, run: seeds.Run | None) -> str:
    if run is not None and not need.rules_changed:
        return f"{run.cause.removesuffix(TAKEN_OVER)}{TAKEN_OVER}"
    return "rules changed" if run is not None or need.synced else "new destination or place"


def _start(
    connection: base.Connection,
    target: routing.Target,
    scopes: Iterable[routing.WantedScope],
    cause: str,
    *,
    allow_prune: int = 0,
) -> str:
    """Begin a seed; its id."""
    wanted = _listed_apart(scopes)
    run = seeds.start(
        connection,
        destination_id=target.id,
        place_id=target.place_id,
        cause=cause,
        scopes=wanted,
        allow_prune=allow_prune,
    )
    log.info("seed_started", destination=str(target.ref), cause=cause, scopes=len(wanted))
    return run


def _queue(connection: base.Connection, target: routing.Target, scopes: Iterable[routing.WantedScope]) -> None:
    wanted = _listed_apart(scopes)
    seeds.queue(connection, destination_id=target.id, place_id=target.place_id, cause=RELABELLED, scopes=wanted)
    log.info("seed_queued", destination=str(target.ref), cause=RELABELLED, scopes=len(wanted))


def _listed_apart(scopes: Iterable[routing.WantedScope]) -> list[tuple[seeds.ScopeKey, str, bool]]:
    """A namespace is listed with the others of its type where they are."""
    every = {scope.key: scope for scope in scopes}
    return sorted(
        (key, scope.version, scope.sweepable)
        for key, scope in every.items()
        if not key.namespace or replace(key, namespace="") not in every
    )


def _furthest(found: Iterable[cursors.Cursor]) -> dict[tuple[str, str], cursors.Cursor]:
    """Of each type, how far it was read."""
    return {one.type_key: one for one in sorted(found, key=writing.order_of)}


def _resume_point(key: routing.StreamKey, stored: Sequence[cursors.Cursor]) -> cursors.Cursor | None:
    """Where a stream goes on: its own cursor, a wider one's, or the lowest of the narrower ones.

    Cursors of different epochs cannot be compared: such a stream begins anew, with a seed.
    """
    same_type = [cursor for cursor in stored if cursor.type_key == key.type_key]
    own = [cursor for cursor in same_type if cursor.namespace == key.namespace]
    wider = [cursor for cursor in same_type if cursor.namespace == ""]
    candidates = own or wider or (same_type if key.namespace == "" else [])
    if len({cursor.source_epoch for cursor in candidates}) > 1:
        return None
    lowest = min(candidates, key=writing.order_of, default=None)
    if lowest is None:
        return None
    return cursors.Cursor(
        key.group, key.resource, key.namespace, key.version, lowest.resource_version, lowest.source_epoch
    )
