"""The three tasks. Each reads the envelope of its message and drains; the names tell a reader of Flower what goes on.

Errors end here. `app/drain` has already written to the destination what it could not do (`not_before`, last error), so
a task returns a sentence and its message is acknowledged: nothing is ever retried through the queue, where it would
land behind newer messages. Only an unexpected exception fails a task, by its type alone: Flower shows exceptions as
they are, and their text may hold an object.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import celery
import structlog

from app import db, errors, events, failpoints
from app.drain import draining
from app.tasks import house, tools

log = structlog.get_logger(__name__)

# A result is one line of Flower's table.
RESULT_LONGEST = 200
# A database that fails over is waited for in place: its message is not acknowledged before its rows are.
DATABASE_PATIENCE = 5.0
DATABASE_RETRY = 0.5


@house.task(name=events.TASK_APPLY_EVENTS)
def apply_events(**kwargs: Any) -> str:
    """Drain a destination because of live Events, or because the sweeper rang."""
    return _apply(kwargs)


@house.task(name=events.TASK_APPLY_SEED)
def apply_seed(**kwargs: Any) -> str:
    """Drain a destination because of a page of a seed."""
    return _apply(kwargs)


@house.task(name=events.TASK_SWEEP_ORPHANS)
def sweep_orphans(**kwargs: Any) -> str:
    """Drain a destination whose seed is complete: the drain removes the orphans in its turn."""
    return _apply(kwargs)


def register(app: celery.Celery) -> None:
    """Make the three tasks known to an app that runs them (worker) or shows them (Flower)."""
    house.register(app)


def _apply(kwargs: Mapping[str, Any]) -> str:
    failpoints.reach("before_drain")
    result = _applied(tools.current(), kwargs)
    # What is acknowledged is acknowledged when the task has returned.
    failpoints.reach("before_ack")
    return result


def _applied(process: tools.Tools, kwargs: Mapping[str, Any]) -> str:
    try:
        message = events.read_envelope(kwargs)
    except errors.MessageError as error:
        log.warning("message refused", reason=error.message)
        process.publisher.bury({"reason": error.message[:RESULT_LONGEST]})
        return f"refused: {error.message}"[:RESULT_LONGEST]
    return _drain(process, message)


def _drain(process: tools.Tools, message: events.Message) -> str:
    try:
        outcome = _drained(process.drainer, message)
    except errors.ReverserError as error:
        log.warning("drain ended early", destination=str(message.destination), reason=error.reason)
        return f"{error.reason}: {error.message}"[:RESULT_LONGEST]
    except Exception as error:  # noqa: BLE001 - its text may hold an object: it goes no further.
        log.error("drain failed", destination=str(message.destination), **describe(error))  # noqa: TRY400 - redacted.
        raise redacted(error) from None
    process.done.update(outcome.done)
    for waiting in outcome.rings:
        process.publisher.ring(waiting, 0, 0)
    return summary(outcome)


def _drained(drainer: tools.Drains, message: events.Message) -> draining.Outcome:
    give_up = time.monotonic() + DATABASE_PATIENCE
    while True:
        try:
            return drainer.drain(message.destination)
        except errors.TemporaryError as error:
            if error.reason not in db.REASONS or time.monotonic() > give_up:
                raise
        time.sleep(DATABASE_RETRY)


def summary(outcome: draining.Outcome) -> str:
    """The result that Flower shows: `3 commits, 41 rows, main a1b2c3d`, and the note where there is one."""
    parts = []
    if outcome.commits or outcome.rows:
        parts = [_count(outcome.commits, "commit"), _count(outcome.rows, "row")]
        parts += [f"{outcome.branch} {outcome.head[:7]}".strip()] if outcome.head else []
    if outcome.note:
        parts.append(outcome.note)
    return (", ".join(parts) or "nothing pending")[:RESULT_LONGEST]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def redacted(error: BaseException) -> errors.ReverserError:
    """An error that says only what kind of error it stands for."""
    return errors.ReverserError(f"{type(error).__name__}; the worker's log says where", reason="Unexpected")


def describe(error: BaseException) -> dict[str, Any]:
    """Type and places of an exception for a log line: no message and no values, which may hold an object."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "error": type(error).__name__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
