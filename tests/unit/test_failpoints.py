"""Failpoints: each works once, does what its file says, and costs nothing while nobody asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import failpoints

_COMES_BY = "import sys; from app import failpoints; failpoints.arm(sys.argv[1]); failpoints.reach('after_push')"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is heeded."""
    failpoints.arm(str(tmp_path))
    yield tmp_path
    failpoints.arm("")


def fired(folder: Path) -> list[str]:
    """The files that are left, each with the process that came by."""
    return sorted(one.name for one in folder.iterdir())


def test_nothing_happens_unless_it_is_asked_for() -> None:
    """Without a folder, a point is a call of nothing."""
    assert failpoints.reach is failpoints._pass
    failpoints.reach("after_push")


def test_a_point_works_once(folder: Path) -> None:
    """Who made the file sees that it fired; a point without a file does nothing."""
    (folder / "after_push").write_text("raise")
    failpoints.reach("before_push")
    with pytest.raises(failpoints.Failed):
        failpoints.reach("after_push")
    failpoints.reach("after_push")
    assert fired(folder) == [f"after_push.{os.getpid()}.fired"]


def test_a_point_waits(folder: Path) -> None:
    """A process may be held for a while at the worst moment."""
    (folder / "after_push").write_text("sleep 0.2")
    began = time.monotonic()
    failpoints.reach("after_push")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("words", ["explode", "exit", "sleep", ""])
def test_a_file_that_cannot_be_understood_is_no_silence(folder: Path, words: str) -> None:
    """A misspelt fault fails the test that asked for it."""
    (folder / "after_push").write_text(words)
    with pytest.raises(ValueError, match="failpoint after_push: "):
        failpoints.reach("after_push")


@pytest.mark.parametrize(("words", "code"), [("exit 75", 75), ("kill", -signal.SIGKILL), ("term", -signal.SIGTERM)])
def test_a_point_ends_its_process(tmp_path: Path, words: str, code: int) -> None:
    """At once: nothing is cleaned up."""
    (tmp_path / "after_push").write_text(words)
    process = subprocess.Popen([sys.executable, "-c", _COMES_BY, str(tmp_path)])
    assert process.wait(20) == code
    assert fired(tmp_path) == [f"after_push.{process.pid}.fired"]


def test_a_point_freezes_its_process(tmp_path: Path) -> None:
    """Until somebody wakes it."""
    (tmp_path / "after_push").write_text("stop")
    process = subprocess.Popen([sys.executable, "-c", _COMES_BY, str(tmp_path)])
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert process.wait(20) == 0
