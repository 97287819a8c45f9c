"""The ledger: numbers, batches that come twice, ends that stay."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from app import errors, events
from app.events import Operation
from app.models import base, ledger
from tests.models.records import Records, append, entry


def test_numbers_start_at_one_and_have_no_gap_between_batches(records: Records) -> None:
    """The rows of a destination are numbered 1, 2, 3 in the order of their batches; each destination counts alone."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    assert records.append(entry(prod, "a"), entry(test, "a"), entry(prod, "b")) == [1, 1, 2]
    assert records.append(entry(test, "b"), entry(prod, "c")) == [2, 3]
    assert [sequence for sequence, _ in records.states(prod)] == [1, 2, 3]


@pytest.mark.postgres
def test_a_late_lower_number_is_impossible(postgres_records: Records) -> None:
    """A batch waits for the numbers of a batch that is open: what commits later has the higher numbers."""
    records = postgres_records
    prod = records.destination()
    with records.database.write() as connection:
        assert append(connection, entry(prod, "a"), entry(prod, "b")) == [1, 2]
        later = records.blocked_call(lambda: records.append(entry(prod, "c")))
        with records.database.read() as reader:
            assert ledger.pending(reader, prod.id, place_id=prod.place_id, limit=10) == []
    assert later.result() == [3]
    assert [sequence for sequence, _ in records.states(prod)] == [1, 2, 3]


@pytest.mark.postgres
def test_numbers_of_a_rolled_back_batch_are_given_again(postgres_records: Records) -> None:
    """A batch that fails leaves no trace, and whoever waited gets the numbers that it had taken."""
    records = postgres_records
    prod = records.destination()
    with contextlib.suppress(errors.MessageError), records.database.write() as connection:
        append(connection, entry(prod, "a"))
        later = records.blocked_call(lambda: records.append(entry(prod, "b")))
        raise errors.MessageError("any error")
    assert later.result() == [1]
    assert records.states(prod) == [(1, ledger.PENDING)]


@pytest.mark.postgres
def test_batches_of_two_destinations_do_not_wait_for_each_other(postgres_records: Records) -> None:
    """A long batch of one destination does not hold up another destination's."""
    records = postgres_records
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    with records.database.write() as connection:
        append(connection, entry(prod, "a"))
        assert records.append(entry(test, "a")) == [1]


@pytest.mark.postgres
def test_batches_over_the_same_destinations_never_deadlock(postgres_records: Records) -> None:
    """Numbers are taken in id order, whatever the order of the batch: who waits for a lower id holds no higher one."""
    records = postgres_records
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    with records.database.write() as connection:
        append(connection, entry(prod, "a"))
        later = records.blocked_call(lambda: records.append(entry(test, "b"), entry(prod, "b")))
        assert records.append(entry(test, "c")) == [1]
    assert later.result() == [2, 2]


def test_a_sqlite_batch_locks_out_other_writers_from_its_first_statement(sqlite_records: Records) -> None:
    """On SQLite a transaction that writes is the only one from its start, so that numbers cannot overtake."""
    prod = sqlite_records.destination()
    other = sqlite3.connect(str(make_url(sqlite_records.url).database), timeout=0, isolation_level=None)
    with sqlite_records.database.write() as connection:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        append(connection, entry(prod, "a"))
        with sqlite_records.database.read() as reader:
            assert ledger.pending(reader, prod.id, place_id=prod.place_id, limit=10) == []
    other.execute("BEGIN IMMEDIATE").close()
    other.close()


def test_a_batch_written_again_adds_nothing(records: Records) -> None:
    """After an unknown outcome the same batch is written again: known rows are passed over, new ones added."""
    prod = records.destination()
    batch = [entry(prod, "a"), entry(prod, "b")]
    assert records.append(*batch) == [1, 2]
    assert records.append(*batch, entry(prod, "c")) == [3]
    assert len(records.states(prod)) == 3


