"""Identities of processes, and the backoff between two starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.cli import processes
from tests.waiting import wait_until


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


def test_a_reused_pid_is_never_signalled() -> None:
    """A pid that belongs to another process than the recorded one is left alone."""
    process = _sleeper()
    try:
        stranger = processes.Identity(process.pid, "another start")
        assert not processes.send(stranger, signal.SIGKILL)
        assert not processes.end(stranger, grace=0.1)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_end_is_sure() -> None:
    """A process is asked, and gone when `end` returns."""
    process = _sleeper()
    identity = processes.identify(process.pid)
    assert identity
    assert processes.is_alive(identity)
    assert processes.end(identity, grace=5.0)
    assert not processes.is_alive(identity)
    process.wait()
    assert not processes.end(identity, grace=0.1)


def test_a_zombie_is_not_alive() -> None:
    """A process that ended and was not reaped counts as gone."""
    process = _sleeper()
    identity = processes.identify(process.pid)
    assert identity
    process.kill()
    wait_until(lambda: not processes.is_alive(identity))
    assert process.wait() == -signal.SIGKILL


def test_own_identity_is_stable() -> None:
    """The same process has the same identity each time."""
    assert processes.identify(os.getpid()) == processes.identify(os.getpid())
    assert processes.identify(2**22 + 1) is None


def test_backoff_doubles_and_resets() -> None:
    """Waits double from 0.5 s to 30 s, and start again after a life of 10 s."""
    backoff = processes.Backoff()
    assert [backoff.next_wait(lived=1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff.next_wait(lived=10.0) == 0.5
    assert backoff.next_wait(lived=9.0) == 1.0


def test_large_logs_are_put_aside(tmp_path: Path) -> None:
    """A log above 10 MB becomes NAME.log.1; a smaller one stays."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * processes.LOG_BYTES)
    processes.rotate(log)
    assert log.exists()
    with log.open("ab") as file:
        file.write(b"x")
    processes.rotate(log)
    assert not log.exists()
    assert (tmp_path / "worker.log.1").stat().st_size == processes.LOG_BYTES + 1
