"""Seeds and sweeps: what a complete listing did not find is removed, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app import events
from app.drain import sweeping
from app.models import commits, destinations, inventory, ledger, rules, seeds
from app.rules import pruning
from tests.drain.world import EVERYTHING, World, path_of


def test_a_seed_is_one_commit_and_marks_what_is_right(world: World) -> None:
    """A seed writes what is missing or wrong in one commit; what is right already ends unchanged."""
    prod = world.destination()
    world.change(prod, "right", "1", version=1)
    world.drain(prod)
    run = world.seed(prod, [("right", "1", 1), ("new", "1", 2), ("other", "1", 3)], list_version=5)
    world.drain(prod)
    assert world.states(prod) == ["pushed", "unchanged", "pushed", "pushed", "unchanged"]
    assert len(world.log()) == 2
    assert world.git("log", "-1", "--format=%s", "main").strip() == "[SEED_SYNC] 2 objects of shop/prod"
    with world.database.read() as connection:
        assert seeds.state_of(connection, run) == seeds.SWEPT


def test_an_orphan_is_removed_inside_its_folder_only(world: World, tmp_path: Path) -> None:
    """An orphan goes; files of others in the folder, other destinations and other branches stay."""
    prod = world.destination("prod", folder="clusters/prod")
    other = world.destination("other", folder="clusters/other")
    world.change(prod, "orphan", "1", version=1)
    world.change(prod, "kept", "1", version=2)
    world.change(other, "orphan", "1", version=1)
    world.drain(prod)
    world.drain(other)
    world.somebody_pushes(tmp_path, "clusters/prod/v1/configmaps/shop/theirs.yaml", "a: b\n")
    world.seed(prod, [("kept", "1", 2)], list_version=10)
    world.drain(prod)
    assert set(world.files()) == {
        path_of("kept"), path_of("orphan", "clusters/other"), "clusters/prod/v1/configmaps/shop/theirs.yaml",
    }  # fmt: skip


def large(world: World, count: int, **more: object) -> destinations.Destination:
    """A destination with so many files, of which a seed without any object follows."""
    prod = world.destination(**more)  # type: ignore[arg-type]
    for number in range(count):
        world.change(prod, f"n{number}", "1", version=number + 1)
    world.drain(prod)
    assert len(world.files()) == count
    return prod


def held(world: World, destination: destinations.Destination) -> tuple[str, str | None, int]:
    """State and reason of the last row, and how many files are marked as orphans."""
    with world.database.read() as connection:
        query = select(ledger.EventRow.state, ledger.EventRow.state_reason)
        row = connection.execute(query.order_by(ledger.EventRow.sequence.desc()).limit(1)).one()
        items = inventory.present(connection, destination.place_id)
    return row.state, row.state_reason, sum(item.orphan is not None for item in items)


def test_a_sweep_that_would_remove_most_waits_for_a_person(world: World) -> None:
    """A listing that misses most removes nothing, says how many that are and what lets it pass; then they go."""
    prod = large(world, 22)
    world.seed(prod, [("n0", "1", 1)], list_version=100)
    world.drain(prod)
    assert len(world.files()) == 22
    state, reason, count = held(world, prod)
    assert (state, count) == ("held", 21)
    assert str(reason).startswith("a sweep would remove 21 of 22 files, more than 0.5 (spec.maxPruneRatio): ")
    assert "`reverser seed shop/prod --allow-prune 21`" in str(reason)

    world.seed(prod, [("n0", "1", 1)], list_version=110, allow_prune=20)
    world.drain(prod)
    assert (len(world.files()), held(world, prod)[0]) == (22, "held")
    world.seed(prod, [("n0", "1", 1)], list_version=120, allow_prune=21)
    world.drain(prod)
    assert (set(world.files()), held(world, prod)[0], held(world, prod)[2]) == ({path_of("n0")}, "pushed", 0)


def test_what_waits_for_a_person_is_not_removed_as_a_few(world: World) -> None:
    """While objects come back one by one, the rest of them is no reason to go: not until a person says so."""
    prod = large(world, 30)
    world.seed(prod, [(f"n{number}", "1", number + 1) for number in range(5)], list_version=100)
    world.drain(prod)
    assert held(world, prod)[::2] == ("held", 25)
    back = [(f"n{number}", "1", number + 1) for number in range(20)]
    world.seed(prod, back, list_version=110)
    world.drain(prod)
    state, reason, count = held(world, prod)
    assert (state, count, len(world.files())) == ("held", 10, 30)
    assert "a sweep would remove 10 of 30 files, some of them wait for that already: " in str(reason)
    world.seed(prod, back, list_version=120, allow_prune=10)
    world.drain(prod)
    assert (held(world, prod)[2], len(world.files())) == (0, 20)


def test_what_a_policy_kept_goes_as_any_other_file(world: World) -> None:
    """It waited for nobody: under the default policy it goes with the next seed, in whatever number is few."""
    prod = large(world, 3, pruned=pruning.Pruning(pruning.Policy.NEVER))
    world.change(prod, "n0", None, version=50)
    world.seed(prod, [("n2", "1", 3)], list_version=100)
    world.drain(prod)
    assert held(world, prod)[::2] == ("unchanged", 2)
    prod = world.destination()
    world.seed(prod, [("n2", "1", 3)], list_version=110)
    world.drain(prod)
    assert (set(world.files()), held(world, prod)[0]) == ({path_of("n2")}, "pushed")


def test_an_orphan_whose_object_is_there_after_all_is_none(world: World) -> None:
    """What is written again, and what the next listing finds as it is, waits for nobody."""
    prod = large(world, 22)
    world.seed(prod, [], list_version=100)
    world.drain(prod)
    assert held(world, prod)[2] == 22
    world.change(prod, "n1", "2", version=101)
    world.drain(prod)
    assert held(world, prod)[::2] == ("pushed", 21)
    others = [(f"n{number}", "1", number + 1) for number in range(22) if number != 1]
    world.seed(prod, [("n1", "2", 101), *others], list_version=110)
    world.drain(prod)
    assert held(world, prod) == ("unchanged", "no orphans", 0)


def test_a_listing_that_looked_elsewhere_says_nothing_of_orphans(world: World) -> None:
    """What waits for a person does so until a listing of its own type has an answer."""
    prod = large(world, 21)
    world.seed(prod, [], list_version=100)
    world.drain(prod)
    world.seed(prod, [], list_version=110, resource="services")
    world.drain(prod)
    world.seed(prod, [], list_version=120, complete=False)
    world.drain(prod)
    assert held(world, prod)[2] == 21


def test_a_few_orphans_go_whatever_share_they_are(world: World) -> None:
    """Twenty files of twenty go: that can be looked through, and undone."""
    prod = large(world, 20)
    world.seed(prod, [], list_version=100)
    world.drain(prod)
    assert world.files() == {}
    assert held(world, prod)[0] == "pushed"


@pytest.mark.parametrize("policy", [pruning.Policy.ON_EVENT, pruning.Policy.NEVER])
def test_a_policy_keeps_what_a_listing_does_not_find(world: World, policy: pruning.Policy) -> None:
    """Nothing goes by a sweep, and it is counted; under the default policy, the next seed removes it."""
    prod = large(world, 2, pruned=pruning.Pruning(policy))
    world.seed(prod, [("n0", "1", 1)], list_version=100)
    world.drain(prod)
    assert len(world.files()) == 2
    assert held(world, prod) == ("unchanged", f"1 orphans stay, because spec.prune is {policy.value}", 1)
    prod = world.destination()
    world.seed(prod, [("n0", "1", 1)], list_version=110)
    world.drain(prod)
    assert set(world.files()) == {path_of("n0")}


@pytest.mark.parametrize(("policy", "files"), [("Always", 0), ("OnEvent", 0), ("Never", 1)])
def test_a_policy_decides_about_a_deletion_that_was_seen(world: World, policy: str, files: int) -> None:
    """Under Never the file stays and is counted, the row says why, and what is older does not make it current again."""
    prod = large(world, 1, pruned=pruning.Pruning(pruning.Policy(policy)))
    world.change(prod, "n0", None, version=5)
    world.drain(prod)
    assert len(world.files()) == files
    if files:
        assert held(world, prod) == ("unchanged", "spec.prune is Never: the file stays", 1)
    world.change(prod, "n0", "late", version=4)
    world.drain(prod)
    assert (held(world, prod)[0], len(world.files())) == ("stale", files)
    world.change(prod, "n0", "new", version=9, uid="another")
    world.drain(prod)
    assert world.files()[path_of("n0")].strip('"') == "new"
    assert held(world, prod)[2] == 0


@pytest.mark.parametrize("policy", list(pruning.Policy))
def test_the_file_of_a_former_version_goes_under_each_policy(world: World, policy: pruning.Policy) -> None:
    """Its object is there, under another path: nothing is lost, and two files of one object would be wrong."""
    prod = large(world, 1, pruned=pruning.Pruning(policy))
    world.seed(prod, [("n0", "1", 2)], list_version=100, served="v2")
    world.drain(prod)
    assert set(world.files()) == {path_of("n0").replace("/v1/", "/v2/")}
    assert held(world, prod)[2] == 0


@pytest.mark.parametrize("policy", list(pruning.Policy))
def test_what_a_person_wants_gone_is_one_commit(world: World, policy: pruning.Policy) -> None:
    """Under each policy, in one commit that names who asked; a file that was written meanwhile stays."""
    prod = large(world, 4, pruned=pruning.Pruning(policy))
    world.change(prod, "n3", "later", version=50)
    world.drain(prod)
    before = world.log()
    wanted = [world.event(prod, f"n{number}", None, version=number + 1, seed="prune-7") for number in range(1, 4)]
    user = events.UserInfo("alice", "command")
    world.write(*(dataclasses.replace(one, event=dataclasses.replace(one.event, user_info=user)) for one in wanted))
    world.drain(prod)
    assert world.states(prod)[-3:] == ["pushed", "pushed", "stale"]
    assert set(world.files()) == {path_of("n0"), path_of("n3")}
    assert len(world.log()) == len(before) + 1
    assert (
        world.git("log", "-1", "--format=%s/%an", "main").strip() == "[PRUNE] 2 files of shop/prod by user/alice/alice"
    )
    with world.database.read() as connection:
        changes = list(connection.execute(select(commits.CommitChange.operation, commits.CommitChange.user_source)))
    assert changes[-2:] == [("DELETE", "command")] * 2


def test_a_file_that_somebody_maintains_in_git_is_not_removed(world: World, tmp_path: Path) -> None:
    """Where nothing overwrites it any more, people may: what they made of it was not shown."""
    prod = large(world, 2)
    world.somebody_pushes(tmp_path, path_of("n0"), "edited: true\n")
    world.write(*(world.event(prod, f"n{number}", None, version=number + 1, seed="prune-7") for number in (0, 1)))
    world.drain(prod)
    assert world.states(prod)[-2:] == ["stale", "pushed"]
    assert set(world.files()) == {path_of("n0")}


def test_what_waits_for_a_person_waits_no_more_where_no_rule_removes_it(world: World) -> None:
    """Whoever takes DELETE out of the rule has decided."""
    prod = large(world, 22)
    world.seed(prod, [], list_version=100)
    world.drain(prod)
    with world.database.write() as connection:
        connection.execute(
            update(rules.CompiledRuleRow).values(spec={"scopes": [{**EVERYTHING, "operations": ["CREATE"]}]})
        )
    world.seed(prod, [], list_version=110)
    world.drain(prod)
    with world.database.read() as connection:
        marks = {item.orphan for item in inventory.present(connection, prod.place_id)}
    assert (marks, len(world.files())) == ({inventory.KEPT}, 22)


def test_what_a_person_wanted_gone_comes_back_with_its_object(world: World) -> None:
    """A rule that selects the object again has it written, at whatever version it is."""
    prod = large(world, 1)
    world.write(world.event(prod, "n0", None, version=1, seed="prune-7"))
    world.drain(prod)
    assert world.files() == {}
    world.seed(prod, [("n0", "1", 1)], list_version=100)
    world.drain(prod)
    assert set(world.files()) == {path_of("n0")}


def test_an_incomplete_listing_removes_nothing(world: World) -> None:
    """A type that answered 403 is not swept: no file goes."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.seed(prod, [], list_version=10, complete=False)
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}
    assert world.states(prod)[-1] == "unchanged"


