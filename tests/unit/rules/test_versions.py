"""ResourceVersions are compared as whole numbers, or not at all."""

from __future__ import annotations

import pytest

from app.rules import versions


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("9", "9", False),
        ("18446744073709551616", "18446744073709551615", True),
        ("", "1", None),
        ("1", "", None),
        ("a", "1", None),
        ("-1", "1", None),
        ("1.0", "1", None),
        ("١", "1", None),
        ("9" * 40, "1", None),
    ],
)
def test_newer_is_a_matter_of_numbers(one: str, other: str, expected: bool | None) -> None:  # noqa: FBT001
    """Ten is newer than nine, and what is no number is not ordered."""
    assert versions.newer(one, other) is expected
