"""What a task needs of its process: one drainer and one publisher, made after the fork, never before.

A database or broker connection that crosses a fork is used by two processes at once. `app/worker` calls `start` where
the tasks will run: in the process itself for a pool of threads, in each child for prefork.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from app import db, events, publishing
from app.drain import draining
from app.events import Ref
from app.settings import Settings


class Drains(Protocol):
    """What tasks ask of `app/drain`: turn a destination's pending rows into pushed commits."""

    def drain(self, destination: Ref, *, deadline: float | None = None) -> draining.Outcome:
        """Drain what pends. Raises the errors of app/errors.py, already recorded."""

    def close(self) -> None:
        """Close connections and helpers."""


@dataclass(frozen=True)
class Tools:
    """The tools of one process."""

    database: db.Database
    drainer: Drains
    publisher: publishing.Publisher
    # Up to which number nothing is left of a destination, by its uid. A row that is final never pends again. A prefork
    # child knows this alone: its parent, which takes the messages, has no tools.
    done: dict[str, int] = field(default_factory=dict)


MakeDrainer = Callable[[Settings, db.Database], Drains]

_tools: Tools | None = None


def start(settings: Settings, make_drainer: MakeDrainer) -> None:
    """Make this process's tools; called once, before its first task."""
    global _tools  # noqa: PLW0603 - Celery calls tasks without arguments of ours: the process is the only place.
    database = db.Database(settings.database_url, statement_timeout=settings.statement_timeout)
    _tools = Tools(
        database=database, drainer=make_drainer(settings, database), publisher=publishing.Publisher(settings)
    )


def current() -> Tools:
    """The tools of this process. Raises RuntimeError where `start` was not called."""
    if _tools is None:
        raise RuntimeError("a task ran in a process whose tools were not started")
    return _tools


def is_done(message: events.Message) -> bool:
    """Whether this process knows that everything that a message rings for is done."""
    return _tools is not None and 0 < message.last <= _tools.done.get(message.uid, 0)


def stop() -> None:
    """Close the tools, where there are any."""
    global _tools
    tools, _tools = _tools, None
    if tools is not None:
        tools.drainer.close()
        tools.publisher.close()
        tools.database.close()
