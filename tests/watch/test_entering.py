"""What enters and leaves a selection: by labels, by its namespace, by being created again; and by a change of rules.

Only a change of the cluster removes a file. What a change of a rule leaves behind is kept.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.watch import runs
from tests.watch.desk import CONFIG_MAPS, Desk, cluster_rule, config_map, labelled, watch_rule

WEB = {"matchLabels": {"app": "web"}}
API = {"matchLabels": {"app": "api"}}
TEAMS = {"matchLabels": {"team": "yes"}}
IN, OUT = {"team": "yes"}, {"team": "no"}


def web(name: str, at: int, **more: Any) -> dict[str, Any]:
    """A ConfigMap that a rule on app=web selects."""
    return labelled(config_map(name, at, **more), app="web")


def api(name: str, at: int, **more: Any) -> dict[str, Any]:
    """One that it does not."""
    return labelled(config_map(name, at, **more), app="api")


@pytest.fixture
def narrowed(desk: Desk) -> Desk:
    """A destination with a rule on configmaps with app=web, seeded with `a` at 110."""
    desk.start(watch_rule("configmaps", labelSelector=WEB))
    desk.seed(web("a", 110))
    return desk


def expire(desk: Desk, version: str) -> None:
    """Lose the resume point: what happened before this moment is seen by a listing only."""
    desk.causes.begin_stream(desk.key(), resource_version=version, cause="the resume point expired")


def later(desk: Desk) -> list[tuple[str, str, str]]:
    """The rows after the first seed."""
    rows = desk.rows()
    return rows[[row[0] for row in rows].index("SEED_SYNC") + 1 :]


def listed(desk: Desk) -> int:
    """How many objects the last seed counted."""
    return sum(scope.listed for scope in desk.published.messages[-1].events[-1].scopes)


def test_a_label_takes_an_object_in_and_out(narrowed: Desk) -> None:
    """An object that gets the label is a CREATE, one that loses it a DELETE, and in between nothing happens."""
    narrowed.live("ADDED", api("b", 160))
    narrowed.live("MODIFIED", web("b", 161))
    narrowed.live("MODIFIED", web("b", 162))
    narrowed.live("MODIFIED", api("b", 163))
    narrowed.live("MODIFIED", api("b", 164))
    narrowed.write()
    operations = [(row.operation, row.rule, row.uid) for row in narrowed.events()[2:]]
    rule = "WatchRule shop/rule"
    assert operations == [("CREATE", rule, "uid-b"), ("UPDATE", rule, "uid-b"), ("DELETE", rule, "uid-b")]


def test_an_object_that_was_never_in_is_not_deleted(narrowed: Desk) -> None:
    """What changes outside of the selection, and what goes there, makes no row."""
    narrowed.live("ADDED", api("b", 160))
    narrowed.live("DELETED", api("b", 161))
    narrowed.write()
    assert later(narrowed) == []


def test_an_object_that_goes_is_deleted_whatever_its_last_labels_say(narrowed: Desk) -> None:
    """A deletion in one breath with a change of labels still removes the file."""
    narrowed.live("DELETED", api("a", 160))
    narrowed.write()
    assert later(narrowed) == [("DELETE", "a", "pending")]


def test_an_object_that_is_created_again_outside_of_the_selection_takes_its_file_along(narrowed: Desk) -> None:
    """The DELETE is of the object that the file is of: of the new one there is none, and a drain would leave it be."""
    narrowed.live("ADDED", api("a", 160, uid="another"))
    narrowed.write()
    (row,) = narrowed.events()[2:]
    assert (row.operation, row.uid, row.resource_version) == ("DELETE", "uid-a", "160")
    narrowed.live("ADDED", web("a", 170, uid="another"))
    narrowed.write()
    assert later(narrowed)[1:] == [("CREATE", "a", "pending")]


def test_without_delete_an_object_that_leaves_stays(desk: Desk) -> None:
    """A rule that selects no DELETE leaves the file, live and in a seed; the object stays known."""
    desk.start(watch_rule("configmaps", labelSelector=WEB, operations=["CREATE", "UPDATE"]))
    desk.seed(web("a", 110))
    desk.live("MODIFIED", api("a", 160))
    desk.write()
    expire(desk, "170")
    desk.seed(api("a", 160), version="171")
    desk.live("MODIFIED", web("a", 180, version="other"))
    desk.write()
    assert later(desk) == [("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending"), ("UPDATE", "a", "pending")]


def test_what_left_while_nobody_looked_is_left_to_the_sweep(narrowed: Desk) -> None:
    """A listing that finds an object outside of the selection under which it was written does not count it."""
    expire(narrowed, "170")
    narrowed.seed(api("a", 160), version="171")
    assert later(narrowed) == [("SEED_SYNC", "", "pending")]
    assert listed(narrowed) == 0
    narrowed.live("MODIFIED", web("a", 180, version="110"))
    narrowed.write()
    assert later(narrowed)[1:] == [("CREATE", "a", "pending")]


def test_a_listing_that_is_older_than_a_live_change_takes_nothing(narrowed: Desk) -> None:
    """An object that left and came back, with the listing in between, keeps its file."""
    expire(narrowed, "155")
    begun = narrowed.begin()
    narrowed.live("MODIFIED", web("a", 180, version="110"))
    narrowed.write()
    narrowed.page(begun, [api("a", 160)], ended_at="165")
    narrowed.write()
    assert later(narrowed) == [("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


def test_a_listing_that_is_older_than_a_departure_brings_nothing_back(narrowed: Desk) -> None:
    """An object that left while it was listed is not written again."""
    expire(narrowed, "155")
    begun = narrowed.begin()
    narrowed.live("MODIFIED", api("a", 180))
    narrowed.write()
    narrowed.page(begun, [web("a", 160)], ended_at="165")
    narrowed.write()
    assert later(narrowed) == [("DELETE", "a", "pending"), ("CREATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


def test_a_change_of_a_rule_removes_nothing(narrowed: Desk) -> None:
    """What another selector leaves out is kept: its changes make no DELETE, and a listing keeps it from the sweep."""
    narrowed.start(watch_rule("configmaps", labelSelector=API))
    assert narrowed.open_scopes() == {("configmaps", "shop")}
    narrowed.live("MODIFIED", web("a", 160))
    narrowed.write()
    narrowed.seed(web("a", 160), api("b", 120), version="171")
    assert later(narrowed) == [("UPDATE", "a", "stale"), ("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]
    assert listed(narrowed) == 2
    expire(narrowed, "180")
    narrowed.seed(web("a", 160), api("b", 120), version="181")
    assert later(narrowed)[3:] == [("UPDATE", "a", "stale"), ("UPDATE", "b", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_changed_rule_removes_what_leaves_it_from_then_on(narrowed: Desk) -> None:
    """What a rule selects before and after its change belongs to the new selection, without a change of its own."""
    narrowed.start(watch_rule("configmaps", labelSelector=WEB, excludeNames=["x-*"]))
    narrowed.seed(web("a", 110), version="171")
    narrowed.live("MODIFIED", api("a", 180))
    narrowed.write()
    assert later(narrowed) == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending"), ("DELETE", "a", "pending")]


def test_what_only_a_removed_rule_selected_is_kept(desk: Desk) -> None:
    """Of two rules on one type, the objects of the one that goes stay in Git, and those of the other get its mark."""
    first = watch_rule("configmaps", name="first", labelSelector=WEB)
    second = watch_rule("configmaps", name="second", labelSelector={"matchLabels": {"tier": "front"}})
    both = labelled(config_map("both", 110), app="web", tier="front")
    desk.start(first, second)
    desk.seed(web("a", 110), both)
    desk.start(second)
    desk.seed(web("a", 110), both, version="171")
    assert later(desk) == [("UPDATE", "a", "stale"), ("UPDATE", "both", "pending"), ("SEED_SYNC", "", "pending")]
    assert [row.rule for row in desk.events()[-2:-1]] == ["WatchRule shop/second"]
    desk.live("MODIFIED", api("both", 180))
    desk.live("MODIFIED", api("a", 181))
    desk.write()
    assert later(desk)[3:] == [("DELETE", "both", "pending")]


def test_a_rule_that_takes_over_is_named(desk: Desk) -> None:
    """When another rule selects the same, the files are counted by it: they are listed again, and nothing changes."""
    desk.start(watch_rule("configmaps", name="first"))
    desk.seed(config_map("a", 110))
    desk.start(watch_rule("configmaps", name="second"))
    desk.seed(config_map("a", 110), version="171")
    assert later(desk) == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]
    first, last = (row for row in desk.events() if row.name)
    assert (first.rule, last.rule, first.content_hash) == (
        "WatchRule shop/first", "WatchRule shop/second", last.content_hash,
    )  # fmt: skip


def test_unchanged_content_gets_the_present_mark(narrowed: Desk) -> None:
    """A live change that leaves the content as it was stamps a file of a former selection, once."""
    before = narrowed.events()[0].selection
    narrowed.start(watch_rule("configmaps", labelSelector=WEB, excludeNames=["x-*"]))
    begun = narrowed.begin()
    for version in (180, 181):
        narrowed.live("MODIFIED", web("a", version, version="110"))
    narrowed.write()
    narrowed.page(begun, [web("a", 110)], ended_at="175")
    narrowed.write()
    # The listed state is of the same content: the row of the live one may be behind a tombstone, and the drain decides.
    assert later(narrowed) == [("UPDATE", "a", "pending"), ("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]
    assert narrowed.events()[2].selection not in {None, before}


def test_other_ignored_fields_are_listed_again(desk: Desk) -> None:
    """A change of ignoreFields lists the type, and the content of its files is another one."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110, keep="1", drop="2"))
    desk.start(watch_rule("configmaps", ignoreFields=["/data/drop"]))
    assert desk.open_scopes() == {("configmaps", "shop")}
    desk.seed(config_map("a", 110, keep="1", drop="2"), version="171")
    first, last = (row for row in desk.events() if row.name)
    assert first.content_hash != last.content_hash
    assert first.selection == last.selection
    desk.live("MODIFIED", config_map("a", 180, keep="1", drop="3"))
    desk.write()
    assert later(desk) == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]


