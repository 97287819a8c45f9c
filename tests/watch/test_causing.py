"""Causes: which seeds a change of rules, places, cursors and leaders starts, and where streams go on."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from app.events import Identifier, Ref
from app.models import base, commands, cursors, destinations, inventory, ledger, rules, seeds, wishes
from app.rules import selecting, types
from app.watch import recording, routing
from tests.watch.desk import CONFIG_MAPS, ROLES, SHOP, Desk, cluster_rule, config_map, watch_rule


def test_a_restart_seeds_nothing(desk: Desk) -> None:
    """After a restart an unchanged and synced destination gets no seed, and its streams resume from their cursors."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    again = Desk(desk.settings.database_url, owner="two")
    again.start(watch_rule("configmaps"), version="900")
    assert again.runs() == [("new destination or place", "synced")]
    assert again.cursor() == "100"
    again.live("MODIFIED", config_map("a", 160, version="110"))
    again.write()
    assert len(again.rows()) == 2
    again.close()


def test_a_seed_of_a_former_leader_starts_again(desk: Desk) -> None:
    """A seed without SEED_SYNC at a change of leader is superseded, and the new leader lists it all."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.page(desk.begin(), [config_map("a", 110)])
    desk.write()
    again = Desk(desk.settings.database_url, owner="two")
    again.start(watch_rule("configmaps", "roles"))
    assert [state for _, state in again.runs()] == ["superseded", "listing"]
    assert again.open_scopes() == {("configmaps", "shop"), ("roles", "shop")}
    again.close()


def test_a_rule_change_seeds_what_it_adds(desk: Desk) -> None:
    """A rule that selects one type more seeds that type; one that selects less seeds nothing."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    desk.start(watch_rule("configmaps", "roles"))
    assert desk.open_scopes() == {("roles", "shop")}
    desk.seed()
    desk.start(watch_rule("roles"))
    assert [state for _, state in desk.runs()] == ["synced", "synced"]


def test_a_change_of_rules_during_a_seed_starts_it_again(desk: Desk) -> None:
    """What an open seed counted under other rules proves nothing: it starts again with the scopes wanted now."""
    desk.start(watch_rule("configmaps", "roles"))
    begun = desk.begin()
    desk.page(begun, [config_map("a", 110)])
    desk.write()
    desk.start(watch_rule("configmaps"))
    desk.page(begun, [config_map("b", 111)], ended_at="120")
    desk.write()
    assert begun.cancelled.is_set()
    assert [state for _, state in desk.runs()] == ["superseded", "listing"]
    assert desk.open_scopes() == {("configmaps", "shop")}


def test_a_new_place_is_seeded_whole(desk: Desk) -> None:
    """A raised place generation and its seed stand in one transaction."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.seed()
    desk.adopt(watch_rule("configmaps", "roles"), folder="clusters/new")
    assert desk.open_scopes() == {("configmaps", "shop"), ("roles", "shop")}


def test_what_pends_for_a_place_that_is_not_allowed_any_more_is_superseded(desk: Desk) -> None:
    """When its branch is forbidden, a destination has no place, no pending row and no open seed."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.page(desk.begin(), [config_map("a", 110)])
    desk.write()
    desk.adopt(watch_rule("configmaps", "roles"), allowed="release/*")
    (row,) = desk.events()
    assert (row.state, row.state_reason) == ("superseded", recording.NOT_ALLOWED)
    assert [state for _, state in desk.runs()] == ["superseded"]
    with desk.database.read() as connection:
        assert destinations.by_ref(connection, SHOP) == []


