"""Patterns of Go in Python: the same meaning, and an end."""

from __future__ import annotations

import time

import pytest

from app.sandbox import matching, schemas, validating

# Where each letter doubles the time of Python's engine: years, for this one.
LONG = "a" * 60 + "!"


@pytest.mark.parametrize(
    "rule", [{"pattern": "^(a+)+$"}, {"pattern": "^([a-z]+([-a-z]*[a-z])?)*$"}, {"format": "hostname"}], ids=str
)
def test_no_text_holds_the_server_up(rule: dict[str, str]) -> None:
    """Whatever a definition asks of a text, the answer comes within seconds, for one object after the other."""
    schema = schemas.Schema(document={"type": "object", "properties": {"text": {"type": "string", **rule}}})
    started = time.process_time()
    for _ in range(3):
        validating.check(schema, {"text": LONG})
    assert time.process_time() - started < 3.0
    assert not validating.check(schema, {"text": "aaa"})
    assert validating.check(schema, {"text": "!"})


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", False),
        ("^[$]$", "$", True),
        (r"a\z", "ba", True),
        ("b", "abc", True),
        ("^(a+)+$", "aaaa", True),
        ("^(a+)+$", "aab", False),
    ],
)
def test_a_pattern_means_what_it_means_in_go(pattern: str, text: str, *, expected: bool) -> None:
    """The end is the very end, a pattern is searched for anywhere, and a class is left as it is."""
    assert matching.matches(pattern, text) is expected


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a", True), ("a-b.c.", True), ("a.b-", False), ("-a", False), ("a..b", False), ("", False), ("a_b.C", True)],
)
def test_a_hostname_is_labels_and_dots(name: str, *, is_one: bool) -> None:
    """Letters, digits, hyphens within, and one dot after each label."""
    schema = schemas.Schema(
        document={"type": "object", "properties": {"text": {"type": "string", "format": "hostname"}}}
    )
    assert (not validating.check(schema, {"text": name})) is is_one
