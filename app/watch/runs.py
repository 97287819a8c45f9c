"""The open seeds as the writer sees them: which scopes wait for a listing, what was counted, who lived meanwhile.

SQL holds the truth (`app/models/seeds.py`); what stands here is derived from it, changes after a commit only, and is
thrown away with the run. Only the writer's thread touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from app.models import inventory, ledger, seeds
from app.rules import versions
from app.watch import eventing, inbox, routing

# For more namespaces than this at once, the whole type is listed: in one seed, and for all seeds that are open.
NARROW_LISTINGS = 20


class Progress(Enum):
    """How far the listing of one scope is."""

    WAITING = "waiting"
    LISTING = "listing"
    ENDED = "ended"


@dataclass(slots=True)
class ScopeState:
    """One scope of an open seed; `selected` counts the objects of it whose rows are committed."""

    progress: Progress = Progress.WAITING
    selected: int = 0


@dataclass(frozen=True, slots=True)
class Lived:
    """The newest live Event of an object during a seed."""

    deleted: bool
    resource_version: str


@dataclass(slots=True)
class OpenRun:
    """One seed without SEED_SYNC."""

    id: str
    destination_id: int
    cause: str
    scopes: dict[routing.WantedScope, ScopeState]
    # uid -> its newest live Event, from before the list request until SEED_SYNC.
    lived: dict[str, Lived] = field(default_factory=dict)
    # uid -> the rule that selected its creation, of an object that a live Event made known meanwhile.
    created: dict[str, str] = field(default_factory=dict)
    # uid -> the row that says that it is there, of an object that a live UPDATE made known and no page has brought
    # since: the listing that passed it over did not know it, and selected no creation of it.
    passed_over: dict[str, ledger.Entry] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether every scope is listed, or known to be out of reach."""
        return all(state.progress is Progress.ENDED for state in self.scopes.values())

    def stale(self, subject: eventing.Subject) -> str | None:
        """Why a listed object is no news, or None: a live Event of it was a DELETE, or a newer state.

        A state that was seen live as well is written again: after a sweep the live row of it may be behind a tombstone,
        and only a seed may bring a file back. Whether a newer one is of other content is for the caller to say.
        """
        lived = self.lived.get(subject.identifier.uid)
        if lived is None:
            return None
        if lived.deleted:
            return "it was deleted while it was listed"
        seen = subject.resource_version == lived.resource_version
        if seen or versions.newer(subject.resource_version, lived.resource_version):
            return None
        return "a newer live change was seen while it was listed"


class SeedBook:
    """All open seeds, by run id."""

    def __init__(self) -> None:
        self.runs: dict[str, OpenRun] = {}
        # What no listing works on; read by the seeder's thread, replaced as a whole.
        self.waiting: tuple[routing.WantedScope, ...] = ()
        # The runs by what they hold, for each change.
        self._holding: dict[seeds.ScopeKey, list[OpenRun]] = {}

    def replace(self, found: Iterable[seeds.Run]) -> None:
        """Follow SQL: runs that are open go on as they are, new ones start, others are forgotten."""
        self.runs = {run.id: self.runs.get(run.id) or _opened(run) for run in found}
        self._index()

    def forget(self, run_ids: Iterable[str]) -> None:
        """These seeds were closed."""
        for run_id in run_ids:
            self.runs.pop(run_id, None)
        self._index()

    def begin(self, key: routing.StreamKey) -> tuple[str, tuple[tuple[str, routing.WantedScope], ...]]:
        """Hand waiting scopes that a stream covers to one listing: the namespace to ask for, and the scopes.

        That is all of them, or those of one namespace while single namespaces are all that waits.
        """
        begun = tuple(self._in(Progress.WAITING, key))
        names = {scope.key.namespace for _, scope in begun}
        namespace = key.namespace if "" in names or len(names) > NARROW_LISTINGS else min(names, default="")
        begun = tuple((run_id, scope) for run_id, scope in begun if namespace in {"", scope.key.namespace})
        for run_id, scope in begun:
            self.runs[run_id].scopes[scope].progress = Progress.LISTING
        self._publish()
        return namespace, begun

    def untouched(self, run_id: str, scope: routing.WantedScope) -> bool:
        """Whether nothing of a scope was listed yet."""
        run = self.runs.get(run_id)
        return run is not None and scope in run.scopes and run.scopes[scope].progress is Progress.WAITING

    def missed(self, run_id: str, scopes: Iterable[routing.WantedScope]) -> set[routing.WantedScope]:
        """Those of some scopes that no listing will bring which has not begun."""
        run = self.runs.get(run_id)
        states = run.scopes.items() if run is not None else ()
        coming = {one.key for one, state in states if state.progress is Progress.WAITING}
        return {scope for scope in scopes if coming.isdisjoint({scope.key, replace(scope.key, namespace="")})}

    def put_back(self, listing: inbox.Listing) -> None:
        """A listing ended before its first object: its scopes wait for the next one."""
        for run_id, scope in listing.scopes:
            if run_id in self.runs:
                self.runs[run_id].scopes[scope].progress = Progress.WAITING
        self._publish()

    def end(self, scopes: Iterable[tuple[str, routing.WantedScope]]) -> None:
        """These scopes are listed, or out of reach."""
        for run_id, scope in scopes:
            if run_id in self.runs:
                self.runs[run_id].scopes[scope].progress = Progress.ENDED
        self._publish()

    def unlisted(self, key: routing.StreamKey) -> list[tuple[str, routing.WantedScope]]:
        """What a stream covers and nobody has listed to the end."""
        return [*self._in(Progress.WAITING, key), *self._in(Progress.LISTING, key)]

    def of_destination(self, destination_id: int) -> OpenRun | None:
        """The open seed of a destination; there is at most one."""
        return next((run for run in self.runs.values() if run.destination_id == destination_id), None)

    def note(self, subject: eventing.Subject) -> None:
        """A live Event, even of unchanged content: what a listing says of this object may be older."""
        for run in self.holding(subject.key):
            run.lived[subject.identifier.uid] = Lived(subject.deleted, subject.resource_version)

    def holding(self, key: inventory.Key) -> Iterator[OpenRun]:
        """The seeds that list an object."""
        group, resource, namespace, _ = key
        for name in {"", namespace}:
            yield from self._holding.get(seeds.ScopeKey(group, resource, name), ())

    def _in(self, progress: Progress, key: routing.StreamKey) -> Iterator[tuple[str, routing.WantedScope]]:
        for run in self.runs.values():
            for scope, state in run.scopes.items():
                if state.progress is progress and key.covers(scope):
                    yield run.id, scope

    def _index(self) -> None:
        """The runs are other ones."""
        self._holding = {}
        for run in self.runs.values():
            for scope in run.scopes:
                self._holding.setdefault(scope.key, []).append(run)
        self._publish()

    def _publish(self) -> None:
        self.waiting = tuple(
            scope
            for run in self.runs.values()
            for scope, state in run.scopes.items()
            if state.progress is Progress.WAITING
        )


def _opened(run: seeds.Run) -> OpenRun:
    return OpenRun(
        id=run.id,
        destination_id=run.destination_id,
        cause=run.cause,
        scopes={
            routing.WantedScope(scope.key, scope.version, scope.sweepable): ScopeState(
                Progress.WAITING if scope.outcome == seeds.NOT_LISTED else Progress.ENDED
            )
            for scope in run.scopes
        },
    )
