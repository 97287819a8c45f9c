"""What the server serves, as clients ask for it: the walk over groups, and the aggregated answer (KEP-3352).

Documents as kube-apiserver 1.36 writes them. `kinds.py` says the types; nothing here knows a single one of them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import platform
from collections.abc import Iterator
from typing import Any

from app.sandbox import kinds, problems

# The version of Kubernetes whose answers this server gives; clients choose their dialect by it.
MAJOR, MINOR, PATCH = "1", "36", "0"

_SUBRESOURCE_VERBS = ["get", "patch", "update"]


def version() -> dict[str, Any]:
    """The answer to /version."""
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": f"v{MAJOR}.{MINOR}.{PATCH}+reverser-sandbox",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def api_versions() -> dict[str, Any]:
    """The answer to /api: the versions of the core group."""
    # No addresses: without them a client stays on the one that it has used.
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(registry: kinds.Registry) -> dict[str, Any]:
    """The answer to /apis: every group but core."""
    found = [_group(name, list(members)) for name, members in _by_group(registry) if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(registry: kinds.Registry, name: str) -> dict[str, Any]:
    """The answer to /apis/GROUP. Raises Refused (404)."""
    members = [kind for kind in registry.kinds if kind.group == name]
    if not name or not members:
        raise problems.not_served()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, members)}


def resources(registry: kinds.Registry, group: str, version: str) -> dict[str, Any]:
    """The answer to /api/v1 and /apis/GROUP/VERSION. Raises Refused (404)."""
    members = [kind for kind in registry.kinds if (kind.group, kind.version) == (group, version)]
    if not members:
        raise problems.not_served()
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": members[0].api_version,
        "resources": [entry for kind in members for entry in _resources(kind)],
    }


def aggregated(registry: kinds.Registry, *, core: bool, version: str) -> dict[str, Any]:
    """Everything below /api (`core`) or /apis in one document; `version` is "v2" or "v2beta1"."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [_aggregated(label, list(kept)) for label, kept in _by_version(members)],
            }
            for name, members in _by_group(registry)
            if (not name) == core
        ],
    }


def _by_group(registry: kinds.Registry) -> Iterator[tuple[str, Iterator[kinds.Kind]]]:
    return itertools.groupby(registry.kinds, key=lambda kind: kind.group)


def _by_version(members: Iterator[kinds.Kind]) -> Iterator[tuple[str, Iterator[kinds.Kind]]]:
    """The versions of one group, the most preferred first; two definitions may interleave them."""
    ordered = sorted(members, key=lambda kind: kinds.version_rank(kind.version))
    return itertools.groupby(ordered, key=lambda kind: kind.version)


def _group(name: str, members: list[kinds.Kind]) -> dict[str, Any]:
    versions = [{"groupVersion": f"{name}/{label}", "version": label} for label, _kinds in _by_version(iter(members))]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(kind: kinds.Kind) -> Iterator[dict[str, Any]]:
    """One type of a walk, then its subresources by name."""
    found: dict[str, Any] = {
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
        **_names(kind),
    }
    if "list" in kind.verbs:
        found["storageVersionHash"] = _storage_hash(kind)
    yield found
    for name in sorted(kind.subresources):
        scale = {"group": "autoscaling", "version": "v1"} if name == kinds.SCALE else {}
        yield {
            "name": f"{kind.resource}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            **scale,
            "kind": "Scale" if scale else kind.kind,
            "verbs": _SUBRESOURCE_VERBS,
        }


def _names(kind: kinds.Kind) -> dict[str, Any]:
    names = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    return {key: value for key, value in names.items() if value}


def _storage_hash(kind: kinds.Kind) -> str:
    """How the real server names the version that objects are stored in."""
    text = f"{kind.group}/{kind.version}/{kind.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _aggregated(label: str, members: list[kinds.Kind]) -> dict[str, Any]:
    return {"version": label, "resources": [_aggregated_resource(kind) for kind in members], "freshness": "Current"}


def _aggregated_resource(kind: kinds.Kind) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resource": kind.resource,
        "responseKind": _response(kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
        **_names(kind),
    }
    subresources = [
        {
            "subresource": name,
            "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}
            if name == kinds.SCALE
            else _response(kind),
            "verbs": _SUBRESOURCE_VERBS,
        }
        for name in sorted(kind.subresources)
    ]
    return found | ({"subresources": subresources} if subresources else {})


def _response(kind: kinds.Kind) -> dict[str, str]:
    """The real server leaves group and version of built-in types to the path."""
    known = {"group": kind.group, "version": kind.version} if kind.definition else {"group": "", "version": ""}
    return {**known, "kind": kind.kind}
