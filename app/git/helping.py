"""One helper process, seen from its parent: start it, ask it, end it.

Requests and answers are JSON, one per line, over its standard input and output; credentials travel there and nowhere
else. `helper.py` is the other end; `remote.py` keeps the pool and maps a lost helper to an error by consequence.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app import failpoints
from app.git import problems
from app.git.credentials import Credentials

# A cold start imports pygit2: a fifth of a second on a free machine, much more on a starved one.
_START_TIMEOUT = 30.0
# An idle helper ends within milliseconds of its input's end; one that does not is killed.
_END_TIMEOUT = 2.0
# Beyond the deadline the helper itself keeps, so that its own, more precise error wins.
_GRACE = 0.5
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class HelperLostError(Exception):
    """The helper died or was overdue; the text says which."""


class HelperDiedError(HelperLostError):
    """The helper ended by itself, or somebody ended it."""


class Helper:
    """A running helper for one set of credentials. One caller at a time."""

    def __init__(self, work_dir: Path, credentials: Credentials) -> None:
        """Start it. Raises StalledError for a bad known_hosts or CA, HelperLostError when it does not come up."""
        # The environment is written from nothing: no GIT_*, no proxy, no agent, no credential of the parent.
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(_PACKAGE_ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "app.git.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C in a terminal is for the parent, which lets a push come to its end.
            start_new_session=True,
        )
        self._unread = b""
        self._home = Path()
        try:
            answer = self.call(
                {"home_root": str(work_dir.absolute() / "helpers"), "credentials": credentials.to_wire()},
                timeout=_START_TIMEOUT,
            )
        except BaseException:
            self.kill()
            raise
        if "error" in answer:
            self.kill()
            raise problems.from_wire(answer["error"])
        self._home = Path(answer["result"]["home"])

    def call(self, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
        """One request, one answer. Raises HelperLostError; the helper is of no more use then."""
        deadline = time.monotonic() + timeout + _GRACE
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise HelperDiedError("its helper process had ended") from error
        if request.get("operation") == "push":
            failpoints.reach("during_push")
        return dict(json.loads(self._line(deadline, timeout)))

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it in good order: it removes its home itself."""
        self._close_pipes()
        try:
            self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once and remove what it leaves."""
        self._process.kill()
        self._close_pipes()
        self._process.wait()
        if self._home.name:
            shutil.rmtree(self._home, ignore_errors=True)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's helper without touching it."""
        self._close_pipes()
        # Nobody here may wait for it; a Popen that knows an end asks no more.
        self._process.returncode = 0

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _line(self, deadline: float, timeout: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        # poll and not select: a worker with a thousand queues has handles beyond what select can name.
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1_000):
                raise HelperLostError(f"nothing for {timeout:g} s, its helper process is killed")
            part = os.read(handle, 1 << 16)
            if not part:
                raise HelperDiedError("its helper process died")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line
