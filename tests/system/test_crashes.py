"""Processes are killed and frozen under load: nothing is lost, doubled or out of order (promises P6 to P9)."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.system import checking
from tests.system.cluster import Api, Destination, repo_config
from tests.system.installation import Embedded, Lane, Separate
from tests.system.load import OBJECTS, Load, running
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

KILLS = ("watch", "worker", "redis", "worker", "watch", "redis")


@contextlib.contextmanager
def load(api: Api, namespace: str) -> Iterator[Load]:
    """Objects, and changes of them until the end of the block."""
    one = Load(api, namespace)
    with running(one):
        yield one


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
def frozen(pid: int) -> Iterator[None]:
    """Stop a process as a hung machine does; at the end of the block it wakes and goes on where it was."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.postgres
@pytest.mark.promise("P6", "P7")
def test_two_workers_that_freeze(separate: Separate, api: Api, repository: Repository) -> None:
    """Of two workers each freezes in turn under load; the other goes on, and who wakes repeats and reverts nothing.

    On PostgreSQL: a process that is frozen within a write of SQLite keeps that file locked for everybody.
    """
    separate.options = replace(separate.options, allow_local_repos=True)
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    separate.start(workers=("first", "second"))
    first, second = separate.pid("first"), separate.pid("second")
    with load(api, namespace) as writing:
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
    log.info(f"{writing.seq} changes")
    checking.check_mirrored(lane, api, destination, repository)
    checking.check_ledger(lane, [repository])
    checking.check_order(repository, objects=OBJECTS)
