"""The writer: what it promises about numbers, cursors, seeds, unknown outcomes and lost leadership."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy

from app import db, errors
from app.models import ledger
from app.watch import batching, eventing
from tests.waiting import wait_until
from tests.watch.desk import CONFIG_MAPS, ROLES, Desk, away, config_map, labelled, watch_rule


@pytest.fixture
def seeded(desk: Desk) -> Desk:
    """A destination with a rule on configmaps, seeded with `a` at 110."""
    desk.start(watch_rule("configmaps"))
    desk.seed(config_map("a", 110))
    return desk


def test_a_change_becomes_an_event_with_its_place(seeded: Desk) -> None:
    """An Event names destination, branch, folder, rule and user, and its message is published after the commit."""
    seeded.live("MODIFIED", config_map("a", 160))
    seeded.write()
    row, message = seeded.events()[-1], seeded.published.messages[-1]
    assert (row.operation, row.name, row.rule, row.user_name) == ("UPDATE", "a", "WatchRule shop/rule", "kubectl")
    assert (message.events[0].branch, message.events[0].base_folder) == ("main", "clusters/prod")
    assert (message.first, message.last) == (row.sequence, row.sequence)


def test_the_cursor_moves_with_the_events(seeded: Desk) -> None:
    """A cursor moves only in the transaction that writes its Events: when that fails, neither is there."""
    seeded.live("MODIFIED", config_map("a", 160))
    seeded.database.before = [RuntimeError("power cut")]
    batch = seeded.writer._fill()
    with pytest.raises(RuntimeError):
        seeded.writer._transaction(batch)
    assert (seeded.cursor(), len(seeded.rows())) == ("100", 2)
    seeded.writer._commit(batch)
    assert (seeded.cursor(), len(seeded.rows())) == ("160", 3)


def test_a_bookmark_moves_the_cursor_alone(seeded: Desk) -> None:
    """A bookmark of a quiet stream moves the cursor without a row."""
    seeded.live("BOOKMARK", {"metadata": {"resourceVersion": "500"}})
    seeded.write()
    assert (seeded.cursor(), len(seeded.rows())) == ("500", 2)


def test_unchanged_content_makes_no_row(seeded: Desk) -> None:
    """A live change that leaves the sanitised object as it was makes no row, and a DELETE always does."""
    seeded.live("MODIFIED", config_map("a", 160, version="110"))
    seeded.write()
    assert len(seeded.rows()) == 2
    seeded.live("DELETED", config_map("a", 161, version="110"))
    seeded.live("ADDED", config_map("a", 162, uid="new", version="110"))
    seeded.write()
    assert [row[0] for row in seeded.rows()[2:]] == ["DELETE", "CREATE"]


def test_an_object_on_its_way_out_is_a_delete(seeded: Desk) -> None:
    """A deletionTimestamp is a DELETE in a stream, and a listing does not bring the object back."""
    leaving = config_map("a", 160)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    seeded.live("MODIFIED", leaving)
    seeded.write()
    assert seeded.rows()[-1][0] == "DELETE"
    seeded.causes.begin_stream(seeded.key(), resource_version="170", cause="expired")
    seeded.seed(leaving, version="171")
    assert [row[0] for row in seeded.rows()[3:]] == ["SEED_SYNC"]


def test_a_delete_of_an_older_uid_leaves_its_successor_known(seeded: Desk) -> None:
    """After a re-creation, a late DELETE of the old uid does not make the new object unknown."""
    seeded.live("ADDED", config_map("a", 160, uid="new"))
    seeded.live("DELETED", config_map("a", 161))
    seeded.live("MODIFIED", config_map("a", 162, uid="new", version="160"))
    seeded.write()
    assert [(row.operation, row.uid) for row in seeded.events()[2:]] == [("CREATE", "new"), ("DELETE", "uid-a")]


@pytest.mark.parametrize(
    ("kind", "version", "state"),
    [("DELETED", 200, "stale"), ("MODIFIED", 200, "stale"), ("MODIFIED", 150, "pending"), ("MODIFIED", 140, "pending")],
)
def test_live_events_during_a_seed_win(desk: Desk, kind: str, version: int, state: str) -> None:
    """A listed item is stale when a live Event of the same uid was a DELETE or is newer, and a row otherwise.

    The same state live and listed: each row has to be able to carry it alone, as a sweep may end the live one.
    """
    desk.start(watch_rule("configmaps"))
    begun = desk.begin()
    desk.live(kind, config_map("a", version, note="live"))  # type: ignore[arg-type]
    desk.write()
    desk.page(begun, [config_map("a", 150)], ended_at="210")
    desk.write()
    assert desk.rows()[1] == ("CREATE" if kind == "DELETED" else "UPDATE", "a", state)
    assert desk.rows()[-1][0] == "SEED_SYNC"


def test_a_newer_live_event_of_other_content_counts_for_the_seed(seeded: Desk) -> None:
    """A listed item is stale where a row of its newer state is written."""
    seeded.causes.begin_stream(seeded.key(), resource_version="155", cause="expired")
    begun = seeded.begin()
    seeded.live("MODIFIED", config_map("a", 200, version="110", note="other"))
    seeded.write()
    seeded.page(begun, [config_map("a", 180)], ended_at="201")
    seeded.write()
    assert seeded.rows()[2:] == [("UPDATE", "a", "pending"), ("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


def test_an_unchanged_live_event_counts_for_the_seed(seeded: Desk) -> None:
    """Live Events count against listed items even when their content made no row."""
    seeded.causes.begin_stream(seeded.key(), resource_version="155", cause="expired")
    begun = seeded.begin()
    seeded.live("MODIFIED", config_map("a", 200, version="110"))
    seeded.write()
    seeded.page(begun, [config_map("a", 180)], ended_at="201")
    seeded.write()
    assert seeded.rows()[2:] == [("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


def test_a_newer_live_event_of_the_same_content_leaves_it_to_the_seed(seeded: Desk) -> None:
    """Noise made no row: what a seed has to repair would stay broken while a status changes during each listing."""
    seeded.causes.begin_stream(seeded.key(), resource_version="155", cause="expired")
    begun = seeded.begin()
    seeded.live("MODIFIED", config_map("a", 200, version="110"))
    seeded.write()
    seeded.page(begun, [config_map("a", 180, version="110")], ended_at="201")
    seeded.write()
    assert seeded.rows()[2:] == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]


def test_a_seed_writes_every_object(seeded: Desk) -> None:
    """A seed writes unchanged objects too: that repairs a repository somebody changed."""
    seeded.causes.begin_stream(seeded.key(), resource_version="155", cause="expired")
    seeded.seed(config_map("a", 110), version="156")
    assert seeded.rows()[2:] == [("UPDATE", "a", "pending"), ("SEED_SYNC", "", "pending")]


def test_one_object_of_two_groups_is_two_objects(desk: Desk) -> None:
    """An object that two groups serve with one uid and resourceVersion gets a row of each, and its seed ends."""
    core, new = (replace(CONFIG_MAPS, group=group, resource="events") for group in ("", "events.k8s.io"))
    routes = desk.adopt(watch_rule("events"), served=(core, new))
    for key in routes.streams:
        desk.causes.begin_stream(key, resource_version="100", cause="no resume point")
    for key, type_ in routes.streams.items():
        begun = desk.causes.begin_listing(key, type_)
        assert begun is not None
        desk.page(begun, [config_map("a", 90)], ended_at="150")
    desk.write()
    *created, last = [(row.operation, row.api_group) for row in desk.events()]
    # Two listings, in no order of their own.
    assert sorted(created) == [("CREATE", ""), ("CREATE", "events.k8s.io")]
    assert last == ("SEED_SYNC", "")
    assert [state for _, state in desk.runs()] == ["synced"]


def test_seed_sync_waits_for_every_scope(desk: Desk) -> None:
    """SEED_SYNC is written in the transaction that sees the last scope complete, and not before."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.page(desk.begin(), [config_map("a", 110)], ended_at="120")
    desk.write()
    assert "SEED_SYNC" not in {row[0] for row in desk.rows()}
    desk.page(desk.begin(ROLES), [], ended_at="121")
    desk.write()
    scopes = desk.published.messages[-1].events[-1].scopes
    assert [(scope.resource, scope.listed, scope.complete) for scope in scopes] == [
        ("configmaps", 1, True),
        ("roles", 0, True),
    ]