def test_a_place_that_is_allowed_again_is_seeded_whole(desk: Desk) -> None:
    """Back at its place, a destination has a new generation, knows what is in Git and nothing of superseded rows."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.seed(config_map("a", 110))
    with desk.database.read() as connection:
        before = destinations.by_ref(connection, SHOP)[0]
    desk.adopt(watch_rule("configmaps", "roles"), allowed="release/*")
    desk.start(watch_rule("configmaps", "roles"))
    assert desk.runs()[-1] == ("new destination or place", "listing")
    assert desk.open_scopes() == {("configmaps", "shop"), ("roles", "shop")}
    assert desk.writer.known == {before.id: {}}
    desk.seed(config_map("a", 110))
    assert desk.rows()[2:] == [("CREATE", "a", "pending"), ("SEED_SYNC", "", "pending")]
    with desk.database.read() as connection:
        after = destinations.by_ref(connection, SHOP)[0]
    assert (after.place_id, after.place_generation) == (before.place_id, before.place_generation + 1)
    assert desk.events()[-1].place_id == before.place_id


def test_a_destination_that_is_created_again_takes_the_folder(desk: Desk) -> None:
    """What pends for a deleted destination does not reach a folder that another one has now, sweeps included."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    desk.adopt(watch_rule("configmaps"), uid="uid-again", folder="clusters")
    assert {(row.state, row.state_reason) for row in desk.events()} == {("superseded", recording.DISPLACED)}
    assert desk.open_scopes() == {("configmaps", "shop")}


def test_what_pends_for_a_deleted_destination_drains_where_nobody_else_writes(desk: Desk) -> None:
    """A new destination beside the folder of a deleted one leaves its pending rows to their grace."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    desk.adopt(watch_rule("configmaps"), uid="uid-again", folder="clusters/prod-2")
    assert desk.rows() == [("CREATE", "a", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_removed_rule_keeps_what_is_there(desk: Desk) -> None:
    """When the last rule goes, nothing is listed, nothing is deleted, and no cursor stays."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    desk.start()
    assert (len(desk.rows()), desk.cursor(), desk.open_scopes()) == (2, "", set())


def test_an_expired_cursor_seeds_what_it_covered(desk: Desk) -> None:
    """A lost resume point starts a seed of the scopes of that type alone, in the transaction of the new cursor."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.seed()
    desk.causes.begin_stream(desk.key(), resource_version="500", cause="the resume point expired")
    assert desk.open_scopes() == {("configmaps", "shop")}
    assert (desk.cursor(), desk.runs()[-1]) == ("500", ("the resume point expired", "listing"))


def test_a_restored_cluster_gets_a_new_epoch(desk: Desk) -> None:
    """Below its cursor, a cluster was restored: the source epoch rises and everything of the type is seeded."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    epoch = desk.causes.begin_stream(desk.key(), resource_version="50", cause="restored", lost=1)
    desk.seed(config_map("a", 40), version="51")
    assert epoch == 2
    assert {row.source_epoch for row in desk.events()[2:]} == {2}
    assert desk.rows()[2:] == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]


def test_the_epoch_of_a_restored_cluster_never_falls(desk: Desk) -> None:
    """A cursor that is dropped (403, a removed rule) takes no epoch with it: later rows are not older than earlier."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.seed()
    key, other = desk.key(), desk.key(ROLES)
    assert desk.causes.begin_stream(key, resource_version="50", cause="restored", lost=1) == 2
    desk.causes.refuse_stream(key, reason="Forbidden")
    assert desk.causes.begin_stream(key, resource_version="60", cause="it can be read again") == 2
    desk.start()
    desk.start(watch_rule("configmaps", "roles"), version="70")
    assert desk.writer.positions[key].source_epoch == 2
    assert desk.causes.begin_stream(other, resource_version="20", cause="restored", lost=2) == 3


def test_one_restore_is_one_epoch_for_all_streams(desk: Desk) -> None:
    """The stream that meets a restore first raises the epoch; those that meet it later take that one."""
    desk.start(watch_rule("configmaps", "roles"))
    for type_ in (CONFIG_MAPS, ROLES):
        assert desk.causes.begin_stream(desk.key(type_), resource_version="50", cause="restored", lost=1) == 2
        # One that was refused meanwhile knows in which epoch it was.
        desk.causes.refuse_stream(desk.key(type_), reason="Forbidden")
        assert desk.causes.begin_stream(desk.key(type_), resource_version="55", cause="restored", lost=1) == 2


def test_narrow_streams_of_two_epochs_do_not_become_one(desk: Desk) -> None:
    """A wide stream does not go on from narrower ones of different epochs: it begins anew, with a seed."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        for namespace, epoch in (("a", 1), ("b", 2)):
            cursor = cursors.Cursor("", "configmaps", namespace, "v1", "100", epoch)
            cursors.move(connection, cluster="home", cursor=cursor)
    assert desk.causes.resume([routing.StreamKey("", "v1", "configmaps", "")]) == {}


