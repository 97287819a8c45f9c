"""What narrows a rule: by labels and names of objects, and by their namespaces."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import filters, labels
from app.rules.filters import Filter

FRONT = labels.LabelSelector((labels.Requirement("tier", "In", ("front",)),))
NOT_ENDED = "no ] ends its [: write a set like [ab], or ? for any character"
BACKWARDS = "z-a runs backwards: write a-z"
NO_CARET = "^ is no sign of a set: write [!ab] for any character but a and b"
NO_BRACES = "{a,b} is no sign of a glob: write each of them as an entry of its own"
UNMET = "its labels do not meet tier=front of labelSelector"


def test_the_empty_filter_lets_everything_through() -> None:
    """A rule without any of it selects as it always did."""
    assert filters.EVERYTHING.selects("a", {})
    assert filters.EVERYTHING.refusal("a", {}) is None
    assert filters.EVERYTHING.covers("shop", None)
    assert filters.EVERYTHING.namespace_refusal("", None) is None
    assert filters.EVERYTHING.to_json() == {}
    looks = filters.EVERYTHING.by_object, filters.EVERYTHING.by_namespace, filters.EVERYTHING.by_labels
    assert looks == (False, False, False)


@pytest.mark.parametrize(
    ("wanted", "name", "found", "why"),
    [
        (Filter(names=("web-*", "api")), "web-1", {}, None),
        (Filter(names=("web-*", "api")), "api", {}, None),
        (Filter(names=("web-*", "api")), "api-1", {}, "its name matches none of names (api, web-*)"),
        (Filter(names=("Web",)), "web", {}, "its name matches none of names (Web)"),
        (Filter(exclude_names=("*-tmp", "x")), "a-tmp", {}, "its name matches *-tmp of excludeNames"),
        (Filter(exclude_names=("*-tmp", "x")), "x", {}, "its name matches x of excludeNames"),
        (Filter(exclude_names=("*-tmp", "x")), "X", {}, None),
        (Filter(names=("a*",), exclude_names=("ab",)), "ab", {}, "its name matches ab of excludeNames"),
        (Filter(labels=FRONT), "a", {"tier": "front"}, None),
        (Filter(labels=FRONT), "a", {"tier": "back"}, f"{UNMET}: it has tier=back"),
        (Filter(labels=FRONT), "a", {"app": "a"}, f"{UNMET}: it has no label tier"),
        (Filter(labels=FRONT, names=("b",)), "a", {"tier": "front"}, "its name matches none of names (b)"),
        (Filter(names=("[ab]?",)), "b1", {}, None),
    ],
)
def test_every_part_has_to_let_an_object_through(
    wanted: Filter, name: str, found: dict[str, str], why: str | None
) -> None:
    """The words say which part leaves it out; asked for yes or no, the answer is the same."""
    assert wanted.refusal(name, found) == why
    assert wanted.selects(name, found) is (why is None)


@pytest.mark.parametrize(
    ("wanted", "members", "why"),
    [
        (Filter(namespaces=FRONT), {"shop"}, None),
        (
            Filter(namespaces=FRONT),
            {"team"},
            "the labels of its namespace do not meet namespaceSelector (tier=front)",
        ),
        (
            Filter(namespaces=FRONT),
            set(),
            "the labels of its namespace do not meet namespaceSelector (tier=front)",
        ),
        (Filter(exclude_namespaces=("sh*",)), None, "its namespace matches sh* of excludeNamespaces"),
        (Filter(exclude_namespaces=("team",)), None, None),
        (
            Filter(namespaces=FRONT, exclude_namespaces=("shop",)),
            {"shop"},
            "its namespace matches shop of excludeNamespaces",
        ),
    ],
)
def test_namespaces_are_chosen_by_label_and_left_out_by_name(
    wanted: Filter, members: set[str] | None, why: str | None
) -> None:
    """Both have to let the namespace through."""
    assert wanted.namespace_refusal("shop", members) == why
    assert wanted.covers("shop", members) is (why is None)


def test_a_filter_knows_what_it_looks_at() -> None:
    """The index asks which filters look at objects, at namespaces, and at labels that may change."""
    looks = {
        Filter(labels=FRONT): (True, False, True),
        Filter(names=("a",)): (True, False, False),
        Filter(exclude_names=("a",)): (True, False, False),
        Filter(namespaces=FRONT): (False, True, True),
        Filter(exclude_namespaces=("a",)): (False, True, False),
    }
    assert {one: (one.by_object, one.by_namespace, one.by_labels) for one in looks} == looks


def test_one_wish_is_one_value_and_reads_as_a_manifest() -> None:
    """Lists are kept sorted and once each; what is written has the fields that a manifest has."""
    one = Filter(FRONT, ("b", "a", "b"), ("d", "c"), FRONT, ("f", "e"))
    assert one == Filter(FRONT, ("a", "b"), ("c", "d"), FRONT, ("e", "f"))
    selector: dict[str, Any] = {"matchLabels": {"tier": "front"}}
    assert one.to_json() == {
        "labelSelector": selector,
        "names": ["a", "b"],
        "excludeNames": ["c", "d"],
        "namespaceSelector": selector,
        "excludeNamespaces": ["e", "f"],
    }
    assert Filter(names=("a",)).to_json() == {"names": ["a"]}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (filters.EVERYTHING, ""),
        (Filter(names=("a", "b"), exclude_names=("a",)), ""),
        (Filter(names=("a", "b"), exclude_names=("a", "b")), "excludeNames"),
        (Filter(names=("app-1",), exclude_names=("app-*",)), "excludeNames"),
        (Filter(names=("app-1", "App-*"), exclude_names=("app-*",)), ""),
        (Filter(names=("app-*",), exclude_names=("app-*", "x")), "excludeNames"),
        (Filter(names=("a*",), exclude_names=("a?",)), ""),
        (Filter(names=("App-*",), exclude_names=("*",)), "excludeNames"),
        (Filter(exclude_names=("*",)), "excludeNames"),
        (Filter(exclude_names=("a*",)), ""),
        (Filter(names=("a", "b*"), exclude_names=("?*",)), "excludeNames"),
        (Filter(names=("*",), exclude_names=("x", "**")), "excludeNames"),
        (Filter(exclude_names=("??*",)), ""),
        (Filter(exclude_names=("[!x]*",)), ""),
        (Filter(exclude_namespaces=("a", "*?")), "excludeNamespaces"),
        (Filter(exclude_namespaces=("?",)), ""),
        (Filter(exclude_namespaces=("*",)), "excludeNamespaces"),
        (Filter(exclude_namespaces=("kube-*",)), ""),
    ],
)
def test_a_filter_that_lets_nothing_through_says_so(wanted: Filter, field: str) -> None:
    """Only where it is plain: of two globs, nobody works out whether the one holds the other."""
    assert wanted.emptied_by == field


def test_an_exact_name_is_no_glob() -> None:
    """Only a name without * ? [ means one object."""
    wanted = Filter(names=("web", "w*", "a?", "[x]", "x]!-"))
    assert [name for name in ("web", "w*", "a?", "[x]", "x]!-", "wx") if wanted.names_exactly(name)] == ["web", "x]!-"]


@pytest.mark.parametrize(
    ("glob", "prefix"), [("web-*", "web-"), ("*", ""), ("a?c", "a"), ("ab[c]*", "ab"), ("web", "web"), ("", "")]
)
def test_a_glob_begins_with_what_is_written_before_its_first_sign(glob: str, prefix: str) -> None:
    """Rules are filed by it."""
    assert filters.literal_prefix(glob) == prefix


@given(st.text("*?a[]!", max_size=4))
def test_a_glob_that_takes_every_name_is_known(glob: str) -> None:
    """It is one exactly when it takes names of one character and longer ones, whatever they are."""
    assert filters.takes_every_name(glob) == all(fnmatchcase(name, glob) for name in ("a", "b", "\x80", "ab", "b\x80a"))


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        *((glob, "") for glob in ("", "web", "*", "a?", "]", "a]b", "a-b", "[ab]", "[!ab]", "[a-c]x[0-9]", "[[]")),
        *((glob, "") for glob in ("[]]", "[!]]", "[]-a]", "[a-]", "[-a]", "[!-a]", "[a-a]", "[a-c-b]")),
        *((glob, NOT_ENDED) for glob in ("[", "app-[", "[ab", "[]", "[!]", "[!", "[a]b[c", "kube-[*")),
        *((glob, "") for glob in ("^a", "[a^]", "[!^]", "{a}", "{a},b", "a,b", "{a{b}c}")),
        *((glob, NO_CARET) for glob in ("[^a]*", "x[^]", "[a][^b]", "[^a-z]")),
        *((glob, NO_BRACES) for glob in ("{web,api}", "x-{a,}", "{,}", "{a,{b,c}}", "{a}{b,c}")),
        *((f"x{held}", BACKWARDS) for held in ("[z-a]", "[!z-a]", "[az-a]", "[a-cz-a]", "[a]*[z-a]")),
    ],
)
def test_a_glob_that_nobody_can_mean_has_a_problem(glob: str, said: str) -> None:
    """A set without an end is text to the matcher, and a range from back to front is empty: both match nothing."""
    assert filters.problem(glob) == said


@given(st.lists(st.text("ab*?[]!-\\|(", max_size=4), max_size=4), st.text("ab[]!-\\|(\n", max_size=4))
def test_many_globs_match_what_each_of_them_matches(globs: list[str], name: str) -> None:
    """However many there are, they are asked as one pattern."""
    assert Filter(exclude_names=tuple(globs)).selects(name, {}) is not any(fnmatchcase(name, one) for one in globs)


def test_globs_become_one_pattern_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule with many globs costs each object one question, and nothing is compiled again."""
    made: list[str] = []
    real = filters.translate
    monkeypatch.setattr(filters, "translate", lambda glob: (made.append(glob), real(glob))[1])
    wanted = Filter(exclude_names=tuple(f"*-{number}" for number in range(100)))
    assert [wanted.selects(f"web-{number}", {}) for number in (5, 50, 500)] == [False, False, True]
    assert len(made) == 100
