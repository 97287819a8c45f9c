"""Commits as `reverser up` shows them: each one once, in order, whatever the database and the terminal do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app import db
from app.cli import following, terminal
from app.models import commits
from tests.models.records import Records

SUBJECT = "[UPDATE] v1/configmaps/app-config by manager/kubectl-edit"


class World:
    """A database with one destination, and a follower of it with the patience that `up` gives it."""

    def __init__(self, url: str) -> None:
        self.records = Records(url)
        self.destination = self.records.destination("prod", branch="main")
        self.database = db.Database(url, busy_timeout=0.1)
        self.follower = following.Follower(self.database)

    def push(self, number: int, subject: str = SUBJECT) -> None:
        """Record one commit."""
        commit = commits.NewCommit(
            sha=f"{number:040x}",
            author="kubectl-edit",
            message=f"{subject}\n\ntrailers",
            first_sequence=1,
            last_sequence=1,
            changes=(),
        )
        with self.records.database.write() as connection:
            commits.record(
                connection,
                [commit],
                destination_id=self.destination.id,
                place_id=self.destination.place_id,
                branch_id=self.destination.branch_id,
            )


@pytest.fixture
def world(sqlite_url: str) -> Iterator[World]:
    """A world that is closed after the test."""
    one = World(sqlite_url)
    yield one
    one.database.close()
    one.records.close()


def test_each_new_commit_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What was recorded before the start is not shown; each later commit is, once and in order, plain in a pipe."""
    world.push(1)
    world.follower.start()
    world.follower.show()
    assert capsys.readouterr().out == ""
    world.push(0xABCDEF0 << 132)
    world.push(3, "[DELETE] v1/configmaps/old")
    world.follower.show()
    first, second = capsys.readouterr().out.splitlines()
    time_of, words = first.split(" ", 1)
    assert time.strptime(time_of, "%H:%M:%S")
    assert words.split() == ["shop/prod", "main", "abcdef0", *SUBJECT.split()]
    assert second.endswith(" 0000000 [DELETE] v1/configmaps/old")
    assert first.index("[UPDATE]") == second.index("[DELETE]")
    world.follower.show()
    assert capsys.readouterr().out == ""


def test_text_from_a_cluster_steers_no_terminal(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a terminal sequence is shown escaped, and markup as it stands."""
    world.follower.start()
    world.push(1, "[CREATE] v1/configmaps/\x1b[31m[bold]red[/bold]")
    world.follower.show()
    assert capsys.readouterr().out.endswith("[CREATE] v1/configmaps/\\x1b[31m[bold]red[/bold]\n")


def test_a_locked_database_only_delays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """While another program locks the database, a look ends at once and without an error; the line comes after that."""
    world.follower.start()
    world.push(1)
    world.records.close()
    world.database.close()
    with closing(sqlite3.connect(str(world.records.database.url.database), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        before = time.monotonic()
        world.follower.show()
        assert time.monotonic() - before < 2.0
        assert capsys.readouterr().out == ""
    world.follower.show()
    assert SUBJECT in capsys.readouterr().out


def test_a_terminal_that_rests_only_delays(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that takes one line now gets the others later, none twice."""
    room = [True, False, True, True]
    monkeypatch.setattr(terminal, "takes_more", lambda: room.pop(0))
    world.follower.start()
    for number in (1, 2, 3):
        world.push(number)
    world.follower.show()
    assert len(capsys.readouterr().out.splitlines()) == 1
    world.follower.show()
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_full_pipe_takes_no_more() -> None:
    """A pipe that nobody reads takes lines until it is full: the loop never waits for its reader."""
    code = """
import os, sys
from app.cli import terminal
written = 0
while terminal.takes_more():
    written += os.write(1, b"x" * 4096)
print(written, file=sys.stderr)
"""
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-P", "-c", code]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=True, timeout=60, cwd=Path.cwd())
        assert int(done.stderr) >= 4096
    finally:
        os.close(reader)
        os.close(writer)
