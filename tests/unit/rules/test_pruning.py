"""Pruning: which sweeps wait for a person."""

from __future__ import annotations

import pytest

from app.rules.pruning import Policy, Pruning


@pytest.mark.parametrize(
    ("orphans", "files", "allowed", "held"),
    [
        # Few are never held, whatever share of all they are.
        (20, 20, 0, False),
        (21, 21, 0, True),
        # Half of them may go, and not one more.
        (50, 100, 0, False),
        (51, 100, 0, True),
        # What a person allowed may go, and not one more.
        (51, 100, 51, False),
        (52, 100, 51, True),
        # Who allows less than may go anyway forbids nothing.
        (50, 100, 1, False),
    ],
)
def test_a_large_sweep_waits(orphans: int, files: int, allowed: int, *, held: bool) -> None:
    """More than twenty files, more than the ratio, and more than a person allowed."""
    assert Pruning().holds(orphans, files=files, allowed=allowed) == held


@pytest.mark.parametrize(("ratio", "held"), [(0.0, True), (1.0, False)])
def test_the_ratio_may_be_all_or_nothing(ratio: float, *, held: bool) -> None:
    """With 0 each sweep of more than twenty files waits, with 1 none does."""
    assert Pruning(max_ratio=ratio).holds(21, files=1_000, allowed=0) == held
    assert Pruning(max_ratio=ratio).holds(1_000, files=1_000, allowed=0) == held


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (None, "Always"),
        ("", "Always"),
        ("Always", "Always"),
        ("OnEvent", "OnEvent"),
        ("Never", "Never"),
        ("Newer", "Never"),
    ],
)
def test_an_unknown_policy_removes_nothing(text: str | None, policy: str) -> None:
    """A word of a newer schema is read as the one that does least."""
    assert Policy.read(text) == policy


def test_what_removes_a_file() -> None:
    """A deletion that was seen counts for two of the policies, what a listing does not find for one."""
    assert [policy for policy in Policy if policy.removes_deleted] == [Policy.ALWAYS, Policy.ON_EVENT]
    assert [policy for policy in Policy if policy.removes_orphans] == [Policy.ALWAYS]
