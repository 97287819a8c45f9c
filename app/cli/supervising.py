"""The supervisor of `reverser up`: starts its services, restarts what dies, stops all of it in order.

One thread, one loop. It knows nothing of Redis or Celery: a `Service` says how to run a program, when it is ready
and whether it is still well; `up.py` puts them together. Children are bound to this process by the kernel
(`processes.py`), so that none outlives it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app import errors
from app.cli import logs, processes

# The loop turns this often; the end of a child or a request to stop wakes it at once.
TURN = 0.2
# How often the state of a running service is looked at, and how many bad looks in a row restart it.
CHECK_INTERVAL = 1.0
BAD_CHECKS = 5
# How often `on_beat` is called: what people see as at once.
BEAT = 0.5
# Lines of a log that are shown when its process does not get ready.
SHOWN_LINES = 15


def _nothing() -> None:
    return None


def _well() -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program with its duties. The probes may be called at any time and answer within a second or two."""

    program: processes.Program
    # Given the name of this start of the program: whether it does its work.
    is_ready: Callable[[str], bool]
    # Called before each start.
    before_start: Callable[[], None] = _nothing
    # Asked at each start: what follows the program's command this time.
    arguments: Callable[[], tuple[str, ...]] = tuple
    # Called when a start of the program ended before it was ready, with the number of failures in a row.
    after_failure: Callable[[int], None] = lambda _failures: None
    # Looked at while it runs; bad for a while means kill and start again.
    is_well: Callable[[], bool] = _well
    # Where the program finds what it asks, which it reads once, at its start; empty while nobody knows. A change
    # starts the program again.
    asks: Callable[[], str] = str
    # Bad at once, without waiting: what it needs is gone.
    is_lost: Callable[[], bool] = lambda: False


class StopAskedError(Exception):
    """Somebody asked the supervisor to stop."""


@dataclass
class _Watched:
    """A service while it is supervised."""

    service: Service
    child: processes.Child
    tail: logs.Tail
    identity: processes.Identity | None = None
    was_ready: bool = False
    bad_checks: int = 0
    asks: str = ""


