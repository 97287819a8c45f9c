"""Several workers share several destinations, and each kind of fault hits one of them (promises P5 to P9).

On the API server that production has, and untraced, as all tests there: under tracing this would be a test of patience.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.servers.api import KUBE_ONLY
from tests.servers.proxy import Proxy, address
from tests.system import fleet
from tests.system.cluster import Api
from tests.system.installation import Separate

log = logging.getLogger(__name__)

# Longer than a silent worker is waited for, by workers and by brokers.
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
def test_many_rings_are_lost(separate: Separate, api: Api) -> None:
    """Messages get lost on their way to the broker, and workers are killed: the sweeper rings, and all is there."""
    separate.options = replace(separate.options, allow_local_repos=True)
    with Proxy(address(separate.options.broker_url)) as proxy:
        url = proxy.url(separate.options.broker_url)
        separate.apart["watch"] = {"REVERSER_BROKER_URL": url, "REVERSER_LOG_FORMAT": "json"}
        one = fleet.Fleet(separate, api, workers=3, destinations=6, per_second=20)
        with one.running(), _flapping(proxy):
            for worker in one.workers[:2]:
                threading.Event().wait(10.0)
                separate.kill(worker)
            threading.Event().wait(10.0)
    made, dropped = sum(each.seq for each in one.loads), _dropped(separate)
    log.info(f"{dropped} messages were dropped, of {made} changes")
    assert dropped > made / 4


def _dropped(separate: Separate) -> int:
    """How many messages the watch daemon's publisher dropped, as its log says when it can send again."""
    lines = [json.loads(line) for line in separate.log("watch").read_text().splitlines() if line.startswith("{")]
    counts = [sum(line["dropped_since_start"].values()) for line in lines if "dropped_since_start" in line]
    return max(counts, default=0)


@contextlib.contextmanager
def _flapping(proxy: Proxy) -> Iterator[None]:
    """A network that falls silent every few seconds; what was sent meanwhile is gone."""
    done = threading.Event()

    def flap() -> None:
        while not done.wait(1.0):
            proxy.silence()
            done.wait(2.0)
            proxy.speak()

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
