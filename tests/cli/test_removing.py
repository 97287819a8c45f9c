"""What `reverser prune` and `reverser adopt` say of the files that stay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import update

from app import errors
from app.cli import asking
from app.models import commands, destinations, ledger
from tests.models.records import Records, entry


@pytest.fixture
def records(database_url: str) -> Iterator[Records]:
    """A database of one cluster."""
    with closing(Records(database_url)) as made:
        yield made


def follow(records: Records, placed: destinations.Destination, command: int, *, asked: int) -> str:
    """What the person is told who waits; the error where there is one."""
    try:
        asking._follow(
            records.database, placed, command, verb=commands.PRUNE, asked=asked, deadline=time.monotonic() - 1
        )
    except errors.PermanentError as error:
        return error.message
    return ""


def ask(records: Records, placed: destinations.Destination) -> int:
    """Write down that files are not wanted."""
    with records.database.write() as connection:
        return asking.ask(connection, placed, verb=commands.PRUNE, arguments={"files": []})


def end(records: Records, placed: destinations.Destination, command: int, *ends: tuple[str, str | None]) -> None:
    """Let a request have come to rows that ended so."""
    records.append(*(entry(placed, f"file-{number}") for number in range(len(ends))))
    row = ledger.EventRow
    with records.database.write() as connection:
        connection.execute(update(row).values(seed_run_id="prune-1"))
        for number, (state, reason) in enumerate(ends, start=1):
            connection.execute(update(row).where(row.sequence == number).values(state=state, state_reason=reason))
        commands.answer(connection, command, outcome=commands.STARTED, seed_run_id="prune-1")


@pytest.mark.parametrize(
    ("ends", "out", "told"),
    [
        ([("pushed", None), ("unchanged", "gone")], "2 files are removed from main.\n", ""),
        (
            [("pushed", None), ("stale", "it was changed")],
            "1 file is removed from main.\n",
            "1 of 2 files stay on main: it was changed; ",
        ),
        (
            [("superseded", "the host is away")] * 2,
            "0 files are removed from main.\n",
            "2 of 2 files stay on main: the host is away; ",
        ),
        (
            [("pushed", None)],
            "1 file is removed from main.\n",
            "1 of 2 files stay on main: they were changed meanwhile, ",
        ),
    ],
)
def test_what_stays_is_told_with_the_reason(
    records: Records, capsys: pytest.CaptureFixture[str], ends: list[tuple[str, str | None]], out: str, told: str
) -> None:
    """Each reason once; of what has no row it is that it is another file by now."""
    prod = records.destination()
    command = ask(records, prod)
    end(records, prod, command, *ends)
    assert follow(records, prod, command, asked=2).startswith(told)
    assert capsys.readouterr().out == out


def test_who_is_refused_or_waits_too_long_is_told(records: Records) -> None:
    """With the branch, because there may be several."""
    prod = records.destination()
    command = ask(records, prod)
    assert follow(records, prod, command, asked=1).startswith("it takes longer: ")
    with records.database.write() as connection:
        commands.answer(connection, command, outcome=commands.MOVED)
    assert follow(records, prod, command, asked=1) == f"nothing is removed from main: {commands.MOVED}"