def test_one_event_twice_in_a_batch_is_one_row(records: Records) -> None:
    """An Event that a batch holds twice gets one row and one body."""
    prod = records.destination()
    same = entry(prod, "a")
    assert records.append(same, same) == [1]
    assert records.bodies(prod) == [1]


def test_numbers_that_were_passed_over_are_never_given_again(records: Records) -> None:
    """Numbers of known rows stay unused: the next batch goes on above them."""
    prod = records.destination()
    records.append(entry(prod, "a"))
    records.append(entry(prod, "a"))
    assert records.append(entry(prod, "b")) == [3]


def test_an_empty_batch_is_no_batch(records: Records) -> None:
    """Nothing to write writes nothing."""
    with records.database.write() as connection:
        assert ledger.append(connection, [], {}) == []


def test_a_row_reads_back_as_it_was_written(records: Records) -> None:
    """A drain sees the identity, version, time, rule, user and body that the watch daemon wrote."""
    prod = records.destination()
    written = entry(prod, "app\x00config\ud800", version=7)
    records.append(written)
    with records.database.read() as connection:
        (row,) = ledger.pending(connection, prod.id, place_id=prod.place_id, limit=10)
        assert ledger.bodies(connection, prod.id, [1, 2], most_bytes=10**6) == {1: written.body}
    event = written.event
    assert (row.sequence, row.id, row.place_id) == (1, event.id, prod.place_id)
    assert (row.operation, row.identifier, row.resource_version) == (Operation.UPDATE, event.identifier, "7")
    assert (row.observed_at, row.rule, row.user) == (event.observed_at, event.rule, event.user_info)
    assert (row.content_hash, row.seed_run_id) == ("hash", None)


def test_a_body_is_bytes_and_any_bytes(records: Records) -> None:
    """Bodies come back byte for byte, a large one and one that is no UTF-8 included."""
    prod = records.destination()
    bodies = [b"", bytes(range(256)), b"x" * 1_500_000]
    records.append(*(dataclasses.replace(entry(prod, f"n{i}"), body=body) for i, body in enumerate(bodies)))
    with records.database.read() as connection:
        assert ledger.bodies(connection, prod.id, [1, 2, 3], most_bytes=10**7) == dict(enumerate(bodies, start=1))


def test_more_rows_than_one_statement_takes_keep_their_order(records: Records) -> None:
    """A batch above the size of one statement is written whole and in order."""
    prod = records.destination()
    count = base.ROWS_PER_STATEMENT + 1
    records.append(*(entry(prod, f"n{i}") for i in range(count)))
    with records.database.read() as connection:
        rows = ledger.pending(connection, prod.id, place_id=prod.place_id, limit=count + 1)
    assert [row.identifier.name for row in rows] == [f"n{i}" for i in range(count)]


def test_a_row_that_is_born_stale_never_pends(records: Records) -> None:
    """A listed object that a live Event overtook is recorded with its reason, final and without a body."""
    prod = records.destination()
    records.append(entry(prod, "a", state=ledger.STALE), entry(prod, "b"))
    assert records.states(prod) == [(1, ledger.STALE), (2, ledger.PENDING)]
    assert records.bodies(prod) == [2]
    with records.database.read() as connection:
        row = connection.execute(select(ledger.EventRow.__table__).where(ledger.EventRow.sequence == 1)).one()
    assert (row.state_reason, row.settled_at is None) == ("why", False)


