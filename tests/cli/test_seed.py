"""`reverser seed`: what it asks for, and what it refuses; that it is done shows in `tests/system/test_seeding.py`."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import click.testing
import pytest
from sqlalchemy import text

from app import db
from app.cli import main
from app.models import commands, destinations, leases, seeds, wishes
from tests.models.records import CLUSTER, Records
from tests.waiting import wait_until


@pytest.fixture
def records(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """A migrated database, which the command finds."""
    monkeypatch.setenv("REVERSER_DATABASE_URL", database_url)
    monkeypatch.setenv("REVERSER_CLUSTER", CLUSTER)
    with closing(Records(database_url)) as records:
        yield records


def seed(*words: str) -> click.testing.Result:
    """Run the command."""
    return click.testing.CliRunner().invoke(main.main, ["seed", *words])


def wanted(records: Records) -> list[str | None]:
    """Why each destination wants a seed."""
    with records.database.read() as connection:
        return list(connection.scalars(text("SELECT seed_wanted FROM git_destination ORDER BY id")))


def test_a_seed_is_asked_for_and_written_down(records: Records) -> None:
    """The wish stands on the destination, the request in the table of commands, with who asked."""
    prod = records.destination("prod")
    records.destination("dev", folder="dev")
    done = seed("shop/prod")
    assert (done.exit_code, done.stdout) == (0, "A seed of shop/prod is asked for.\n")
    assert done.stderr == f"No watch daemon leads cluster {CLUSTER}: it begins when one does.\n"
    assert wanted(records) == [f"asked for by {getpass.getuser()}", None]
    with records.database.read() as connection:
        query = "SELECT verb, target, asked_by, destination_id, arguments, done_at FROM command"
        row = connection.execute(text(query)).one()
        assert commands.outcome(connection, 1) == commands.Outcome(None, None)
    assert tuple(row)[:4] == ("seed", "shop/prod", getpass.getuser(), prod.id)
    arguments = row.arguments if isinstance(row.arguments, dict) else json.loads(row.arguments)
    assert arguments == {"place": [prod.place_id, 1], "allow_prune": 0}
    assert row.done_at is None


def test_a_wish_keeps_its_first_cause(records: Records) -> None:
    """A person who asks as well does not hide why a worker did."""
    prod = records.destination("prod")
    with records.database.write() as connection:
        wishes.of_branch(connection, branch_id=prod.branch_id, cause="the branch was rewritten")
    assert seed("shop/prod").exit_code == 0
    assert wanted(records) == ["the branch was rewritten"]


@pytest.mark.parametrize("name", ["prd", "gone"])
def test_nothing_is_asked_for_what_is_not_there(records: Records, name: str) -> None:
    """A destination that never was or is deleted is refused, with where to look."""
    records.destination("gone", folder="gone")
    prod = records.destination("prod")
    with records.database.write() as connection:
        destinations.retire_destinations(connection, cluster=CLUSTER, keep={prod.uid})
    done = seed(f"shop/{name}")
    assert done.exit_code == 1
    assert f"cluster {CLUSTER} has no destination shop/{name} that is ready: see `reverser status`" in done.stderr
    assert wanted(records) == [None, None]


def test_a_name_without_a_namespace_is_wrong_usage(records: Records) -> None:
    """What to write is said."""
    done = seed("prod")
    assert done.exit_code == 2
    assert "write NAMESPACE/NAME, for example shop/prod" in done.stderr


def test_a_user_without_a_name_is_known_by_its_number(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container runs as some number."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    records.destination("prod")
    assert seed("shop/prod").exit_code == 0
    assert wanted(records) == [f"asked for by uid {os.getuid()}"]


Answer = Callable[[db.Connection, int], None]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Stands where the watch daemon stands: answers what is asked in the same transaction."""
    ask = commands.ask

    def answer_with(answer: Answer) -> None:
        def ask_and_answer(connection: db.Connection, **words: Any) -> int:
            found = ask(connection, **words)
            answer(connection, found)
            return found

        monkeypatch.setattr(commands, "ask", ask_and_answer)

    return answer_with


def test_waiting_ends_where_no_rule_selects_anything(records: Records, answered: Callable[[Answer], None]) -> None:
    """There is nothing to wait for."""
    records.destination("prod")
    answered(lambda connection, found: commands.answer(connection, found, outcome=commands.NOTHING_SELECTED))
    done = seed("shop/prod", "--wait")
    assert done.exit_code == 0
    assert "shop/prod has nothing to list: no rule selects anything for it." in done.stdout


@pytest.mark.parametrize(("again", "code"), [(True, 0), (False, 1)])
def test_waiting_follows_the_seed_that_took_over(
    records: Records, answered: Callable[[Answer], None], *, again: bool, code: int
) -> None:
    """Rules change and daemons die: what began instead counts, and where nothing did, the seed was given up."""
    prod = records.destination("prod")

    def start(connection: db.Connection) -> str:
        return seeds.start(connection, destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=[])

    def answer(connection: db.Connection, found: int) -> None:
        commands.answer(connection, found, outcome=commands.STARTED, seed_run_id=start(connection))

    answered(answer)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(seed, "shop/prod", "--wait", "--timeout", "60")
        wait_until(lambda: len(runs(records)) == 1, what="the seed")
        with records.database.write() as connection:
            seeds.supersede(connection, prod.id)
            if again:
                seeds.finish(connection, start(connection), state=seeds.SWEPT)
        done = waiting.result(60)
    assert done.exit_code == code
    assert "shop/prod is seeded: 0 objects." in done.stdout if again else "the seed was given up" in done.stderr


def runs(records: Records) -> list[str]:
    """The states of all seeds."""
    with records.database.read() as connection:
        return list(connection.scalars(text("SELECT state FROM seed_run")))


def test_waiting_ends_in_time(records: Records, answered: Callable[[Answer], None]) -> None:
    """Before a watch daemon begins, and while it lists, the time that was given is kept, and what goes on is said."""
    prod = records.destination("prod")
    with records.database.write() as connection:
        assert leases.take_lead(connection, cluster=CLUSTER, cluster_uid="u", owner="me", seconds=600)
    done = seed("shop/prod", "--wait", "--timeout", "0")
    assert (done.exit_code, "begins when a watch daemon leads" in done.stderr) == (1, True)

    def answer(connection: db.Connection, found: int) -> None:
        scopes = [(seeds.ScopeKey("", name, "shop"), "v1", True) for name in ("configmaps", "services")]
        run = seeds.start(connection, destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=scopes)
        commands.answer(connection, found, outcome=commands.STARTED, seed_run_id=run)

    answered(answer)
    done = seed("shop/prod", "--wait", "--timeout", "0")
    assert (done.exit_code, "goes on (0 of 2 types listed)" in done.stderr) == (1, True)
