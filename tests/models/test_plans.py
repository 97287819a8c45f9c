"""Plans: what is asked all the time costs what pends, not what the ledger has ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from app import db
from app.models import destinations, inventory, ledger, places, states
from tests.models.records import CLUSTER, Records, append, entry

FINAL = 5_000
INDEX = "ix_event_pending"

QUERIES: dict[str, Callable[[db.Connection, destinations.Destination], object]] = {
    "pending": lambda connection, one: ledger.pending(connection, one.id, place_id=one.place_id, limit=100),
    "backlog": lambda connection, one: ledger.backlog(connection, one.id, place_id=one.place_id),
    "backlogs": lambda connection, one: ledger.backlogs(connection, [one.id]),
    "supersede_pending": lambda connection, one: ledger.supersede_pending(connection, one.id, reason="test"),
    "queue_refs": lambda connection, _: destinations.queue_refs(connection),
    "waiting_for": lambda connection, one: destinations.waiting_for(
        connection, branch_id=one.branch_id, destination_id=one.id
    ),
    "by_ref": lambda connection, one: destinations.by_ref(connection, one.ref),
    "by_ref_pending": lambda connection, one: destinations.by_ref(connection, one.ref, pending=True),
    "finished": lambda connection, one: destinations.finished(connection, one.ref),
    "known": lambda connection, one: inventory.known(connection, destination_id=one.id, place_id=one.place_id),
    "waiting": lambda connection, _: states.waiting(connection, cluster=CLUSTER),
    "destination_lag": lambda connection, _: connection.execute(text("SELECT * FROM destination_lag")).all(),
}


@pytest.fixture
def long_ledger(records: Records) -> Records:
    """A ledger of many final rows and a few pending ones."""
    prod = records.destination()
    records.append(*(entry(prod, f"n{i}") for i in range(FINAL)))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(n, ledger.PUSHED) for n in range(1, FINAL + 1)])
    records.append(*(entry(prod, f"pending-{i}") for i in range(3)))
    with records.database.write() as connection:
        connection.execute(text("ANALYZE"))
    return records


@contextmanager
def statements(connection: db.Connection) -> Iterator[list[tuple[str, Any]]]:
    """The statements that a connection runs, with their parameters."""
    seen: list[tuple[str, Any]] = []

    @event.listens_for(connection, "before_cursor_execute")
    def _note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        seen.append((statement, parameters))

    yield seen
    event.remove(connection, "before_cursor_execute", _note)


def plan(connection: db.Connection, statement: str, parameters: Any) -> str:
    """How the database runs a statement."""
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    found = connection.exec_driver_sql(f"{how} {statement}", parameters)
    return "\n".join(str(row) for row in found)


@pytest.mark.parametrize("name", QUERIES)
def test_what_pends_is_found_by_the_partial_index(long_ledger: Records, name: str) -> None:
    """No question about pending rows reads through the final ones, however many there are."""
    prod = long_ledger.destination()
    with long_ledger.database.write() as connection:
        with statements(connection) as seen:
            QUERIES[name](connection, prod)
        asked = [one for one in seen if "event" in one[0].replace("event_body", "") or "destination_lag" in one[0]]
        plans = [plan(connection, statement, parameters) for statement, parameters in asked]
    assert plans
    assert all(INDEX in one for one in plans), plans


def test_what_a_person_wants_gone_is_found_by_an_index_of_its_own(long_ledger: Records) -> None:
    """Each drain asks for it, and a hundred thousand other rows may pend."""
    prod = long_ledger.destination()
    asking: list[Callable[[db.Connection], object]] = [
        lambda connection: places.unwanted(connection, prod.ref),
        lambda connection: places.waiting_for(connection, branch_id=prod.branch_id, destination_id=prod.id),
        lambda connection: ledger.unwanted(connection, prod.id, place_id=prod.place_id, limit=10),
    ]
    with long_ledger.database.write() as connection:
        with statements(connection) as seen:
            for ask in asking:
                ask(connection)
        plans = [plan(connection, statement, parameters) for statement, parameters in seen]
    assert len(plans) == len(asking)
    assert all("ix_event_unwanted" in one for one in plans), plans


@pytest.mark.postgres
def test_a_generic_plan_uses_the_partial_index_too(postgres_records: Records) -> None:
    """A statement that is prepared once for all parameters keeps the index: the state stands in its text."""
    prod = postgres_records.destination()
    with postgres_records.database.write() as connection:
        connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        with statements(connection) as seen:
            ledger.pending(connection, prod.id, place_id=prod.place_id, limit=100)
        statement, values = seen[0]
        for number, name in enumerate(values, start=1):
            statement = statement.replace(f"%({name})s", f"${number}")
        connection.exec_driver_sql(f"PREPARE asked AS {statement}")
        found = connection.exec_driver_sql(f"EXPLAIN EXECUTE asked ({', '.join(map(str, values.values()))})")
        assert INDEX in "\n".join(str(row) for row in found)


@pytest.mark.parametrize("run", ["run-1", "unknown"])
def test_the_rows_of_a_seed_are_found_by_its_index(long_ledger: Records, run: str) -> None:
    """A sweep reads the rows of its own seed, not those of all others."""
    prod = long_ledger.destination()
    long_ledger.append(*(entry(prod, f"seed-{i}", seed="run-1") for i in range(3)))
    with long_ledger.database.write() as connection:
        connection.execute(text("ANALYZE"))
        with statements(connection) as seen:
            ledger.seed_identities(connection, prod.id, run)
        assert "ix_event_seed_run_id" in plan(connection, *seen[0])


def test_what_is_known_is_looked_for_by_id_and_in_its_destination(long_ledger: Records) -> None:
    """A batch that is written again finds its rows by their unique ids; partitions of others need not be looked at."""
    prod = long_ledger.destination()
    with long_ledger.database.write() as connection:
        with statements(connection) as seen:
            append(connection, entry(prod, "pending-0"))
        (asked,) = [one for one in seen if one[0].startswith("SELECT event.id")]
        assert "event.destination_id" in asked[0]
        found = plan(connection, *asked)
    assert "(id=?" in found or "Index Cond: (id = " in found
