"""When to push, and how much at once (DESIGN section 2, "Pace"; section 9, a row that kills its worker). Pure."""

from __future__ import annotations

# A row that was alone in this many drains that died is taken to be the cause.
DEATHS_OF_ONE_ROW = 5


def seconds_to_wait(
    *, interval: float | None, since_last_push: float | None, commits_ready: int, max_commits: int
) -> float:
    """How long to wait before pushing; 0 means now. All times in seconds."""
    if interval is None or since_last_push is None or commits_ready >= max_commits:
        return 0.0
    return max(0.0, interval - since_last_push)


def rows_to_try(*, pending: int, failed_drains: int) -> int:
    """How many rows the next drain takes: half as many after each drain that died."""
    return max(1, pending >> min(failed_drains, 62))


def is_poison(*, pending: int, failed_drains: int) -> bool:
    """Whether the first row was alone in enough drains that died to be given up."""
    alone_since = failed_drains - DEATHS_OF_ONE_ROW
    return alone_since >= 0 and rows_to_try(pending=pending, failed_drains=alone_since) == 1
