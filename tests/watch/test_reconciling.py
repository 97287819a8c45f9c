"""The reconciler without a cluster: what it does while the labels of namespaces do not come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from app import errors, events
from app.kube import discovery, listing
from app.models import rules
from app.rules import compiling, kinds, types
from app.watch import namespaces, reconciling
from tests.waiting import wait_until
from tests.watch.desk import CONFIG_MAPS, ROLES, SHOP, Desk

NARROW = compiling.RuleKey("WatchRule", events.Ref("shop", "narrow"))
WIDE = compiling.RuleKey("ClusterWatchRule", events.Ref("", "wide"))
THINGS = replace(CONFIG_MAPS, group="example.com", resource="things", kind="Thing")


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


class NoStreams:
    """Stands where the streams are: nothing is watched."""

    def follow(self, _routes: object) -> None: ...

    def try_again(self) -> None: ...


def ours(*wide: dict[str, Any]) -> Ours:
    """A destination, a rule of its own namespace, and a cluster rule of these items."""
    destination = {"name": SHOP.name, "namespace": SHOP.namespace}
    return Ours(
        _object("GitRepoConfig", "repo", repoUrl="https://example.com/x.git", allowedBranches=["*"]),
        _object("GitDestination", "prod", repoRef={"name": "repo"}, branch="main", baseFolder="clusters/prod"),
        _object("WatchRule", "narrow", destinationRef=destination, rules=[{"resources": ["roles"]}]),
        _object("ClusterWatchRule", "wide", destinationRef=destination, rules=list(wide)),
    )


def of_team(team: str) -> dict[str, Any]:
    """A rule item that selects namespaces."""
    selector = {"matchLabels": {"team": team}}
    return {"resources": ["configmaps"], "scope": "Namespaced", "namespaceSelector": selector}


@contextlib.contextmanager
def running(desk: Desk, objects: Ours) -> Iterator[reconciling.Reconciler]:
    """A reconciler and a follower of namespaces with their threads."""
    stop = threading.Event()
    followed = namespaces.Namespaces(desk.settings, None, changed=objects.changed, stop=stop)  # type: ignore[arg-type]
    reconciler = reconciling.Reconciler(
        desk.settings,
        cluster=None,  # type: ignore[arg-type]
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


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster that says what it serves, and never answers who has which labels."""
    answer = threading.Event()

    def hang(*_args: object, **_options: object) -> NoReturn:
        answer.wait()
        raise errors.TemporaryError("the cluster does not answer")

    served = discovery.Discovery((CONFIG_MAPS, ROLES), frozenset(), frozenset())
    monkeypatch.setattr(discovery, "discover", lambda _cluster: served)
    monkeypatch.setattr(listing, "list_pages", hang)
    monkeypatch.setattr(namespaces, "PATIENCE", 0.2)
    yield
    answer.set()


def outcome(reconciler: reconciling.Reconciler) -> dict[compiling.RuleKey, compiling.RuleVerdict]:
    """What became of the rules, once anything did."""
    wait_until(lambda: reconciler.outcome, what="a reconciliation")
    assert reconciler.outcome
    return reconciler.outcome.compilation.rules


def test_a_list_of_namespaces_that_hangs_holds_up_its_own_rule_only(desk: Desk) -> None:
    """Labels that do not come, without any failure, keep the rule that asks for them waiting, and no other."""
    with running(desk, ours(of_team("a"))) as reconciler:
        found = outcome(reconciler)
        assert (found[NARROW].reason, found[WIDE].reason) == (compiling.READY, "NamespacesUnknown")


def test_a_new_leader_goes_on_with_the_members_of_before(desk: Desk) -> None:
    """A rule in force keeps its version and its namespaces while their labels do not come; a new item waits."""
    with running(desk, ours(of_team("a"))) as reconciler:
        answer(reconciler, {"one": {"team": "a"}, "two": {}})
        wait_until(lambda: outcome(reconciler)[WIDE].ready, what="the rule with its namespaces")
    version = versions(desk)
    with running(desk, ours(of_team("a"))) as successor:
        rule = outcome(successor)[WIDE].rule
        assert rule
        assert {scope.members for scope in rule.scopes} == {frozenset({"one"})}
    assert versions(desk) == version == {str(NARROW): 1, str(WIDE): 1}
    with running(desk, ours(of_team("b"))) as successor:
        assert outcome(successor)[WIDE].reason == "NamespacesUnknown"


def test_another_selector_asks_for_the_labels_of_now(desk: Desk) -> None:
    """A label that no selector asked for wakes nobody, and is known when one does."""
    objects = ours(of_team("a"))
    with running(desk, objects) as reconciler:
        answer(reconciler, {"one": {"team": "a"}, "two": {}})
        wait_until(lambda: outcome(reconciler)[WIDE].ready, what="the rule with its namespaces")
        before = reconciler.outcome
        answer(reconciler, {"one": {"team": "a"}, "two": {"team": "b"}})
        assert not objects.changed.is_set()
        assert reconciler.outcome is before
        objects.found = ours(of_team("b")).found
        objects.changed.set()
        wait_until(lambda: reconciler.outcome is not before, what="the other rule")
        rule = outcome(reconciler)[WIDE].rule
        assert rule
        assert {scope.members for scope in rule.scopes} == {frozenset({"two"})}


def test_a_group_that_does_not_answer_is_told_from_one_that_is_not_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule on a type whose API server is away at the start is told to wait, and follows the moment it answers."""

    def serve(*found: types.ResourceType, failed: frozenset[str] = frozenset()) -> None:
        served = discovery.Discovery(found, failed, frozenset())
        monkeypatch.setattr(discovery, "discover", lambda _cluster: served)
        objects.types_changed.set()
        objects.changed.set()

    def message() -> str:
        return outcome(reconciler)[WIDE].message

    objects = ours({"resources": ["configmaps", f"things.{THINGS.group}"], "scope": "Namespaced"})
    serve(CONFIG_MAPS, ROLES)
    with running(desk, objects) as reconciler:
        wait_until(lambda: message().endswith("or install its CRD"), what="a group that is not there")
        serve(CONFIG_MAPS, ROLES, failed=frozenset({THINGS.group}))
        said = f"the API server of {THINGS.group} does not answer, and is asked again until it does"
        wait_until(lambda: said in message(), what="a group that is registered and silent")
        serve(CONFIG_MAPS, ROLES, THINGS)
        wait_until(lambda: message() == "feeds shop/prod with 2 types", what="its answer")
        serve(CONFIG_MAPS, ROLES, failed=frozenset({THINGS.group}))
        serve(CONFIG_MAPS, failed=frozenset({THINGS.group}))
        wait_until(lambda: outcome(reconciler)[NARROW].reason == "NotServed", what="another type that went")
        assert message() == "feeds shop/prod with 2 types"


def answer(reconciler: reconciling.Reconciler, labels: dict[str, Mapping[str, str]]) -> None:
    """The labels come."""
    wait_until(reconciler._namespaces._wanted.is_set, what="the question")
    reconciler._namespaces._replace(labels)


def versions(desk: Desk) -> dict[str, int]:
    """The rules in force."""
    with desk.database.read() as connection:
        return rules.versions(connection, cluster="home")


def _object(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1}
    place = {} if kind == "ClusterWatchRule" else {"namespace": "shop"}
    return {"apiVersion": kinds.API_VERSION, "kind": kind, "metadata": {**metadata, **place}, "spec": spec}