def test_half_a_listing_is_never_synced(desk: Desk) -> None:
    """A listing that breaks off supersedes its seed, which starts again; what comes late of it is dropped."""
    desk.start(watch_rule("configmaps"))
    begun = desk.begin()
    desk.page(begun, [config_map("a", 110)])
    desk.write()
    desk.causes.end_listing(begun)
    desk.page(begun, [config_map("b", 111)], ended_at="120")
    desk.write()
    assert [row[0] for row in desk.rows()] == ["CREATE"]
    assert [state for _, state in desk.runs()] == ["superseded", "listing"]
    desk.seed(config_map("a", 110), config_map("b", 111), version="130")
    assert [row[:2] for row in desk.rows()[1:]] == [("UPDATE", "a"), ("CREATE", "b"), ("SEED_SYNC", "")]


def test_rows_that_vanish_keep_a_seed_open(desk: Desk) -> None:
    """A seed whose written rows do not equal the listed ones gets no SEED_SYNC: it starts again."""
    desk.start(watch_rule("configmaps"))
    begun = desk.begin()
    desk.page(begun, [config_map("a", 110)])
    desk.write()
    with desk.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE seed_scope SET written = 0"))
    desk.page(begun, [config_map("b", 111)], ended_at="120")
    desk.write()
    assert "SEED_SYNC" not in {row[0] for row in desk.rows()}
    assert [state for _, state in desk.runs()] == ["superseded", "listing"]


