"""What one compilation means for the watching: which destinations exist, what each holds, which streams that needs.

A `Routing` is immutable. `reconciling.py` makes it in the transaction that writes its causes and hands it to the
writer, which makes every Event with the routing of the moment; `streams.py` follows `Routing.streams`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app import events
from app.models import destinations, inventory, seeds
from app.rules import matching, selecting, types


@dataclass(frozen=True, slots=True)
class Target:
    """A ready destination at its current place, as Events name it."""

    id: int
    uid: str
    ref: events.Ref
    repo_config: events.Ref
    place_id: int
    place_generation: int
    branch: str
    base_folder: str


def target_of(placed: destinations.Destination) -> Target:
    """A destination at the place of this record of it."""
    return Target(
        id=placed.id,
        uid=placed.uid,
        ref=placed.ref,
        repo_config=placed.repo_config,
        place_id=placed.place_id,
        place_generation=placed.place_generation,
        branch=placed.branch,
        base_folder=placed.base_folder,
    )


class StreamKey(NamedTuple):
    """What one stream covers. An empty namespace means cluster scope or all namespaces."""

    group: str
    version: str
    resource: str
    namespace: str

    @property
    def resource_key(self) -> tuple[str, str, str]:
        """The cursor's key: two versions of one type share a resume point, the lower one of both."""
        return self.group, self.resource, self.namespace

    @property
    def type_key(self) -> tuple[str, str]:
        """What has one history of resourceVersions."""
        return self.group, self.resource

    def covers(self, scope: WantedScope) -> bool:
        """Whether a scope's objects come through this stream."""
        return (self.group, self.version, self.resource) == (
            scope.key.group,
            scope.version,
            scope.key.resource,
        ) and self.namespace in {"", scope.key.namespace}

    def __str__(self) -> str:
        """`apps/v1/deployments` or `apps/v1/deployments in shop`, for logs."""
        kind = "/".join(part for part in (self.group, self.version, self.resource) if part)
        return f"{kind} in {self.namespace}" if self.namespace else kind


class WantedScope(NamedTuple):
    """One type in one namespace that a destination holds; `sweepable` when a rule on it selects DELETE."""

    key: seeds.ScopeKey
    version: str
    sweepable: bool


# What is selected in each scope of a destination, as a digest: the same as long as no rule on it changes.
Marks = Mapping[seeds.ScopeKey, str]


class Holding(NamedTuple):
    """A destination that holds a type in one namespace or all, and the mark of what its rules select there."""

    target: Target
    mark: str


# By group, resource and namespace.
Holdings = Mapping[tuple[str, str, str], tuple[Holding, ...]]


@dataclass(frozen=True)
class Routing:
    """Everything that turns a change into Events: rules, destinations, and what they hold."""

    matcher: selecting.Matcher
    targets: Mapping[events.Ref, Target] = field(default_factory=dict)
    # Destination id -> what its rules select.
    scopes: Mapping[int, tuple[WantedScope, ...]] = field(default_factory=dict)
    streams: Mapping[StreamKey, types.ResourceType] = field(default_factory=dict)
    # Destination id -> the marks of its scopes; and the same by what they hold, for each change.
    marks: Mapping[int, Marks] = field(default_factory=dict)
    holdings: Holdings = field(default_factory=dict)

    def holding(self, key: inventory.Key) -> tuple[Holding, ...]:
        """The destinations that hold the type of an object, in its namespace or in all: each of them once."""
        group, resource, namespace, _ = key
        wide = self.holdings.get((group, resource, ""), ())
        return wide + self.holdings.get((group, resource, namespace), ()) if namespace else wide

    def covered(self, key: StreamKey) -> Iterator[tuple[int, tuple[WantedScope, ...]]]:
        """Destinations that a stream serves, with the scopes that come through it."""
        for destination_id, wanted in self.scopes.items():
            through = tuple(scope for scope in wanted if key.covers(scope))
            if through:
                yield destination_id, through

    def target_of(self, destination_id: int) -> Target:
        """The destination of this id."""
        return next(target for target in self.targets.values() if target.id == destination_id)


NOTHING = Routing(matcher=selecting.Matcher([]))


def wanted_scopes(found: Iterable[selecting.DestinationScope]) -> tuple[WantedScope, ...]:
    """The scopes of one destination in a stable order; it holds one version of a type (`app/rules/compiling.py`)."""
    return tuple(
        sorted(
            WantedScope(
                seeds.ScopeKey(scope.type.group, scope.type.resource, scope.namespace),
                scope.type.version,
                scope.sweepable,
            )
            for scope in found
        )
    )


def marks(found: Iterable[selecting.DestinationScope]) -> Marks:
    """The marks of one destination's scopes."""
    return {seeds.ScopeKey(scope.type.group, scope.type.resource, scope.namespace): scope.mark for scope in found}


def holdings(marks: Mapping[int, Marks], targets: Iterable[Target]) -> Holdings:
    """The scopes of all destinations, by what they hold."""
    held: dict[tuple[str, str, str], list[Holding]] = {}
    for target in targets:
        for key, mark in marks[target.id].items():
            held.setdefault((key.group, key.resource, key.namespace), []).append(Holding(target, mark))
    return {key: tuple(every) for key, every in held.items()}


def plan_streams(found: Iterable[selecting.DestinationScope]) -> dict[StreamKey, types.ResourceType]:
    """Exactly the streams that the rules of all destinations need.

    One namespace of a type gets a stream of its own; two, or a rule over all of them, get one wide stream, because a
    connection per namespace costs the API server more than the objects that we then leave aside.
    """
    namespaces: dict[types.ResourceType, set[str]] = {}
    for scope in found:
        # Belt and braces: a rule on Secrets never compiles, and no stream may ever read them (promise P12).
        if scope.type.key != matching.SECRETS:
            namespaces.setdefault(scope.type, set()).add(scope.namespace)
    return {_stream_key(type_, names): type_ for type_, names in namespaces.items()}


def stream_namespace(namespaces: Collection[str]) -> str:
    """What one stream covers for rules in these namespaces: the only one, else all of them, which is empty."""
    return next(iter(namespaces)) if len(namespaces) == 1 else ""


def _stream_key(type_: types.ResourceType, namespaces: set[str]) -> StreamKey:
    return StreamKey(type_.group, type_.version, type_.resource, stream_namespace(namespaces))
