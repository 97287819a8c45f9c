"""The reconciler with its threads, on a desk; our objects are what a test says, and nothing is watched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from app import events
from app.kube import client
from app.rules import compiling, kinds
from app.watch import namespaces, ours, reconciling
from tests.waiting import wait_until
from tests.watch.desk import SHOP, Desk

NARROW = compiling.RuleKey("WatchRule", events.Ref("shop", "narrow"))
WIDE = compiling.RuleKey("ClusterWatchRule", events.Ref("", "wide"))


class Ours:
    """Stands where our objects are followed: these are all that there are."""

    complete = True

    def __init__(self, *found: dict[str, Any]) -> None:
        self.changed, self.types_changed = threading.Event(), threading.Event()
        self.found: dict[str, dict[events.Ref, dict[str, Any]]] = {}
        for raw in found:
            metadata = raw["metadata"]
            ref = events.Ref(metadata.get("namespace", ""), metadata["name"])
            self.found.setdefault(raw["kind"], {})[ref] = raw

    def snapshot(self) -> Mapping[str, Mapping[events.Ref, dict[str, Any]]]:
        return self.found


class Triggers(ours.OurObjects):
    """The same, and really follows what changes the types that a cluster serves."""

    complete = True

    def __init__(self, desk: Desk, cluster: client.Cluster, objects: Ours) -> None:
        super().__init__(desk.settings, cluster, desk.stop)
        self.snapshot = lambda: dict(objects.found)  # type: ignore[method-assign]


class NoStreams:
    """Stands where the streams are: nothing is watched."""

    def follow(self, _routes: object) -> None: ...

    def try_again(self) -> None: ...


def our_objects(*wide: dict[str, Any]) -> Ours:
    """A destination, a rule of its own namespace, and a cluster rule of these items."""
    destination = {"name": SHOP.name, "namespace": SHOP.namespace}
    return Ours(
        _object("GitRepoConfig", "repo", repoUrl="https://example.com/x.git", allowedBranches=["*"]),
        _object("GitDestination", "prod", repoRef={"name": "repo"}, branch="main", baseFolder="clusters/prod"),
        _object("WatchRule", "narrow", destinationRef=destination, rules=[{"resources": ["roles"]}]),
        _object("ClusterWatchRule", "wide", destinationRef=destination, rules=list(wide)),
    )


@contextlib.contextmanager
def running(
    desk: Desk, objects: Ours | Triggers, cluster: client.Cluster | None = None
) -> Iterator[reconciling.Reconciler]:
    """A reconciler and a follower of namespaces with their threads."""
    stop = threading.Event()
    followed = namespaces.Namespaces(desk.settings, None, changed=objects.changed, stop=stop)  # type: ignore[arg-type]
    reconciler = reconciling.Reconciler(
        desk.settings,
        cluster=cluster,  # type: ignore[arg-type]
        objects=objects,  # type: ignore[arg-type]
        followed=followed,
        causes=desk.causes,
        running=NoStreams(),  # type: ignore[arg-type]
        stop=stop,
    )
    threads = [threading.Thread(target=job, daemon=True) for job in (followed.run, reconciler.run)]
    for thread in threads:
        thread.start()
    try:
        yield reconciler
    finally:
        stop.set()
        threads[1].join(20)


def outcome(reconciler: reconciling.Reconciler) -> dict[compiling.RuleKey, compiling.RuleVerdict]:
    """What became of the rules, once anything did."""
    wait_until(lambda: reconciler.outcome, what="a reconciliation")
    assert reconciler.outcome
    return reconciler.outcome.compilation.rules


def _object(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1}
    place = {} if kind == "ClusterWatchRule" else {"namespace": "shop"}
    return {"apiVersion": kinds.API_VERSION, "kind": kind, "metadata": {**metadata, **place}, "spec": spec}