def test_a_refused_scope_is_not_swept(desk: Desk) -> None:
    """A type that answers 403 ends without a sweep, the others go on, and the seed is closed."""
    desk.start(watch_rule("configmaps", "roles"))
    desk.causes.refuse_stream(desk.key(ROLES), reason="Forbidden")
    desk.seed(config_map("a", 110))
    scopes = desk.published.messages[-1].events[-1].scopes
    assert [(scope.resource, scope.complete) for scope in scopes] == [("configmaps", True), ("roles", False)]


def test_a_rule_without_delete_is_not_swept(desk: Desk) -> None:
    """A scope may be swept only when a rule on it selects DELETE."""
    desk.start(watch_rule("configmaps", operations=["CREATE", "UPDATE"]))
    desk.seed(config_map("a", 110))
    assert [scope.complete for scope in desk.published.messages[-1].events[-1].scopes] == [False]


def test_an_object_that_exists_is_no_orphan_whatever_the_rules_select(desk: Desk) -> None:
    """A known object whose UPDATE no rule selects gets a stale row in a seed: an orphan sweep must see it."""
    desk.start(watch_rule("configmaps", operations=["CREATE", "DELETE"]))
    desk.seed(config_map("a", 110))
    desk.causes.begin_stream(desk.key(), resource_version="155", cause="expired")
    desk.seed(config_map("a", 160), version="161")
    assert desk.rows()[2:] == [("UPDATE", "a", "stale"), ("SEED_SYNC", "", "pending")]


