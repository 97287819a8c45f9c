"""Branch names follow git-check-ref-format, and nothing is guessed."""

from __future__ import annotations

import pytest

from app import errors
from app.rules import branches


@pytest.mark.parametrize("branch", ["main", "release/v1.2", "feature/a_b-c", "a@b", "é", "x" * 200, "refs"])
def test_a_name_that_git_takes_is_taken(branch: str) -> None:
    """Every legal short name may be written to."""
    branches.check(branch)


@pytest.mark.parametrize(
    "branch",
    [
        "",
        "a b",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "@",
        "-a",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "a\nb",
        "a\x7f",
        "a\u202eb",
        "HEAD",
        "refs/heads/main",
        "é" * 101,
    ],
)
def test_a_name_that_git_refuses_is_refused(branch: str) -> None:
    """A branch that cannot exist is said before anything is fetched."""
    with pytest.raises(errors.PermanentError) as caught:
        branches.check(branch)
    assert caught.value.reason == "InvalidBranch"
