"""Threads that die: a leader ends with the first of them, and says no value of anybody's object."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from app import errors
from app.settings import Settings
from app.watch import guarding, routing, streams
from tests.watch.desk import CONFIG_MAPS


class BrokenCluster:
    """Answers in a way that nobody foresaw."""

    def get_json(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise KeyError("password: hunter2")


def raising(error: BaseException) -> Callable[[], None]:
    """A job that dies."""

    def job() -> None:
        raise error

    return job


def test_a_stream_that_dies_ends_the_leader() -> None:
    """An error that nobody foresaw in a stream's thread stops the leader, and its text is not logged."""
    stop = threading.Event()
    guard = guarding.Guard(stop)
    services = streams.Services(Settings(), BrokenCluster(), None, None, stop, guard)  # type: ignore[arg-type]
    stream = streams.Stream(routing.StreamKey("", "v1", "configmaps", "shop"), CONFIG_MAPS, None, services)
    with structlog.testing.capture_logs() as told:
        stream.thread.start()
        assert stop.wait(10)
        stream.thread.join(10)
    assert [type(error) for error in guard.failed] == [KeyError]
    assert [(one["event"], one["error"]) for one in told] == [("thread_died", "KeyError")]
    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    ("error", "stopping", "failed"),
    [
        (errors.TemporaryError("away"), True, False),
        (errors.TemporaryError("away"), False, True),
        (errors.LeaseLostError("lost"), True, True),
        (RuntimeError("content"), True, True),
    ],
)
def test_while_a_leader_stops_only_what_passes_by_itself_is_no_failure(
    error: Exception,
    stopping: bool,  # noqa: FBT001
    failed: bool,  # noqa: FBT001
) -> None:
    """A database that is away ends no thread badly while everything stops; a lost lease and a bug do."""
    stop = threading.Event()
    guard = guarding.Guard(stop)
    if stopping:
        stop.set()
    guard.run("thread", raising(error))
    assert (guard.failed == [error], stop.is_set()) == (failed, True)
