"""Which rule holds a file and which removes it: one that selected the object, and no other rule of the destination."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from app import events
from app.drain import building, sweeping
from app.models import destinations, inventory, ledger, rules, seeds, states
from app.watch import judging
from tests.watch.desk import Desk, cluster_rule, config_map, labelled, watch_rule

WEB = {"matchLabels": {"app": "web"}}
DB = {"matchLabels": {"app": "db"}}
WRITES = ["CREATE", "UPDATE"]


def web(name: str, at: int, **data: str) -> dict[str, Any]:
    """A ConfigMap with the label of one rule."""
    return labelled(config_map(name, at, **data), app="web")


def db(name: str, at: int, **data: str) -> dict[str, Any]:
    """One with that of another."""
    return labelled(config_map(name, at, **data), app="db")


def api(name: str, at: int, **data: str) -> dict[str, Any]:
    """One that no rule asks for."""
    return labelled(config_map(name, at, **data), app="api")


def deletes(desk: Desk) -> list[tuple[str, str]]:
    """(name, rule) of every DELETE in the ledger."""
    return [(row.name, row.rule) for row in desk.events() if row.operation == "DELETE"]


def forget(desk: Desk) -> None:
    """Know what SQL says, as the next leader does."""
    target = desk.writer.routes.target_of(1)
    with desk.database.read() as connection:
        desk.writer.known[1] = inventory.known(connection, destination_id=1, place_id=target.place_id)


@pytest.mark.parametrize("anew", [False, True])
def test_a_rule_of_other_labels_removes_nothing(desk: Desk, *, anew: bool) -> None:
    """What left a rule without DELETE stays, though a rule of other labels has DELETE; that one removes its own."""
    writing = watch_rule("configmaps", name="web", labelSelector=WEB, operations=WRITES)
    desk.start(writing, watch_rule("configmaps", name="db", labelSelector=DB))
    desk.seed(web("a", 110), db("b", 111))
    if anew:
        forget(desk)
    desk.live("MODIFIED", api("a", 160))
    desk.live("MODIFIED", api("b", 161))
    desk.live("DELETED", api("a", 162))
    desk.write()
    assert deletes(desk) == [("b", "WatchRule shop/db")]


def test_a_rule_that_excludes_a_namespace_removes_nothing_there(desk: Desk) -> None:
    """A wide rule with DELETE that leaves a namespace out in so many words removes no file of another rule there."""
    desk.start(cluster_rule("configmaps", excludeNamespaces=["sh*"]), watch_rule("configmaps", operations=WRITES))
    desk.seed(config_map("a", 110), config_map("b", 111, namespace="web"))
    desk.live("DELETED", config_map("a", 160))
    desk.live("DELETED", config_map("b", 161, namespace="web"))
    desk.write()
    assert deletes(desk) == [("b", "ClusterWatchRule wide")]


def test_operations_may_stand_in_two_rules(desk: Desk) -> None:
    """Of two rules with the same filter, one may write and the other one remove."""
    desk.start(
        watch_rule("configmaps", name="a", labelSelector=WEB, operations=WRITES),
        watch_rule("configmaps", name="b", labelSelector=WEB, operations=["DELETE"]),
    )
    desk.seed(web("a", 110))
    desk.live("MODIFIED", api("a", 160))
    desk.write()
    assert deletes(desk) == [("a", "WatchRule shop/b")]


def test_a_rule_without_delete_takes_no_deletion_from_another(desk: Desk) -> None:
    """What two rules select goes for the one with DELETE, however it leaves: live, by its labels, or by a sweep."""
    writing = watch_rule("configmaps", name="a", labelSelector=WEB, operations=WRITES)
    desk.start(writing, watch_rule("configmaps", name="all", excludeNames=["x-*"]))
    desk.seed(web("a", 110), web("b", 111))
    drained(desk)
    with desk.database.read() as connection:
        files = inventory.present(connection, 1)
        specs = rules.specs_of(connection, 1)
    assert [(one.rule, one.remover) for one in files] == [("WatchRule shop/a", "WatchRule shop/all")] * 2
    assert sweeping.Removers(specs).of(files[0]) == "WatchRule shop/all"
    desk.live("DELETED", web("a", 160))
    desk.write()
    assert deletes(desk) == [("a", "WatchRule shop/all")]


def test_an_ignored_label_may_change_who_removes(desk: Desk) -> None:
    """The content is the same, and another rule selects the object now: that one removes its file."""
    quiet = partial(watch_rule, "configmaps", ignoreFields=["/metadata/labels"])
    desk.start(quiet(name="a", labelSelector=WEB, operations=WRITES), quiet(name="b", labelSelector=DB))
    desk.seed(web("a", 110, text="same"))
    drained(desk)
    desk.live("MODIFIED", db("a", 160, text="same"))
    desk.write()
    drained(desk)
    desk.live("MODIFIED", api("a", 170, text="same"))
    desk.write()
    assert deletes(desk) == [("a", "WatchRule shop/b")]


def test_a_stream_that_lags_behind_a_listing_leaves_no_file_unstamped(desk: Desk) -> None:
    """Rows that are older than the file say nothing of it; the seed of the changed rules does."""
    desk.start(watch_rule("configmaps", name="b"))
    desk.seed(web("a", 120), version="130")
    drained(desk)
    writing = watch_rule("configmaps", name="a", labelSelector=WEB, operations=WRITES)
    desk.start(writing, watch_rule("configmaps", name="b", labelSelector=DB))
    desk.live("ADDED", web("a", 110, version="120"))
    desk.live("MODIFIED", web("a", 120))
    desk.write()
    desk.seed(web("a", 120), version="140")
    with desk.database.write() as connection:
        late = next(row for row in ledger.pending(connection, 1, place_id=1, limit=1) if row.resource_version == "110")
        ledger.settle(connection, 1, [ledger.Settled(late.sequence, ledger.STALE, "Git holds a newer one")])
    drained(desk)
    known = dict(desk.writer.known[1])
    forget(desk)
    assert desk.writer.known[1] == known
    assert [one.remover for one in known.values()] == [""]


def test_who_removes_a_listed_file_counts_at_once(desk: Desk) -> None:
    """Between rules without UPDATE an object moves unheard: a listing tells whose departure comes next."""
    desk.start(
        watch_rule("configmaps", name="a", labelSelector=WEB, operations=["CREATE", "DELETE"]),
        watch_rule("configmaps", name="b", labelSelector=DB, operations=["CREATE"]),
    )
    desk.seed(web("a", 110))
    desk.live("MODIFIED", db("a", 160))
    desk.write()
    desk.causes.begin_stream(desk.key(), resource_version="165", cause="the resume point expired")
    desk.seed(db("a", 160), version="170")
    desk.live("MODIFIED", api("a", 180))
    desk.write()
    assert deletes(desk) == []


def test_what_the_wildcard_leaves_out_it_does_not_remove(desk: Desk) -> None:
    """`*` with DELETE never selected an object that only a rule without DELETE names the type of."""
    desk.start(watch_rule("configmaps", name="named", operations=WRITES), watch_rule("*", name="star"))
    desk.seed(config_map("kube-root-ca.crt", 110))
    desk.live("DELETED", config_map("kube-root-ca.crt", 160))
    desk.write()
    drained(desk)
    with desk.database.read() as connection:
        (file,) = inventory.present(connection, 1)
        specs = rules.specs_of(connection, 1)
    assert deletes(desk) == []
    assert sweeping.Removers(specs).of(file) is None


def test_the_last_state_of_an_object_says_who_removes(desk: Desk) -> None:
    """A deleted object that a rule without DELETE selects stays in Git, whichever rule wrote it and is gone by now."""
    writing = watch_rule("configmaps", name="b", labelSelector=WEB, operations=WRITES)
    other = watch_rule("configmaps", name="c", labelSelector=DB)
    desk.start(watch_rule("configmaps", name="a", labelSelector=WEB), writing, other)
    desk.seed(web("a", 110))
    desk.start(writing, other)
    desk.live("DELETED", web("a", 160))
    desk.write()
    assert deletes(desk) == []


@pytest.mark.parametrize("seen", [True, False])
def test_a_file_goes_though_its_successor_is_not_written(desk: Desk, *, seen: bool) -> None:
    """Made again under its name where no rule selects CREATE, an object leaves the file of the first one to DELETE."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110, uid="one"))
    drained(desk)
    desk.start(watch_rule("configmaps", operations=["UPDATE", "DELETE"]))
    desk.seed(config_map("a", 110, uid="one"), version="150")
    drained(desk)
    if seen:
        desk.live("ADDED", config_map("a", 170, uid="two"))
        desk.write()
        assert deletes(desk) == [("a", "WatchRule shop/rule")]
    else:
        desk.causes.begin_stream(desk.key(), resource_version="160", cause="the resume point expired")
        desk.seed(config_map("a", 170, uid="two"), version="180")
        assert orphans(desk) == [("a", "WatchRule shop/rule")]


