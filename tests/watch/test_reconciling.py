"""The reconciler without a cluster: what it does while the labels of namespaces do not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from app import errors
from app.kube import discovery, listing
from app.models import rules
from app.rules import compiling, types
from app.watch import namespaces, reconciling
from tests.waiting import wait_until
from tests.watch.desk import CONFIG_MAPS, ROLES, Desk
from tests.watch.reconciler import NARROW, WIDE, our_objects, outcome, running

THINGS = replace(CONFIG_MAPS, group="example.com", resource="things", kind="Thing")


def of_team(team: str) -> dict[str, Any]:
    """A rule item that selects namespaces."""
    selector = {"matchLabels": {"team": team}}
    return {"resources": ["configmaps"], "scope": "Namespaced", "namespaceSelector": selector}


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


def test_a_type_that_is_away_for_a_moment_changes_no_rule(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as served for the time of grace, however often somebody looks, and is gone after it."""
    served = [(CONFIG_MAPS, ROLES, THINGS)]
    monkeypatch.setattr(
        discovery, "discover", lambda _cluster: discovery.Discovery(served[-1], frozenset(), frozenset())
    )
    desk.settings = replace(desk.settings, type_grace=1.0, discovery_interval=0.05)
    with running(desk, our_objects({"resources": ["things.example.com"], "scope": "Namespaced"})) as reconciler:
        wait_until(lambda: outcome(reconciler)[WIDE].ready, what="the rule")
        before = reconciler.outcome
        served.append((CONFIG_MAPS, ROLES))
        time.sleep(0.5)
        served.append((CONFIG_MAPS, ROLES, THINGS))
        time.sleep(0.7)
        assert reconciler.outcome is before
        served.append((CONFIG_MAPS, ROLES))
        wait_until(lambda: outcome(reconciler)[WIDE].reason == "NotServed", what="the end of the type")


def test_a_type_that_gets_another_version_is_not_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its former version is gone at once: there must not be two that are preferred."""
    served = [(THINGS,)]
    monkeypatch.setattr(
        discovery, "discover", lambda _cluster: discovery.Discovery(served[-1], frozenset(), frozenset())
    )
    desk.settings = replace(desk.settings, discovery_interval=0.05)
    with running(desk, our_objects({"resources": ["things.example.com"], "scope": "Namespaced"})) as reconciler:

        def versions() -> list[str]:
            rule = outcome(reconciler)[WIDE].rule
            return [scope.type.version for scope in rule.scopes] if rule else []

        wait_until(lambda: versions() == ["v1"], what="the type")
        served.append((replace(THINGS, version="v2"),))
        wait_until(lambda: versions() == ["v2"], what="its other version")


def test_a_list_of_namespaces_that_hangs_holds_up_its_own_rule_only(desk: Desk) -> None:
    """Labels that do not come, without any failure, keep the rule that asks for them waiting, and no other."""
    with running(desk, our_objects(of_team("a"))) as reconciler:
        found = outcome(reconciler)
        assert (found[NARROW].reason, found[WIDE].reason) == (compiling.READY, "NamespacesUnknown")


def test_a_new_leader_goes_on_with_the_members_of_before(desk: Desk) -> None:
    """A rule in force keeps its version and its namespaces while their labels do not come; a new item waits."""
    with running(desk, our_objects(of_team("a"))) as reconciler:
        answer(reconciler, {"one": {"team": "a"}, "two": {}})
        wait_until(lambda: outcome(reconciler)[WIDE].ready, what="the rule with its namespaces")
    version = versions(desk)
    with running(desk, our_objects(of_team("a"))) as successor:
        rule = outcome(successor)[WIDE].rule
        assert rule
        assert {scope.members for scope in rule.scopes} == {frozenset({"one"})}
    assert versions(desk) == version == {str(NARROW): 1, str(WIDE): 1}
    with running(desk, our_objects(of_team("b"))) as successor:
        assert outcome(successor)[WIDE].reason == "NamespacesUnknown"


def test_another_selector_asks_for_the_labels_of_now(desk: Desk) -> None:
    """A label that no selector asked for wakes nobody, and is known when one does."""
    objects = our_objects(of_team("a"))
    with running(desk, objects) as reconciler:
        answer(reconciler, {"one": {"team": "a"}, "two": {}})
        wait_until(lambda: outcome(reconciler)[WIDE].ready, what="the rule with its namespaces")
        before = reconciler.outcome
        answer(reconciler, {"one": {"team": "a"}, "two": {"team": "b"}})
        assert not objects.changed.is_set()
        assert reconciler.outcome is before
        objects.found = our_objects(of_team("b")).found
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

    desk.settings = replace(desk.settings, type_grace=0.2)
    objects = our_objects({"resources": ["configmaps", f"things.{THINGS.group}"], "scope": "Namespaced"})
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
