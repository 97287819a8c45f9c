"""The board: what streams do stands in the database, no more often than it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import errors
from app.kube import problems
from app.models import leases
from app.models import streams as stored
from app.settings import Settings
from app.watch import causing, guarding, routing, showing, streams
from tests.waiting import wait_until
from tests.watch.desk import CONFIG_MAPS, Desk

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Told:
    """Stands where a stream stands, and says what it is told to."""

    def __init__(self, resource: str, **parts: Any) -> None:
        whole: dict[str, Any] = {
            "api_group": "", "resource": resource, "namespace": "shop", "version": "v1", "state": "follows",
            "since": NOW, "heard_at": NOW, "next_try": None, "message": "",
        }  # fmt: skip
        self.state = stored.StreamState(**{**whole, **parts})

    def tell(self) -> stored.StreamState:
        return self.state


class Running:
    """Stands where the streams stand."""

    def __init__(self, *told: Told) -> None:
        self.running = dict(enumerate(told))


def board(desk: Desk, *told: Told) -> tuple[showing.Board, Running]:
    """The board of a leader whose streams say this."""
    running = Running(*told)
    made = showing.Board(
        desk.settings, database=desk.database, lead=desk.lead, running=running, stop=desk.stop  # type: ignore[arg-type]
    )  # fmt: skip
    return made, running


def shown(desk: Desk) -> dict[str, stored.StreamState]:
    """What stands in the database, by resource."""
    with desk.database.read() as connection:
        return {one.resource: one for one in stored.load(connection, cluster="home")}


def test_what_streams_do_is_written_when_it_changes(desk: Desk) -> None:
    """A new state is written, one that is gone goes, and a stream that only heard something waits for half a minute."""
    pods, roles = Told("pods"), Told("roles", message="a\x00b", state="refused", next_try=NOW)
    made, running = board(desk, pods, roles)
    made.write()
    assert shown(desk) == {"pods": pods.state, "roles": roles.state}

    before = pods.state
    running.running[0] = Told("pods", heard_at=NOW + timedelta(seconds=29))
    made.write()
    assert shown(desk)["pods"] == before
    running.running[0] = Told("pods", heard_at=NOW + timedelta(seconds=31))
    made.write()
    assert shown(desk)["pods"].heard_at == NOW + timedelta(seconds=31)
    del running.running[0]
    made.write()
    assert set(shown(desk)) == {"roles"}


def test_two_versions_of_a_type_are_two_streams(desk: Desk) -> None:
    """Two destinations may hold a type in different versions, and each of them has a stream of its own."""
    made, running = board(desk, Told("crons", version="v1"), Told("crons", version="v1beta1", state="refused"))
    made.write()
    with desk.database.read() as connection:
        found = [(one.version, one.state) for one in stored.load(connection, cluster="home")]
    assert found == [("v1", "follows"), ("v1beta1", "refused")]
    del running.running[0]
    made.write()
    assert shown(desk)["crons"].version == "v1beta1"


def test_nothing_is_written_while_nothing_changes(desk: Desk) -> None:
    """A thousand quiet streams cost no transaction a second."""
    made, _ = board(desk, Told("pods"))
    made.write()
    desk.database.before = [AssertionError("a transaction")]
    made.write()
    desk.database.before = []


def test_a_new_leader_forgets_the_streams_of_the_one_before(desk: Desk) -> None:
    """What the former daemon followed and this one does not is gone with the first look."""
    board(desk, Told("pods"), Told("roles"))[0].write()
    board(desk, Told("roles"))[0].write()
    assert set(shown(desk)) == {"roles"}


def test_a_daemon_that_leads_no_more_writes_nothing(desk: Desk) -> None:
    """The board checks the lease in its transaction, and ends with it."""
    made, running = board(desk, Told("pods"))
    made.write()
    with desk.database.write() as connection:
        leases.release_lead(connection, desk.lead)
        assert leases.take_lead(connection, cluster="home", cluster_uid="uid", owner="two", seconds=60)
    running.running[0] = Told("pods", state="waits")
    with pytest.raises(errors.LeaseLostError):
        made.write()
    assert shown(desk)["pods"].state == "follows"


class Answering:
    """A cluster whose every answer a test decides."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.stands_at = 100
        self.watch_error: Exception = errors.TemporaryError("the API server closed the connection")

    def get_json(self, *_: Any, **__: Any) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"kind": "ConfigMapList", "metadata": {"resourceVersion": str(self.stands_at)}, "items": []}

    def request(self, *_: Any, **__: Any) -> Any:
        raise self.watch_error


