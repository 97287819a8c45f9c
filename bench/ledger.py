"""The ledger: Events per second into it and through a drain, beside a bare insert of the same rows.

The bare insert hands the driver values that are ready, in the fastest form that it has, for the same columns of the
same tables with the same indexes: a transaction for each batch. So the ratio says what numbers, checks and conversions
cost. Batches of both take turns, so that a busy machine slows both. Neighbours: `bench/servers.py` starts the
databases, `tests/drain/world.py` is what a drain needs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app import db
from app.models import base, destinations, ledger
from bench import servers
from tests.drain.world import World

ROWS = 1_000
BATCHES = 5
ROUNDS = 3
AIM = 0.5
# The bare rows are nobody's.
NOBODY = 1_000_000
# With it a ConfigMap has about 0.6 kB.
VALUE = "x" * 500

# What a drain is timed with: one commit of many rows, and a commit for each row.
DRAINED = ("seed", "changes")

_Rows = list[dict[str, Any]]


def run() -> dict[str, Any]:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    print(f"\nLedger: Events per second, in batches of {ROWS:,}, best of {ROUNDS}, and the ratio to a bare insert")
    results = {}
    for name, server in servers.DATABASES.items():
        with server() as url:
            if url:
                results[name] = _measure(url)
                print(_line(name, results[name]))
    return results


def _line(name: str, result: dict[str, float]) -> str:
    parts = [f"bare {result['bare']:,.0f}"]
    parts += [f"{part} {result[part]:,.0f} ({result[part] / result['bare']:.3f})" for part in DRAINED]
    ratio = f"{result['ledger'] / result['bare']:.2f}, aim >= {AIM}"
    return f"  {name:<10}  " + "   ".join([parts[0], f"ledger {result['ledger']:,.0f} ({ratio})", *parts[1:]])


def _measure(url: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="reverser-bench-") as folder:
        world = World(Path(folder), url)
        try:
            written = world.destination()
            rounds = [_written(world, written, number) | _drained(world, number) for number in range(ROUNDS)]
        finally:
            world.close()
    return {name: max(one[name] for one in rounds) for name in rounds[0]}


def _written(world: World, destination: destinations.Destination, number: int) -> dict[str, float]:
    """Rows per second into the ledger, and of the bare insert of the same rows."""
    bare = into = 0.0
    for batch in range(number * BATCHES, (number + 1) * BATCHES):
        entries = _entries(world, destination, batch)
        started = time.perf_counter()
        world.write(*entries)
        into += time.perf_counter() - started
        insert = _bare(world.database, destination.id, after=batch * ROWS)
        bare += _seconds(insert)
    return {"bare": ROWS * BATCHES / bare, "ledger": ROWS * BATCHES / into}


def _drained(world: World, number: int) -> dict[str, float]:
    """Rows per second through a drain with its push: a seed, which is one commit, then changes of the same objects."""
    place = {"branch": f"round-{number}", "folder": f"clusters/round-{number}"}
    destination = world.destination(f"round-{number}", **place)
    world.seed(destination, [(f"config-{row}", VALUE, row + 1) for row in range(ROWS)], list_version=ROWS)
    seed = _seconds(lambda: _drain(world, destination))
    world.write(*_entries(world, destination, 1))
    changes = _seconds(lambda: _drain(world, destination))
    if world.states(destination).count(ledger.PUSHED) != 2 * ROWS:
        raise SystemExit(f"the drain did not push every row: {world.error(destination)}")
    return {"seed": ROWS / seed, "changes": ROWS / changes}


def _drain(world: World, destination: destinations.Destination) -> None:
    """In as many turns as it takes."""
    while world.drain(destination).rows:
        pass


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _entries(world: World, destination: destinations.Destination, batch: int) -> list[ledger.Entry]:
    """A change of each of a thousand ConfigMaps."""
    first = batch * ROWS
    return [
        world.event(destination, f"config-{row}", f"{batch} {VALUE}", version=first + row + 1) for row in range(ROWS)
    ]


def _bare(database: db.Database, destination_id: int, *, after: int) -> Callable[[], None]:
    """The insert of what the ledger holds after a number once more, with values as the driver reads them."""
    with database.read() as connection:
        made = [
            _statement(connection, table, _rows(connection, table, destination_id, after))
            for table in (ledger.EventRow, ledger.EventBody)
        ]

    def insert() -> None:
        with database.write() as connection:
            for statement, values in made:
                connection.exec_driver_sql(statement, values)

    return insert


def _rows(connection: db.Connection, table: type[base.Base], destination_id: int, after: int) -> _Rows:
    name = table.__tablename__
    query = f"SELECT * FROM {name} WHERE destination_id = {destination_id} AND sequence > {after}"  # noqa: S608 - numbers and names of ours
    rows = [{**row, "destination_id": NOBODY} for row in connection.exec_driver_sql(query).mappings()]
    return [row | {"id": f"bare-{row['id']}"} if "id" in row else row for row in rows]


def _statement(connection: db.Connection, table: type[base.Base], rows: _Rows) -> tuple[str, Any]:
    """PostgreSQL is fastest with an array for each column, SQLite with a prepared statement for each row."""
    into = f"INSERT INTO {table.__tablename__} ({', '.join(rows[0])})"
    columns = tuple(list(column) for column in zip(*(row.values() for row in rows), strict=True))
    if connection.dialect.name == "postgresql":
        kinds = [table.__table__.c[name].type.compile(connection.dialect) for name in rows[0]]
        arrays = ", ".join(f"%b::{kind}[]" for kind in kinds)
        return f"{into} SELECT * FROM unnest({arrays})", columns  # noqa: S608 - names of ours
    return f"{into} VALUES ({', '.join('?' for _ in columns)})", list(zip(*columns, strict=True))
