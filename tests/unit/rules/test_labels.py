"""Label selectors mean what they mean to Kubernetes, and two spellings of one wish are one value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import labels
from app.rules.labels import LabelSelector, Requirement


@pytest.mark.parametrize(
    ("requirement", "found", "met"),
    [
        (Requirement("tier", "In", ("a", "b")), {"tier": "a"}, True),
        (Requirement("tier", "In", ("a", "b")), {"tier": "c"}, False),
        (Requirement("tier", "In", ("",)), {"tier": ""}, True),
        (Requirement("tier", "In", ("",)), {}, False),
        (Requirement("tier", "NotIn", ("a",)), {"tier": "b"}, True),
        (Requirement("tier", "NotIn", ("a",)), {"tier": "a"}, False),
        (Requirement("tier", "NotIn", ("a",)), {}, True),
        (Requirement("tier", "Exists"), {"tier": ""}, True),
        (Requirement("tier", "Exists"), {"other": "a"}, False),
        (Requirement("tier", "DoesNotExist"), {"other": "a"}, True),
        (Requirement("tier", "DoesNotExist"), {"tier": ""}, False),
    ],
)
def test_a_requirement_means_what_it_means_to_kubernetes(
    requirement: Requirement,
    found: dict[str, str],
    met: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """`NotIn` holds without the label too, and an empty value is a value."""
    assert requirement.matches(found) is met
    assert LabelSelector((requirement,)).matches(found) is met
    assert LabelSelector((requirement,)).unmet(found) == (None if met else requirement)


def test_all_requirements_have_to_be_met_and_none_select_everything() -> None:
    """The first one that is not met, by key, is named."""
    both = LabelSelector((Requirement("b", "Exists"), Requirement("a", "Exists")))
    assert both.matches({"a": "", "b": ""})
    assert not both.matches({"a": ""})
    assert both.unmet({}) == Requirement("a", "Exists")
    assert both.unmet({"a": ""}) == Requirement("b", "Exists")
    assert labels.EVERYTHING.matches({})
    assert labels.EVERYTHING.unmet({}) is None
    assert (bool(labels.EVERYTHING), bool(both)) == (False, True)


def test_one_wish_is_one_value() -> None:
    """Order and repetition of requirements and values make no difference."""
    one = LabelSelector((Requirement("b", "In", ("y", "x", "x")), Requirement("a", "Exists")))
    two = LabelSelector((Requirement("a", "Exists"), Requirement("b", "In", ("x", "y")), Requirement("a", "Exists")))
    assert one == two
    assert hash(one) == hash(two)


def test_a_selector_is_written_as_in_a_manifest() -> None:
    """One allowed value is a matchLabels; what that cannot say, and a second one of a key, is an expression."""
    selector = LabelSelector(
        (
            Requirement("tier", "In", ("front",)),
            Requirement("env", "In", ("qa", "prod")),
            Requirement("env", "In", ("prod",)),
            Requirement("env", "In", ("qa",)),
            Requirement("old", "DoesNotExist"),
            Requirement("team", "NotIn", ("x", "y")),
        )
    )
    assert selector.to_json() == {
        "matchLabels": {"env": "prod", "tier": "front"},
        "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod", "qa"]},
            {"key": "env", "operator": "In", "values": ["qa"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "team", "operator": "NotIn", "values": ["x", "y"]},
        ],
    }
    assert LabelSelector.of_json(selector.to_json()) == selector
    assert labels.EVERYTHING.to_json() == {}
    assert LabelSelector.of_json({}) == labels.EVERYTHING
    assert str(selector) == "env=prod,env in (prod, qa),env=qa,!old,team notin (x, y),tier=front"
    assert str(Requirement("a", "Exists")) == "a"


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        (
            Requirement("a b", "Exists"),
            "the key 'a b' can be no label: write it like tier or example.com/tier",
        ),
        (
            Requirement("a", "in"),
            "the operator 'in' is unknown: use In, NotIn, Exists, DoesNotExist",
        ),
        (
            Requirement("a", "In"),
            "In needs values: list at least one, or use Exists or DoesNotExist",
        ),
        (
            Requirement("a", "NotIn"),
            "NotIn needs values: list at least one, or use Exists or DoesNotExist",
        ),
        (
            Requirement("a", "Exists", ("x",)),
            "Exists takes no values: remove them, or use In or NotIn",
        ),
        (
            Requirement("a", "DoesNotExist", ("x",)),
            "DoesNotExist takes no values: remove them, or use In or NotIn",
        ),
        (
            Requirement("a", "In", ("good", "not good")),
            "the value 'not good' can be no label's: letters, digits, - _ and . up to 63 characters",
        ),
    ],
)
def test_what_a_server_would_refuse_is_said(requirement: Requirement, problem: str) -> None:
    """Each problem says what to write instead."""
    assert requirement.problem() == problem


@pytest.mark.parametrize("key", ["a", "a" * 63, "A_b.c-9", "example.com/a", "x/y", f"{'a.' * 126}a/{'b' * 63}"])
def test_keys_of_labels_are_taken(key: str) -> None:
    """A name of at most 63 characters, and before a slash a domain of at most 253."""
    assert Requirement(key, "Exists").problem() == ""


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a/b/c", "-a", "a-", "a" * 64, "A.com/a", "a..b/c", f"{'a.' * 126}aa/b", "ä", "a\n"]
)
def test_what_is_no_key_of_a_label_is_refused(key: str) -> None:
    """What the API server takes for no label is refused."""
    assert "can be no label" in Requirement(key, "Exists").problem()


def test_values_of_labels() -> None:
    """Empty or up to 63 characters, that begin and end with a letter or digit."""
    assert all(not Requirement("a", "In", (value,)).problem() for value in ("", "a", "a" * 63, "1.2_3-x"))
    for value in ("a" * 64, "-a", "a.", "a b", "ä", "a\n"):
        assert "the value" in Requirement("a", "NotIn", (value,)).problem()


def test_long_words_are_cut_in_messages() -> None:
    """What somebody wrote by mistake does not fill a status."""
    assert f"'{'x y ' * 20}'" in Requirement("x y " * 100, "Exists").problem()
    assert f"'{'y' * 40}'" in Requirement("a", "y" * 41).problem()
    assert f"'{' ' * 80}'" in Requirement("a", "In", (" " * 90,)).problem()


_requirements = st.builds(
    Requirement,
    st.sampled_from(["a", "b"]),
    st.sampled_from(labels.OPERATORS),
    st.lists(st.sampled_from(["x", "y", ""]), max_size=2).map(tuple),
)


@given(st.lists(_requirements, max_size=5).map(tuple))
def test_what_is_written_reads_back(requirements: tuple[Requirement, ...]) -> None:
    """The normal form loses nothing."""
    assert LabelSelector.of_json(LabelSelector(requirements).to_json()) == LabelSelector(requirements)
