"""Types and objects for the tests of the sandbox's pure parts, and short ways to ask those parts."""

from __future__ import annotations

import copy
import functools
from typing import Any

import orjson
import yaml

from app.kube import crds
from app.sandbox import admitting, kinds, managing, patching, problems

# One field of each sort that a schema can say something about.
FIELDS: dict[str, Any] = {
    "count": {"type": "integer", "default": 2},
    "port": {"x-kubernetes-int-or-string": True},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "list": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 3}},
    "map": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 5}},
    "maybe": {"type": "string", "nullable": True},
    "deep": {"type": "object", "default": {}, "properties": {"in": {"type": "string", "default": "dd"}}},
    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    "keyed": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"type": "string"}, "value": {"type": "string"}},
        },
    },
    "embedded": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    },
    "time": {"type": "string", "format": "date-time"},
    "word": {"type": "string", "pattern": "^[a-z]+$"},
    "choice": {"type": "string", "enum": ["a", "b"]},
    "even": {"type": "integer", "multipleOf": 2},
    "few": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
}


def definition(**changes: Any) -> dict[str, Any]:
    """A CustomResourceDefinition as a user writes it, of the kind Foo."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.n"}},
        "additionalPrinterColumns": [
            {"name": "Count", "type": "integer", "jsonPath": ".spec.count"},
            {"name": "First", "type": "string", "jsonPath": '.spec.keyed[?(@.type=="first")].value'},
            {"name": "Dotted", "type": "string", "jsonPath": r".metadata.annotations.example\.com/x", "priority": 1},
            {"name": "When", "type": "date", "jsonPath": ".spec.time"},
        ],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": {"type": "object", "properties": FIELDS},
                    "status": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}},
                },
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version],
            **changes,
        },
    }


@functools.cache
def registry() -> kinds.Registry:
    """The built-in types, ours, and Foo."""
    ours = list(yaml.safe_load_all(crds.manifests(allow_local=False)))
    empty = kinds.Registry.of([])
    stored = [
        admitting.admit(empty, kinds.DEFINITIONS, one, old=None, subresource="", field_validation="Strict").object
        for one in [*ours, definition()]
    ]
    return kinds.Registry.of(stored)


def kind(resource: str) -> kinds.Kind:
    """A type by its plural name."""
    return next(one for one in registry().kinds if one.resource == resource)


def written(resource: str, **parts: Any) -> dict[str, Any]:
    """An object as a user writes it."""
    of = kind(resource)
    namespace = {"namespace": "team"} if of.namespaced else {}
    metadata = {"name": "x", **namespace, **parts.pop("metadata", {})}
    return {"apiVersion": of.api_version, "kind": of.kind, "metadata": metadata, **parts}


def admit(
    resource: str, new: dict[str, Any], *, old: dict[str, Any] | None = None, subresource: str = "", strict: str = ""
) -> dict[str, Any]:
    """What is stored of a body."""
    return admitting.admit(
        registry(), kind(resource), copy.deepcopy(new), old=old, subresource=subresource, field_validation=strict
    ).object


def refusal(resource: str, new: dict[str, Any], **options: Any) -> problems.Refused:
    """Why a body is refused."""
    try:
        stored = admit(resource, new, **options)
    except problems.Refused as refused:
        return refused
    raise AssertionError(f"it was admitted: {stored}")


def patch(resource: str, current: dict[str, Any], change: Any, content_type: str) -> dict[str, Any]:
    """What a patch makes of an object."""
    return patching.patched(registry(), kind(resource), current, body=orjson.dumps(change), content_type=content_type)


class History:
    """An object and its managedFields over several writes; time passes by one second with each."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.object: dict[str, Any] | None = None
        self._seconds = 0

    def update(self, new: dict[str, Any], *, manager: str, subresource: str = "") -> None:
        """A create or an update."""
        made = admit(self.resource, new, old=self.object, subresource=subresource)
        fields = managing.updated(
            self.object,
            made,
            manager=manager,
            api_version=kind(self.resource).api_version,
            subresource=subresource,
            now=self._now(),
            schema=registry().schema(kind(self.resource)),
        )
        self.object = {**made, "metadata": {**made["metadata"], "managedFields": fields}}

    def apply(self, config: dict[str, Any], *, manager: str, force: bool = False) -> None:
        """A server-side apply."""
        merged = managing.applied(
            registry(), kind(self.resource), self.object, config, manager=manager, force=force, now=self._now()
        )
        made = admit(self.resource, merged, old=self.object)
        fields = merged["metadata"].get("managedFields", [])
        self.object = {**made, "metadata": {**made["metadata"], "managedFields": fields}}

    def fields(self, manager: str) -> Any:
        """What a manager owns."""
        assert self.object
        return next(
            (one["fieldsV1"] for one in self.object["metadata"]["managedFields"] if one["manager"] == manager), None
        )

    def _now(self) -> str:
        self._seconds += 1
        return f"2026-01-01T00:00:{self._seconds:02d}Z"