def test_a_listing_with_fewer_rows_than_objects_removes_nothing(world: World) -> None:
    """Written is not listed: the scope is no evidence."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    run = world.seed(prod, [], list_version=10)
    with world.database.write() as connection:
        key = seeds.ScopeKey("", "configmaps", "shop")
        seeds.complete(connection, run, key, listed=1, resource_version="10")
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}


@pytest.mark.parametrize(
    ("change", "proves"),
    [
        ({}, True),
        ({"outcome": "Forbidden"}, False),
        ({"outcome": seeds.NOT_LISTED}, False),
        ({"sweepable": False}, False),
        ({"written": 2}, False),
    ],
)
def test_only_a_whole_listing_that_may_sweep_is_evidence(change: dict[str, Any], proves: bool) -> None:  # noqa: FBT001
    """A scope proves orphans when it was listed to its end, is wholly written, and a rule on it has DELETE."""
    scope = seeds.Scope(seeds.ScopeKey("", "configmaps", "shop"), "v1", True, 3, 3, "10", seeds.COMPLETE)
    assert sweeping.is_evidence(dataclasses.replace(scope, **change)) is proves


def scope(
    operations: str, *, namespace: str = "", resource: str = "configmaps", app: str = "", excluded: str = ""
) -> dict[str, Any]:
    """One scope of a rule, as its spec has it."""
    wanted: dict[str, Any] = {"labelSelector": {"matchLabels": {"app": app}}} if app else {}
    wanted |= {"excludeNamespaces": [excluded]} if excluded else {}
    return {
        "group": "", "resource": resource, "namespace": namespace, "operations": operations.split(), "filter": wanted,
    }  # fmt: skip


def in_force(world: World, destination: destinations.Destination, **scopes: dict[str, Any]) -> None:
    """Rules of a destination with one scope each."""
    with world.database.write() as connection:
        rules.save(
            connection,
            cluster="home",
            rules=[
                rules.RuleSeen(f"WatchRule shop/{name}", name, destination.id, destination.place_id, {"scopes": [one]})
                for name, one in scopes.items()
            ],
        )


@pytest.mark.parametrize(
    ("remover", "scopes", "stays"),
    [
        ("WatchRule shop/all", {"all": scope("CREATE DELETE", app="web"), "other": scope("DELETE", app="db")}, False),
        ("WatchRule shop/all", {"all": scope("CREATE", app="web"), "other": scope("DELETE", app="web")}, True),
        ("WatchRule shop/other", {"all": scope("CREATE", app="web"), "other": scope("DELETE")}, False),
        ("", {"all": scope("CREATE DELETE"), "other": scope("DELETE", app="db")}, True),
        (None, {"all": scope("CREATE", app="web"), "other": scope("DELETE", app="db")}, False),
        ("WatchRule shop/all", {"all": scope("CREATE", namespace="team"), "other": scope("DELETE", app="db")}, False),
        ("WatchRule shop/all", {"all": scope("CREATE", resource="services"), "other": scope("DELETE")}, False),
        ("WatchRule shop/all", {"other": scope("DELETE", app="db")}, False),
        ("WatchRule shop/all", {"all": scope("DELETE", excluded="sh*")}, True),
        (
            "WatchRule shop/gone",
            {"all": scope("DELETE", excluded="sh*"), "other": scope("DELETE", namespace="team")},
            True,
        ),
    ],
)
def test_an_orphan_is_removed_for_the_rule_that_selected_its_deletion(
    world: World,
    remover: str | None,
    scopes: dict[str, Any],
    stays: bool,  # noqa: FBT001
) -> None:
    """A file whose rule selects no DELETE stays when its object is gone, though another rule has its type swept."""
    prod = world.destination()
    in_force(world, prod, **scopes)
    world.write(dataclasses.replace(world.event(prod, "a", "1", version=1), selection="mark", remover=remover))
    world.drain(prod)
    world.seed(prod, [], list_version=10)
    world.drain(prod)
    assert set(world.files()) == ({path_of("a")} if stays else set())


@pytest.mark.parametrize("remover", ["WatchRule shop/all", "WatchRule shop/gone", None])
def test_the_record_of_a_sweep_names_the_rule_of_each_file(world: World, remover: str | None) -> None:
    """Who asks why a file went reads the rule under which it did, in SQL and in the commit, whoever wrote the file."""
    prod = world.destination()
    in_force(world, prod, all=scope("CREATE DELETE"))
    world.write(dataclasses.replace(world.event(prod, "a", "1", version=1), selection="mark", remover=remover))
    world.drain(prod)
    world.seed(prod, [], list_version=10)
    world.drain(prod)
    with world.database.read() as connection:
        change = commits.CommitChange
        found = connection.execute(select(change.operation, change.rule).order_by(change.commit_id)).all()
    assert [tuple(one) for one in found][-1] == ("DELETE", "WatchRule shop/all")
    assert world.git("log", "-1", "--format=%B", "main").startswith(
        "[SEED_SYNC] remove 1 orphan of shop/prod\n\n"
        "v1/configmaps/a in namespace shop, under WatchRule shop/all\n\nReverser-Destination: "
    )


def test_a_superseded_seed_sweeps_nothing(world: World) -> None:
    """A seed that was given up is never swept, whatever its rows say."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    run = world.seed(prod, [], list_version=10)
    with world.database.write() as connection:
        seeds.finish(connection, run, state=seeds.SUPERSEDED)
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}


