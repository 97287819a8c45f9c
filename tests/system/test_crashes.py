"""Processes are killed and frozen under load: nothing is lost, doubled or out of order (promises P6 to P9)."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import processes
from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import COMMAND, Embedded, Lane, Separate
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

OBJECTS = 20
PER_SECOND = 20.0
KILLS = ("watch", "worker", "redis", "worker", "watch", "redis")


class Load:
    """20 changes a second over 20 ConfigMaps with a rising number; each tenth one is a create or a delete instead."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.seq = 0
        self._api = api
        self._namespace = namespace
        self._passing: list[str] = []

    def run(self, stop: threading.Event) -> None:
        """Thread: write until told to stop. The API server is not what is killed here, so every error is one."""
        due = time.monotonic()
        for number in itertools.cycle(range(OBJECTS)):
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / PER_SECOND, time.monotonic() - 1.0)
            self.seq += 1
            if self.seq % 10:
                data = {"seq": str(self.seq)}
                self._api.merge("configmaps", self._namespace, f"steady-{number}", data=data)
            else:
                self._come_or_go()

    def _come_or_go(self) -> None:
        if len(self._passing) < 5:
            self._passing.append(f"passing-{self.seq}")
            self._api.create("configmaps", self._namespace, self._passing[-1], data={"seq": str(self.seq)})
        else:
            self._api.delete("configmaps", self._namespace, self._passing.pop(0))


@contextlib.contextmanager
def load(api: Api, namespace: str) -> Iterator[Load]:
    """Objects, and changes of them until the end of the block."""
    for number in range(OBJECTS):
        api.create("configmaps", namespace, f"steady-{number}", data={"seq": "0"})
    one, stop = Load(api, namespace), threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            one.run(stop)
        except BaseException as error:  # noqa: BLE001 - told by the thread that asserts
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield one
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def wait_alive(repository: Repository, writing: Load) -> None:
    """Wait until a change that was made after now is in Git: everything works again."""
    after = writing.seq

    def arrived() -> bool:
        found = repository.git("show", "--format=", "-U0", "main") if repository.tip() else ""
        numbers = [int(line.split('"')[1]) for line in found.splitlines() if line.startswith('+  seq: "')]
        return any(number > after for number in numbers)

    wait_until(arrived, what=f"a change after {after}")


def strike(own: Embedded, name: str) -> None:
    """Kill one process; the embedded Redis loses its data, too."""
    if name == "redis":
        # It may write on meanwhile.
        shutil.rmtree(own.folder.redis, ignore_errors=True)
    own.kill(name)


def check_ledger(lane: Lane, repository: Repository) -> None:
    """Nothing pends, and the recorded commits are those of the branch, each once."""
    assert lane.rows("SELECT count(*) AS pending FROM event WHERE state = 'pending'") == [{"pending": 0}]
    recorded = sorted(row["sha"] for row in lane.rows('SELECT sha FROM "commit"'))
    assert recorded == sorted(repository.commits())
    states = {
        row["state"]: row["found"] for row in lane.rows("SELECT state, count(*) AS found FROM event GROUP BY state")
    }
    log.info(f"{len(recorded)} commits; rows by state: {states}")
    assert "dead" not in states
    assert "held" not in states
    unnamed = lane.rows("SELECT sequence FROM event WHERE state = 'pushed' AND commit_id IS NULL")
    assert not unnamed, "each pushed row names its commit"


def check_order(repository: Repository, writing: Load) -> None:
    """The numbers of each object only rise."""
    numbers = repository.numbers("seq")
    assert len(numbers) >= OBJECTS
    for path, found in numbers.items():
        assert found == sorted(set(found)), path
    log.info(f"{writing.seq} changes, {sum(map(len, numbers.values()))} numbers in {len(numbers)} files")


@pytest.mark.promise("P7", "P8", "P9")
def test_kills_under_load(own: Embedded, api: Api, repository: Repository) -> None:
    """Under 20 changes a second, killing watch daemon, worker, Redis with its data, and all at once loses nothing."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    own.start()
    with load(api, namespace) as writing:
        wait_alive(repository, writing)
        for name in KILLS:
            started = time.monotonic()
            strike(own, name)
            wait_alive(repository, writing)
            log.info(f"{name}: changes arrive again {time.monotonic() - started:.1f} s after its end")
        own.kill_supervisor()
        started = time.monotonic()
        own.start()
        wait_alive(repository, writing)
        log.info(f"supervisor: changes arrive again {time.monotonic() - started:.1f} s after `up` was typed")

    check_outcome(own, api, destination, repository, writing)


@contextlib.contextmanager
def second_worker(lane: Lane, folder: Path) -> Iterator[int]:
    """Another worker for the same destinations, as on another machine: its own work directory; its process id."""
    environment = replace(lane.options, work_dir=folder / "second").to_environment()
    with (folder / "second.log").open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "worker"], env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)
        processes.end(process)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process as a hung machine does; at the end of the block it wakes and goes on where it was."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.postgres
@pytest.mark.promise("P6", "P7")
def test_two_workers_that_freeze(separate: Separate, api: Api, repository: Repository, tmp_path: Path) -> None:
    """Of two workers each freezes in turn under load; the other goes on, and who wakes repeats and reverts nothing.

    On PostgreSQL: a process that is frozen within a write of SQLite keeps that file locked for everybody.
    """
    separate.options = replace(separate.options, allow_local_repos=True)
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    separate.start()
    first = separate.pid("worker")
    with second_worker(separate, tmp_path) as second, load(api, namespace) as writing:
        wait_alive(repository, writing)
        for pid in (first, second, first):
            started = time.monotonic()
            with frozen(pid):
                wait_alive(repository, writing)
            log.info(f"changes arrive {time.monotonic() - started:.1f} s after a worker froze")
            wait_alive(repository, writing)
    check_outcome(separate, api, destination, repository, writing)


def check_outcome(lane: Lane, api: Api, destination: Destination, repository: Repository, writing: Load) -> None:
    """Git equals the cluster, the record equals Git, and no object ever went back."""
    wanted = rendered(api.list("configmaps", destination.namespace), folder=destination.folder)
    wait_until(lambda: repository.tree() == wanted, what="Git equals the cluster")
    lane.wait_drained(destination.ref)
    assert repository.tree() == wanted
    check_ledger(lane, repository)
    check_order(repository, writing)