def test_a_wider_stream_goes_on_from_the_lowest_cursor(desk: Desk) -> None:
    """Two namespaces of a type get one wide stream, which resumes where the narrower one left off."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    desk.live("ADDED", config_map("a", 160))
    desk.write()
    desk.start(cluster_rule("configmaps"), version="900")
    assert desk.key() == routing.StreamKey("", "v1", "configmaps", "")
    assert desk.cursor() == "160"
    assert desk.open_scopes() == {("configmaps", "")}
    desk.seed()
    desk.start(watch_rule("configmaps"), version="900")
    assert (desk.key().namespace, desk.cursor()) == ("shop", "160")


@pytest.mark.parametrize(("begun", "expected"), [(True, ["superseded", "listing"]), (False, ["listing"])])
def test_a_listing_that_was_not_begun_needs_no_second_seed(desk: Desk, begun: bool, expected: list[str]) -> None:  # noqa: FBT001
    """A stream that begins under an open seed restarts it only if that type is being listed already."""
    desk.start(watch_rule("configmaps"))
    if begun:
        desk.begin()
    desk.causes.begin_stream(desk.key(), resource_version="120", cause="the resume point expired")
    assert [state for _, state in desk.runs()] == expected


def test_a_listing_that_failed_at_once_is_tried_again_in_place(desk: Desk) -> None:
    """A listing that ended before its first object leaves the seed as it is, and its scopes wait again."""
    desk.start(watch_rule("configmaps"))
    desk.causes.end_listing(desk.begin())
    assert [state for _, state in desk.runs()] == ["listing"]
    desk.seed(config_map("a", 110))
    assert [row[0] for row in desk.rows()] == ["CREATE", "SEED_SYNC"]


def test_workers_may_ask_for_a_seed(desk: Desk) -> None:
    """A branch that was rewritten is seeded again, with all scopes, and the wish is cleared."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.of_branch(connection, branch_id=target.branch_id, cause="the branch was rewritten")
    desk.causes.seed_wanted()
    assert desk.runs()[-1] == ("the branch was rewritten", "listing")
    with desk.database.read() as connection:
        assert not wishes.any_waits(connection, cluster="home", routed=[1])


@pytest.mark.parametrize(("selects", "outcome"), [(True, "started"), (False, "no rule selects anything")])
def test_people_may_ask_for_a_seed(desk: Desk, *, selects: bool, outcome: str) -> None:
    """It begins, or there is nothing to list; what was asked is answered either way, and nobody else's request."""
    desk.start(*([watch_rule("configmaps")] if selects else []))
    if selects:
        desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.ask(connection, target.id, cause="asked for by me")
        asked, other = (asking(connection, target, destination_id=target.id + more) for more in (0, 1))
    desk.causes.seed_wanted()
    assert (("asked for by me", "listing") in desk.runs()) == selects
    with desk.database.read() as connection:
        found = commands.outcome(connection, asked)
        assert found.words == outcome
        assert (seeds.state_of(connection, found.seed_run_id or "") == seeds.LISTING) == selects
        assert commands.outcome(connection, other) == commands.Outcome(None, None)


def asking(
    connection: base.Connection,
    target: destinations.Destination,
    *,
    verb: str = commands.SEED,
    destination_id: int = 0,
    place: tuple[int, int] | None = None,
    **arguments: Any,
) -> int:
    """Write down what a person asks for: a seed that may remove 30 files, unless it is something else."""
    return commands.ask(
        connection,
        verb=verb,
        by="alice",
        target="shop/prod",
        destination_id=destination_id or target.id,
        place=place or (target.place_id, target.place_generation),
        arguments=arguments or {"allow_prune": 30},
    )


