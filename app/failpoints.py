"""Named points at which a test ends, freezes, delays or fails the process that comes by.

Nothing happens unless `REVERSER_FAILPOINTS` names a folder. A file in it that is called like a point says what the
first process that comes by does: `exit 75`, `kill`, `term`, `stop`, `raise` or `sleep 2.5`. The file is renamed first,
to `<point>.<process>.fired`: it works once, and whoever made it sees that it did, and to whom.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

Point = Literal[
    "after_list", "mid_page", "before_events", "after_events", "before_publish", "after_publish",
    "before_drain", "after_lease", "after_fetch", "after_blob", "after_commit",
    "before_push", "during_push", "after_push", "before_record", "after_record", "before_ack",
]  # fmt: skip
POINTS: tuple[Point, ...] = get_args(Point)

_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


class Failed(Exception):  # noqa: N818 - what a point that fails raises: nobody foresees it.
    """A failpoint failed, as it was told to."""


def _pass(_point: Point) -> None:
    """What a point does that nobody armed."""


# Said as `failpoints.reach("after_list")`, so that `arm` is heeded everywhere.
reach: Callable[[Point], None] = _pass


def arm(folder: str) -> None:
    """Heed the files of a folder from now on, in this process and those that it forks; of no folder for an empty name.

    A point with a file that cannot be understood raises ValueError.
    """
    global reach  # noqa: PLW0603 - a point costs no more than this call while it is off.
    reach = _Armed(Path(folder)) if folder else _pass


class _Armed:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, point: Point) -> None:
        fired = self._folder / f"{point}.{os.getpid()}.fired"
        try:
            (self._folder / point).rename(fired)
        except FileNotFoundError:
            return
        _do(point, fired.read_text().split())


def _do(point: Point, words: list[str]) -> None:
    match words:
        case ["exit", code]:
            os._exit(int(code))
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["raise"]:
            raise Failed(point)
        case [word] if word in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[word])
        case _:
            raise ValueError(f"failpoint {point}: {' '.join(words)!r} is none of exit, kill, term, stop, raise, sleep")
