"""What has to hold at the end, whatever was broken on the way (promises P1, P2, P7 and P8)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tests.system.cluster import Api, Destination, rendered
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import PATIENCE, wait_until

log = logging.getLogger(__name__)


def check_mirrored(
    lane: Lane, api: Api, destination: Destination, repository: Repository, *, timeout: float = PATIENCE
) -> None:
    """Git equals the cluster by `timeout` seconds from now, and nothing that pended changes it."""
    wanted = rendered(api.list("configmaps", destination.namespace), folder=destination.folder)
    wait_until(lambda: repository.tree() == wanted, timeout, what=f"Git equals the cluster for {destination.ref}")
    lane.wait_drained(destination.ref)
    assert repository.tree() == wanted


def check_ledger(lane: Lane, repositories: Sequence[Repository]) -> dict[str, int]:
    """Nothing pends, and the recorded commits are those of the branches, each once; the rows by their state."""
    states = {
        row["state"]: row["found"] for row in lane.rows("SELECT state, count(*) AS found FROM event GROUP BY state")
    }
    assert not states.keys() & {"pending", "dead", "held"}, states
    recorded = sorted(row["sha"] for row in lane.rows('SELECT sha FROM "commit"'))
    assert recorded == sorted(sha for repository in repositories for sha in repository.commits())
    unnamed = lane.rows("SELECT sequence FROM event WHERE state = 'pushed' AND commit_id IS NULL")
    assert not unnamed, "each pushed row names its commit"
    log.info(f"{len(recorded)} commits; rows by state: {states}")
    return states


def check_order(repository: Repository, *, objects: int) -> None:
    """Of each object the numbers only rise, and there are at least so many objects."""
    numbers = repository.numbers("seq")
    assert len(numbers) >= objects
    for path, found in numbers.items():
        assert found == sorted(set(found)), path
    log.info(f"{sum(map(len, numbers.values()))} numbers in {len(numbers)} files")
