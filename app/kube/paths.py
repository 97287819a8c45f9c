"""Where objects stand in the API: one rule for every type, so that custom resources need no code of their own."""

from __future__ import annotations

from urllib.parse import quote

from app import events
from app.rules import types


def collection(resource_type: types.ResourceType, namespace: str = "") -> str:
    """The path of all objects of a type; of one namespace, or of everywhere when `namespace` is empty."""
    group = f"/apis/{resource_type.group}" if resource_type.group else "/api"
    place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{group}/{resource_type.version}{place}/{resource_type.resource}"


def single(resource_type: types.ResourceType, ref: events.Ref, *, subresource: str = "") -> str:
    """The path of one object. RBAC names may hold a colon and worse, so the name is quoted."""
    path = f"{collection(resource_type, ref.namespace)}/{quote(ref.name, safe='')}"
    return f"{path}/{subresource}" if subresource else path
