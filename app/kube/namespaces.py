"""Namespaces and their labels, as the API says them.

The watch daemon follows them while a rule selects by them (`app/watch/namespaces.py`); commands that explain rules ask
once (`app/cli/surveying.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.kube import client, listing
from app.rules import types

Labels = Mapping[str, str]

NAMESPACES = types.ResourceType(
    group="",
    version="v1",
    resource="namespaces",
    kind="Namespace",
    namespaced=False,
    verbs=frozenset({"list", "watch"}),
    preferred=True,
)


def labels_of(found: Mapping[str, Any]) -> Labels:
    """The labels of a raw Namespace."""
    return found["metadata"].get("labels") or {}


def list_labels(cluster: client.Cluster, *, page_size: int) -> tuple[dict[str, Labels], str]:
    """Name -> labels of every Namespace, and the resourceVersion to watch them from. Raises as `list_pages` does."""
    found: dict[str, Labels] = {}
    position = ""
    for page in listing.list_pages(cluster, NAMESPACES, "", page_size=page_size):
        found |= {one["metadata"]["name"]: labels_of(one) for one in page.items}
        position = page.resource_version
    return found, position