def test_a_sweep_takes_what_a_live_deletion_takes(desk: Desk) -> None:
    """A rule of one namespace with DELETE removes what a wide rule without it selects as well, seen or not."""
    desk.start(cluster_rule("configmaps", operations=WRITES), watch_rule("configmaps"))
    desk.seed(config_map("a", 110), config_map("b", 111, namespace="web"), config_map("c", 112))
    drained(desk)
    desk.live("DELETED", config_map("c", 115))
    desk.write()
    assert deletes(desk) == [("c", "WatchRule shop/rule")]
    drained(desk)
    desk.causes.begin_stream(desk.key(), resource_version="160", cause="the resume point expired")
    desk.seed(version="180")
    assert orphans(desk) == [("a", "WatchRule shop/rule")]


def orphans(desk: Desk) -> list[tuple[str, str]]:
    """(name, rule) of the files that the sweep of the newest seed takes."""
    run = desk.events()[-1].seed_run_id
    with desk.database.read() as connection:
        destination = destinations.by_id(connection, 1)
    assert destination
    found = sweeping.find(desk.database, destination=destination, run=run)
    return [(one.item.identifier.name, one.rule) for one in found.orphans]


def drained(desk: Desk) -> None:
    """Everything that pends is in Git, as a worker records it."""
    with desk.database.write() as connection:
        for row in ledger.pending(connection, 1, place_id=1, limit=1_000):
            if row.operation is events.Operation.SEED_SYNC:
                inventory.take_over(connection, row.seed_run_id or "", destination_id=1)
                seeds.finish(connection, row.seed_run_id or "", state=seeds.SWEPT)
            else:
                blob = None if row.operation is events.Operation.DELETE else "blob"
                made = building.item_of(row, row.identifier.name, blob, seed_run_id=row.seed_run_id)
                inventory.save(connection, 1, [made])
            ledger.settle(connection, 1, [ledger.Settled(row.sequence, ledger.PUSHED)])