@pytest.mark.parametrize(
    ("arguments", "age", "allowed", "outcome"),
    [
        ({}, 3_500.0, 30, "started"),
        ({}, 3_700.0, 0, "nobody did it within an hour"),
        ({"place": (1, 7)}, 0.0, 0, "started"),
        ({"place": (7, 1)}, 0.0, 0, "started"),
    ],
)
def test_what_was_allowed_long_ago_or_elsewhere_is_void(
    desk: Desk, *, arguments: dict[str, Any], age: float, allowed: int, outcome: str
) -> None:
    """Files go only as a person saw them: at this generation of this place, within an hour. The seed begins anyway."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.ask(connection, target.id, cause="asked for by me")
        asked = asking(connection, target, **arguments)
        connection.execute(update(commands.CommandRow).values(asked_at=base.now(-age)))
    desk.causes.seed_wanted()
    with desk.database.read() as connection:
        (run,) = seeds.open_runs(connection, [target.id])
        assert (run.allow_prune, commands.outcome(connection, asked).words) == (allowed, outcome)


def test_what_was_allowed_survives_a_change_of_rules_and_of_the_leader(desk: Desk) -> None:
    """Whoever begins the seed again, it may remove as much."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.ask(connection, target.id, cause="asked for by me")
        asking(connection, target)
    desk.causes.seed_wanted()
    desk.start(watch_rule("configmaps", name="web"))
    assert allowed(desk) == 30
    again = Desk(desk.settings.database_url, owner="two")
    again.start(watch_rule("configmaps", name="web"))
    assert allowed(again) == 30
    again.close()


def allowed(desk: Desk) -> int:
    """How many files the seed that is listed may remove."""
    with desk.database.read() as connection:
        (run,) = seeds.open_runs(connection, [1])
    return run.allow_prune


def wanting_gone(desk: Desk, files: dict[str, str], **more: Any) -> int:
    """Write down that a person wants these files of the first destination gone, as they are."""
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        return asking(connection, target, verb=commands.PRUNE, files=sorted(files.items()), **more)


def in_git(desk: Desk, *names: str, resource: str = "services", **more: Any) -> dict[str, str]:
    """Files that stand in Git, with their blobs; the writer knows them, and no rule of these tests selects Services."""
    items = [
        inventory.Item(
            f"{name}.yaml", Identifier("", "v1", resource, "shop", name, "Kind", f"uid-{name}"), "7", "h",
            f"blob-{name}", None, removed=False, **more,
        )
        for name in names
    ]  # fmt: skip
    with desk.database.write() as connection:
        inventory.save(connection, 1, items)
        connection.execute(update(seeds.SeedRun).values(state=seeds.SWEPT))
    desk.writer.known[1] |= {
        inventory.key_of(one.identifier): inventory.Known(one.identifier.uid, "h") for one in items
    }
    return {one.path: str(one.blob_id) for one in items}


def removed(desk: Desk) -> list[str]:
    """The files for whose removal there are rows."""
    return [row.name for row in desk.events() if (row.seed_run_id or "").startswith("prune-")]


def test_what_people_want_gone_is_a_row_for_each_file(desk: Desk) -> None:
    """At the version that stands there, as it was shown; what is another file by now, or unknown, is left alone."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    files = in_git(desk, "a", "b", "c")
    desk.writer.known[1]["", "services", "shop", "c"] = inventory.Known("uid-of-its-successor", "h")
    asked = wanting_gone(desk, {**files, "b.yaml": "another", "d.yaml": "none"})
    desk.causes.removals_wanted()
    rows = desk.events()[-2:]
    assert [(row.operation, row.name, row.resource_version, row.user_name, row.rule) for row in rows] == [
        ("DELETE", name, "7", "alice", "reverser prune") for name in ("a", "c")
    ]
    assert sorted(name for _, _, _, name in desk.writer.known[1]) == ["b", "c"]
    with desk.database.read() as connection:
        assert commands.outcome(connection, asked) == commands.Outcome(commands.STARTED, f"prune-{asked}")
        assert not commands.is_waiting(connection, verbs=[commands.PRUNE], cluster="home")
        assert set(connection.scalar(select(commands.CommandRow.arguments))) == {"place"}
    desk.causes.removals_wanted()
    assert removed(desk) == ["a", "c"]


def test_what_people_want_gone_elsewhere_is_left_alone(desk: Desk) -> None:
    """The place is another one by now: nothing is removed, and who asked is told; other clusters' requests wait."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    files = in_git(desk, "a")
    asked = wanting_gone(desk, files, place=(1, 2))
    with desk.database.write() as connection:
        away = destinations.save_destination(
            connection, uid="uid-away", ref=Ref("shop", "prod"), cluster="away", ready=True, reason="Ready", message=""
        )
    other = wanting_gone(desk, files, destination_id=away)
    assert desk.causes.removals_wanted() == set()
    assert removed(desk) == []
    with desk.database.read() as connection:
        assert commands.outcome(connection, asked).words == commands.MOVED
        assert commands.outcome(connection, other).words is None
        assert not commands.is_waiting(connection, verbs=[commands.PRUNE], cluster="home")
        assert commands.is_waiting(connection, verbs=[commands.PRUNE], cluster="away")