def test_an_object_newer_than_the_listing_is_no_orphan(world: World) -> None:
    """An object created after the listing began stays: its version is newer than the list's."""
    prod = world.destination()
    world.change(prod, "young", "1", version=11)
    world.drain(prod)
    world.seed(prod, [], list_version=10)
    world.drain(prod)
    assert set(world.files()) == {path_of("young")}


def test_a_listed_object_whose_row_died_is_no_orphan(world: World) -> None:
    """A seed row stamps its path whatever becomes of it: a dead one keeps the former file."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    run = world.begin_seed(prod)
    dead = dataclasses.replace(world.event(prod, "a", "2", version=2, seed=run), body=b"[]")
    world.write(dead)
    sync = world.seed(prod, [], list_version=10)
    with world.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE event SET seed_run_id = '{sync}' WHERE seed_run_id = '{run}'")
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}
    assert world.states(prod) == ["pushed", "dead", "unchanged"]


def test_a_stale_seed_row_is_no_orphan(world: World) -> None:
    """A listed object with a newer live Event is written as stale by the watch daemon; its file stays."""
    prod = world.destination()
    world.change(prod, "a", "1", version=9)
    world.drain(prod)
    run = world.seed(prod, [], list_version=10)
    stale = dataclasses.replace(
        world.event(prod, "a", "1", version=9, seed=run), state=ledger.STALE, reason="a live Event is newer"
    )
    world.write(stale)
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}


def test_a_listed_object_that_is_not_written_says_what_selects_its_file(world: World) -> None:
    """With the end of a seed, the file of a stale row has its mark and its rule, and no commit is made for that."""
    prod = world.destination()
    world.change(prod, "a", "1", version=9)
    world.drain(prod)
    run = world.begin_seed(prod)
    row = world.event(prod, "a", "1", version=9, seed=run)
    world.write(dataclasses.replace(row, state=ledger.STALE, selection="mark"))
    world.close_seed(prod, run, listed=1, list_version=10)
    world.drain(prod)
    with world.database.read() as connection:
        (item,) = inventory.present(connection, prod.place_id)
        assert seeds.state_of(connection, run) == seeds.SWEPT
    assert (item.selection, item.rule) == ("mark", row.event.rule)
    assert len(world.log()) == 1


def test_a_foreign_file_at_our_path_is_left_alone(world: World, tmp_path: Path) -> None:
    """A file that is not this object's, or a link, is refused and reported, never overwritten or followed."""
    prod = world.destination()
    world.change(prod, "x", "1", version=1)
    world.drain(prod)
    world.somebody_pushes(tmp_path, path_of("a"), "kind: Recipe\n")
    world.change(prod, "a", "1", version=2)
    world.change(prod, "b", "1", version=3)
    world.drain(prod)
    assert world.files()[path_of("a")] == "kind: Recipe\n"
    assert world.states(prod) == ["pushed", "dead", "pushed"]
    assert "left as it is" in str(world.reason(prod, 2))


