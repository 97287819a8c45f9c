"""YAML as Kubernetes reads it. Each pair was measured with `kubectl create --dry-run=client -o json`."""

from __future__ import annotations

import pytest
import yaml

from app.kube import documents


def read(text: str) -> object:
    """The only document of a text."""
    ((document, _),) = documents.read(text)
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:30", "22:30"),
        ("190:20:30", "190:20:30"),
        ("1:30.5", "1:30.5"),
        ("1e3", 1000.0),
        ("1.5e3", 1500.0),
        ("-1E-2", -0.01),
        ("1e+3", 1000.0),
        ("1e400", "1e400"),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.10", 1.1),
        ("+1.5", 1.5),
        ("+12", 12),
        ("-0", 0),
        ("0o14", 12),
        ("014", 12),
        ("089", 89.0),
        ("0x1F", 31),
        ("0x1_F", 31),
        ("0b11", 3),
        ("0_14", 12),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("18446744073709551615", 18446744073709551615),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ("=", "="),
        ("<<", "<<"),
        ("y", True),
        ("N", False),
        ("yes", True),
        ("Off", False),
        ("on", True),
        ("NO", False),
        ("True", True),
        ("~", None),
        ("Null", None),
        ("", None),
        ("2001-01-01", "2001-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("NaN", "NaN"),
        ('"22:30"', "22:30"),
        ('"yes"', "yes"),
        ("!!str 12", "12"),
        ('!!int "12"', 12),
        ("!!float 12", 12.0),
        ("!!binary aGVsbG8=", "hello"),
        ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
        ("{<<: [{a: 1}, {a: 2, c: 3}], a: 4}", {"a": 4, "c": 3}),
        ("{1: a, 1.5: b, yes: c}", {"1": "a", "1.5": "b", "true": "c"}),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
    ],
)
def test_a_value_is_what_kubernetes_makes_of_it(text: str, value: object) -> None:
    """A value has the type and the value that it has in the cluster."""
    found = read(f"k: {text}")
    assert found == {"k": value}
    assert isinstance(found, dict)
    assert type(found["k"]) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' stands twice"),
        ("yes: 1\ntrue: 3", "key 'true' stands twice"),
        ("~: 1", "a key is no text"),
        ("[a]: 1", "a key is no text"),
        ("a: .inf", "JSON has no .inf"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!bool maybe", "neither true nor false"),
    ],
)
def test_what_json_cannot_hold_is_refused(text: str, words: str) -> None:
    """What has no meaning in JSON, or two, is refused with its place."""
    with pytest.raises(yaml.MarkedYAMLError, match=words) as caught:
        read(text)
    assert caught.value.problem_mark


def test_aliases_of_aliases_end() -> None:
    """A short text cannot fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(yaml.YAMLError, match="aliases"):
        read("\n".join(lines))


def test_an_alias_of_itself_ends() -> None:
    """What would have no end is refused."""
    with pytest.raises(yaml.YAMLError, match="aliases"):
        read("a: &a [*a]")
