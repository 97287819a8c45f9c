"""Follows commits live: one line for each commit that was pushed, as the record has it, while `reverser up` runs.

Called at each beat of the supervisor's loop, which must not wait: a database that is locked, or a terminal that takes
no more for now, only makes the lines come later. Neighbours: `supervising.py`, `terminal.py`.
"""

from __future__ import annotations

from app import db, errors
from app.cli import tables, terminal
from app.models import reports

# Lines of one beat; the rest of a burst comes with the next ones.
_AT_ONCE = 200
_SHORT_SHA = 7
# Columns keep their place from line to line; a longer name moves what follows.
_DESTINATION, _BRANCH = 16, 10


class Follower:
    """Prints the commits that are recorded after `start` was called."""

    def __init__(self, database: db.Database) -> None:
        self._database = database
        self._last: int | None = None

    def start(self) -> None:
        """What is recorded from now on is new."""
        with self._database.read() as connection:
            self._last = reports.last_commit(connection)

    def show(self) -> None:
        """Print what is new."""
        assert self._last is not None
        try:
            with self._database.read() as connection:
                found = reports.commits_after(connection, self._last, limit=_AT_ONCE)
        except errors.TemporaryError:
            return
        for commit in found:
            if not terminal.takes_more():
                return
            terminal.say_styled(*_words(commit))
            self._last = commit.id


def _words(commit: reports.PushedCommit) -> list[tuple[str, str]]:
    """The words of a line, each with its style."""
    subject = tables.printable(commit.subject)
    operation, space, rest = subject.partition(" ")
    return [
        (f"{commit.pushed_at.astimezone():%H:%M:%S}", "dim"),
        (f"{commit.destination:{_DESTINATION}}", "bold"),
        (f"{tables.printable(commit.branch):{_BRANCH}}", "cyan"),
        (commit.sha[:_SHORT_SHA], "yellow"),
        (operation, _STYLES.get(operation, "")),
        *([(rest, "")] if space else []),
    ]


_STYLES = {"[CREATE]": "green", "[UPDATE]": "blue", "[DELETE]": "red", "[SEED_SYNC]": "magenta"}