def test_a_canonical_file_is_adopted(world: World, tmp_path: Path) -> None:
    """A file of this very object without an inventory row (the record was lost) is adopted when the object exists."""
    prod = world.destination()
    world.change(prod, "x", "1", version=1)
    world.drain(prod)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\ndata:\n  value: before\n"
    world.somebody_pushes(tmp_path, path_of("a"), text)
    world.change(prod, "a", "now", version=2)
    world.drain(prod)
    assert world.files()[path_of("a")] == "now"


def test_a_canonical_file_without_its_object_stays(world: World, tmp_path: Path) -> None:
    """A canonical file that the record does not know is never swept."""
    prod = world.destination()
    world.change(prod, "x", "1", version=1)
    world.drain(prod)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\n"
    world.somebody_pushes(tmp_path, path_of("a"), text)
    world.seed(prod, [("x", "1", 1)], list_version=10)
    world.drain(prod)
    assert set(world.files()) == {path_of("a"), path_of("x")}


def test_what_comes_back_at_its_old_version_is_written(world: World) -> None:
    """An object whose namespace left a selection and came back did not change: a listing wins over its tombstones."""
    prod = world.destination()
    world.seed(prod, [("swept", "1", 3), ("removed", "1", 4)], list_version=5)
    world.change(prod, "removed", None, version=4)
    world.seed(prod, [], list_version=10)
    world.drain(prod)
    assert world.files() == {}
    world.seed(prod, [("swept", "1", 3), ("removed", "1", 4)], list_version=20)
    world.drain(prod)
    assert set(world.files()) == {path_of("swept"), path_of("removed")}


