"""Rendezvous hashing: every worker computes the same, and little moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.events import Ref
from app.models.nodes import NodeRow
from app.worker import assignment

REFS = [Ref(f"team-{number % 5}", f"d{number}") for number in range(200)]
# Each is assigned by itself: with a thousand lists of workers, some of them say as much as all.
SOME = REFS[:20]


def pool(*names: str) -> list[NodeRow]:
    """Shared workers without patterns."""
    return [NodeRow(name, (), False, ()) for name in names]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_each_destination_has_exactly_one_server(names: list[str]) -> None:
    """With any live pool each destination is served by exactly one worker."""
    live = pool(*names)
    served = [ref for name in names for ref in assignment.assigned(name, live, SOME)]
    assert sorted(served) == sorted(SOME)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=6, unique=True))
def test_only_the_leavers_destinations_move(names: list[str]) -> None:
    """When a worker goes, the destinations of the others stay where they are."""
    before, after = pool(*names), pool(*names[1:])
    for name in names[1:]:
        assert assignment.assigned(name, before, SOME) <= assignment.assigned(name, after, SOME)


def test_the_pool_shares_evenly() -> None:
    """Four workers get a fair part each of two hundred destinations."""
    live = pool("a", "b", "c", "d")
    assert all(25 <= len(assignment.assigned(node.name, live, REFS)) <= 75 for node in live)


def test_a_dedicated_worker_wins() -> None:
    """Where a dedicated worker's pattern matches, the pool serves nothing."""
    live = [*pool("a", "b"), NodeRow("own", ("team-1/*",), True, ())]
    assert assignment.assigned("own", live, REFS) == {ref for ref in REFS if ref.namespace == "team-1"}
    assert not any(ref.namespace == "team-1" for ref in assignment.assigned("a", live, REFS))


def test_patterns_limit_a_shared_worker_too() -> None:
    """A shared worker with patterns serves nothing else, and shares what matches with the rest of the pool."""
    live = [NodeRow("a", ("team-1/d1",), False, ())]
    assert assignment.assigned("a", live, REFS) == {Ref("team-1", "d1")}
    assert assignment.server_of(Ref("team-2", "d2"), live) is None


def test_a_worker_without_a_live_row_serves_nothing() -> None:
    """Who is not on the list has no queues."""
    assert assignment.assigned("ghost", pool("a"), REFS) == frozenset()
