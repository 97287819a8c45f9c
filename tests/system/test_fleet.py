"""Several workers share several destinations, and each kind of fault hits one of them (promises P5 to P9).

On the API server that production has, and untraced, as all tests there: under tracing this would be a test of patience.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.api import KUBE_ONLY
from tests.servers.proxy import Address, Proxy
from tests.system import fleet
from tests.system.cluster import Api
from tests.system.installation import Separate

log = logging.getLogger(__name__)

# A worker that was silent for five seconds is gone.
FROZEN = 8.0


@KUBE_ONLY
@pytest.mark.postgres
@pytest.mark.promise("P6", "P7", "P8", "P9")
def test_workers_that_end_and_freeze(separate: Separate, api: Api) -> None:
    """Of three workers one ends, one is killed, one freezes: others go on, in order, each change once."""
    separate.options = replace(separate.options, allow_local_repos=True)
    one = fleet.Fleet(separate, api, workers=3, destinations=6, per_second=20)
    with one.running():
        one.end("SIGTERM", one.workers[0], signal.SIGTERM)
        one.end("SIGKILL", one.workers[1], signal.SIGKILL)
        one.freeze(one.workers[2], seconds=FROZEN)
    assert one.states["pushed"] >= len(one.arrivals) > 0
    assert all(fault.destinations for fault in one.faults)


@KUBE_ONLY
@pytest.mark.postgres
@pytest.mark.promise("P5", "P6", "P7", "P8", "P9")
def test_most_rings_are_lost(separate: Separate, api: Api) -> None:
    """Most messages never reach the broker, and workers are killed: the sweeper rings, and all is there, in order."""
    separate.options = replace(separate.options, allow_local_repos=True)
    with Proxy(_address(separate.options.broker_url)) as proxy:
        separate.apart["watch"] = {"REVERSER_BROKER_URL": _through(proxy, separate.options.broker_url)}
        one = fleet.Fleet(separate, api, workers=3, destinations=6, per_second=20)
        with one.running():
            with _flapping(proxy):
                for worker in one.workers[:2]:
                    one.end("SIGKILL", worker, signal.SIGKILL)
                (lease,) = separate.rows("SELECT drops FROM watch_lease")
                made = sum(each.seq for each in one.loads)
            dropped = sum(lease["drops"].values())
    log.info(f"{dropped} messages were dropped, of {made} changes")
    assert dropped > made / 2


@contextlib.contextmanager
def _flapping(proxy: Proxy) -> Iterator[None]:
    """A network that works a tenth of the time."""
    done = threading.Event()

    def flap() -> None:
        while not done.wait(0.2):
            proxy.silence()
            done.wait(1.8)
            proxy.speak()

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _address(broker_url: str) -> Address:
    parts = urlsplit(broker_url)
    return (parts.hostname, parts.port) if parts.hostname and parts.port else Path(parts.path)


def _through(proxy: Proxy, broker_url: str) -> str:
    """The URL of a broker, with a proxy before it."""
    parts = urlsplit(broker_url)
    if parts.scheme == "redis+socket":
        return f"redis://127.0.0.1:{proxy.port}/0"
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}").geturl()
