"""Namespaces that come and go while a seed is open: it goes on to its end, and they are listed after it.

Whoever dies meanwhile: what waits stands in SQL.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.models import seeds
from app.rules import kinds
from app.watch import causing, inbox, recording, runs
from tests.watch.desk import ROLES, Desk, away, cluster_rule, config_map

IN, OUT = {"team": "yes"}, {"team": "no"}
BOTH = ("configmaps", "roles")


def rule(*resources: str, **item: Any) -> kinds.ClusterWatchRule:
    """A rule over the namespaces of a team."""
    return cluster_rule(*resources, namespaceSelector={"matchLabels": IN}, **item)


def relabelled(desk: Desk, *resources: str, **namespaces: dict[str, str]) -> None:
    """The labels of namespaces are other ones."""
    desk.namespaces = {**(desk.namespaces or {}), **namespaces}
    desk.start(rule(*resources))


def queued(desk: Desk) -> set[tuple[str, str]]:
    """(resource, namespace) of what waits for the end of an open seed."""
    with desk.database.read() as connection:
        found = seeds.open_runs(connection, desk.writer.known, state=seeds.QUEUED)
    return {(scope.key.resource, scope.key.namespace) for run in found for scope in run.scopes}


def states(desk: Desk) -> list[str]:
    """The states of all seeds, oldest first."""
    return [state for _, state in desk.runs()]


def in_one(name: str, at: int) -> dict[str, Any]:
    """An object of a namespace that belongs from the beginning."""
    return config_map(name, at, namespace="one")


@pytest.fixture
def listing(desk: Desk) -> inbox.Listing:
    """A first seed: roles are listed to their end, and of configmaps one page with `a` of namespace `one`."""
    desk.namespaces = {"one": IN}
    desk.start(rule(*BOTH))
    desk.page(desk.begin(ROLES), [], ended_at="150")
    begun = desk.begin()
    desk.page(begun, [in_one("a", 110)])
    desk.write()
    return begun


def end(desk: Desk, begun: inbox.Listing, *objects: dict[str, Any]) -> None:
    """The last page of a listing."""
    desk.page(begun, objects, ended_at="190")
    desk.write()


def test_an_open_seed_goes_on_while_namespaces_come(desk: Desk, listing: inbox.Listing) -> None:
    """However often one comes, the seed ends; what came is listed after it, alone, and each seed has its SEED_SYNC."""
    for number in range(5):
        relabelled(desk, *BOTH, **{f"ci-{number}": IN})
    assert not listing.cancelled.is_set()
    assert states(desk) == ["listing", "queued"]
    end(desk, listing, in_one("b", 111), config_map("c", 112, namespace="ci-1"))
    assert desk.rows() == [
        (*one, "pending") for one in [("CREATE", "a"), ("CREATE", "b"), ("CREATE", "c"), ("SEED_SYNC", "")]
    ]
    assert (sorted(states(desk)), queued(desk)) == (["listing", "synced"], set())
    assert desk.open_scopes() == {(name, f"ci-{number}") for name in BOTH for number in range(5)}
    assert desk.runs()[-1] == (causing.RELABELLED, "listing")
    for number in range(5):
        begun = desk.begin()
        assert begun.namespace == f"ci-{number}"
        desk.page(begun, [config_map("c", 112, namespace=begun.namespace)] if number == 1 else [], ended_at="195")
        desk.page(desk.begin(ROLES), [], ended_at="196")
        desk.write()
    assert desk.rows()[4:] == [("UPDATE", "c", "pending"), ("SEED_SYNC", "", "pending")]
    assert (desk.open_scopes(), states(desk)) == (set(), ["synced", "synced"])


def test_what_is_not_listed_yet_brings_the_namespace_along(desk: Desk) -> None:
    """A type that waits for its listing waits for nothing more: one listing brings its old and its new namespaces."""
    desk.namespaces = {"one": IN}
    desk.start(rule(*BOTH))
    relabelled(desk, *BOTH, two=IN)
    assert (states(desk), queued(desk)) == (["listing"], set())
    desk.seed(in_one("a", 110), config_map("b", 111, namespace="two"))
    assert desk.rows() == [("CREATE", "a", "pending"), ("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]
    assert states(desk) == ["synced"]


def test_a_namespace_that_leaves_a_type_that_is_listed_is_swept_after_it(desk: Desk, listing: inbox.Listing) -> None:
    """What the page before had selected is listed again, selected by nobody: the sweep of that namespace takes it."""
    relabelled(desk, *BOTH, one=OUT)
    end(desk, listing, in_one("b", 111))
    assert desk.rows() == [("CREATE", "a", "pending"), ("SEED_SYNC", "", "pending")]
    assert desk.open_scopes() == {("configmaps", "one"), ("roles", "one")}
    desk.page(desk.begin(ROLES), [], ended_at="191")
    end(desk, desk.begin(), in_one("a", 110), in_one("b", 111))
    (sync,) = [row for row in desk.events() if row.operation == "SEED_SYNC"][1:]
    with desk.database.read() as connection:
        scopes = seeds.scopes_of(connection, sync.seed_run_id)
    assert {(one.key.namespace, one.listed, one.written, one.sweepable) for one in scopes} == {("one", 0, 0, True)}
    assert {scope.outcome for scope in scopes} == {seeds.COMPLETE}
    assert [*desk.writer.known.values()] == [{}]


def test_a_namespace_that_comes_and_goes_waits_once(desk: Desk, listing: inbox.Listing) -> None:
    """Somebody who flips a label makes no more of it than one listing."""
    for labels in (IN, OUT, IN, OUT):
        relabelled(desk, *BOTH, two=labels)
    assert queued(desk) == {("configmaps", "two"), ("roles", "two")}
    end(desk, listing)
    assert desk.open_scopes() == {("configmaps", "two"), ("roles", "two")}


def test_many_namespaces_that_come_one_by_one_wait_as_their_type(desk: Desk, listing: inbox.Listing) -> None:
    """A long seed gathers no list of namespaces without end: beyond the bound, one listing of the type waits."""
    for number in range(runs.NARROW_LISTINGS + 2):
        relabelled(desk, *BOTH, **{f"ci-{number}": IN})
    assert queued(desk) == {("configmaps", ""), ("roles", "")}
    end(desk, listing)
    desk.page(desk.begin(ROLES), [], ended_at="191")
    end(desk, desk.begin(), in_one("a", 110), config_map("c", 112, namespace="ci-1"))
    assert desk.rows()[2:] == [("UPDATE", "a", "pending"), ("CREATE", "c", "pending"), ("SEED_SYNC", "", "pending")]
    assert (desk.open_scopes(), queued(desk), states(desk)) == (set(), set(), ["synced", "synced"])


def test_what_comes_while_the_queued_seed_is_listed_waits_for_its_end(desk: Desk, listing: inbox.Listing) -> None:
    """The seeds of single namespaces are seeds as others are."""
    relabelled(desk, *BOTH, two=IN)
    end(desk, listing)
    begun = desk.begin()
    relabelled(desk, *BOTH, three=IN)
    assert queued(desk) == {("configmaps", "three"), ("roles", "three")}
    desk.page(desk.begin(ROLES), [], ended_at="191")
    end(desk, begun)
    assert desk.open_scopes() == {("configmaps", "three"), ("roles", "three")}


def test_the_next_leader_lists_what_was_queued(desk: Desk, listing: inbox.Listing) -> None:
    """It stands in SQL with the rule that caused it: whoever leads next starts with what was open and what waited."""
    end(desk, listing)
    relabelled(desk, *BOTH, two=IN)
    desk.begin()
    relabelled(desk, *BOTH, three=IN)
    assert queued(desk) == {("configmaps", "three"), ("roles", "three")}
    again = Desk(desk.settings.database_url, owner="two")
    again.namespaces = desk.namespaces
    again.start(rule(*BOTH))
    wanted = {(name, namespace) for name in BOTH for namespace in ("two", "three")}
    assert (again.open_scopes(), queued(again)) == (wanted, set())
    again.close()


def test_another_leader_starts_a_first_seed_whole(desk: Desk, listing: inbox.Listing) -> None:
    """A place that was never seeded to its end is listed whole, which brings what waited along."""
    relabelled(desk, *BOTH, two=IN)
    again = Desk(desk.settings.database_url, owner="two")
    again.namespaces = desk.namespaces
    again.start(rule(*BOTH))
    assert (again.open_scopes(), queued(again)) == ({("configmaps", ""), ("roles", "")}, set())
    assert not listing.cancelled.is_set()
    again.close()


def test_a_change_of_rules_takes_along_what_is_queued(desk: Desk, listing: inbox.Listing) -> None:
    """It starts the open seed again as before; what waits on a type that is wanted no more waits for nobody."""
    end(desk, listing)
    relabelled(desk, *BOTH, two=IN)
    desk.page(desk.begin(), [])
    desk.page(desk.begin(ROLES), [])
    relabelled(desk, *BOTH, three=IN)
    desk.start(rule("configmaps"))
    assert queued(desk) == set()
    assert desk.open_scopes() == {("configmaps", "two"), ("configmaps", "three")}


def test_a_listing_that_breaks_off_keeps_what_is_queued(desk: Desk, listing: inbox.Listing) -> None:
    """The seed starts again, and what waited for its end waits on."""
    relabelled(desk, *BOTH, two=IN)
    desk.causes.end_listing(listing)
    assert queued(desk) == {("configmaps", "two"), ("roles", "two")}
    desk.seed(in_one("a", 110))
    assert (desk.open_scopes(), queued(desk)) == ({("configmaps", "two"), ("roles", "two")}, set())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_opens_what_is_queued_once(desk: Desk, listing: inbox.Listing, when: str) -> None:
    """SEED_SYNC and the seed that waited for it are one transaction: written again, it changes nothing twice."""
    relabelled(desk, *BOTH, two=IN)
    getattr(desk.database, when).append(away())
    end(desk, listing)
    assert [row for row in desk.rows() if row[0] == "SEED_SYNC"] == [("SEED_SYNC", "", "pending")]
    assert desk.open_scopes() == {("configmaps", "two"), ("roles", "two")}
    assert desk.begin().namespace == "two"


def test_what_is_queued_goes_with_its_place(desk: Desk, listing: inbox.Listing) -> None:
    """A destination that may not write any more has no open seed, and none that waits."""
    relabelled(desk, *BOTH, two=IN)
    desk.adopt(rule(*BOTH), allowed="release/*")
    assert set(states(desk)) == {"superseded"}
    assert {row.state_reason for row in desk.events()} == {recording.NOT_ALLOWED}
    assert listing.scopes
