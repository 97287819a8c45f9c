"""Waiting for a condition with a deadline: what tests have instead of sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Short enough that a wait costs nothing, long enough that many of them leave the core to what they wait for.
INTERVAL = 0.02

# Many times what anything takes on a quiet machine: a busy one is no failure; what never comes is told all the same.
PATIENCE = 60.0

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE, *, what: str = "") -> T:
    """Return the first true value of `condition()`; raise AssertionError with the last one after `timeout` seconds.

    An exception of `condition` is not caught: a condition that may fail on the way catches its own.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"{name}: still {value!r} after {timeout:g} s")
        time.sleep(INTERVAL)
    return value
