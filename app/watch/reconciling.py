"""The reconciler: from our objects and what the cluster serves to a routing, its seeds and its streams.

Compiling is pure (`app/rules`); what comes out is written, with the seeds that it causes, in one transaction by the
writer (`causing.py`); then the streams follow. Runs when something changed, and for discovery every so often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from app import errors, events
from app.kube import client, discovery
from app.kube import kinds as our_kinds
from app.rules import compiling, kinds, types
from app.settings import Settings
from app.watch import causing, namespaces, ours, recording, streams

log = structlog.get_logger(__name__)

# Changes come in groups (`kubectl apply -f folder`): wait until it was quiet for so long, at most ten times that.
DEBOUNCE = 0.05
# A new CRD is served a moment after it is established: look again after so many seconds.
_LOOK_AGAIN = (0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Outcome:
    """What the last reconciliation came to, for the status of our objects."""

    compilation: compiling.Compilation
    # Objects that cannot be read at all: kind and name -> what is wrong.
    unreadable: Mapping[tuple[str, events.Ref], errors.PermanentError]
    # uid -> the generation that was judged, of all that were there.
    generations: Mapping[str, int]


@dataclass
class _Read:
    """Our objects, read."""

    configs: dict[events.Ref, kinds.GitRepoConfig] = field(default_factory=dict)
    destinations: dict[events.Ref, kinds.GitDestination] = field(default_factory=dict)
    rules: list[kinds.WatchRule] = field(default_factory=list)
    cluster_rules: list[kinds.ClusterWatchRule] = field(default_factory=list)
    unreadable: dict[tuple[str, events.Ref], errors.PermanentError] = field(default_factory=dict)
    # By uid, of all that are there, readable or not.
    generations: dict[str, int] = field(default_factory=dict)


class Reconciler:
    """One thread that follows our objects. `outcome` is replaced as a whole and read by the reporter."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: client.Cluster,
        objects: ours.OurObjects,
        followed: namespaces.Namespaces,
        causes: causing.Causes,
        running: streams.Streams,
        stop: threading.Event,
    ) -> None:
        self.outcome: Outcome | None = None
        self._settings = settings
        self._cluster = cluster
        self._objects = objects
        self._namespaces = followed
        self._causes = causes
        self._streams = running
        self._stop = stop
        self._types: tuple[types.ResourceType, ...] = ()
        self._failed_groups: frozenset[str] = frozenset()
        # Group and resource of what is served no more -> until when it counts as served.
        self._going: dict[tuple[str, str], float] = {}
        self._discover_at = [0.0]
        # Whether a reconciliation waits for the labels of namespaces.
        self._held = False

    def run(self) -> None:
        """Reconcile on each change, until told to stop."""
        while not self._stop.is_set():
            changed = self._wait()
            if self._stop.is_set():
                return
            types_changed = self._discover()
            if self._objects.complete and self._types and (changed or types_changed or self.outcome is None):
                self._reconcile()

    def _wait(self) -> bool:
        """Wait for a change, or until discovery is due; whether something changed."""
        changed = self._objects.changed
        while not self._stop.is_set() and time.monotonic() < self._discover_at[0]:
            if changed.wait(min(0.5, max(0.0, self._discover_at[0] - time.monotonic()))):
                break
            if self._held and self._namespaces.settled():
                # Nobody says that patience has ended.
                changed.set()
        if not changed.is_set():
            return False
        for _ in range(10):
            changed.clear()
            if self._stop.wait(DEBOUNCE) or not changed.is_set():
                break
        changed.clear()
        return True

    def _discover(self) -> bool:
        """Ask what is served, and which groups do not answer, when that is due; whether it changed."""
        now = time.monotonic()
        if self._objects.types_changed.is_set():
            self._objects.types_changed.clear()
            self._discover_at = [now + wait for wait in (0.0, *_LOOK_AGAIN)]
        if now < self._discover_at[0]:
            return False
        self._discover_at = [at for at in self._discover_at if at > now] or [now + self._settings.discovery_interval]
        try:
            found = discovery.discover(self._cluster)
        except errors.ReverserError as error:
            log.warning("discovery_failed", error=error.message)
            self._discover_at = [now + max(1.0, getattr(error, "delay", 1.0))]
            return False
        # A type that went and came back between two looks is the same here, and not to its stream.
        self._streams.try_again()
        before, kept = (self._types, self._failed_groups), self._kept(found, now)
        self._types, self._failed_groups = tuple(sorted({*found.types, *kept}, key=_type_order)), found.failed_groups
        return before != (self._types, self._failed_groups)

    def _kept(self, found: discovery.Discovery, now: float) -> list[types.ResourceType]:
        """The types that are not served now and count as if they were.

        A group that did not answer keeps its types: silence is not removal. One that is gone may be back in a moment,
        with a definition that is installed anew or a server that just started: no rule changes for that.
        """
        there = {one.key for one in found.types}
        away = [one for one in self._types if one.key not in there]
        gone = {one.key for one in away if one.group not in found.failed_groups}
        self._going = {key: self._going.get(key, now + self._settings.type_grace) for key in gone}
        left = {key for key, until in self._going.items() if until <= now}
        self._discover_at = sorted({*self._discover_at, *(at for key, at in self._going.items() if key not in left)})
        return [one for one in away if one.key not in left]

    def _reconcile(self) -> None:
        read = _read(self._objects.snapshot())
        asked = _namespace_selectors(read)
        self._held = not self._namespaces.want(asked)
        if self._held:
            # Their labels come within a moment, and wake this thread: without them a rule would end and begin again.
            return
        known = self._namespaces.labels
        compilation = compiling.compile_all(
            repo_configs=list(read.configs.values()),
            destinations=list(read.destinations.values()),
            watch_rules=read.rules,
            cluster_rules=read.cluster_rules,
            types=self._types,
            failed_groups=self._failed_groups,
            allow_local=self._settings.allow_local_repos,
            namespaces=known,
            members=self._causes.members() if asked and known is None else None,
        )
        seen = recording.Seen(
            repo_configs=read.configs,
            destinations=read.destinations,
            compilation=compilation,
            present=frozenset(read.generations),
        )
        routes = self._causes.adopt(seen)
        self.outcome = Outcome(compilation, read.unreadable, read.generations)
        self._streams.follow(routes)
        log.info("reconciled", destinations=len(routes.targets), rules=len(compilation.compiled()),
                 streams=len(routes.streams))  # fmt: skip


def _read(objects: Mapping[str, Mapping[events.Ref, ours.Raw]]) -> _Read:
    """Read our objects; what is on its way out is gone, what cannot be read is kept as it was in SQL."""
    read = _Read()
    for kind, found in objects.items():
        for ref, raw in found.items():
            metadata = raw["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            read.generations[metadata.get("uid", "")] = int(metadata.get("generation") or 0)
            try:
                _sort(read, our_kinds.read(raw))
            except errors.PermanentError as error:
                read.unreadable[kind, ref] = error
    return read


def _namespace_selectors(read: _Read) -> namespaces.Selectors:
    found = (item.namespace_selector for rule in read.cluster_rules for item in rule.items)
    return frozenset(one for one in found if one is not None)


def _sort(read: _Read, one: our_kinds.OurObject) -> None:
    match one:
        case kinds.GitRepoConfig():
            read.configs[one.meta.ref] = one
        case kinds.GitDestination():
            read.destinations[one.meta.ref] = one
        case kinds.WatchRule():
            read.rules.append(one)
        case kinds.ClusterWatchRule():
            read.cluster_rules.append(one)


def _type_order(one: types.ResourceType) -> tuple[str, str, str]:
    return one.group, one.resource, one.version
