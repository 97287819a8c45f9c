"""Histories: the same for the same seed, readable, and small where they fail."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import failpoints
from tests.chaos import faults, histories
from tests.chaos.histories import Step

STEPS = st.builds(Step, st.sampled_from(histories.DEEDS), st.integers(0, 20), st.integers(0, 60))


def test_a_seed_is_a_history() -> None:
    """The same steps each time, other ones for another seed, and every deed among them."""
    assert histories.prefix(1, 500) == histories.prefix(1, 500) != histories.prefix(2, 500)
    assert Counter(step.deed for step in histories.prefix(1, 2000)).keys() == set(histories.DEEDS)


@given(STEPS)
def test_a_step_is_read_as_it_was_written(step: Step) -> None:
    """What a report holds can be played again."""
    assert Step.parse(step.text()) == step


def test_what_is_no_step_is_refused() -> None:
    """A report that somebody edited says where."""
    with pytest.raises(ValueError, match="'destroy' is no deed"):
        Step.parse("destroy 1 2")


@given(st.lists(STEPS, max_size=40), st.sets(st.integers(0, 39), max_size=4))
def test_a_history_that_fails_is_made_small(steps: list[Step], guilty: set[int]) -> None:
    """Nothing is left but the steps that it takes, in their order."""
    wanted = [step for number, step in enumerate(steps) if number in guilty]

    def fails(part: list[Step]) -> bool:
        rest = iter(part)
        return all(step in rest for step in wanted)

    assert histories.shrunk(steps, fails) == wanted  # type: ignore[arg-type]


def test_seeds_in_a_row_meet_everybody_everywhere() -> None:
    """Every point of the product is one of a fault, and each fault comes in turn."""
    whole = faults.every(faults.PRODUCTION)
    assert {one.point for one in whole} == {faults.AT_ONCE, *failpoints.POINTS, *faults.LINKS}
    met = [fault for seed in range(len(whole)) for fault in faults.of_seed(seed, faults.PRODUCTION, 12)]
    assert Counter(met) == dict.fromkeys(whole, 12)
    assert set(faults.every(faults.EMBEDDED)) < set(whole)


def test_a_fault_is_read_as_it_is_called() -> None:
    """Each has a name of its own."""
    whole = faults.every(faults.PRODUCTION)
    assert [faults.Fault.parse(str(one)) for one in whole] == whole
    with pytest.raises(ValueError, match="'worker sneeze' is no fault"):
        faults.Fault.parse("worker sneeze")


def test_faults_can_be_chosen() -> None:
    """By what they are called."""
    assert {str(one) for one in faults.of_seed(1, faults.PRODUCTION, 3, only="after_push")} == {
        "worker after_push kill",
        "worker after_push term",
        "worker after_push stop",
    }
