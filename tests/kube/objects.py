"""Objects that the tests of this folder make in a real cluster."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import orjson

from app import events
from app.kube import client, paths
from app.rules import types

_ALL_VERBS = frozenset({"get", "list", "watch", "create", "delete", "patch"})


def _core(resource: str, kind: str, *, namespaced: bool = True) -> types.ResourceType:
    return types.ResourceType("", "v1", resource, kind, namespaced=namespaced, verbs=_ALL_VERBS, preferred=True)


CONFIG_MAPS = _core("configmaps", "ConfigMap")
EVENTS = _core("events", "Event")
SECRETS = _core("secrets", "Secret")
NAMESPACES = _core("namespaces", "Namespace", namespaced=False)
CLUSTER_ROLES = types.ResourceType(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False, verbs=_ALL_VERBS, preferred=True
)

_count = itertools.count(1)


def create(cluster: client.Cluster, resource_type: types.ResourceType, found: dict[str, Any]) -> dict[str, Any]:
    """Create one object and return it as the server keeps it."""
    namespace = found["metadata"].get("namespace", "")
    head = {"apiVersion": resource_type.api_version, "kind": resource_type.kind}
    body = orjson.dumps({**head, **found})
    return client.decode(
        cluster.request("POST", paths.collection(resource_type, namespace), body=body).data, call="create"
    )


def patch(cluster: client.Cluster, resource_type: types.ResourceType, ref: events.Ref, change: dict[str, Any]) -> None:
    """Merge a change into one object."""
    path = paths.single(resource_type, ref)
    cluster.request("PATCH", path, body=orjson.dumps(change), content_type=client.MERGE_PATCH)


def delete(cluster: client.Cluster, resource_type: types.ResourceType, ref: events.Ref) -> None:
    """Delete one object."""
    cluster.request("DELETE", paths.single(resource_type, ref))


def namespace(cluster: client.Cluster) -> str:
    """A new namespace: nothing deletes namespaces here, so each test has one of its own."""
    name = f"test-{next(_count)}-{uuid.uuid4().hex[:8]}"
    create(cluster, NAMESPACES, {"metadata": {"name": name}})
    return name


def config_map(cluster: client.Cluster, place: str, name: str, **data: str) -> dict[str, Any]:
    """A new ConfigMap."""
    return create(cluster, CONFIG_MAPS, {"metadata": {"name": name, "namespace": place}, "data": data})


def event(cluster: client.Cluster, place: str, name: str) -> dict[str, Any]:
    """A new Event of Kubernetes."""
    involved = {"kind": "Namespace", "name": place, "namespace": place}
    return create(cluster, EVENTS, {"metadata": {"name": name, "namespace": place}, "involvedObject": involved})