def left_at_main(desk: Desk, **more: Any) -> dict[str, str]:
    """Files of a destination that points to another folder by now, or as `more` says; its rules are followed."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    files = in_git(desk, "a", "b", resource="configmaps")
    desk.adopt(watch_rule("configmaps"), **({"folder": "clusters/other"} | more))
    return files


def answer(desk: Desk, asked: int) -> str | None:
    """What became of a request."""
    with desk.database.read() as connection:
        return commands.outcome(connection, asked).words


@pytest.mark.parametrize("more", [{}, {"uid": "uid-next"}], ids=["moved", "deleted"])
def test_what_people_want_gone_where_nobody_writes_any_more(desk: Desk, more: dict[str, str]) -> None:
    """A seed of the place of now delays it not, and a worker is rung for at once; what else is known stays known."""
    files = left_at_main(desk, **more)
    known = {id_: dict(found) for id_, found in desk.writer.known.items()}
    asked = wanting_gone(desk, {**files, "b.yaml": "another"}, destination_id=1, place=(1, 1))
    assert desk.causes.removals_wanted() == {Ref("shop", "prod")}
    row = desk.events()[-1]
    assert (row.destination_id, row.place_id, row.operation, row.name, row.seed_run_id) == (
        1, 1, "DELETE", "a", f"prune-{asked}",
    )  # fmt: skip
    assert removed(desk) == ["a"]
    assert answer(desk, asked) == commands.STARTED
    assert desk.writer.known == known


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"uid": "uid-next", "folder": "clusters/prod"}, commands.MOVED),
        ({"allowed": "next", "branch": "next"}, "branch main is not among allowedBranches"),
        ({"url": "https://example.com/y.git"}, "GitRepoConfig shop/repo names another repository now"),
    ],
    ids=["taken", "not allowed", "another repository"],
)
def test_what_people_want_gone_where_it_may_not_be_done(desk: Desk, more: dict[str, str], words: str) -> None:
    """Somebody has the folder again, or the repository is closed to it: who asked is told."""
    files = left_at_main(desk, **more)
    asked = wanting_gone(desk, files, destination_id=1, place=(1, 1))
    assert desk.causes.removals_wanted() == set()
    assert removed(desk) == []
    assert words in (answer(desk, asked) or "")


def test_nothing_is_removed_before_anything_is_known(desk: Desk) -> None:
    """A new leader has to read our objects first."""
    files = left_at_main(desk)
    asked = wanting_gone(desk, files, destination_id=1, place=(1, 1))
    again = Desk(desk.settings.database_url, owner="two")
    assert again.causes.removals_wanted() == set()
    assert answer(again, asked) is None
    again.close()


def test_a_repository_that_was_described_anew_is_reached_as_it_says(desk: Desk) -> None:
    """Its GitRepoConfig was deleted and created again since: the credentials of now count."""
    files = left_at_main(desk, config_uid="uid-repo-2")
    wanting_gone(desk, files, destination_id=1, place=(1, 1))
    desk.causes.removals_wanted()
    assert removed(desk) == ["a", "b"]
    row = destinations.PlaceRow
    with desk.database.read() as connection:
        assert connection.scalar(select(row.repo_config_id).where(row.id == 1)) == 2


def test_what_a_rule_stands_behind_is_left_alone(desk: Desk) -> None:
    """Whatever was shown: a rule that selects it now, or one that is only out of order, keeps its files."""
    desk.start(watch_rule("configmaps"), watch_rule("roles.rbac.authorization.k8s.io", name="roles"))
    desk.seed()
    marks = desk.writer.routes.marks[1]
    files = in_git(desk, "selected", resource="configmaps", selection=marks[seeds.ScopeKey("", "configmaps", "shop")])
    files |= in_git(desk, "narrowed", resource="configmaps", selection="before")
    wanting_gone(desk, files)
    desk.causes.removals_wanted()
    assert removed(desk) == ["narrowed"]


def test_what_a_rule_that_is_out_of_order_selected_is_left_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back, and its files are right then; what it never selected goes."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    spec = {"scopes": [{"group": "", "resource": "services", "namespace": "shop"}]}
    monkeypatch.setattr(rules, "paused_specs", lambda *_, **__: [spec])
    wanting_gone(desk, in_git(desk, "a") | in_git(desk, "b", resource="pods"))
    desk.causes.removals_wanted()
    assert removed(desk) == ["b"]


def test_what_could_not_be_listed_is_left_alone(desk: Desk) -> None:
    """Its files keep the mark of the rules of before, though a rule selects their objects."""
    desk.start(watch_rule("configmaps"))
    desk.causes.refuse_stream(desk.key(), reason="Forbidden")
    desk.write()
    files = in_git(desk, "a", resource="configmaps", selection="before")
    wanting_gone(desk, files)
    desk.causes.removals_wanted()
    assert removed(desk) == []


def test_while_a_seed_goes_on_nothing_is_left_over(desk: Desk) -> None:
    """Each file gets its mark with it: the request waits for its end."""
    desk.start(watch_rule("configmaps"))
    files = in_git(desk, "a")
    with desk.database.write() as connection:
        connection.execute(update(seeds.SeedRun).values(state=seeds.SYNCED))
    asked = wanting_gone(desk, files)
    desk.causes.removals_wanted()
    with desk.database.write() as connection:
        assert commands.outcome(connection, asked).words is None
        connection.execute(update(seeds.SeedRun).values(state=seeds.SWEPT))
    desk.causes.removals_wanted()
    assert removed(desk) == ["a"]


def test_files_without_a_record_are_a_row_each(desk: Desk) -> None:
    """With the blob that a person saw; what is recorded by now, or stands where none of ours can, is left alone."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    folder = "clusters/prod/v1/services/shop"
    recorded = inventory.Item(
        f"{folder}/b.yaml", Identifier("", "v1", "services", "shop", "b", "Service", "u"), "7", "h", "blob-b", None,
        removed=False,
    )  # fmt: skip
    with desk.database.write() as connection:
        inventory.save(connection, 1, [recorded])
        connection.execute(update(seeds.SeedRun).values(state=seeds.SWEPT))
        target = destinations.live(connection, cluster="home")[0]
        paths = [f"{folder}/a.yaml", f"{folder}/b.yaml", "elsewhere/v1/services/shop/c.yaml", f"{folder}/d.txt"]
        asked = asking(
            connection,
            target,
            verb=commands.ADOPT,
            files=[[path, f"blob-{path[-6]}", "Service", "-"] for path in paths],
        )
    desk.causes.removals_wanted()
    (row,) = [row for row in desk.events() if row.seed_run_id == f"adopt-{asked}"]
    assert (row.operation, row.resource, row.namespace, row.name, row.kind, row.uid) == (
        "DELETE", "services", "shop", "a", "Service", "",
    )  # fmt: skip
    assert (row.user_name, row.rule) == ("alice", "reverser adopt")
    with desk.database.read() as connection:
        assert ledger.bodies(connection, 1, [row.sequence], most_bytes=100) == {row.sequence: b"blob-a"}
        assert commands.outcome(connection, asked) == commands.Outcome(commands.STARTED, f"adopt-{asked}")