def test_settle_gives_each_row_its_end_and_drops_its_body(records: Records) -> None:
    """Rows end with state, reason, commit and time; rows that are not named go on pending."""
    prod = records.destination()
    records.append(*(entry(prod, name) for name in "abcd"))
    with records.database.write() as connection:
        ends = [
            ledger.Settled(1, ledger.PUSHED, None, 17),
            ledger.Settled(2, ledger.DEAD, "cannot be rendered"),
            ledger.Settled(3, ledger.PUSHED, None, 18),
        ]
        ledger.settle(connection, prod.id, ends)
    assert records.states(prod) == [(1, "pushed"), (2, "dead"), (3, "pushed"), (4, "pending")]
    assert records.bodies(prod) == [4]
    with records.database.read() as connection:
        row = ledger.EventRow
        ended = connection.execute(select(row.state_reason, row.commit_id, row.settled_at).order_by(row.sequence)).all()
    assert [(one[0], one[1]) for one in ended] == [(None, 17), ("cannot be rendered", None), (None, 18), (None, None)]
    assert [one[2] is None for one in ended] == [False, False, False, True]


@pytest.mark.parametrize("first", [state for state in ledger.STATES if state != ledger.PENDING])
def test_settle_never_changes_a_final_row(records: Records, first: str) -> None:
    """A row keeps its first end, whoever settles it again and with whatever."""
    prod = records.destination()
    records.append(entry(prod))
    for state, reason, commit in [(first, "first", 1), (ledger.PUSHED, "again", 2), (ledger.PENDING, "reopened", None)]:
        with records.database.write() as connection:
            ledger.settle(connection, prod.id, [ledger.Settled(1, state, reason, commit)])
    with records.database.read() as connection:
        row = connection.execute(select(ledger.EventRow.__table__)).one()
    assert (row.state, row.state_reason, row.commit_id) == (first, "first", 1)


def test_settle_touches_one_destination_only(records: Records) -> None:
    """The same number of another destination is another row."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    records.append(entry(prod), entry(test))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(1, ledger.PUSHED)])
    assert records.states(test) == [(1, ledger.PENDING)]
    assert records.bodies(test) == [1]


def test_a_whole_seed_settles_at_once(records: Records) -> None:
    """More rows than one statement takes variables for end in one call."""
    prod = records.destination()
    count = 12_000
    records.append(*(entry(prod, f"n{i}") for i in range(count)))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(n, ledger.UNCHANGED) for n in range(1, count + 1)])
    assert {state for _, state in records.states(prod)} == {ledger.UNCHANGED}
    assert records.bodies(prod) == []


def test_supersede_pending_ends_what_pends_and_nothing_else(records: Records) -> None:
    """Pending rows become superseded with the reason; final rows keep their end, other destinations their rows."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    records.append(entry(prod, "a"), entry(prod, "b"), entry(prod, "c"), entry(test, "a"))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(1, ledger.PUSHED)])
        assert ledger.supersede_pending(connection, prod.id, reason="moved") == 2
        assert ledger.supersede_pending(connection, prod.id, reason="again") == 0
    assert [state for _, state in records.states(prod)] == ["pushed", "superseded", "superseded"]
    assert (records.bodies(prod), records.bodies(test)) == ([], [1])