@pytest.mark.parametrize(
    ("item", "uid", "reason"),
    [
        ({"names": ["b"]}, "uid-a", batching.NOT_SELECTED),
        ({"labelSelector": {"matchLabels": {"app": "web"}}}, "uid-a", batching.NOT_SELECTED),
        ({"operations": ["CREATE", "DELETE"]}, "uid-a", batching.NO_OPERATION),
        ({"operations": ["UPDATE"]}, "another", batching.NO_OPERATION),
    ],
)
def test_what_is_listed_and_kept_says_why(seeded: Desk, item: dict[str, Any], uid: str, reason: str) -> None:
    """Who reads why an object was not written looks for a filter or for operations, whichever it is."""
    seeded.start(watch_rule("configmaps", **item))
    seeded.seed(config_map("a", 160, uid=uid), version="171")
    row = seeded.events()[2]
    assert (row.state, row.state_reason) == ("stale", reason)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_unknown_commit_outcome_writes_a_batch_once(seeded: Desk, moment: str) -> None:
    """When the answer to COMMIT is lost, the same batch is written again: each Event once, the cursor moved."""
    fault = errors.UnknownOutcomeError("the database did not answer a COMMIT", delay=0.0)
    seeded.causes.begin_stream(seeded.key(), resource_version="155", cause="expired")
    begun = seeded.begin()
    seeded.live("ADDED", config_map("b", 160))
    seeded.page(begun, [config_map("a", 110)], ended_at="161")
    setattr(seeded.database, moment, [fault, away()])
    seeded.write()
    assert seeded.rows()[2:] == [
        ("CREATE", "b", "pending"),
        ("UPDATE", "a", "pending"),
        ("SEED_SYNC", "", "pending"),
    ]
    assert seeded.cursor() == "160"
    assert [state for _, state in seeded.runs()] == ["synced", "synced"]
    seeded.live("MODIFIED", config_map("b", 170, version="160"))
    seeded.write()
    assert len(seeded.rows()) == 5


def test_lost_leadership_writes_nothing(seeded: Desk) -> None:
    """A leader whose lease was taken over fails in its own transaction: no row, no cursor, no message."""
    seeded.live("MODIFIED", config_map("a", 160))
    before = len(seeded.published.messages)
    seeded.take_lead("another")
    with pytest.raises(errors.LeaseLostError):
        seeded.writer._write_next()
    assert (seeded.cursor(), len(seeded.rows()), len(seeded.published.messages)) == ("100", 2, before)


def test_a_raised_place_gets_no_rows_of_the_old_one(seeded: Desk) -> None:
    """After a change of the folder, pending rows are superseded; a change on its way goes to the new place."""
    seeded.live("MODIFIED", config_map("a", 160))
    seeded.adopt(watch_rule("configmaps"), folder="clusters/new")
    seeded.write()
    assert {row[2] for row in seeded.rows()[:2]} == {"superseded"}
    row = seeded.events()[-1]
    with seeded.database.read() as connection:
        folder = connection.execute(
            sqlalchemy.text("SELECT base_folder FROM place WHERE id = :id"), {"id": row.place_id}
        ).scalar()
    assert (row.operation, row.state, folder) == ("UPDATE", "pending", "clusters/new")


