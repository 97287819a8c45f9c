"""Where objects stand and how far they are from their end: what every verb asks of a stored object."""

from __future__ import annotations

from typing import Any

from app.sandbox import kinds, requests, storing

Object = dict[str, Any]


def type_of(kind: kinds.Kind) -> storing.Type:
    """What the objects of a type are kept under."""
    return storing.Type(kind.group, kind.resource)


def place_of(kind: kinds.Kind, target: requests.Target) -> storing.Place:
    """Where the object of a path stands."""
    return storing.Place(kind.group, kind.resource, target.namespace, target.name)


def namespace_of(found: Object) -> str:
    """The namespace of an object, "" for cluster scope."""
    return str(found["metadata"].get("namespace", ""))


def key_of(found: Object) -> str:
    """What lists are sorted by and page tokens hold: namespace, slash, name."""
    return f"{namespace_of(found)}/{found['metadata']['name']}"


def is_terminating(found: Object) -> bool:
    """Whether an object waits for its end."""
    return bool(found["metadata"].get("deletionTimestamp"))


def is_done(found: Object) -> bool:
    """Whether an object that waits for its end has nothing left to wait for."""
    waits = found["metadata"].get("finalizers") or (
        found.get("kind") == kinds.NAMESPACES.kind and (found.get("spec") or {}).get("finalizers")
    )
    return is_terminating(found) and not waits