def test_what_pends_is_told_by_state_and_order_alone(records: Records) -> None:
    """pending, backlog and backlogs agree on what is left, whatever is settled in between."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    records.append(*(entry(prod, name) for name in "abcde"))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(n, ledger.PUSHED) for n in (1, 3, 5)])
        assert [row.sequence for row in ledger.pending(connection, prod.id, place_id=prod.place_id, limit=10)] == [2, 4]
        assert [row.sequence for row in ledger.pending(connection, prod.id, place_id=prod.place_id, limit=1)] == [2]
        left = ledger.Backlog(prod.id, first=2, last=4, count=2, seed_rows=0)
        assert ledger.backlog(connection, prod.id, place_id=prod.place_id) == left
        assert ledger.backlogs(connection, [prod.id, test.id]) == [left]
        assert ledger.backlog(connection, test.id, place_id=test.place_id) is None


def test_large_bodies_are_read_a_few_at_a_time(records: Records) -> None:
    """A statement never reads much more than it may, and always something; rows without a body are passed over."""
    prod, other = records.destination("prod"), records.destination("test", folder="clusters/test")
    sizes = (0, 10, 10, 0, 10, 30)
    batch = [replace(entry(prod, f"a{n}"), body=b"x" * size if size else None) for n, size in enumerate(sizes)]
    records.append(*batch, replace(entry(other, "b"), body=b"y" * 100))
    with records.database.read() as connection:

        def read(*sequences: int, most_bytes: int) -> list[int]:
            return sorted(ledger.bodies(connection, prod.id, sequences, most_bytes=most_bytes))

        assert read(1, 2, 3, 4, 5, 6, most_bytes=20) == [2, 3]
        assert read(1, 2, 3, 4, 5, 6, most_bytes=21) == [2, 3, 5]
        assert read(4, 5, 6, most_bytes=1) == [5]
        assert read(6, most_bytes=1) == [6]
        assert read(1, 4, most_bytes=1) == []


def test_spans_are_read_in_any_state(records: Records) -> None:
    """The digest of a trailer and the search for our own commits see settled rows like pending ones."""
    prod = records.destination()
    batch = [entry(prod, name) for name in "abcd"]
    records.append(*batch)
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(2, ledger.SUPERSEDED, "newer")])
        rows = ledger.rows_between(connection, prod.id, first=2, last=3)
        assert [row.sequence for row in rows] == [2, 3]
        ids = ledger.ids_between(connection, prod.id, first=2, last=3)
        assert ids == [one.event.id for one in batch[1:3]]


def test_a_seed_names_every_object_that_it_listed(records: Records) -> None:
    """An object counts as listed whatever became of its row, a stale or dead one included; others do not."""
    prod = records.destination()
    records.append(
        entry(prod, "a", seed="run-1"), entry(prod, "b", seed="run-1", state=ledger.STALE),
        entry(prod, "c", seed="run-2"), entry(prod, "d"),
    )  # fmt: skip
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(1, ledger.DEAD, "cannot be rendered")])
        listed = ledger.seed_identities(connection, prod.id, "run-1")
    assert sorted(one.name for one in listed) == ["a", "b"]
    assert all(isinstance(one, events.Identifier) for one in listed)


def test_each_ledger_has_a_uuid_of_its_own(records: Records) -> None:
    """Numbers of another ledger are told apart by a uuid that a destination keeps for ever."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    with records.database.read() as connection:
        first = ledger.ledger_uuid(connection, prod.id)
        assert first != ledger.ledger_uuid(connection, test.id)
    records.destination("prod")
    with records.database.read() as connection:
        assert ledger.ledger_uuid(connection, prod.id) == first


@pytest.mark.postgres
def test_a_batch_that_waits_too_long_for_its_numbers_may_be_tried_again(postgres_records: Records) -> None:
    """A stuck batch costs the others a TemporaryError within the statement timeout, not a hang."""
    records = postgres_records
    prod = records.destination()
    impatient = Records(records.url, statement_timeout=0.2)
    with records.database.write() as connection:
        append(connection, entry(prod, "a"))
        with pytest.raises(errors.TemporaryError):
            impatient.append(entry(prod, "b"))
    impatient.close()


def test_a_drain_sees_the_rows_of_its_place_only(records: Records) -> None:
    """Rows of another generation are not drained with those of this one, nor do they count as its seed."""
    prod = records.destination()
    moved = records.destination(folder="elsewhere")
    late = dataclasses.replace(entry(prod, "late", seed="run-1"), place_id=prod.place_id)
    records.append(late, entry(moved, "now"))
    with records.database.read() as connection:
        found = ledger.pending(connection, moved.id, place_id=moved.place_id, limit=10)
        assert [row.identifier.name for row in found] == ["now"]
        here, there = (ledger.backlog(connection, one.id, place_id=one.place_id) for one in (moved, prod))
        assert here == ledger.Backlog(moved.id, first=2, last=2, count=1, seed_rows=0)
        assert there == ledger.Backlog(prod.id, first=1, last=1, count=1, seed_rows=1)
