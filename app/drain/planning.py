"""The plan of one push: which rows make which commit, and what is to be recorded once it is pushed.

Built by `building.py` on one parent; thrown away and built again when the remote has moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.events import Operation
from app.git.names import Sha
from app.models import commits, inventory, ledger


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that go into one commit: one change, a run of seed rows, the end of a seed, or what a person wants gone."""

    kind: Literal["change", "seed", "sweep", "prune"]
    rows: tuple[ledger.Pending, ...]


@dataclass(slots=True)
class End:
    """How a row ends once the plan is recorded; `commit` is an index into the plan's commits."""

    state: str
    reason: str | None = None
    commit: int | None = None


@dataclass(slots=True)
class Plan:
    """Everything that one push and its record transaction need."""

    base: Sha | None
    commits: list[commits.NewCommit] = field(default_factory=list)
    ends: dict[int, End] = field(default_factory=dict)
    items: dict[str, inventory.Item] = field(default_factory=dict)
    swept: list[str] = field(default_factory=list)

    @property
    def head(self) -> Sha | None:
        """The commit to push, or None when nothing changes in Git."""
        return Sha(self.commits[-1].sha) if self.commits else None

    def end(self, row: ledger.Pending, state: str, reason: str | None = None, *, commit: int | None = None) -> None:
        """Note how a row ends."""
        self.ends[row.sequence] = End(state, reason, commit)


def units(rows: Sequence[ledger.Pending], *, seed_rows: int) -> Iterator[Unit]:
    """Cut pending rows into commits, in order.

    A sweep looks at the recorded inventory, so it stands alone: it is the first unit or none, and nothing follows it.
    """
    start = 0
    while start < len(rows):
        end = start + 1
        if rows[start].operation is Operation.SEED_SYNC:
            if start == 0:
                yield Unit("sweep", (rows[0],))
            return
        run = rows[start].seed_run_id
        while run and end < len(rows) and end - start < seed_rows and _continues(rows[end], run):
            end += 1
        together: Literal["prune", "seed"] = "prune" if rows[start].is_pruned else "seed"
        yield Unit(together if run else "change", tuple(rows[start:end]))
        start = end


def _continues(row: ledger.Pending, run: str) -> bool:
    return row.seed_run_id == run and row.operation is not Operation.SEED_SYNC


def commits_of(rows: Sequence[ledger.Pending], *, seed_rows: int) -> int:
    """How many commits some pending rows would make at most."""
    return sum(1 for _ in units(rows, seed_rows=seed_rows))
