"""What a type's schema says, in the form that the rest of this room walks along: a tree of `Schema`.

Built-in types come from `app/kube/schemas.py`, custom ones from their CustomResourceDefinition; both are OpenAPI v3
with `x-kubernetes-*` marks, so one reader serves both. A tree is made once per text of a schema and never changed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from app.kube import schemas as built_in

_METADATA = "V1ObjectMeta"


class _Missing:
    """Stands where there is no default; `null` would be one."""


MISSING: Final = _Missing()


@dataclass(slots=True, eq=False)
class Schema:
    """One field's schema: what it may hold, and how it merges."""

    # object, array, string, integer, number, boolean, int-or-string, quantity, or "" for anything.
    type: str = ""
    format: str = ""
    # The built-in model that this is, such as "V1PodSpec".
    model: str = ""
    fields: dict[str, Schema] = field(default_factory=dict)
    # Of the values of a map (`additionalProperties`) and of the items of a list.
    values: Schema | None = None
    items: Schema | None = None
    required: tuple[str, ...] = ()
    nullable: bool = False
    default: Any = MISSING
    # Fields below that carry a default, at any depth.
    defaulted: tuple[str, ...] = ()
    # Unknown fields stay (`x-kubernetes-preserve-unknown-fields`).
    preserves: bool = False
    # Holds apiVersion, kind and metadata of its own (`x-kubernetes-embedded-resource`, and every root).
    embedded: bool = False
    # A map, a struct or a list that is owned and replaced as one value; lists are unless they say otherwise.
    atomic: bool = False
    # "atomic", "set" or "map", and the keys of the last.
    list_type: str = "atomic"
    keys: tuple[str, ...] = ()
    # Of a strategic merge patch: merge, replace, retainKeys; and the key of the list's items.
    strategies: frozenset[str] = frozenset()
    merge_key: str = ""
    # The OpenAPI document that this was read from.
    document: Mapping[str, Any] = field(default_factory=dict)

    def child(self, name: str) -> Schema | None:
        """The schema of a field or a map's value; None when nothing is known about it."""
        return self.fields.get(name) or self.values


def of_model(model: str) -> Schema:
    """The tree of a built-in model such as "V1Deployment"; models that several types use are read once."""
    return _BUILT_IN.named(model)


@functools.lru_cache(maxsize=512)
def of_definition(text: bytes) -> Schema:
    """The tree of a CustomResourceDefinition's `openAPIV3Schema`, given as JSON; every root is an object."""
    document = orjson.loads(text)
    root = _Reader().read(document)
    root.type = root.type or "object"
    _embed(root)
    return root


def _embed(node: Schema) -> None:
    """Give an object its apiVersion, kind and metadata, whatever its schema says about them."""
    node.embedded = True
    node.fields |= {"apiVersion": Schema("string"), "kind": Schema("string"), "metadata": of_model(_METADATA)}


class _Reader:
    """Reads one document. Models that refer to themselves (JSONSchemaProps) become a tree that does so too."""

    def __init__(self) -> None:
        self._named: dict[str, Schema] = {}

    def named(self, model: str) -> Schema:
        if model not in self._named:
            self._named[model] = Schema(model=model)
            self._fill(self._named[model], built_in.schema(model))
        return self._named[model]

    def read(self, document: Mapping[str, Any]) -> Schema:
        referred = _reference(document)
        if not referred:
            node = Schema()
            self._fill(node, document)
            return node
        node = self.named(referred)
        if _marks(document):
            # The field says more than its model does: a copy with the field's marks.
            node = self.copy(node)
            _mark(node, document)
        return node

    @staticmethod
    def copy(node: Schema) -> Schema:
        """A node of its own with the same children."""
        return Schema(**{name: getattr(node, name) for name in Schema.__slots__})

    def _fill(self, node: Schema, document: Mapping[str, Any]) -> None:
        node.document = document
        node.type = _type(document)
        node.format = document.get("format", "")
        node.required = tuple(document.get("required") or ())
        node.nullable = bool(document.get("nullable"))
        node.preserves = bool(document.get("x-kubernetes-preserve-unknown-fields"))
        node.default = document.get("default", MISSING)
        _mark(node, document)
        self._fill_children(node, document)
        if document.get("x-kubernetes-embedded-resource"):
            _embed(node)

    def _fill_children(self, node: Schema, document: Mapping[str, Any]) -> None:
        node.fields = {name: self.read(one) for name, one in (document.get("properties") or {}).items()}
        values = document.get("additionalProperties")
        if isinstance(values, Mapping):
            node.values = self.read(values)
        elif values:
            node.preserves = True
        if document.get("items"):
            node.items = self.read(document["items"])
        node.defaulted = tuple(name for name, one in node.fields.items() if _has_default(one))


_BUILT_IN: Final = _Reader()


def _has_default(node: Schema) -> bool:
    """Whether a default stands here or below."""
    if node.default is not MISSING or node.defaulted:
        return True
    return any(_has_default(one) for one in (node.values, node.items) if one)


def _reference(document: Mapping[str, Any]) -> str:
    """The model that a built-in property refers to. Schemas of CustomResourceDefinitions hold no `$ref`."""
    written = document.get("$ref") or next((one.get("$ref") for one in document.get("allOf") or ()), None)
    return str(written).removeprefix(built_in.REFERENCE) if written else ""


def _marks(document: Mapping[str, Any]) -> bool:
    return any(key.startswith("x-kubernetes-") for key in document)


def _mark(node: Schema, document: Mapping[str, Any]) -> None:
    """Take over how a field merges."""
    node.atomic = node.atomic or document.get("x-kubernetes-map-type") == "atomic"
    node.list_type = document.get("x-kubernetes-list-type", node.list_type)
    node.keys = tuple(document.get("x-kubernetes-list-map-keys") or node.keys)
    node.merge_key = document.get("x-kubernetes-patch-merge-key", node.merge_key)
    if written := document.get("x-kubernetes-patch-strategy"):
        node.strategies = frozenset(written.split(","))


def _type(document: Mapping[str, Any]) -> str:
    if document.get("x-kubernetes-int-or-string"):
        return "quantity" if document.get("format") == "quantity" else "int-or-string"
    return str(document.get("type") or ("object" if document.get("properties") else ""))