@pytest.mark.parametrize(
    "arguments", [{"files": 7}, {"files": [["a"]]}, {"files": [["\ud800", "b"]]}, {"allow_prune": "many"}]
)
@pytest.mark.parametrize("verb", [commands.SEED, commands.PRUNE, commands.ADOPT])
def test_a_request_that_cannot_be_read_ends_nobody(desk: Desk, verb: str, arguments: dict[str, Any]) -> None:
    """It is answered so: a row that somebody wrote by hand must not end each leader that reads it."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.ask(connection, target.id, cause="asked for by me")
        asked = asking(connection, target, verb=verb, **arguments)
    desk.causes.seed_wanted()
    desk.causes.removals_wanted()
    with desk.database.read() as connection:
        assert commands.outcome(connection, asked).words == commands.UNREADABLE


def test_a_change_of_what_is_removed_is_a_seed(desk: Desk) -> None:
    """Only a listing says which files stay now, and which wait for a person."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    desk.adopt(watch_rule("configmaps"))
    desk.causes.seed_wanted()
    assert len(desk.runs()) == 1
    desk.adopt(watch_rule("configmaps"), prune="Never")
    desk.causes.seed_wanted()
    assert ("spec.prune changed", "listing") in desk.runs()


def test_a_permission_that_sql_cannot_hold_is_the_largest_that_it_can(desk: Desk) -> None:
    """A number in a request ends no watch daemon."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.ask(connection, target.id, cause="asked for by me")
        asking(connection, target, allow_prune=10**12)
    desk.causes.seed_wanted()
    assert allowed(desk) == seeds.MOST_FILES


def test_a_seed_that_cannot_start_yet_stays_wanted(desk: Desk) -> None:
    """A new leader that has adopted nothing yet leaves the wish for a seed where it is."""
    desk.start(watch_rule("configmaps"))
    desk.seed()
    with desk.database.write() as connection:
        target = destinations.live(connection, cluster="home")[0]
        wishes.of_branch(connection, branch_id=target.branch_id, cause="the branch was rewritten")
    again = Desk(desk.settings.database_url, owner="two")
    again.causes.seed_wanted()
    again.start(watch_rule("configmaps"))
    again.causes.seed_wanted()
    assert again.runs()[-1] == ("the branch was rewritten", "listing")
    again.close()


def test_a_rule_that_goes_during_a_seed_leaves_the_narrower_one_seeded(desk: Desk) -> None:
    """When the wider of two rules is deleted while its seed is open, what the narrower one selects is listed."""
    desk.start(watch_rule("roles"))
    desk.seed()
    desk.start(watch_rule("roles", "configmaps"), cluster_rule("configmaps"))
    desk.page(desk.begin(), [config_map("a", 110)])
    desk.write()
    desk.start(watch_rule("roles", "configmaps"))
    assert desk.open_scopes() == {("configmaps", "shop")}


def test_a_rule_that_comes_during_a_seed_keeps_what_was_open(desk: Desk) -> None:
    """When a wider rule comes while a seed is open, the wider scope takes the narrower one's part."""
    desk.start(watch_rule("roles", "configmaps"))
    desk.seed()
    desk.causes.begin_stream(desk.key(), resource_version="500", cause="the resume point expired")
    desk.start(watch_rule("roles", "configmaps"), cluster_rule("configmaps"), version="500")
    assert desk.open_scopes() == {("configmaps", "")}