def test_what_a_controller_takes_over_leaves_a_wildcard(desk: Desk) -> None:
    """Under `*`, an object that gets a controller is left out from then on: its file goes."""
    desk.start(watch_rule("*"))
    desk.seed(config_map("a", 110))
    owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": True}
    owned = config_map("a", 160)
    owned["metadata"]["ownerReferences"] = [owner]
    desk.live("MODIFIED", owned)
    desk.write()
    assert later(desk) == [("DELETE", "a", "pending")]


@pytest.fixture
def teams(desk: Desk) -> Desk:
    """A destination with configmaps of all namespaces of a team: `one` is in, `two` is not."""
    desk.namespaces = {"one": IN, "two": OUT}
    desk.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    desk.seed(config_map("a", 110, namespace="one"), config_map("b", 110, namespace="two"))
    return desk


def relabelled(desk: Desk, **namespaces: dict[str, str]) -> None:
    """The labels of namespaces are other ones."""
    desk.namespaces = {**(desk.namespaces or {}), **namespaces}
    desk.start(cluster_rule("configmaps", namespaceSelector=TEAMS))


def test_a_namespace_comes_and_goes_with_its_labels(teams: Desk) -> None:
    """A namespace that is relabelled is listed alone: what is in it is created in Git, or left to the sweep."""
    assert teams.rows() == [("CREATE", "a", "pending"), ("SEED_SYNC", "", "pending")]
    relabelled(teams, two=IN)
    assert teams.open_scopes() == {("configmaps", "two")}
    begun = teams.begin()
    assert (begun.key.namespace, begun.namespace) == ("", "two")
    teams.page(begun, [config_map("b", 110, namespace="two")], ended_at="160")
    teams.write()
    assert later(teams) == [("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]
    relabelled(teams, two=OUT)
    teams.page(teams.begin(), [config_map("b", 110, namespace="two")], ended_at="170")
    teams.write()
    assert later(teams)[2:] == [("SEED_SYNC", "", "pending")]
    relabelled(teams, two=IN)
    teams.page(teams.begin(), [config_map("b", 110, namespace="two")], ended_at="180")
    teams.write()
    assert later(teams)[3:] == [("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_change_in_a_namespace_that_left_is_a_delete(teams: Desk) -> None:
    """Until its listing is there, whatever happens to an object of a namespace that left takes its file away."""
    relabelled(teams, one=OUT)
    teams.live("MODIFIED", config_map("a", 160, namespace="one"))
    teams.write()
    assert later(teams) == [("DELETE", "a", "pending")]


def test_a_label_that_decides_nothing_lists_nothing(teams: Desk) -> None:
    """A change of labels that leaves the membership as it was makes neither a seed nor a version."""
    before = teams.runs()
    relabelled(teams, two={"other": "label"}, three=OUT)
    assert teams.runs() == before


def test_a_new_leader_finds_what_was_relabelled_meanwhile(teams: Desk) -> None:
    """The memberships that were in force stand in SQL: a leader that sees others lists the namespaces that changed."""
    again = Desk(teams.settings.database_url, owner="two")
    again.namespaces = {"one": OUT, "two": IN}
    again.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    assert again.open_scopes() == {("configmaps", "one"), ("configmaps", "two")}
    begun = again.begin()
    assert begun.namespace == "one"
    again.page(begun, [config_map("a", 110, namespace="one")], ended_at="160")
    again.page(again.begin(), [config_map("b", 110, namespace="two")], ended_at="161")
    again.write()
    assert later(again) == [("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]
    again.close()


def test_a_seed_of_one_namespace_stays_narrow_for_the_next_leader(teams: Desk) -> None:
    """A listing of one namespace that a leader did not end is started again for that namespace alone."""
    relabelled(teams, two=IN)
    again = Desk(teams.settings.database_url, owner="two")
    again.namespaces = teams.namespaces
    again.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    assert again.open_scopes() == {("configmaps", "two")}
    again.close()


def test_another_selector_of_namespaces_removes_nothing(teams: Desk) -> None:
    """A namespace that a change of the rule leaves out keeps its files, and the whole type is listed."""
    teams.start(cluster_rule("configmaps", namespaceSelector={"matchLabels": {"team": "no"}}))
    assert teams.open_scopes() == {("configmaps", "")}
    teams.seed(config_map("a", 110, namespace="one"), config_map("b", 110, namespace="two"), version="171")
    assert later(teams) == [("UPDATE", "a", "stale"), ("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]


def test_labels_that_nobody_knows_remove_nothing(teams: Desk) -> None:
    """A leader that may not read namespaces stops the rule: no Event, no listing, and nothing is read as none."""
    teams.namespaces = None
    teams.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    assert teams.open_scopes() == set()
    assert later(teams) == []


def test_many_namespaces_at_once_are_one_listing(teams: Desk) -> None:
    """Where more namespaces come, or go, at once than it is worth to list apart, the type is one scope of the seed."""
    names = [f"n{number}" for number in range(runs.NARROW_LISTINGS + 1)]
    objects = [config_map("c", 110, namespace=name) for name in (*names, "two")]
    for labels in (IN, OUT):
        relabelled(teams, **dict.fromkeys(names, labels))
        begun = teams.begin()
        assert (begun.namespace, len(begun.scopes)) == ("", 1)
        teams.page(begun, [config_map("a", 110, namespace="one"), *objects], ended_at="160")
        teams.write()
    first = [("UPDATE", "a"), *[("CREATE", "c")] * len(names), ("SEED_SYNC", "")]
    assert [row[:2] for row in later(teams)] == [*first, ("UPDATE", "a"), ("SEED_SYNC", "")]
    assert listed(teams) == 1


def test_a_live_change_in_a_namespace_that_is_listed_is_not_undone(teams: Desk) -> None:
    """What a listing of one namespace says of an object is older than what its stream said meanwhile."""
    relabelled(teams, two=IN)
    begun = teams.begin()
    teams.live("DELETED", config_map("b", 170, namespace="two"))
    teams.live("DELETED", config_map("a", 171, namespace="one"))
    teams.write()
    (run,) = teams.writer.book.runs.values()
    assert set(run.lived) == {"uid-b"}
    teams.page(begun, [config_map("b", 110, namespace="two")], ended_at="160")
    teams.write()
    gone = [("DELETE", "b", "pending"), ("DELETE", "a", "pending")]
    assert later(teams) == [*gone, ("CREATE", "b", "stale"), ("SEED_SYNC", "", "pending")]


def test_a_live_change_in_a_type_that_is_listed_is_not_undone(teams: Desk) -> None:
    """Nor is what it said of any namespace, while all of them are listed."""
    expire(teams, "165")
    begun = teams.begin()
    teams.live("DELETED", config_map("a", 170, namespace="one"))
    teams.page(begun, [config_map("a", 110, namespace="one")], ended_at="166")
    teams.write()
    assert later(teams) == [("DELETE", "a", "pending"), ("CREATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


def test_a_namespace_inside_a_listed_type_is_not_listed_apart(teams: Desk) -> None:
    """A lost resume point lists the type with all of its namespaces: a relabelled one needs no scope of its own."""
    relabelled(teams, two=IN)
    expire(teams, "170")
    assert teams.open_scopes() == {("configmaps", "")}
    teams.seed(config_map("a", 110, namespace="one"), config_map("b", 110, namespace="two"), version="171")
    assert later(teams) == [("UPDATE", "a", "pending"), ("CREATE", "b", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_page_of_a_type_keeps_its_stream(teams: Desk) -> None:
    """The listing of one namespace is served for the wide stream that follows it."""
    relabelled(teams, two=IN)
    begun = teams.begin()
    assert begun.key == teams.key(CONFIG_MAPS)
    assert {scope.key.namespace for _, scope in begun.scopes} == {"two"}
