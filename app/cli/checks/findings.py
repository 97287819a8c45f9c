"""What a check found: one line for a person, one object for a program. Every check of this folder gives these.

A finding names what was looked at, what was found and, where something is wrong, what to do about it. It holds no
credential: what others said comes in through the errors of the doors, which blot them out.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from app import errors

# A process tries again; a person who asks once does not want to hear when.
_NEXT_TRY = re.compile(r"[;,] (?:will try again|it is tried again|it is asked again|next try)\b[^;]*$")


class Level(enum.StrEnum):
    """How bad it is. SKIP: it could not be looked at, because something before it is wrong."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


class Role(enum.StrEnum):
    """In whose place the doctor looks: accounts differ, and so does what they need."""

    ALL = "all"
    WATCH = "watch"
    WORKER = "worker"
    FLOWER = "flower"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `check` is a stable word for programs, `subject` is what was looked at."""

    level: Level
    check: str
    subject: str
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Makes the findings of one check on one subject."""

    check: str
    name: str

    def ok(self, found: str) -> Finding:
        """As it should be."""
        return Finding(Level.OK, self.check, self.name, found)

    def warn(self, found: str, *, do: str) -> Finding:
        """It works, and somebody should look at it."""
        return Finding(Level.WARN, self.check, self.name, found, do)

    def fail(self, found: str, *, do: str) -> Finding:
        """It does not work."""
        return Finding(Level.FAIL, self.check, self.name, found, do)

    def skip(self, why: str) -> Finding:
        """It could not be looked at."""
        return Finding(Level.SKIP, self.check, self.name, why)


def words(error: errors.ReverserError | str) -> str:
    """What an error says, without when it is tried again."""
    return _NEXT_TRY.sub("", error if isinstance(error, str) else error.message)