def test_an_object_that_cannot_be_written_is_dead_and_the_others_go_on(
    seeded: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An oversize object gets a dead row with the reason; the cursor and its neighbours go on."""
    monkeypatch.setattr(eventing, "LARGEST_BODY", 500)
    seeded.live("ADDED", config_map("big", 160, data="x" * 1_000))
    seeded.live("ADDED", config_map("small", 161))
    seeded.write()
    assert seeded.rows()[2:] == [("CREATE", "big", "dead"), ("CREATE", "small", "pending")]
    assert "bytes" in seeded.events()[2].state_reason
    assert seeded.cursor() == "161"


def test_a_refused_batch_is_split_down_to_the_object(seeded: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database refuses a row, the batch is split: that row is dead, each other one is written in order."""
    append = ledger.append

    def refusing(connection: sqlalchemy.Connection, entries: list[ledger.Entry], numbers: dict[int, int]) -> object:
        if any(entry.event.identifier and entry.event.identifier.name == "c" and entry.body for entry in entries):
            raise ValueError("a value that the driver cannot bind")
        return append(connection, entries, numbers)

    monkeypatch.setattr(ledger, "append", refusing)
    for version, name in enumerate("bcde", start=160):
        seeded.live("ADDED", config_map(name, version))
    seeded.write()
    assert [row[1:] for row in seeded.rows()[2:]] == [
        ("b", "pending"),
        ("c", "dead"),
        ("d", "pending"),
        ("e", "pending"),
    ]
    assert seeded.cursor() == "163"


def test_what_is_wrong_with_the_database_is_the_fault_of_no_row(seeded: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right that is missing ends the daemon before the cursor moves: nothing is given up for it."""
    before = seeded.rows(), seeded.cursor()

    def forbidden(*_: object) -> object:
        raise errors.StalledError("permission denied for table event_body", reason=db.FORBIDDEN)

    monkeypatch.setattr(ledger, "append", forbidden)
    seeded.live("ADDED", config_map("b", 160))
    with pytest.raises(errors.StalledError, match="permission denied"):
        seeded.write()
    assert (seeded.rows(), seeded.cursor()) == before


def test_a_lower_number_never_appears_after_a_higher_one(seeded: Desk) -> None:
    """A batch that takes its numbers later waits for the commit of the earlier one, and gets higher numbers."""
    destination = next(iter(seeded.writer.known))
    taken: list[int] = []

    def later() -> None:
        with second.write() as connection:
            taken.append(ledger.take_numbers(connection, {destination: 1})[destination])

    second = db.Database(seeded.settings.database_url)
    try:
        with seeded.database.write() as connection:
            first = ledger.take_numbers(connection, {destination: 5})[destination]
            thread = threading.Thread(target=later)
            thread.start()
            thread.join(0.3)
            assert not taken
        wait_until(lambda: taken)
        thread.join()
    finally:
        second.close()
    assert taken[0] == first + 5


def test_two_hundred_rows_fit_small_batches(database_url: str) -> None:
    """A batch is never larger than its limit, and a seed of many batches is complete."""
    desk = Desk(database_url, batch_rows=20)
    try:
        desk.start(watch_rule("configmaps"))
        sizes: list[int] = []
        fill = desk.writer._fill
        desk.writer._fill = lambda: (sizes.append(len(batch := fill())), batch)[1]  # type: ignore[method-assign]
        desk.seed(*(config_map(f"n{number}", 110) for number in range(200)))
        assert len(desk.rows()) == 201
        assert max(sizes) <= 20
    finally:
        desk.close()


def test_a_flood_of_changes_that_select_nothing_ends_a_batch(database_url: str) -> None:
    """However many changes wait that give no row, the cursor moves before the last of them, and pages have their turn.

    A batch that waited for rows would have no end while changes come faster than they are looked at.
    """
    desk = Desk(database_url, batch_rows=5)
    try:
        desk.start(watch_rule("configmaps", labelSelector={"matchLabels": {"app": "web"}}))
        desk.page(desk.begin(), [labelled(config_map("a", 110), app="web")], ended_at="120")
        for number in range(201, 301):
            desk.live("MODIFIED", config_map("b", number))
        desk.writer._write_next()
        assert (desk.cursor(), desk.rows()) == ("250", [("CREATE", "a", "pending"), ("SEED_SYNC", "", "pending")])
        desk.write()
        assert desk.cursor() == "300"
    finally:
        desk.close()


def test_many_destinations_do_not_make_small_batches(seeded: Desk) -> None:
    """Changes share a transaction by the rows that they give, however many destinations there are."""
    seeded.writer.known |= {number: {} for number in range(1_000, 2_000)}
    for number in range(300):
        seeded.live("ADDED", config_map(f"n{number}", 200 + number))
    assert len(seeded.writer._fill()) == 300
