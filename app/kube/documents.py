"""YAML as Kubernetes reads it: kubectl and the API server make JSON of it with `sigs.k8s.io/yaml`, a YAML 1.1 of Go.

It differs from Python's YAML 1.1 in plain values: `22:30` is a text, `1e3` a number, `y` true, `=` a text, a date a
text; a key that stands twice is refused. Neighbours: `manifests.py` reads files, the sandbox reads bodies.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

Node = yaml.ScalarNode | yaml.SequenceNode | yaml.MappingNode

_BOOLEANS = {
    spelling: truth
    for words, truth in ((("y", "yes", "true", "on"), True), (("n", "no", "false", "off"), False))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# As Go's parser of numbers takes them once underscores are gone: 014 and 0o14 are octal, 089 is a float.
_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0b[01]+|0o?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES = {"0x": 16, "0b": 2, "0o": 8}
# JSON's numbers of this many bits; a longer one becomes a float.
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
# An alias stands for a copy: a short text of aliases of aliases would fill the memory.
_MOST_VALUES = 1_000_000


def _tag_of(text: str) -> str:
    """The tag of a plain value."""
    digits = text.replace("_", "")
    name = "str"
    if text in _NULLS:
        name = "null"
    elif text in _BOOLEANS:
        name = "bool"
    elif text == "<<":
        name = "merge"
    elif text[:1] in "+-.0123456789" and _INTEGER.fullmatch(digits):
        name = "int"
    elif _INFINITE.fullmatch(text) or (_FLOAT.fullmatch(digits) and _is_finite(digits)):
        name = "float"
    return f"tag:yaml.org,2002:{name}"


def _is_finite(text: str) -> bool:
    return abs(float(text)) != float("inf")


class _Loader(yaml.CSafeLoader):
    """The library's fast parser, with our reading of what it finds."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _tag_of(str(value))
        return str(super().resolve(kind, value, (False, False)))  # type: ignore[no-untyped-call]

    def integer(self, node: yaml.ScalarNode) -> int | float:
        """A number of Go's spelling; one that fits no 64 bits is a float."""
        text = str(self.construct_scalar(node)).replace("_", "")
        sign, digits = (-1 if text[:1] == "-" else 1), text.lstrip("+-")
        base = _BASES.get(digits[:2]) or (8 if digits[:1] == "0" else 10)
        found = sign * int(digits, base)
        return found if _SMALLEST <= found <= _LARGEST else float(found)

    def floating(self, node: yaml.ScalarNode) -> float:
        """A float; JSON has neither infinity nor the absence of a number."""
        text = str(self.construct_scalar(node)).replace("_", "")
        if _INFINITE.fullmatch(text):
            raise yaml.constructor.ConstructorError(None, None, f"JSON has no {text}", node.start_mark)
        return float(text)

    def boolean(self, node: yaml.ScalarNode) -> bool:
        """True or false."""
        text = str(self.construct_scalar(node))
        if text not in _BOOLEANS:
            raise yaml.constructor.ConstructorError(None, None, f"{text!r} is neither true nor false", node.start_mark)
        return _BOOLEANS[text]

    def binary(self, node: yaml.ScalarNode) -> str:
        """What `!!binary` encodes, as the text that JSON can hold."""
        return bytes(self.construct_yaml_binary(node)).decode(errors="replace")

    def mapping(self, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
        """An object with texts as keys, each of them once."""
        found: dict[str, Any] = {}
        yield found
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "a mapping is expected", node.start_mark)
        self._refuse_repeated(node)
        self.flatten_mapping(node)
        for key, value in node.value:
            found[self._key(key)] = self.construct_object(value, deep=True)

    def _refuse_repeated(self, node: yaml.MappingNode) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self._key(key)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", key.start_mark)
            seen.add(name)

    def _key(self, node: Node) -> str:
        key = self.construct_object(node, deep=True)
        if key is None or not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", node.start_mark)
        if isinstance(key, bool):
            return "true" if key else "false"
        return f"{key:g}" if isinstance(key, float) else str(key)


for _name, _construct in (
    ("int", _Loader.integer),
    ("float", _Loader.floating),
    ("bool", _Loader.boolean),
    ("binary", _Loader.binary),
    ("map", _Loader.mapping),
    # Elsewhere than as a key it is a text.
    ("merge", _Loader.construct_yaml_str),
    ("timestamp", _Loader.construct_yaml_str),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _construct)


def read(text: str | bytes) -> Iterator[tuple[Any, int]]:
    """Each document of a YAML stream, with the line on which it begins.

    Raises yaml.YAMLError, and ValueError for a value that cannot be.
    """
    loader = _Loader(text)
    while loader.check_node():
        node: Any = loader.get_node()
        try:
            _measure(node, {})
            yield loader.construct_document(node), node.start_mark.line + 1
        except RecursionError:
            raise yaml.constructor.ConstructorError(None, None, "nested too deeply", node.start_mark) from None


def _measure(node: Node, sizes: dict[int, int]) -> int:
    """How many values a node stands for, each alias counted as a copy. Raises ConstructorError for too many."""
    if (known := sizes.get(id(node))) is not None:
        return known
    # An alias inside of what it stands for has no end.
    sizes[id(node)] = _MOST_VALUES + 1
    size = 1 + sum(_measure(one, sizes) for one in _children(node))
    if size > _MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, "aliases of aliases: too many values", node.start_mark)
    sizes[id(node)] = size
    return size


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (one for pair in node.value for one in pair)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
