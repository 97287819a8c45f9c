"""Who changed an object, read from its managedFields."""

from __future__ import annotations

from typing import Any

import pytest

from app.events import UserInfo
from app.rules import users


def _entry(manager: Any, time: str | None = None, subresource: str | None = None) -> dict[str, Any]:
    fields = {"manager": manager, "time": time, "subresource": subresource}
    return {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("entries", "manager"),
    [
        ([_entry("old", "2024-01-01T00:00:00Z"), _entry("new", "2024-01-02T00:00:00Z")], "new"),
        ([_entry("new", "2024-01-02T00:00:00Z"), _entry("old", "2024-01-01T00:00:00Z")], "new"),
        ([_entry("one", "2024-01-01T00:00:00Z"), _entry("last", "2024-01-01T00:00:00Z")], "last"),
        ([_entry("zz", "2024-01-01T00:00:00Z"), _entry("aa", "2024-01-01T00:00:00Z")], "aa"),
        ([_entry("me", "2024-01-01T00:00:00Z"), _entry("kcm", "2024-01-09T00:00:00Z", "status")], "me"),
        ([_entry("me", "2024-01-01T00:00:00Z"), _entry("hpa", "2024-01-09T00:00:00Z", "scale")], "hpa"),
        ([_entry("timeless"), _entry("timed", "2024-01-01T00:00:00Z")], "timed"),
        ([_entry("timeless")], "timeless"),
    ],
)
def test_the_newest_entry_that_is_no_status_counts(entries: list[dict[str, Any]], manager: str) -> None:
    """By time, the last of one second; a status update is no change of intent."""
    user = users.user_of({"metadata": {"managedFields": entries}})
    assert user == UserInfo(username=manager, source="managedFields")


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None},
        {"metadata": {}},
        {"metadata": {"managedFields": None}},
        {"metadata": {"managedFields": "x"}},
        {"metadata": {"managedFields": []}},
        {"metadata": {"managedFields": ["x", _entry(5), _entry("")]}},
        {"metadata": {"managedFields": [_entry("kcm", "2024-01-01T00:00:00Z", "status")]}},
    ],
)
def test_nobody_known_is_nobody(obj: dict[str, Any]) -> None:
    """Nothing is guessed."""
    assert users.user_of(obj) is None
