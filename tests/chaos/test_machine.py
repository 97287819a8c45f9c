"""Thousands of short histories in one process: any deed, any step of any process, any fault, in any order.

Hypothesis makes them up and makes those small that fail. At the end of each all comes to rest, and what holds after a
history of a whole installation (`checking.py`) has to hold here.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import get_args

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from app import failpoints
from tests.chaos import checking, faults, histories, miniature

# `make test-long` plays so many, of so many steps, and other ones each time. CI plays 100 and `make test` 10, and each
# time the same: a fault that is found by chance belongs to who looks for one.
HISTORIES, PARTS, STEPS = 5_000, 5, 40
SOME = min(hypothesis.settings().max_examples, 1_000) // 10
# Five deaths over one row are one reason to leave it out.
MOST_DEATHS = 4

_TO_OTHERS = [deed for deed in histories.DEEDS if deed not in histories.TO_OBJECTS]

_few = st.integers(0, 5)


class Machine(RuleBasedStateMachine):
    """One history."""

    beginning: miniature.Beginning

    def __init__(self) -> None:
        super().__init__()
        self.site = self.beginning.site()
        self._deaths = 0
        self._ending = ExitStack()
        self._ending.callback(self.site.close)
        self._ending.enter_context(self.site.stood_in())

    @rule(
        deed=st.sampled_from(histories.TO_OBJECTS),
        slot=st.integers(0, histories.OBJECTS - 1),
        choice=_few,
        times=st.integers(1, 5),
    )
    def change_objects(self, deed: histories.Deed, slot: int, choice: int, times: int) -> None:
        for more in range(times):
            self.site.player.play(histories.Step(deed, slot + more, choice))

    @rule(deed=st.sampled_from(_TO_OTHERS), slot=_few, choice=_few, seen=st.booleans())
    def change_what_is_mirrored(self, deed: histories.Deed, slot: int, choice: int, *, seen: bool) -> None:
        self.site.player.play(histories.Step(deed, slot, choice))
        if seen:
            self.site.lead(lambda leader: leader.reconcile())

    @rule(step=st.sampled_from(["deliver", "list", "write", "reconcile"]), which=_few, most=st.integers(1, 5))
    def lead(self, step: str, which: int, most: int) -> None:
        def work(leader: miniature.Leader) -> None:
            match step:
                case "deliver":
                    leader.deliver(which, most)
                case "list":
                    leader.list(which)
                case "write":
                    leader.write()
                case "reconcile":
                    leader.reconcile()

        self.site.lead(work)

    @rule(number=st.integers(0, miniature.WORKERS - 1), destination=st.integers(0, histories.DESTINATIONS - 1))
    def drain(self, number: int, destination: int) -> None:
        self.site.drain(number, self.site.ref(destination))

    @rule(destination=st.integers(0, histories.DESTINATIONS - 1))
    def ask_for_a_seed(self, destination: int) -> None:
        self.site.lead(lambda leader: leader.ask(self.site.ref(destination)))

    @rule(resource=st.sampled_from([histories.CONFIG_MAPS, histories.TOYS]))
    def forbid(self, resource: str) -> None:
        """Somebody takes the right to read a type away, or gives it back."""
        self.site.cluster.forbidden ^= {resource}

    @rule(
        deed=st.sampled_from(histories.TO_OBJECTS),
        slot=st.integers(0, histories.OBJECTS - 1),
        which=_few,
        pages=st.integers(1, 3),
    )
    def change_while_it_is_listed(self, deed: histories.Deed, slot: int, which: int, pages: int) -> None:
        """A change comes live between the list request and a page, or after the page of its object."""
        self.site.lead(lambda leader: leader.ask(self.site.ref(which % histories.DESTINATIONS)))
        self.site.lead(lambda leader: leader.sweep())
        for _ in range(pages):
            self.site.lead(lambda leader: leader.list(which))
        self.site.player.play(histories.Step(deed, slot, which))
        self.site.lead(lambda leader: leader.read())

    @rule(strangers=st.booleans())
    def restore(self, *, strangers: bool) -> None:
        """The cluster is put back to a moment after which only strangers wrote, and all connections break."""
        if strangers:
            self.site.cluster.strangers_write()
        else:
            self.site.cluster.restore()
            self.site.lead(lambda leader: leader.connect())

    @rule()
    def everything(self) -> None:
        self.site.everything()

    @rule(
        point=st.sampled_from(faults.WATCH_POINTS)
        | st.sampled_from(faults.WORKER_POINTS)
        | st.just(miniature.COMMITTED),
        spared=st.integers(0, 3),
        how=st.sampled_from(get_args(miniature.How)),
        slot=st.integers(0, histories.OBJECTS - 1),
        listed=st.booleans(),
    )
    def strike(self, point: miniature.Point, spared: int, how: miniature.How, slot: int, *, listed: bool) -> None:
        """A point is trapped while everybody has something to do; with `listed`, a listing, too."""
        if point not in faults.WATCH_POINTS and how != "freeze":
            self._deaths += 1
            if self._deaths > MOST_DEATHS:
                return
        self.site.traps.append(miniature.Trap(point, spared, how))
        for more in range(3):
            self.site.player.play(histories.Step("write", slot + more, 0))
        if listed:
            self.site.lead(lambda leader: leader.expire(slot))
        self.site.everything()
        self.site.traps.clear()

    @rule(slot=st.integers(0, histories.OBJECTS - 1))
    def take_back(self, slot: int) -> None:
        """Somebody takes the next push back before it is read back."""
        self.site.taken_back = 1
        self.site.player.play(histories.Step("write", slot, 0))
        self.site.everything()
        self.site.taken_back = 0

    @rule(seconds=st.sampled_from([1.0, miniature.LEASES_END, miniature.ALL_WAITS_END]))
    def time_passes(self, seconds: float) -> None:
        self.site.clock.passes(seconds)

    @rule(which=_few, killed=st.booleans())
    def begin_again(self, which: int, *, killed: bool) -> None:
        if killed:
            self.site.kill_leader()
        else:
            self.site.lead(lambda leader: leader.expire(which))

    def teardown(self) -> None:
        try:
            self.site.cluster.forbidden.clear()
            self.site.rest()
            assert self.site.unforeseen == []
            assert [str(one) for one in checking.check(self.site.scene())] == []
            # Everybody starts anew, and there is nothing to do (promise P3).
            before = self.site.rows('SELECT sha FROM "commit" ORDER BY id')
            self.site.kill_everybody()
            self.site.rest()
            assert self.site.rows('SELECT sha FROM "commit" ORDER BY id') == before
        finally:
            self._ending.close()


@pytest.fixture(scope="module", autouse=True)
def _begin(beginning: miniature.Beginning) -> None:
    Machine.beginning = beginning


def play(machine: type[Machine], count: int) -> None:
    """So many histories, each of which has to end well."""
    settings = hypothesis.settings(
        max_examples=count, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("part", range(PARTS))
def test_some_short_histories_with_faults(part: int) -> None:
    """P1-P11: whatever happens in whatever order, at rest Git, SQL and the cluster say the same."""
    play(hypothesis.seed(part)(type(f"Some{part}", (Machine,), {})), SOME // PARTS)


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("part", range(PARTS))
def test_thousands_of_short_histories_with_faults(part: int) -> None:
    """P1-P11, in histories that nobody has seen. Each part has a database of its own in Hypothesis's."""
    play(type(f"Part{part}", (Machine,), {}), HISTORIES // PARTS)


@pytest.mark.parametrize("how", get_args(miniature.How))
@pytest.mark.parametrize("point", [*failpoints.POINTS, miniature.COMMITTED])
def test_each_fault_happens_and_nothing_comes_of_it(
    site: miniature.Site, point: miniature.Point, how: miniature.How
) -> None:
    """P1-P11: who writes what a rule selects, and lists it, comes by each point."""
    site.traps.append(miniature.Trap(point, 0, how))
    site.player.play(histories.Step("write", 0, 0))
    site.lead(lambda leader: leader.expire(0))
    site.everything()
    site.rest()
    assert site.met == [(point, how)]
    assert site.unforeseen == []
    assert [str(one) for one in checking.check(site.scene())] == []
