"""Several workers share several destinations, and each kind of fault hits one of them (promises P5 to P9).

On the API server that production has, and untraced, as all tests there: under tracing this would be a test of patience.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.servers.api import KUBE_ONLY
from tests.system import fleet
from tests.system.cluster import Api
from tests.system.installation import Separate

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
