"""The keeper: what ended long ago goes, and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import bindparam, select, text

from app import errors
from app.models import base, destinations, leases, ledger, seeds
from app.settings import Settings
from app.watch import keeping
from tests.models.records import CLUSTER, Records, entry

DAY = 86_400.0


@pytest.fixture
def records(database_url: str) -> Iterator[Records]:
    """A migrated database."""
    with contextlib.closing(Records(database_url)) as found:
        yield found


@pytest.fixture
def lead(records: Records) -> leases.Lead:
    """The leadership of the cluster."""
    with records.database.write() as connection:
        found = leases.take_lead(connection, cluster=CLUSTER, cluster_uid="uid", owner="me", seconds=600)
    assert found is not None
    return found


@pytest.fixture
def keeper(records: Records, lead: leases.Lead, monkeypatch: pytest.MonkeyPatch) -> keeping.Keeper:
    """One that looks at three rows at a time, drops two of them, and rests for no time."""
    monkeypatch.setattr(keeping, "_SPAN", 3)
    monkeypatch.setattr(keeping, "_DROPPED_AT_ONCE", 2)
    monkeypatch.setattr(keeping, "_REST", 0.0)
    options = Settings(database_url=records.url, cluster=CLUSTER)
    return keeping.Keeper(options, database=records.database, lead=lead, stop=threading.Event())


def ended(
    records: Records, destination: destinations.Destination, *states: str, days: float, seed: str | None = None
) -> None:
    """Rows, of a seed where one is named, that ended in these states so many days ago."""
    entries = (entry(destination, f"{days}-{number}", seed=seed) for number in range(len(states)))
    numbers = records.append(*entries)
    with records.database.write() as connection:
        ends = [
            ledger.Settled(number, state) for number, state in zip(numbers, states, strict=True) if state != "pending"
        ]
        ledger.settle(connection, destination.id, ends)
    query = "UPDATE event SET settled_at = :at WHERE settled_at IS NOT NULL AND name LIKE :name"
    with records.database.write() as connection:
        at = connection.scalar(select(base.now(-days * DAY)))
        connection.execute(text(query).bindparams(bindparam("at", type_=base.Utc())), {"at": at, "name": f"{days}-%"})


def test_what_ended_long_ago_goes(records: Records, keeper: keeping.Keeper) -> None:
    """Pending rows and young ones stay, and problems for longer; in any number of looks."""
    prod = records.destination()
    ended(records, prod, "pushed", "dead", "pending", "unchanged", "held", "stale", "superseded", days=31)
    ended(records, prod, "pushed", "dead", days=29)
    keeper.drop()
    assert [state for _, state in records.states(prod)] == ["dead", "pending", "held", "pushed", "dead"]
    ended(records, prod, "dead", "held", days=91)
    keeper.drop()
    assert [state for _, state in records.states(prod)] == ["dead", "pending", "held", "pushed", "dead"]


def test_an_open_seed_keeps_its_own_rows(records: Records, keeper: keeping.Keeper) -> None:
    """What it listed stays until it ended, however long that takes; what it found as it was goes a day later."""
    prod = records.destination()
    with records.database.write() as connection:
        run = seeds.start(connection, destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=[])
    ended(records, prod, "stale", "unchanged", "pushed", days=2, seed=run)
    ended(records, prod, "stale", days=35, seed=run)
    ended(records, prod, "stale", "unchanged", days=2)
    ended(records, prod, "pushed", days=35)
    keeper.drop()
    assert [number for number, _ in records.states(prod)] == [1, 2, 3, 4, 5, 6]
    with records.database.write() as connection:
        seeds.finish(connection, run, state=seeds.SWEPT)
    keeper.drop()
    assert records.states(prod) == [(3, "pushed"), (5, "stale"), (6, "unchanged")]


def test_the_last_seed_of_a_place_stays(records: Records, keeper: keeping.Keeper) -> None:
    """Whether a place was ever seeded is known from it; older and superseded ones go, with their scopes."""
    prod = records.destination()
    scopes = [(seeds.ScopeKey("", "pods", "shop"), "v1", True)]
    words = {"destination_id": prod.id, "place_id": prod.place_id, "cause": "test", "scopes": scopes}
    for state in (seeds.SWEPT, seeds.SUPERSEDED, seeds.SWEPT, seeds.SUPERSEDED):
        with records.database.write() as connection:
            seeds.finish(connection, seeds.start(connection, **words), state=state)  # type: ignore[arg-type]
    keeper.drop()
    with records.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM seed_run")) == 4
    records.age("seed_run", "finished_at", seconds=31 * DAY)
    for _ in range(2):
        keeper.drop()
    with records.database.read() as connection:
        assert connection.execute(text("SELECT state FROM seed_run")).all() == [("swept",)]
        assert connection.scalar(text("SELECT count(*) FROM seed_scope")) == 1
        assert seeds.synced_places(connection, [prod.id]) == {prod.place_id}


def test_a_daemon_that_leads_no_more_drops_nothing(records: Records, keeper: keeping.Keeper, lead: leases.Lead) -> None:
    """The lease is checked in each transaction."""
    prod = records.destination()
    ended(records, prod, "pushed", days=31)
    with records.database.write() as connection:
        leases.release_lead(connection, lead)
        assert leases.take_lead(connection, cluster=CLUSTER, cluster_uid="uid", owner="two", seconds=600)
    with pytest.raises(errors.LeaseLostError):
        keeper.drop()
    assert len(records.states(prod)) == 1
