"""The one way to make a task here: an explicit name, typed options, no content in a traceback.

A task's name is wire format, so it is never derived from a function's. The decorated function stays a plain function;
`app/tasks/applying.py` holds all of ours, and a Celery app knows them once this module's `register` was called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import celery

Body = Callable[..., str]


class Options(TypedDict, total=False):
    """The options of a task that may differ from `app/celeryconfig.py`; a misspelt one does not pass mypy."""

    # Seconds after which a prefork worker kills the process that runs the task.
    time_limit: float


@dataclass(frozen=True)
class Declared:
    """One task: its name on the wire, its function and its options."""

    name: str
    body: Body
    options: Options


_declared: dict[str, Declared] = {}


def task(*, name: str, **options: Unpack[Options]) -> Callable[[Body], Body]:
    """Declare a function as the task of this name. Raises ValueError for a name that is taken."""

    def declare(body: Body) -> Body:
        if name in _declared:
            raise ValueError(f"{name} is declared twice")
        _declared[name] = Declared(name=name, body=body, options=options)
        return body

    return declare


def register(app: celery.Celery) -> None:
    """Make the declared tasks known to an app."""
    for declared in _declared.values():
        _add(app, declared)


def _add(app: celery.Celery, declared: Declared) -> Any:
    return app.task(name=declared.name, **declared.options)(declared.body)