@dataclass(kw_only=True)
class Supervisor:
    """Runs a ground, such as a broker, and the services that need it. `run` returns when it was asked to stop.

    `say` prints a line for people; `noted` gets every identity whenever one changes; `when_ready` is called once all
    are ready and again after each restart.
    """

    ground: Sequence[Service]
    services: Sequence[Service]
    # Called once the ground is ready, before the services start; a request to stop interrupts it.
    prepare: Callable[[], None]
    say: Callable[[str], None]
    noted: Callable[[Mapping[str, processes.Identity]], None]
    when_ready: Callable[[], None]
    # Called in each turn; raises when there is no sense in going on, for example when the data folder was deleted.
    check_ground: Callable[[], None] = _nothing
    # Called at each beat once all are ready.
    on_beat: Callable[[], None] = _nothing
    # Seconds until everything must be ready, or None: say what is not, and go on waiting.
    ready_within: float | None = None
    patience: float = 30.0
    _wakeups: processes.Wakeups = field(default_factory=processes.Wakeups, init=False)
    _watched: list[_Watched] = field(default_factory=list, init=False)
    _is_up: bool = field(default=False, init=False)
    _checked_at: float = field(default=0.0, init=False)
    _beaten_at: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Bring everything up and look after it until asked to stop, then stop all of it.

        Raises ReverserError when it cannot come up; whatever runs is stopped then, too.
        """
        with self._wakeups:
            try:
                with contextlib.suppress(StopAskedError):
                    self._bring_up()
                    while True:
                        self._turn()
            finally:
                self._stop_all()

    def _bring_up(self) -> None:
        limit = self.ready_within or self.patience
        deadline = time.monotonic() + limit
        for service in self.ground:
            self._add(service)
        while not self._all_ready():
            self._turn()
            if time.monotonic() > deadline:
                raise errors.PermanentError(self._not_ready(limit))
        self._prepare()
        for service in self.services:
            self._add(service)
        said = False
        while not self._all_ready():
            self._turn()
            if said or time.monotonic() <= deadline:
                continue
            if self.ready_within is not None:
                raise errors.PermanentError(self._not_ready(limit))
            self.say(self._not_ready(limit) + "\nGoing on; Ctrl-C stops everything.")
            said = True
        self._is_up = True
        self.when_ready()

    def _prepare(self) -> None:
        """What is prepared may wait for a cluster: nobody has to wait with it to stop."""
        try:
            with self._wakeups.interrupting():
                self.prepare()
        except KeyboardInterrupt:
            raise StopAskedError from None

    def _add(self, service: Service) -> None:
        entry = _Watched(service, processes.Child(service.program), logs.Tail(service.program.log))
        self._watched.append(entry)
        self._start(entry)

    def _start(self, entry: _Watched) -> None:
        entry.service.before_start()
        entry.identity = entry.child.start(*entry.service.arguments())
        entry.was_ready, entry.bad_checks, entry.asks = False, 0, entry.service.asks()
        self.noted({one.child.name: one.identity for one in self._watched if one.identity})

    def _all_ready(self) -> bool:
        for entry in self._watched:
            # Asked in order, and not again once it was ready: a late one does not keep the others from being seen.
            entry.was_ready = entry.was_ready or (
                not entry.child.is_gone and entry.service.is_ready(entry.child.instance)
            )
        return all(entry.was_ready for entry in self._watched)

    def _not_ready(self, seconds: float) -> str:
        late = [entry for entry in self._watched if not entry.was_ready]
        names = ", ".join(entry.child.name for entry in late)
        parts = [f"not ready after {seconds:.0f} s: {names}"]
        for entry in late:
            log = entry.service.program.log
            ends = [f"  {line}" for line in logs.last_lines(log, count=SHOWN_LINES)]
            parts += [f"The end of {log}:", *(ends or ["  (empty)"])]
        return "\n".join(parts)

    def _turn(self) -> None:
        """One turn of the loop: wait a little, show warnings, see to the dead, the due and the sick."""
        self._wakeups.wait(TURN)
        if self._wakeups.asked:
            raise StopAskedError
        self.check_ground()
        for entry in self._watched:
            self._show_warnings(entry)
            if ended := entry.child.reap():
                self._bury(entry, ended)
            if entry.child.is_due:
                self._restart(entry)
        now = time.monotonic()
        if self._is_up and now - self._beaten_at >= BEAT:
            self._beaten_at = now
            self.on_beat()
        if self._is_up and now - self._checked_at >= CHECK_INTERVAL:
            self._checked_at = now
            for entry in self._watched:
                self._check(entry)

    def _show_warnings(self, entry: _Watched) -> None:
        for line in entry.tail.lines():
            if warning := logs.warning_in(line):
                self.say(f"{entry.child.name}: {warning}")

    def _bury(self, entry: _Watched, ended: str) -> None:
        assert entry.child.start_at is not None
        wait = max(0.0, entry.child.start_at - time.monotonic())
        self.say(f"{entry.child.name} {ended}; it is started again in {wait:.1f} s (log: {entry.service.program.log})")
        if not entry.was_ready:
            entry.service.after_failure(entry.child.backoff.failures)

    def _restart(self, entry: _Watched) -> None:
        try:
            self._start(entry)
        except errors.PermanentError as error:
            self.say(f"{error.message}; tried again in {entry.child.postpone():.1f} s")
            return
        self.say(f"{entry.child.name} is started again, pid {entry.child.pid}")
        if self._is_up:
            self.when_ready()

    def _check(self, entry: _Watched) -> None:
        if entry.child.is_gone:
            return
        if not entry.was_ready:
            entry.was_ready = entry.service.is_ready(entry.child.instance)
        lost = entry.service.is_lost()
        entry.bad_checks = 0 if not lost and entry.service.is_well() else entry.bad_checks + 1
        if lost or entry.bad_checks >= BAD_CHECKS:
            self.say(f"{entry.child.name} {'lost its files' if lost else 'does not answer'}: it is replaced")
            entry.child.kill()
            self._restart(entry)
        else:
            self._check_address(entry)

    def _check_address(self, entry: _Watched) -> None:
        """Start a program again that asks where nobody answers any more."""
        before, now = entry.asks, entry.service.asks()
        entry.asks = now or before
        if before and entry.asks != before:
            self.say(f"{entry.child.name} asks {before}, which is {now} now: it is replaced")
            entry.child.kill()
            self._restart(entry)

    def _stop_all(self) -> None:
        """Services in their order, the ground last: what still works may need it."""
        asked = max(self._wakeups.asked, 1)
        if self._is_up:
            self.say("Stopping: what is under way may end; once more to end at once.")
        ground = len(self.ground)
        for entry in [*self._watched[ground:], *self._watched[:ground]]:
            entry.child.terminate()
            deadline = time.monotonic() + entry.service.program.grace
            # Whoever asks a second time is not made to wait.
            while not entry.child.is_gone and self._wakeups.asked <= asked and time.monotonic() < deadline:
                self._wakeups.wait(TURN)
            if not entry.child.is_gone:
                self.say(
                    f"{entry.child.name} is killed: {self._why_killed(entry, impatient=self._wakeups.asked > asked)}"
                )
            entry.child.kill()
        self._watched.clear()

    def _why_killed(self, entry: _Watched, *, impatient: bool) -> str:
        return "you asked twice" if impatient else f"it did not end within {entry.service.program.grace:.0f} s"