def test_a_place_that_was_never_seeded_is_seeded_whole(desk: Desk) -> None:
    """Until the first seed of a place is closed, everything is wanted, whatever became of an open run."""
    desk.start(watch_rule("configmaps", "roles"))
    with desk.database.write() as connection:
        seeds.supersede(connection, next(iter(desk.writer.known)))
    desk.start(watch_rule("configmaps", "roles"))
    assert desk.open_scopes() == {("configmaps", "shop"), ("roles", "shop")}


def test_two_versions_of_a_type_share_the_lower_cursor(desk: Desk) -> None:
    """Streams of two versions of one type store the lower of their positions, so that neither loses anything."""
    beta = types.ResourceType("", "v1beta1", "configmaps", "ConfigMap", True, CONFIG_MAPS.verbs, False)
    desk.start(watch_rule("configmaps"))
    key = desk.key()
    other = key._replace(version="v1beta1")
    desk.writer.positions[other] = cursors.Cursor("", "configmaps", "shop", beta.version, "90", 1)
    desk.live("ADDED", config_map("a", 160))
    desk.write()
    assert desk.cursor() == "90"


def test_a_type_of_secrets_gets_no_stream() -> None:
    """No plan of streams ever reads Secrets (promise P12)."""
    secrets = types.ResourceType("", "v1", "secrets", "Secret", True, ROLES.verbs, True)
    found = [selecting.DestinationScope(type_, "shop", True, "") for type_ in (secrets, ROLES)]
    assert [key.resource for key in routing.plan_streams(found)] == ["roles"]
