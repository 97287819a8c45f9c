"""The tasks with a drainer in their hands: what they ask of it, what they say, what they never show."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app import errors, events, queues
from app.drain import draining
from app.events import Message, Ref
from app.settings import Settings
from app.tasks import admitting, applying, house, tools

PROD, DEV = Ref("shop", "prod"), Ref("shop", "dev")
CANARY = "canary-4711"


class Drainer:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Ref] = []
        self.answer: Callable[[], draining.Outcome] = lambda: draining.Outcome(PROD)

    def drain(self, destination: Ref, *, deadline: float | None = None) -> draining.Outcome:  # noqa: ARG002
        """As `app.drain.draining.Drainer`."""
        self.asked.append(destination)
        return self.answer()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def settings(redis_url: str, sqlite_url: str) -> Settings:
    """Settings with a broker and a database of the test's own."""
    return Settings(broker_url=redis_url, database_url=sqlite_url)


@pytest.fixture
def drainer(settings: Settings) -> Iterator[Drainer]:
    """The drainer of this process."""
    drainer = Drainer()
    tools.start(settings, lambda _settings, _database: drainer)
    yield drainer
    tools.stop()


def failing(error: Exception) -> Callable[[], draining.Outcome]:
    """An answer that is an exception."""

    def answer() -> draining.Outcome:
        raise error

    return answer


def kwargs(last: int = 7) -> dict[str, Any]:
    """The keyword arguments of a ring."""
    return Message(destination=PROD, first=min(1, last), last=last).to_json()


@pytest.mark.parametrize("task", [applying.apply_events, applying.apply_seed, applying.sweep_orphans])
@pytest.mark.parametrize("last", [7, 0])
def test_every_task_drains_its_destination(drainer: Drainer, task: Callable[..., str], last: int) -> None:
    """Each task asks for what pends of its destination, whatever its message is about, a ring without numbers too."""
    assert task(**kwargs(last=last)) == "nothing pending"
    assert drainer.asked == [PROD]


def test_the_result_says_what_happened(drainer: Drainer) -> None:
    """Flower's result column is one line with commits, rows, branch and head."""
    drainer.answer = lambda: draining.Outcome(PROD, commits=3, rows=41, branch="main", head="a1b2c3d4e5")
    assert applying.apply_events(**kwargs()) == "3 commits, 41 rows, main a1b2c3d"
    drainer.answer = lambda: draining.Outcome(PROD, commits=1, rows=1, branch="main", head="a1b2c3d4e5", note="waits")
    assert applying.apply_events(**kwargs()) == "1 commit, 1 row, main a1b2c3d, waits"


def test_waiting_destinations_are_rung_for_all_their_rows(drainer: Drainer, settings: Settings) -> None:
    """Each destination that waits for the branch gets one ring."""
    drainer.answer = lambda: draining.Outcome(PROD, rings=(DEV,))
    applying.apply_events(**kwargs())
    tools.current().publisher.close()
    assert queues.queue_depths(settings, [DEV, PROD]) == {DEV: 1, PROD: 0}


@pytest.mark.parametrize("error", [errors.StalledError("wrong password", reason="Auth"), errors.TemporaryError("busy")])
def test_an_error_of_ours_is_a_sentence(drainer: Drainer, error: errors.ReverserError) -> None:
    """A drain that could not go on ends its task without failure: it has been written down already."""
    drainer.answer = failing(error)
    assert applying.apply_events(**kwargs()) == f"{error.reason}: {error.message}"
    assert len(drainer.asked) == 1


@pytest.mark.parametrize("reason", ["DatabaseAway", "DatabaseBusy"])
def test_a_database_that_is_briefly_away_is_waited_for(
    drainer: Drainer, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """A failover of the database holds the message, instead of acknowledging rows that nobody looked at."""
    monkeypatch.setattr(applying, "DATABASE_RETRY", 0.01)
    away = failing(errors.TemporaryError("away", reason=reason))
    drainer.answer = lambda: draining.Outcome(PROD, commits=1, rows=1) if len(drainer.asked) > 3 else away()
    assert applying.apply_events(**kwargs()) == "1 commit, 1 row"
    assert len(drainer.asked) == 4


def test_an_unexpected_exception_shows_its_type_alone(
    drainer: Drainer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the exception that Flower shows, nor its traceback, nor the log holds the text of what was raised."""
    drainer.answer = failing(ValueError(CANARY))
    with pytest.raises(errors.ReverserError, match="ValueError") as raised:
        applying.apply_events(**kwargs())
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert CANARY not in shown
    # Where the log goes depends on whether a test before this one set it up.
    logged = "".join(capsys.readouterr()) + caplog.text
    assert "ValueError" in logged
    assert CANARY not in logged


def test_an_unreadable_message_is_refused_and_buried(drainer: Drainer, settings: Settings) -> None:
    """A message that a task cannot read drains nothing and leaves a dead letter."""
    assert applying.apply_events(schema=9, secret=CANARY).startswith("refused: ")
    assert drainer.asked == []
    tools.current().publisher.close()
    with queues.make_app(settings).connection_for_read() as connection, connection.channel() as channel:
        letter = channel.basic_get(queues.DEAD_QUEUE, no_ack=True)
    assert "schema" in letter.decode()["reason"]
    assert CANARY not in str(letter.decode())


def test_a_task_name_is_declared_once() -> None:
    """Two functions cannot have one name on the wire."""
    with pytest.raises(ValueError, match="declared twice"):
        house.task(name=events.TASK_APPLY_EVENTS)(applying.apply_seed)


def test_the_app_knows_exactly_our_tasks() -> None:
    """The names on the wire are the three of app/events.py."""
    app = queues.make_app(Settings())
    applying.register(app)
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == {events.TASK_APPLY_EVENTS, events.TASK_APPLY_SEED, events.TASK_SWEEP_ORPHANS}


def test_an_admitted_message_carries_its_envelope_alone() -> None:
    """What Celery gets is written anew: no Events, no callbacks, no limits, no times of the sender's clock."""
    times = {"eta": "2999-01-01", "expires": "2001-01-01"}
    headers = {"task": events.TASK_APPLY_EVENTS, "id": "a-1", "kwargsrepr": "x" * 9_999, **times}
    body = b'[["y"], {"schema":1,"destination":"shop/prod","first":1,"last":2,"events":[{"a":1}]}, {"chain":[1]}]'
    delivery = admitting.Delivery("dest.shop.prod", "application/json", "utf-8", headers, body)
    admitted = admitting.admit(delivery)
    assert admitted.message == Message(destination=PROD, first=1, last=2)
    assert b"chain" in admitted.body
    assert b'"a"' not in admitted.body
    assert b"[1]" not in admitted.body
    assert (admitted.headers["eta"], admitted.headers["expires"]) == (None, None)
    assert len(admitted.headers["kwargsrepr"]) == admitting.SUMMARY_LONGEST
