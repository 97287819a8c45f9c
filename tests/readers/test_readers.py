"""What stands in Git, read by the programs that people apply it with (promise P1).

tests/unit/rules/test_rendering.py holds the readers of Python to any object, one example at a time, with no server.
Here are the programs, and for all of them the cases that were found once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import properties
from tests.readers import asking, go, kubectl, python, reading
from tests.unit.rules import strategies

RULES = Path(__file__).parents[1] / "unit" / "rules"
CASES = [*sorted((RULES / "cases").glob("*.json")), *sorted((RULES / "golden").glob("*.json"))]
INT64 = range(-(2**63), 2**63)
each_case_file = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


def cases(path: Path) -> list[dict[str, Any]]:
    """The objects of a file: a list of them, or one that shows what is typical."""
    found = json.loads(path.read_text())
    assert found
    return found if isinstance(found, list) else [found]


def cases_of_kubernetes(path: Path) -> list[dict[str, Any]]:
    """Those of them that an API server can hold."""
    return [kubectl.identified(obj) for obj in cases(path) if _is_held(obj)]


def _is_held(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_held, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or value in INT64


@each_case_file
@pytest.mark.parametrize("name", python.READERS)
def test_python_reads_what_was_found_once(path: Path, name: str) -> None:
    """A case that some reader ever got wrong comes back with all its types."""
    asking.compare(cases(path), python.READERS[name], same=reading.identical)


@each_case_file
@pytest.mark.go
def test_yaml_v3_reads_what_was_found_once(path: Path, yaml_v3: go.YamlV3) -> None:
    """A case that some reader ever got wrong comes back."""
    asking.compare(cases_of_kubernetes(path), yaml_v3, same=reading.equal)


@each_case_file
@pytest.mark.kubectl
def test_kubectl_reads_what_was_found_once(path: Path, kubectl_reader: kubectl.Kubectl) -> None:
    """A case that some reader ever got wrong comes back."""
    asking.compare(cases_of_kubernetes(path), kubectl_reader, same=reading.equal)


@pytest.mark.hypothesis
@pytest.mark.go
def test_yaml_v3_reads_every_object_back(yaml_v3: go.YamlV3, record_property: Callable[[str, object], None]) -> None:
    """Whatever an object holds, yaml.v3 gives it back."""
    record_property(properties.VERSION, f"yaml.v3 {yaml_v3.version}")
    asking.ask(strategies.held_by_kubernetes, yaml_v3, same=reading.equal)


@pytest.mark.hypothesis
@pytest.mark.kubectl
def test_kubectl_reads_every_object_back(
    kubectl_reader: kubectl.Kubectl, record_property: Callable[[str, object], None]
) -> None:
    """Whatever an object holds, `kubectl create` sends that to the server."""
    record_property(properties.VERSION, f"kubectl {kubectl_reader.version}")
    asking.ask(strategies.held_by_kubernetes.map(kubectl.identified), kubectl_reader, same=reading.equal)


def test_a_difference_is_found_and_made_small() -> None:
    """Of many objects, the report shows the one that was read differently, without what has nothing to do with it."""
    objects = [{"a": number, "b": [{"c": "x y", "d": "ab\x85cd"}]} for number in range(3)]
    objects.insert(1, {"a": {"b": [1, "no: Xz"]}, "e": "f"})

    def reads_no_capitals(files: list[bytes]) -> list[Any]:
        return python.READERS["PyYAML"]([data.replace(b"X", b"x") for data in files])

    with pytest.raises(AssertionError, match=r"cases/found\.json") as caught:
        asking.compare(objects, reads_no_capitals, same=reading.identical)
    assert str(caught.value).startswith("written: {\"\": \"X\"}\nread:    {'': 'x'}\n")


@pytest.mark.kubectl
def test_kubectl_says_which_file_it_cannot_read(kubectl_reader: kubectl.Kubectl) -> None:
    """One bad file among many is an answer of its own."""
    good = json.dumps(kubectl.identified({})).encode()
    first, bad, last = kubectl_reader([good, b"a: [", good])
    assert first == last == kubectl.identified({})
    assert isinstance(bad, reading.Unreadable)


@pytest.mark.go
def test_yaml_v3_refuses_what_is_no_json(yaml_v3: go.YamlV3) -> None:
    """A moment, a number as key or a broken file is seen, and never taken for a text."""
    answers = yaml_v3([b"a: 2020-01-01T00:00:00Z\n", b"1: a\n", b"a: [", b"a: 1\n"])
    assert [isinstance(answer, reading.Unreadable) for answer in answers] == [True, True, True, False]
