"""`reverser seed`: what it asks for, and what it refuses; that it is done shows in `tests/system/test_seeding.py`."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import closing

import click.testing
import pytest
from sqlalchemy import text

from app.cli import main
from app.models import commands, destinations, leases, seeds
from tests.models.records import CLUSTER, Records


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


def wishes(records: Records) -> list[str | None]:
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
    assert wishes(records) == [f"asked for by {getpass.getuser()}", None]
    with records.database.read() as connection:
        row = connection.execute(text("SELECT verb, target, asked_by, arguments, done_at FROM command")).one()
        assert commands.get(connection, 1).outcome is None
    assert tuple(row)[:3] == ("seed", "shop/prod", getpass.getuser())
    assert str(prod.id) in str(row.arguments)
    assert row.done_at is None


def test_a_wish_keeps_its_first_cause(records: Records) -> None:
    """A person who asks as well does not hide why a worker did."""
    prod = records.destination("prod")
    with records.database.write() as connection:
        destinations.want_seed(connection, branch_id=prod.branch_id, cause="the branch was rewritten")
    assert seed("shop/prod").exit_code == 0
    assert wishes(records) == ["the branch was rewritten"]


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
    assert wishes(records) == [None, None]


def test_a_name_without_a_namespace_is_wrong_usage(records: Records) -> None:
    """What to write is said."""
    done = seed("prod")
    assert done.exit_code == 2
    assert "write NAMESPACE/NAME, for example shop/prod" in done.stderr


def test_waiting_ends_where_no_rule_selects_anything(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to wait for."""
    records.destination("prod")
    ask = commands.ask

    def ask_and_answer(*args: object, **words: object) -> int:
        found = ask(*args, **words)  # type: ignore[arg-type]
        commands.answer(args[0], found, outcome=commands.NOTHING_SELECTED)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(commands, "ask", ask_and_answer)
    done = seed("shop/prod", "--wait")
    assert done.exit_code == 0
    assert "shop/prod has nothing to list: no rule selects anything for it." in done.stdout


def test_waiting_ends_in_time(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a watch daemon begins, and while it lists, the time that was given is kept, and what goes on is said."""
    prod = records.destination("prod")
    with records.database.write() as connection:
        assert leases.take_lead(connection, cluster=CLUSTER, cluster_uid="u", owner="me", seconds=600)
    done = seed("shop/prod", "--wait", "--timeout", "0")
    assert (done.exit_code, "begins when a watch daemon leads" in done.stderr) == (1, True)
    ask = commands.ask

    def ask_and_start(*args: object, **words: object) -> int:
        found = ask(*args, **words)  # type: ignore[arg-type]
        scopes = [(seeds.ScopeKey("", name, "shop"), "v1", True) for name in ("configmaps", "services")]
        seeds.start(args[0], destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=scopes)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(commands, "ask", ask_and_start)
    done = seed("shop/prod", "--wait", "--timeout", "0")
    assert (done.exit_code, "goes on (0 of 2 types listed)" in done.stderr) == (1, True)
