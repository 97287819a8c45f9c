"""What breaks: every meaningful pair of a process and a point that it passes, and each signal for each server."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal, get_args

from app.failpoints import Point
from tests.servers import proxy

# A leading and a waiting watch daemon, a worker and one of its helpers, the servers they need, and what is between.
Who = Literal["leader", "standby", "worker", "helper", "broker", "database", "Git server", "API server", "link"]
Signal = Literal["kill", "term", "stop"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
# The whole pack of a push arrived, and the branch moved; and there the connection ends.
CUT_ANSWER: Literal["cut answer"] = "cut answer"
How = Signal | proxy.Toxic | Literal["cut answer"]

AT_ONCE = ""
# Between all watch daemons, or all workers, and one server.
GIT_LINK = "worker-Git server"
LINKS = (
    "watch-API server", "watch-database", "watch-broker",
    "worker-API server", "worker-database", "worker-broker", GIT_LINK,
)  # fmt: skip
WATCH_POINTS: tuple[Point, ...] = (
    "after_list", "mid_page", "before_events", "after_events", "before_publish", "after_publish",
)  # fmt: skip
WORKER_POINTS: tuple[Point, ...] = (
    "before_drain", "after_lease", "after_fetch", "after_blob", "after_commit",
    "before_push", "during_push", "after_push", "before_record", "after_record", "before_ack",
)  # fmt: skip
# Points that only a listing passes.
OF_LISTINGS = frozenset({"after_list", "mid_page"})
# A standby follows nothing, a helper has no points of its own: it is met while the worker waits for its push.
_POINTS: dict[Who, tuple[str, ...]] = {
    "leader": (AT_ONCE, *WATCH_POINTS),
    "standby": (AT_ONCE,),
    "worker": (AT_ONCE, *WORKER_POINTS),
    "helper": (AT_ONCE, "during_push"),
    "broker": (AT_ONCE,),
    "database": (AT_ONCE,),
    "Git server": (AT_ONCE,),
    "API server": (AT_ONCE,),
    "link": LINKS,
}
# What `reverser up` has no process for: SQLite and a local repository are files, and nobody waits to lead.
EMBEDDED: tuple[Who, ...] = ("leader", "worker", "helper", "broker", "API server")
PRODUCTION: tuple[Who, ...] = get_args(Who)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Who is met at which point (`AT_ONCE`: wherever it is), and by what; of a link, which one."""

    who: Who
    point: str
    how: How

    @property
    def at_point(self) -> bool:
        """Whether a process has to come by first."""
        return self.who != "link" and self.point != AT_ONCE

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
    """All faults of these processes, servers and links."""
    return [Fault(who, point, how) for who in whom for point in _POINTS[who] for how in _hows(who, point)]


def _hows(who: Who, point: str) -> tuple[How, ...]:
    if who != "link":
        return SIGNALS
    return (*proxy.TOXICS, CUT_ANSWER) if point == GIT_LINK else proxy.TOXICS


def of_seed(seed: int, whom: tuple[Who, ...], count: int, *, only: str = "") -> list[Fault]:
    """The faults of a seed number: seeds in a row go through all of them, in an order of no meaning.

    `only` narrows them to those whose name holds it.
    """
    found = [one for one in every(whom) if only in str(one)]
    random.Random(len(found)).shuffle(found)
    start = seed * count % len(found)
    return list(itertools.islice(itertools.cycle(found), start, start + count))
