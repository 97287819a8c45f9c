"""The reporter without a cluster: when a status is written, and about which generation it says that it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from app import errors, events
from app.rules import compiling
from app.watch import reconciling, reporting
from tests.watch.desk import Desk

REF = events.Ref("shop", "rule")


class Cluster:
    """Stands where the cluster is, with one rule of ours, and takes its status; `away` makes it fail."""

    def __init__(self) -> None:
        self.away = False
        self.tries = 0
        metadata = {"namespace": REF.namespace, "name": REF.name, "uid": "one", "generation": 1, "resourceVersion": "1"}
        self.rule: dict[str, Any] = {"metadata": metadata}

    def request(self, _method: str, _path: str, *, body: bytes, **_: Any) -> Any:
        self.tries += 1
        if self.away:
            raise errors.TemporaryError("the cluster is away", delay=1.0)
        status = self.rule.get("status", {}) | orjson.loads(body)["status"]
        return SimpleNamespace(data=orjson.dumps({**self.rule, "status": status}))

    def snapshot_of(self, _kind: str, _ref: events.Ref) -> dict[str, Any]:
        return self.rule

    def put(self, _kind: str, raw: dict[str, Any]) -> None:
        self.rule = raw

    def change(self, **metadata: Any) -> None:
        """Somebody changes the rule, or makes it anew."""
        self.rule = {**self.rule, "metadata": {**self.rule["metadata"], **metadata}}

    @property
    def said(self) -> tuple[str, int]:
        """The message of Ready, and the generation that it is about."""
        status = self.rule["status"]
        (ready,) = (one for one in status["conditions"] if one["type"] == "Ready")
        assert ready["observedGeneration"] == status["observedGeneration"]
        return ready["message"], status["observedGeneration"]


class Beats:
    """Stands where the reporter is told to stop: after so many beats, each of which takes as long as it says."""

    def __init__(self) -> None:
        self.now, self.left = 1_000.0, 0

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.left -= 1
        return self.left < 0


class Room:
    """A reporter with a clock of its own, and what it is told."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.beats = Cluster(), Beats()
        self.reconciler = SimpleNamespace(outcome=None)
        monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: self.beats.now))
        services: Any = SimpleNamespace(
            settings=desk.settings, cluster=self.cluster, writer=desk.writer, stop=self.beats
        )
        parts: Any = {"objects": self.cluster, "reconciler": self.reconciler}
        parts |= {"followed": SimpleNamespace(problem=""), "running": SimpleNamespace(refusals=dict)}
        parts |= {"publisher": SimpleNamespace(outage=None)}
        self.reporter = reporting.Reporter(services, database=desk.database, **parts)

    def judge(self, message: str, *, generation: int, uid: str = "one") -> None:
        """What the reconciler came to."""
        wrong = errors.PermanentError(message, reason="InvalidSpec")
        nothing = compiling.Compilation({}, {}, {})
        self.reconciler.outcome = reconciling.Outcome(nothing, {("WatchRule", REF): wrong}, {uid: generation})

    def beat(self, times: int = 1) -> None:
        """So many seconds."""
        self.beats.left = times
        self.reporter.run()


@pytest.fixture
def room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Room:
    """A reporter of one rule."""
    return Room(desk, monkeypatch)


def test_a_status_says_of_which_generation_it_is(room: Room) -> None:
    """What was judged before a change is never told as the verdict on it; the one that is comes with the next beat."""
    room.judge("one", generation=1)
    room.beat()
    room.cluster.change(generation=2)
    room.judge("one, still", generation=1)
    room.beat(10)
    assert room.cluster.said == ("one, still", 1)
    for generation in (2, 3):
        room.cluster.change(generation=generation)
        room.judge("changed", generation=generation)
        room.beat()
        assert room.cluster.said == ("changed", generation)


def test_what_nobody_waits_for_is_written_seldom(room: Room) -> None:
    """A message that changes at each beat is written at most as often as the settings say."""
    for second in range(10):
        room.judge(f"at {second}", generation=1)
        room.beat()
    # Each of them takes two seconds here.
    assert room.cluster.tries == 4


def test_a_status_that_could_not_be_written_is_tried_again(room: Room) -> None:
    """Later and not at each beat, however urgent it is; and it is not taken for written."""
    room.cluster.away = True
    room.judge("one", generation=1)
    room.beat(8)
    room.judge("two", generation=2)
    assert room.cluster.tries == 1
    room.cluster.away = False
    room.beat(4)
    assert room.cluster.said == ("two", 2)
    assert room.cluster.tries == 2


def test_an_object_that_was_made_anew_is_not_judged_yet(room: Room) -> None:
    """A verdict on the object that had the name before is not told of it."""
    room.judge("one", generation=1)
    room.beat()
    room.cluster.change(uid="other", generation=1)
    room.judge("of the former one", generation=1)
    room.beat(10)
    assert room.cluster.said == ("one", 1)
    room.judge("of this one", generation=1, uid="other")
    room.beat()
    assert room.cluster.said == ("of this one", 1)
