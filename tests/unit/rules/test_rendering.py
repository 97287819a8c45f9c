"""The YAML in Git: reads back the same everywhere, and looks as people write it (promise P1)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from app import errors
from app.rules import rendering
from tests.readers import python, reading
from tests.unit.rules import strategies


def _text(obj: dict[str, Any]) -> str:
    return rendering.render(obj).decode()


@given(strategies.objects)
@example({})
@example({"k" * 2000: {"a": [1]}, "l" * 2000: [{"m" * 1100: "x"}]})
@example({"a": [[], {}, [[1], {"b": []}], "x\ny", None]})
@example({"f": [1e16, 1e-7, 1e300, -0.0, 5e-324, 1000.0], "i": 10**30})
def test_every_json_object_reads_back_the_same(obj: dict[str, Any]) -> None:
    """Whatever an object holds, the readers of YAML 1.1 and the one of 1.2 give it back, types included."""
    data = rendering.render(obj)
    for name, reader in python.READERS.items():
        (read,) = reader([data])
        assert reading.identical(read, obj), f"{name} read {read!r}"


@given(strategies.objects)
def test_no_line_holds_what_an_editor_hides(obj: dict[str, Any]) -> None:
    """Control and direction characters are escaped, so that a review sees what is there."""
    text = _text(obj)
    assert not set(text) & {*map(chr, range(9)), "\r", "\x0b", "\x7f", "\x85", "\u2028", "\u200b", "\u202e", "\ufeff"}


MANIFEST = {
    "spec": {"z": [{"b": 1, "a": ["x", ["z"]]}], "empty": {}, "none": [], "on": True},
    "metadata": {"labels": {"app": "web"}, "namespace": "shop", "name": "web", "annotations": {"a/b": "no"}},
    "kind": "Deployment",
    "data": {"run.sh": "#!/bin/sh\n\n  exec x: y\n", "word": "a\nb", "tail": "a\n\n", "gap": "", "cpu": "100m"},
    "apiVersion": "apps/v1",
    "image": "registry.example.com/web:1.2",
    "note": "two scoops: yes",
    "size": 1.5,
    "nothing": None,
}
AS_PEOPLE_WRITE_IT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  annotations:
    a/b: "no"
  labels:
    app: web
data:
  cpu: 100m
  gap: ""
  run.sh: |
    #!/bin/sh

      exec x: y
  tail: |+
    a

  word: |-
    a
    b
image: registry.example.com/web:1.2
note: "two scoops: yes"
nothing: null
size: 1.5
spec:
  empty: {}
  none: []
  "on": true
  z:
  - a:
    - x
    - - z
    b: 1
"""


def test_a_manifest_looks_as_people_write_it() -> None:
    """The order of the first keys, two spaces, dashes under their key, blocks for text, quotes where a reader errs."""
    assert _text(MANIFEST) == AS_PEOPLE_WRITE_IT


def test_items_that_are_no_text_stand_as_they_are() -> None:
    """Numbers, words and empty collections of a list, one a line."""
    assert _text({"a": [1, 1.5, True, None, {}, []]}) == "a:\n- 1\n- 1.5\n- true\n- null\n- {}\n- []\n"


def test_long_lines_are_not_wrapped() -> None:
    """A diff shows the value that changed, not the paragraph around it."""
    assert _text({"a": "word " * 200 + "."}).count("\n") == 1
    assert _text({"a": "word: " * 200}).count("\n") == 1


def test_the_same_object_gives_the_same_bytes() -> None:
    """The order in which a server sends keys makes no commit (promise P3)."""
    assert rendering.render({"b": {"y": 1, "x": 2}, "a": 3}) == rendering.render({"a": 3, "b": {"x": 2, "y": 1}})


def test_metadata_that_is_no_mapping_is_written_as_it_is() -> None:
    """The renderer has no opinion; sanitising has."""
    assert _text({"metadata": {}, "kind": "X"}) == "kind: X\nmetadata: {}\n"
    assert _text({"metadata": None}) == "metadata: null\n"


@pytest.mark.parametrize("trap", strategies.TRAPS)
def test_a_trap_is_quoted_as_value_and_key(trap: str) -> None:
    """What some reader takes for something else is text again, for each known trap."""
    assert yaml.safe_load(rendering.render({"value": trap, trap: [trap]})) == {"value": trap, trap: [trap]}


@pytest.mark.parametrize(
    "value", ["\ud800", {"\udfff": 1}, "a\n\ud800", float("nan"), float("inf"), float("-inf"), (1,), b"x", {1}]
)
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    """The object gets a dead row with a reason; its content is not in the message."""
    with pytest.raises(errors.PermanentError) as caught:
        rendering.render({"a": value})
    assert caught.value.reason == "NotWritable"


def test_a_nesting_without_end_is_refused() -> None:
    """A hostile object ends in a reason, not in the end of the process."""
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(errors.PermanentError, match="levels"):
        rendering.render({"a": deep})


@given(st.text(alphabet="k:é", min_size=995, max_size=1030))
def test_keys_around_the_readers_limit_read_back(key: str) -> None:
    """1,024 characters are where readers stop to look for a colon."""
    obj = {"a": {key: {"b": 1}}}
    for reader in python.READERS.values():
        assert reader([rendering.render(obj)]) == [obj]
