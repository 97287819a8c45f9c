"""Column types: any text from a cluster survives both databases, moments are UTC, the clock is the database's."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text

from app.models import base, commands, inventory
from tests.models.records import Records, identifier
from tests.waiting import wait_until

# Every character that Python's text can hold: U+0000 and halves of surrogate pairs too, and many backslashes.
ANY_TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("\\\x00\ud800\udfffu0"), st.characters(categories=["Cs"]))
)
CASES = ["", "\\", "\\\\", "\x00", "\\u0000", "\\\x00", "\\\\u0000", "\ud800", "\ud83d\ude00", "\\ud800", "é\u2028😀"]
# Read as it is stored, without the type that undoes the escape.
_STORED_NAME = text("SELECT name FROM inventory")
WITH_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(ANY_TEXT)
@example("\\u0000\x00")
@example("\ud83d\ude00")
def test_escaping_is_undone_exactly(value: str) -> None:
    """Whatever a name holds, it reads back as it was."""
    assert base.unescape(base.escape(value)) == value


@given(ANY_TEXT)
def test_escaped_text_is_text_that_every_database_takes(value: str) -> None:
    """No U+0000 is left, and no half of a surrogate pair, which UTF-8 refuses."""
    escaped = base.escape(value)
    assert "\x00" not in escaped
    assert escaped.encode().decode() == escaped


@given(ANY_TEXT, ANY_TEXT)
@example("\x00", "\\u0000")
@example("\\", "\\\\")
def test_two_names_never_become_one(first: str, second: str) -> None:
    """Escaping is one-to-one: different names stay different."""
    assert (base.escape(first) == base.escape(second)) is (first == second)


@WITH_DATABASE
@given(value=ANY_TEXT)
def test_any_text_is_stored_read_and_found(records: Records, value: str) -> None:
    """Text from outside is written, read back and found again by a query, on both databases."""
    row = commands.CommandRow
    values = {"asked_at": base.now(), "asked_by": "me", "verb": "seed", "target": value, "arguments": {}}
    with records.database.write() as connection:
        connection.execute(delete(row))
        connection.execute(base.insert(row).values(**values, outcome=value))
        assert connection.execute(select(row.target, row.outcome).where(row.target == value)).one() == (value, value)


@pytest.mark.parametrize("value", CASES)
def test_text_that_is_written_by_the_thousand_is_escaped_too(records: Records, value: str) -> None:
    """The fast way of writing many rows stores the same text as a single statement does."""
    prod = records.destination()
    what = dataclasses.replace(identifier("a"), name=value)
    found = inventory.Item(f"{value}.yaml", what, "1", None, None, None, removed=False)
    with records.database.write() as connection:
        inventory.save(connection, prod.place_id, [found])
        assert inventory.by_paths(connection, prod.place_id, [found.path]) == {found.path: found}
        assert connection.scalar(_STORED_NAME) == base.escape(value)


def clock(records: Records, offset: float = 0.0) -> datetime:
    """The database's clock, moved by an offset."""
    with records.database.read() as connection:
        found = connection.scalar(select(base.now(offset)))
    assert isinstance(found, datetime)
    return found


@pytest.mark.parametrize("offset", [0.0, 4.0, -4.0, 0.25, -0.25, 86_400.0, -1_000_000.0, 1e-6])
def test_now_is_the_clock_of_the_database_moved_by_seconds(records: Records, offset: float) -> None:
    """`now(offset)` is aware, in UTC, and that many seconds away from now."""
    before = datetime.now(UTC)
    found = clock(records, offset)
    after = datetime.now(UTC)
    assert found.tzinfo is UTC
    slack = timedelta(milliseconds=1)
    assert before - slack <= found - timedelta(seconds=offset) <= after + slack


def test_a_duration_for_ever_ends_with_the_century(records: Records) -> None:
    """No calendar ends for a setting that somebody wrote with many digits."""
    for offset in (1e12, -1e300):
        years = (clock(records, offset) - datetime.now(UTC)) / timedelta(days=365)
        assert round(abs(years)) == 100


def test_now_goes_on_inside_a_transaction(records: Records) -> None:
    """A lease is judged by the moment of the question, not by the start of its transaction."""
    with records.database.read() as connection:
        first = connection.scalar(select(base.now()))
        later = wait_until(lambda: connection.scalar(select(base.now() > first)), timeout=2.0, what="the clock")
        assert later


def test_moments_compare_as_time(records: Records) -> None:
    """The clock, a moment that Python wrote and one that the database wrote sort together, whatever their zone."""
    row = commands.CommandRow
    east = timezone(timedelta(hours=9))
    moments = [datetime.now(UTC) - timedelta(seconds=5), datetime.now(east) + timedelta(seconds=60)]
    with records.database.write() as connection:
        for moment in (moments[1], base.now(), moments[0]):
            values = {"asked_by": "me", "verb": "seed", "target": "", "arguments": {}}
            connection.execute(base.insert(row).values(asked_at=moment, **values))
        found = list(connection.scalars(select(row.asked_at).order_by(row.asked_at)))
        past = connection.scalars(select(row.id).where(row.asked_at <= base.now())).all()
    assert (found[0], found[2]) == (moments[0], moments[1])
    assert all(moment.tzinfo is UTC for moment in found)
    assert len(past) == 2


def test_a_whole_second_is_stored_with_its_fraction(sqlite_records: Records) -> None:
    """SQLite compares moments as text: each has six digits after the second, so that none is cut short."""
    row = commands.CommandRow
    whole = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with sqlite_records.database.write() as connection:
        values = {"asked_by": "me", "verb": "seed", "target": "", "arguments": {}}
        connection.execute(base.insert(row).values(asked_at=whole, **values))
        connection.execute(base.insert(row).values(asked_at=base.now(), **values))
        written = connection.execute(text("SELECT asked_at FROM command ORDER BY id")).scalars().all()
    assert written[0] == "2026-01-31 12:00:00.000000"
    assert len(written[1]) == len(written[0])