@pytest.fixture
def cluster() -> Answering:
    """A cluster that answers lists, and no watch."""
    return Answering()


@pytest.fixture
def stream(desk: Desk, cluster: Answering, monkeypatch: pytest.MonkeyPatch) -> Iterator[streams.Stream]:
    """A stream that tries again at once."""
    monkeypatch.setattr(streams, "REFUSED_WAIT", 0.05)
    monkeypatch.setattr(desk.writer, "call", lambda work: work())
    stop = threading.Event()
    causes = causing.Causes(desk.writer)
    services = streams.Services(Settings(), cluster, desk.writer, causes, stop, guarding.Guard(stop))  # type: ignore[arg-type]
    made = streams.Stream(routing.StreamKey("", "v1", "configmaps", "shop"), CONFIG_MAPS, None, services)
    yield made
    stop.set()
    made.close()
    made.thread.join(10)


def wait_state(stream: streams.Stream, wanted: Callable[[stored.StreamState], bool], what: str) -> stored.StreamState:
    """Wait until a stream says something."""
    wait_until(lambda: wanted(stream.tell()), what=what)
    return stream.tell()


def test_a_stream_says_what_it_does(stream: streams.Stream, cluster: Answering) -> None:
    """One that breaks off waits, with the reason and the next try; one that is refused says since when, once."""
    assert (stream.tell().state, stream.tell().heard_at) == ("starts", None)
    cluster.error = problems.Forbidden("may not list configmaps")
    stream.thread.start()
    refused = wait_state(stream, lambda one: one.state == "refused", "a refusal")
    assert (refused.message, refused.next_try is not None) == ("may not list configmaps", True)
    assert stream.refusal == "may not list configmaps"
    again = wait_state(stream, lambda one: one.next_try != refused.next_try, "the next try")
    assert again.since == refused.since
    cluster.error = None
    waits = wait_state(stream, lambda one: one.state == "waits", "a watch that breaks off")
    assert (waits.message, stream.refusal) == ("the API server closed the connection", "")
    assert waits.heard_at is not None


@pytest.mark.parametrize("error", [problems.Expired("too old", delay=0.0), problems.Forbidden("may not watch")])
def test_a_cluster_that_went_back_is_noticed_by_who_begins_anew(
    stream: streams.Stream, cluster: Answering, desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What is no resume point any more says where the cluster stood: rows of its new history count as newer."""
    monkeypatch.setattr(streams, "LAG", 0.0)
    stream.thread.start()
    wait_state(stream, lambda one: one.state == "waits", "a stream that stands at 100")
    cluster.stands_at, cluster.watch_error = 50, error
    wait_until(lambda: desk.cursor() == "50", what="another resume point")
    with desk.database.read() as connection:
        assert leases.source_epoch(connection, cluster="home") == 2


def test_a_stream_that_worked_waits_as_at_the_first_time(
    stream: streams.Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that break off now and then, over hours, are no reason to wait longer each time."""
    away = errors.TemporaryError("the API server closed the connection")
    follows, waits = iter([away, away, away, None, away]), []

    def follow() -> None:
        if failure := next(follows, away):
            raise failure

    def waited(_why: str, seconds: float) -> None:
        waits.append(seconds)
        stream._woken.set()

    monkeypatch.setattr(stream, "_follow", follow)
    monkeypatch.setattr(stream, "_waits", waited)
    stream.thread.start()
    wait_until(lambda: len(waits) > 3, what="four waits")
    assert max(waits[0], waits[3]) < 2.0 < min(waits[2:3])
