"""The files that are kept, as `status` and `doctor` count them: on each database, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from click.testing import CliRunner

from app import errors
from app.cli import counting, main, surveying
from app.events import Identifier
from app.models import inventory, states
from app.rules import types
from app.watch import judging
from tests.watch.desk import CONFIG_MAPS, ROLES, SHOP, Desk, config_map, watch_rule

WIDGETS = types.ResourceType("example.com", "v1", "widgets", "Widget", True, frozenset({"list", "watch"}), True)


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A leading watch daemon of the cluster `home`."""
    one = Desk(database_url)
    yield one
    one.close()


def put(desk: Desk, type_: types.ResourceType, *, mark: str, place_id: int = 1, path: str = "") -> None:
    """A file of shop/prod that this selection held; its seed has come to its end."""
    what = Identifier(
        group=type_.group,
        version=type_.version,
        resource=type_.resource,
        namespace="shop",
        name="one",
        kind=type_.kind,
        uid="u",
    )
    item = inventory.Item(
        path or f"{type_}/one.yaml", what, "1", "h", None, None, False, 1, mark, "WatchRule shop/rule"
    )
    with desk.database.write() as connection:
        inventory.save(connection, place_id, [item])
        connection.execute(sqlalchemy.text("UPDATE seed_run SET state = 'swept'"))


def told(desk: Desk) -> list[tuple[str, bool, int | None]]:
    """(cluster, whether it is deleted, RETAINED) of each destination, as `reverser status` says it."""
    found: list[dict[str, Any]] = json.loads(ask(desk, "status", "--output", "json"))
    return [(one["cluster"], bool(one["deleted_at"]), one["retained"]) for one in found]


def ask(desk: Desk, *words: str) -> str:
    """What a command says on both streams; its exit code is 0 unless it is `doctor`, which finds no broker."""
    environment = {
        "REVERSER_DATABASE_URL": desk.settings.database_url,
        # Nobody listens there.
        "REVERSER_BROKER_URL": "redis+socket:///nowhere/redis.sock",
    }
    done = CliRunner().invoke(main.main, words, env=environment)
    assert done.exit_code == 0 or words == ("doctor",), done.output
    return done.stdout if "json" in words else done.output


@pytest.mark.parametrize("resources", [["*"], ["configmaps", "widgets"]])
def test_a_type_that_is_served_no_more(desk: Desk, resources: list[str]) -> None:
    """The files of a type whose definition is gone are kept by no rule: the watch daemon and these commands agree."""
    desk.adopt(watch_rule(*resources), served=(CONFIG_MAPS, ROLES, WIDGETS))
    mark = next(mark for key, mark in desk.writer.routes.marks[1].items() if key.resource == "widgets")
    put(desk, WIDGETS, mark=mark)
    assert counting.standings(desk.database, cluster="home") == {SHOP: counting.Standing(0)}
    marks = desk.adopt(watch_rule(*resources), served=(CONFIG_MAPS, ROLES)).marks[1]
    put(desk, WIDGETS, mark=mark)
    with desk.database.read() as connection:
        counts = states.file_counts(connection, [1])[1]
    assert judging.tally(counts, place_id=1, marks=marks).retained == 1
    assert counting.standings(desk.database, cluster="home") == {SHOP: counting.Standing(1)}


def test_kept_files_are_named_in_the_order_of_git(desk: Desk) -> None:
    """The first ten of all are named, whatever their types and the rules that wrote them."""
    desk.start(watch_rule("configmaps"))
    paths = [
        f"{folder}/shop/{number}.yaml"
        for number in range(4)
        for folder in ("v1/configmaps", "apps/v1/roles", "x/v1/widgets", "v1/aaa")
    ]
    for number, path in enumerate(paths):
        put(desk, (WIDGETS, CONFIG_MAPS, ROLES)[number % 3], mark=f"of another rule, {number % 2}", path=path)
    with desk.database.read() as connection:
        compilation = surveying.in_force(connection, cluster="home").compilation
        found = counting.count(connection, compilation, SHOP, destination_id=1, place_id=1)
    assert (found.retained, found.kept) == (16, tuple(sorted(paths)[:10]))


def test_a_destination_of_another_cluster(desk: Desk) -> None:
    """A destination does not count the files of its namesake in another cluster."""
    desk.start(watch_rule("configmaps"))
    put(desk, CONFIG_MAPS, mark="of another rule")
    same = "namespace, name, ready, reason, message, failed_drains, stalled"
    with desk.database.write() as connection:
        for statement in (
            f"INSERT INTO git_destination (id, uid, cluster, {same}) SELECT 2, '', 'away', {same} FROM git_destination",
            "INSERT INTO ledger_head (destination_id, next, ledger_uuid) VALUES (2, 1, 'other')",
        ):
            connection.execute(sqlalchemy.text(statement))
    assert sorted(told(desk), key=str) == [("away", False, None), ("home", False, 1)]


def test_a_destination_that_is_deleted(desk: Desk) -> None:
    """One that is deleted while rows of it pend does not count the files of the next one of its name."""
    desk.start(watch_rule("configmaps"))
    desk.live("ADDED", config_map("one", 200))
    desk.write()
    desk.adopt(watch_rule("configmaps"), uid="uid-next")
    put(desk, CONFIG_MAPS, mark="of another rule", place_id=2)
    with desk.database.write() as connection:
        # It is shown as long as a row of it pends.
        connection.execute(sqlalchemy.text("UPDATE event SET state = 'pending' WHERE destination_id = 1"))
    assert sorted(told(desk)) == [("home", False, 1), ("home", True, None)]


def test_a_count_that_takes_too_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` and `doctor` leave out what the database does not count in its time, and say all the rest."""

    def slow(*_: object) -> None:
        raise errors.TemporaryError("the database is not available: canceling statement due to statement timeout")

    desk.start(watch_rule("configmaps"))
    put(desk, CONFIG_MAPS, mark="of another rule")
    assert told(desk) == [("home", False, 1)]
    assert "1 file is kept" in ask(desk, "doctor")
    monkeypatch.setattr(states, "file_counts", slow)
    assert told(desk) == [("home", False, None)]
    said = ask(desk, "doctor")
    assert "destination shop/prod" in said
    for words in ("is kept", "canceling"):
        assert words not in said + ask(desk, "status")


def test_an_object_that_cannot_be_written(desk: Desk) -> None:
    """`status` and `doctor` name it, say why and what to do; JSON has the same."""
    desk.start(watch_rule("configmaps"))
    desk.live("ADDED", config_map("one", 200))
    desk.write()
    with desk.database.write() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE event SET state = 'dead', state_reason = 'it is too long' WHERE name = 'one'")
        )
    said = "1 object cannot be written: v1/configmaps/one in shop (it is too long)"
    assert f"shop/prod: {said}. To do: " in ask(desk, "status")
    assert said in ask(desk, "doctor")
    (found,) = json.loads(ask(desk, "status", "--output", "json"))
    assert [(one["reason"], one["found"]) for one in found["wanting"]] == [("Unwritable", said)]
