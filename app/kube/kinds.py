"""Our four kinds as types of the API; `app/rules/kinds.py` gives their fields a meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app import errors
from app.rules import kinds, types


def _ours(resource: str, kind: str, *, namespaced: bool) -> types.ResourceType:
    return types.ResourceType(
        group=kinds.GROUP,
        version=kinds.VERSION,
        resource=resource,
        kind=kind,
        namespaced=namespaced,
        verbs=frozenset({"get", "list", "watch", "patch"}),
        preferred=True,
    )


OUR_TYPES: Mapping[str, types.ResourceType] = {
    "GitRepoConfig": _ours("gitrepoconfigs", "GitRepoConfig", namespaced=True),
    "GitDestination": _ours("gitdestinations", "GitDestination", namespaced=True),
    "WatchRule": _ours("watchrules", "WatchRule", namespaced=True),
    "ClusterWatchRule": _ours("clusterwatchrules", "ClusterWatchRule", namespaced=False),
}

OurObject = kinds.GitRepoConfig | kinds.GitDestination | kinds.WatchRule | kinds.ClusterWatchRule

_READERS: Mapping[str, Callable[[Mapping[str, Any]], OurObject]] = {
    "GitRepoConfig": kinds.GitRepoConfig.from_object,
    "GitDestination": kinds.GitDestination.from_object,
    "WatchRule": kinds.WatchRule.from_object,
    "ClusterWatchRule": kinds.ClusterWatchRule.from_object,
}


def read(found: Mapping[str, Any]) -> OurObject:
    """Read a raw object by its kind. Raises PermanentError for another kind, or one that cannot be used."""
    kind = str(found.get("kind"))
    if kind not in _READERS or found.get("apiVersion") != kinds.API_VERSION:
        raise errors.PermanentError(f"{kind[:80]!r} is none of our kinds: {', '.join(_READERS)} of {kinds.API_VERSION}")
    return _READERS[kind](found)