def test_a_departure_of_another_uid_takes_the_file_it_names(world: World) -> None:
    """A DELETE that carries the uid of the file removes it; one of the object that took the name removes nothing."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1, uid="first")
    world.change(prod, "a", None, version=5, uid="second")
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}
    world.change(prod, "a", None, version=6, uid="first")
    world.drain(prod)
    assert world.files() == {}
    world.change(prod, "a", "2", version=7, uid="second")
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}


def selected_by(world: World, destination: destinations.Destination) -> dict[str, tuple[str | None, str | None]]:
    """What selected each file, and under which rule."""
    with world.database.read() as connection:
        found = inventory.present(connection, destination.place_id)
    return {item.identifier.name: (item.selection, item.rule) for item in found}


def test_a_file_keeps_what_selected_it(world: World) -> None:
    """The mark of a row stands with its file; the listing of an unchanged object replaces it, without a commit."""
    prod = world.destination()
    for mark, seed in (("before", None), ("after", "run")):
        entry = world.event(prod, "a", "1", version=3, seed=seed)
        world.write(dataclasses.replace(entry, selection=mark))
        world.drain(prod)
        assert selected_by(world, prod) == {"a": (mark, "WatchRule shop/all")}
    assert world.states(prod) == ["pushed", "unchanged"]
