"""When a file whose object is gone is removed: the policy of a destination, and the guard on large sweeps. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# A sweep of so few files is never held: it can be looked through, and undone by hand.
FEW = 20


class Policy(StrEnum):
    """`spec.prune`."""

    # A deletion that was seen, and what a complete listing does not find.
    ALWAYS = "Always"
    # A deletion that was seen, alone.
    ON_EVENT = "OnEvent"
    NEVER = "Never"

    @property
    def removes_deleted(self) -> bool:
        """Whether a deletion that was seen removes the file."""
        return self is not Policy.NEVER

    @property
    def removes_orphans(self) -> bool:
        """Whether a complete listing removes what it does not find."""
        return self is Policy.ALWAYS

    @classmethod
    def read(cls, text: str | None) -> Policy:
        """The policy of a word; without one, the default. A word of a newer schema removes nothing."""
        if not text:
            return cls.ALWAYS
        return cls(text) if text in set(cls) else cls.NEVER


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a GitDestination says of removing files; `max_ratio` is the share of its files that a sweep may remove."""

    policy: Policy = Policy.ALWAYS
    max_ratio: float = 0.5

    def holds(self, orphans: int, *, files: int, allowed: int) -> bool:
        """Whether a sweep waits for a person: it would remove many of the files, and nobody allowed so many."""
        return orphans > max(FEW, allowed, self.max_ratio * files)


DEFAULT = Pruning()
