"""A drain whose PostgreSQL dies under it: a pause, blamed on nobody. The server is this test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import db
from app.drain import leasing, recording
from app.models import destinations
from tests import lanes
from tests.drain.world import World
from tests.servers import postgres


@pytest.fixture
def server() -> Iterator[postgres.PostgresServer]:
    """A server that may be killed."""
    found = postgres.PostgresServer(lanes.find_postgres() or lanes.leave_out("postgres"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def world(tmp_path: Path, server: postgres.PostgresServer) -> Iterator[World]:
    """A fresh world on that server, with leases that run out while it starts."""
    url = server.admin_url.render_as_string(hide_password=False)
    db.upgrade(url)
    made = World(tmp_path, url, branch_lease=0.2)
    yield made
    made.close()


@pytest.mark.postgres
def test_a_server_that_dies_between_push_and_record_is_a_pause(
    world: World, server: postgres.PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push stands, the next drain records it, and the lease that ran out meanwhile is held against no row."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    record, release = recording.record_plan, leasing.HeldBranch._released
    given_back = []

    def die_first(*arguments: Any, **named: Any) -> Any:
        server.kill9()
        return record(*arguments, **named)

    def start_meanwhile(held: leasing.HeldBranch) -> bool:
        given_back.append(release(held))
        if not given_back[-1]:
            server.start()
        return given_back[-1]

    with monkeypatch.context() as patch:
        patch.setattr(recording, "record_plan", die_first)
        patch.setattr(leasing.HeldBranch, "_released", start_meanwhile)
        assert "the database is not available" in world.drainer.drain(prod.ref).note
    assert given_back == [False, True]
    world.drain(prod)
    assert world.states(prod) == ["pushed"]
    assert world.recorded() == world.log()
    with world.database.read() as connection:
        found = destinations.by_id(connection, prod.id)
    assert found is not None
    assert (found.failed_drains, found.last_error_reason) == (0, None)
