"""Child processes: started so that they never outlive their parent, known by more than a pid, stopped for sure.

A pid alone says nothing once it was reused, so a process is known by its pid and its start time. Used by the
supervisor (`supervising.py`) and by `down`; the files that hold identities are `updata.py`'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

from app import errors

# A log file above this size is put aside when its process starts: one old generation is kept.
LOG_BYTES = 10_000_000
# The waits between two starts of a process that keeps dying, and the life after which it counts as healthy: whatever
# ended that, the next start is the first one again.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
HEALTHY_AFTER = 10.0

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a library must not be loaded between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for ever: its pid and when the kernel started it."""

    pid: int
    started: str


def identify(pid: int) -> Identity | None:
    """The live process of this pid, or None; a zombie is not alive."""
    started = _started_linux(pid) if sys.platform == "linux" else _started_elsewhere(pid)
    return Identity(pid, started) if started else None


def _started_linux(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
    # The command name may hold spaces and parentheses: what follows its last one is safe to split (proc(5)).
    after_name = stat.rpartition(")")[2].split()
    state, started = after_name[0], after_name[19]
    return "" if state in "ZX" else f"{boot}:{started}"


def _started_elsewhere(pid: int) -> str:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    state, _, started = told.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(identity.pid) == identity


def send(identity: Identity, signum: signal.Signals) -> bool:
    """Signal this very process, never another one that got its pid; False when it is gone."""
    try:
        if not hasattr(os, "pidfd_open"):
            alive = is_alive(identity)
            if alive:
                os.kill(identity.pid, signum)
            return alive
        # The descriptor is opened first and pins the process: what is identified after that is what is signalled.
        handle = os.pidfd_open(identity.pid)
        try:
            if not is_alive(identity):
                return False
            signal.pidfd_send_signal(handle, signum)
        finally:
            os.close(handle)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise errors.PermanentError(f"process {identity.pid} belongs to another user and cannot be stopped") from error
    return True


def wait_gone(identity: Identity, *, seconds: float) -> bool:
    """Wait for the end of a process that may be somebody else's child."""
    deadline = time.monotonic() + seconds
    while is_alive(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end(identity: Identity, *, grace: float) -> bool:
    """Ask a process to end, and kill it after `grace` seconds. False when it was gone already."""
    if not send(identity, signal.SIGTERM):
        return False
    if not wait_gone(identity, seconds=grace):
        send(identity, signal.SIGKILL)
        wait_gone(identity, seconds=5.0)
    return True


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. Each start gets a new name in the variable `instance_variable`, so that it is told from the last."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    instance_variable: str
    # Seconds between SIGTERM and SIGKILL.
    grace: float = 5.0


@dataclass
class Backoff:
    """How long to wait before the next start of a process that ended."""

    failures: int = 0

    def next_wait(self, *, lived: float) -> float:
        """Seconds to wait after a life of `lived` seconds: doubling, and from the beginning after a long life."""
        self.failures = 1 if lived >= HEALTHY_AFTER else self.failures + 1
        # The exponent is bounded, for a process may fail for weeks.
        doubled = FIRST_WAIT * 2.0 ** min(self.failures - 1, 16)
        return min(doubled, LONGEST_WAIT)


@dataclass
class Child:
    """A program and the process that runs it, if any. Lives in the thread that starts it (see `_bind_to`)."""

    program: Program
    backoff: Backoff = field(default_factory=Backoff)
    instance: str = ""
    start_at: float | None = None
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0

    @property
    def name(self) -> str:
        """The name of the program."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The pid of the running process."""
        return self._process.pid if self._process else None

    def start(self, *arguments: str) -> Identity:
        """Start the process, with more arguments for this once. Raises PermanentError when it cannot be run."""
        self.instance = f"{socket.gethostname()}-{self.name}-{secrets.token_hex(4)}"
        environment = {**self.program.environment, self.program.instance_variable: self.instance}
        parent = os.getpid()
        try:
            rotate(self.program.log)
            with self.program.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                    (*self.program.command, *arguments),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # A session of its own: Ctrl-C reaches the supervisor alone, which stops its children in order.
                    start_new_session=True,
                    preexec_fn=lambda: _bind_to(parent),  # noqa: PLW1509 - the supervisor has one thread
                )
        except OSError as error:
            # A program that is not there, or a log that cannot be written: the error names the file.
            reason = f"{error.filename or self.program.command[0]} cannot be used: {error.strerror}"
            raise errors.PermanentError(f"{self.name} cannot be started: {reason}") from error
        self._started_at, self.start_at = time.monotonic(), None
        return identify(self._process.pid) or Identity(self._process.pid, "")

    def reap(self) -> str | None:
        """Look whether the process ended; in words how, once, with the next start scheduled."""
        if self._process is None or not self.is_gone:
            return None
        now = time.monotonic()
        self.start_at = now + self.backoff.next_wait(lived=now - self._started_at)
        code = self._finish()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def postpone(self) -> float:
        """Schedule another start after one that was not possible; the seconds until then."""
        wait = self.backoff.next_wait(lived=0.0)
        self.start_at = time.monotonic() + wait
        return wait

    @property
    def is_due(self) -> bool:
        """Whether the wait before the next start is over."""
        return self.start_at is not None and time.monotonic() >= self.start_at

    def terminate(self) -> None:
        """Ask the process to end."""
        self.start_at = None
        if self._process:
            # Not Popen.terminate: that would reap the process, and its pid with it (see `is_gone`).
            os.kill(self._process.pid, signal.SIGTERM)

    @property
    def is_gone(self) -> bool:
        """Whether no process of this child runs."""
        if self._process is None:
            return True
        # WNOWAIT leaves the zombie: its pid, the name of its group, stays taken until `_finish`.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """End the process and all it started, now."""
        self.start_at = None
        if self._process:
            self._finish()

    def _finish(self) -> int:
        """Kill what is left of the process and of all it started, and take its exit code."""
        assert self._process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = None
        return code


def _bind_to(parent: int) -> None:
    """Have the kernel kill this new process when its parent dies; runs between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the call.
        if os.getppid() != parent:
            os._exit(1)


def rotate(log: Path) -> None:
    """Put a log aside that has grown too large."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


class Wakeups:
    """Signals as something to wait for. `asked` counts the requests to stop (SIGINT, SIGTERM, SIGHUP)."""

    def __init__(self) -> None:
        self.asked = 0
        self._interrupts = False

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # Python writes a byte here for each signal, so that `wait` ends at once and no signal falls between two looks.
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        stops = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup says that a closed terminal is no reason to stop
            stops.append(signal.SIGHUP)
        self._old = {signum: signal.signal(signum, self._ask) for signum in stops}
        self._old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._old.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked += 1
        if self._interrupts:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within this, a request to stop ends at once what blocks, with KeyboardInterrupt."""
        self._interrupts = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def wait(self, seconds: float) -> None:
        """Wait for a signal (the end of a child is one), at most this long."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        if ready:
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)