def told(desk: Desk) -> judging.Tally:
    """What the status counts."""
    with desk.database.read() as connection:
        counts = states.file_counts(connection, [1])[1]
    return judging.tally(counts, place_id=1, marks=desk.writer.routes.marks[1])


@pytest.mark.parametrize("anew", ["", "before the drain", "after it"])
def test_a_rule_without_update_holds_what_it_selects(desk: Desk, *, anew: str) -> None:
    """A rule that makes no Event of an object in Git holds it all the same: it counts, and goes when it leaves."""
    quiet = partial(watch_rule, "configmaps", labelSelector=WEB, operations=["CREATE", "DELETE"])
    desk.start(watch_rule("configmaps", name="first", labelSelector=WEB))
    desk.seed(web("a", 110))
    drained(desk)
    desk.start(quiet())
    assert told(desk) == judging.Tally(1, {})
    desk.seed(web("a", 110), version="171")
    assert desk.rows()[-2:] == [("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending")]
    if anew == "before the drain":
        forget(desk)
    drained(desk)
    assert told(desk) == judging.Tally(0, {"WatchRule shop/rule": 1})
    if anew == "after it":
        forget(desk)
    desk.live("MODIFIED", web("a", 175))
    desk.live("MODIFIED", api("a", 180))
    desk.write()
    assert desk.rows()[3:] == [("SEED_SYNC", "", "pushed"), ("DELETE", "a", "pending")]


def test_a_rule_without_update_leaves_a_departure_to_the_sweep(desk: Desk) -> None:
    """What left such a rule while nobody looked is not counted by a listing, also after a change of the rule."""
    quiet = partial(watch_rule, "configmaps", labelSelector=WEB, operations=["CREATE", "DELETE"])
    desk.start(quiet())
    desk.seed(web("a", 110))
    desk.start(quiet(excludeNames=["x-*"]))
    desk.seed(web("a", 110), version="171")
    desk.causes.begin_stream(desk.key(), resource_version="180", cause="the resume point expired")
    desk.seed(api("a", 175), version="181")
    assert desk.rows()[-2:] == [("SEED_SYNC", "", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_row_that_a_live_change_overtook_says_nothing(desk: Desk) -> None:
    """What a listing says of an object that changed meanwhile does not say what selects its file."""
    desk.start(watch_rule("configmaps", labelSelector=WEB))
    begun = desk.begin()
    desk.live("ADDED", web("a", 120))
    desk.write()
    desk.page(begun, [web("a", 110)], ended_at="150")
    desk.write()
    live, listed, _ = desk.events()
    assert (live.state, listed.state) == ("pending", "stale")
    assert (live.selection is None, listed.selection) == (False, None)


def test_files_of_the_first_release_count_until_a_listing_finds_them(desk: Desk) -> None:
    """Nobody knows what selected them: they are held, until the seed of a narrowed rule tells which it left behind."""
    desk.start(watch_rule("configmaps"))
    desk.seed(web("a", 110), api("b", 111), api("c", 112))
    drained(desk)
    with desk.database.write() as connection:
        connection.exec_driver_sql("UPDATE inventory SET selection = NULL, rule = NULL, remover = NULL")
    forget(desk)
    desk.start(watch_rule("configmaps", labelSelector=WEB))
    assert told(desk) == judging.Tally(0, {})
    desk.seed(web("a", 110), api("b", 111), api("c", 112), version="171")
    desk.live("MODIFIED", web("c", 180))
    desk.write()
    assert deletes(desk) == []
    drained(desk)
    assert told(desk) == judging.Tally(1, {"WatchRule shop/rule": 2})
