"""Several workers that share many destinations under load, and what is measured when something of it breaks.

Every figure is taken from outside: from when the API server had answered a change to when the ledger says that its
commit was pushed. Neighbours: `test_fleet.py` breaks a little in CI, `bench/faults.py` a lot and for long.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import string
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app import events
from app.models import nodes
from app.worker import assignment
from tests.system import checking, load
from tests.system.cluster import Api, Destination, repo_config
from tests.system.installation import Separate
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

# Changes of one destination go round among so many objects.
OBJECTS = 5


@dataclass(frozen=True, slots=True)
class Arrival:
    """One change that is in Git. Times are seconds of the clock that all processes of a machine share."""

    destination: str
    wrote: float
    pushed: float

    @property
    def lag(self) -> float:
        """Seconds from the API server's answer to the record of the push."""
        return max(0.0, self.pushed - self.wrote)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to a worker: what, when, and the destinations that it served."""

    what: str
    at: float
    destinations: frozenset[str]


class Fleet:
    """Destinations in a namespace and a repository of their own each, and the workers that share them."""

    def __init__(self, lane: Separate, api: Api, *, workers: int, destinations: int, per_second: float) -> None:
        self.lane, self.api = lane, api
        self.faults: list[Fault] = []
        self.repositories: list[Repository] = []
        self.destinations: list[Destination] = []
        self.loads: list[load.Load] = []
        # Known once it ran: rows of the ledger by state, and every change that came to Git.
        self.states: dict[str, int] = {}
        self.arrivals: list[Arrival] = []
        for _ in range(destinations):
            self._add(per_second / destinations)
        self.workers = self._sharing(workers)

    def _sharing(self, count: int) -> list[str]:
        """Names of workers that each have half of an even share at least: a fault of one without any shows nothing."""
        for letters in itertools.product(string.ascii_lowercase, repeat=3):
            names = [f"worker-{number}{''.join(letters)}" for number in range(1, count + 1)]
            if min(map(len, self._shares(names).values())) * 2 * count >= len(self.destinations):
                return names
        raise AssertionError("no names share the destinations")

    def _shares(self, names: list[str]) -> dict[str, list[str]]:
        """What each of these workers serves when all of them live."""
        refs = [events.Ref.parse(one.ref) for one in self.destinations]
        live = [nodes.NodeRow(name, (), dedicated=False, serves=()) for name in names]
        return {name: sorted(map(str, assignment.assigned(name, live, refs))) for name in names}

    def _add(self, per_second: float) -> None:
        namespace = self.api.namespace("fleet")
        repository = Repository.local(self.lane.folder / f"{namespace}.git")
        config = repo_config(self.api, namespace, "local", repository.url)
        self.repositories.append(repository)
        self.destinations.append(Destination(self.api, namespace, "prod", repository=config))
        self.loads.append(load.Load(self.api, namespace, objects=OBJECTS, per_second=per_second))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Everything runs and is written to until the end of the block. Then it is checked, and measured."""
        self.lane.start(workers=self.workers)
        with load.running(*self.loads):
            self.wait_settled()
            yield
        self._check()
        self.arrivals = self._arrivals()

    def strike(self, what: str, worker: str, how: Callable[[], object]) -> Fault:
        """Do something to a worker, and note which destinations it served."""
        fault = Fault(what, time.time(), frozenset(self._serving()[worker]))
        how()
        self.faults.append(fault)
        return fault

    def end(self, what: str, worker: str, with_signal: signal.Signals) -> None:
        """End a worker, wait until others serve its destinations, and start it again."""
        fault = self.strike(what, worker, lambda: self.lane.remove(worker, with_signal))
        self.wait_served(fault)
        self.lane.add(worker)
        self.wait_settled()
        log.info(f"{what} of {worker}: settled {time.time() - fault.at:.1f} s later")

    def freeze(self, worker: str, *, seconds: float) -> None:
        """Stop a worker as a hung machine does; after `seconds` it wakes, and goes on where it was."""
        pid = self.lane.pid(worker)
        fault = self.strike("SIGSTOP", worker, lambda: os.kill(pid, signal.SIGSTOP))
        try:
            self.wait_served(fault)
            threading.Event().wait(max(0.0, fault.at + seconds - time.time()))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_settled()
        log.info(f"SIGSTOP of {worker}: settled {time.time() - fault.at:.1f} s later")

    def leader(self) -> str:
        """The watch daemon that leads; empty for nobody."""
        return next(
            (str(row["owner"]) for row in self.lane.rows("SELECT owner FROM watch_lease WHERE until > now()")), ""
        )

    def end_leader(self) -> None:
        """Kill -9 the watch daemon that leads, wait until another one does, and start it again."""
        name = self.leader()
        self._strike_leader("leader SIGKILL", lambda: self.lane.remove(name, signal.SIGKILL))
        self._wait_led(name)
        self.lane.add(name)

    def freeze_leader(self, *, seconds: float) -> None:
        """Stop the watch daemon that leads; another one leads, and after `seconds` this one wakes, sees it and ends."""
        name = self.leader()
        pid = self.lane.pid(name)
        fault = self._strike_leader("leader SIGSTOP", lambda: os.kill(pid, signal.SIGSTOP))
        try:
            self._wait_led(name)
            threading.Event().wait(max(0.0, fault.at + seconds - time.time()))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.lane.wait_ended(name)
        self.lane.add(name)

    def _strike_leader(self, what: str, how: Callable[[], object]) -> Fault:
        fault = Fault(what, time.time(), frozenset(one.ref for one in self.destinations))
        how()
        self.faults.append(fault)
        return fault

    def _wait_led(self, before: str) -> None:
        wait_until(lambda: self.leader() not in {"", before}, 120, what=f"another one than {before} leads")
        after = [one.seq for one in self.loads]
        wait_until(lambda: all(one.seq > seq for one, seq in zip(self.loads, after, strict=True)), what="changes")

    def wait_served(self, fault: Fault) -> None:
        """Wait until something was pushed for each destination since a fault."""
        query = "SELECT namespace || '/' || name AS ref FROM git_destination WHERE last_pushed_at > to_timestamp(:at)"

        def left() -> list[str]:
            served = {row["ref"] for row in self.lane.rows(query, at=fault.at)}
            return sorted(fault.destinations - served)

        wait_until(lambda: not left(), 120, what=f"all are served after {fault.what}")
        log.info(f"{fault.what}: served {time.time() - fault.at:.1f} s later: {len(fault.destinations)}")

    def wait_settled(self) -> None:
        """Wait until all workers live, and each serves what is its own and nothing else."""
        wanted = self._shares(self.workers)
        wait_until(lambda: self._serving() == wanted, 120, what="the workers share all destinations")

    def _serving(self) -> dict[str, list[str]]:
        query = "SELECT name, serves FROM worker_node WHERE heartbeat > now() - make_interval(secs => :silent)"
        return {row["name"]: sorted(row["serves"]) for row in self.lane.rows(query, silent=nodes.STALE_AFTER)}

    def _check(self) -> None:
        """Git equals the cluster, the record equals Git, and no object went back or came twice."""
        for destination, repository in zip(self.destinations, self.repositories, strict=True):
            checking.check_mirrored(self.lane, self.api, destination, repository)
            checking.check_order(repository, objects=OBJECTS)
        self.states = checking.check_ledger(self.lane, self.repositories)

    def _arrivals(self) -> list[Arrival]:
        rows = self.lane.rows('SELECT sha, extract(epoch FROM pushed_at) AS pushed FROM "commit"')
        pushed = {row["sha"]: float(row["pushed"]) for row in rows}
        return [
            Arrival(destination.ref, written.wrote[number], pushed[sha])
            for destination, repository, written in zip(self.destinations, self.repositories, self.loads, strict=True)
            for sha, _, number in repository.arrivals("seq")
            if number in written.wrote
        ]

    def served_again(self, fault: Fault) -> list[float]:
        """For each destination of a fault the seconds until a change that was written after it was pushed."""
        first: dict[str, float] = {}
        for one in self.arrivals:
            if one.destination in fault.destinations and one.wrote >= fault.at:
                first[one.destination] = min(first.get(one.destination, one.pushed), one.pushed)
        return sorted(first[destination] - fault.at for destination in fault.destinations)
