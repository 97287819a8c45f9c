"""What breaks: every meaningful pair of a process and a point that it passes, and each signal for each server."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal, get_args

from app.failpoints import Point

# A leading and a waiting watch daemon, a worker and one of its helpers, and the servers that they need.
Who = Literal["leader", "standby", "worker", "helper", "broker", "database", "Git server", "API server"]
How = Literal["kill", "term", "stop"]
HOWS: tuple[How, ...] = get_args(How)

AT_ONCE = ""
_WATCH_POINTS: tuple[Point, ...] = (
    "after_list", "mid_page", "before_events", "after_events", "before_publish", "after_publish",
)  # fmt: skip
_WORKER_POINTS: tuple[Point, ...] = (
    "before_drain", "after_lease", "after_fetch", "after_blob", "after_commit",
    "before_push", "during_push", "after_push", "before_record", "after_record", "before_ack",
)  # fmt: skip
# Points that only a listing passes.
OF_LISTINGS = frozenset({"after_list", "mid_page"})
# A standby follows nothing, a helper has no points of its own: it is met while the worker waits for its push.
_POINTS: dict[Who, tuple[str, ...]] = {
    "leader": (AT_ONCE, *_WATCH_POINTS),
    "standby": (AT_ONCE,),
    "worker": (AT_ONCE, *_WORKER_POINTS),
    "helper": (AT_ONCE, "during_push"),
    "broker": (AT_ONCE,),
    "database": (AT_ONCE,),
    "Git server": (AT_ONCE,),
    "API server": (AT_ONCE,),
}
# What `reverser up` has no process for: SQLite and a local repository are files, and nobody waits to lead.
EMBEDDED: tuple[Who, ...] = ("leader", "worker", "helper", "broker", "API server")
PRODUCTION: tuple[Who, ...] = get_args(Who)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Who is met at which point (`AT_ONCE`: wherever it is), and by what."""

    who: Who
    point: str
    how: How

    def __str__(self) -> str:
        return " ".join(filter(None, (self.who, self.point, self.how)))

    @classmethod
    def parse(cls, text: str) -> Fault:
        """A fault by what it is called. Raises ValueError."""
        found = next((one for one in every(PRODUCTION) if str(one) == text), None)
        if found is None:
            raise ValueError(f"{text!r} is no fault")
        return found


def every(whom: tuple[Who, ...]) -> list[Fault]:
    """All faults of these processes and servers."""
    return [Fault(who, point, how) for who in whom for point in _POINTS[who] for how in HOWS]


def of_seed(seed: int, whom: tuple[Who, ...], count: int, *, only: str = "") -> list[Fault]:
    """The faults of a seed number: seeds in a row go through all of them, in an order of no meaning.

    `only` narrows them to those whose name holds it.
    """
    found = [one for one in every(whom) if only in str(one)]
    random.Random(len(found)).shuffle(found)
    start = seed * count % len(found)
    return list(itertools.islice(itertools.cycle(found), start, start + count))
