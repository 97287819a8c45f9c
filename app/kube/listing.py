"""Paged lists: what a scope holds at one resourceVersion, or an error. Never half of it, never an empty guess.

An orphan sweep acts on what is read here (promise P10), so everything that is not provably whole is an error.
`watching.py` takes over from the resourceVersion of a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.kube import client, paths, problems
from app.rules import types


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of one list. All pages of a list carry the same `resource_version`, which is the list's."""

    items: list[dict[str, Any]]
    resource_version: str
    last: bool
    # How many objects follow, as far as the server says.
    remaining: int | None


def list_pages(
    cluster: client.Cluster, resource_type: types.ResourceType, namespace: str, *, page_size: int
) -> Iterator[Page]:
    """List a type in one namespace, or everywhere when `namespace` is empty; at least one page, the last marked.

    Raises Expired when the list has to start again, Forbidden, NotServed, and TemporaryError for a page that is not
    whole.
    """
    path = paths.collection(resource_type, namespace)
    query = {"limit": str(page_size)}
    first = ""
    while True:
        document = _read(cluster, path, query)
        resource_version, token = _position(document, path)
        first = first or resource_version
        if resource_version != first:
            raise problems.Expired(f"list {path}: two pages of one list differ in resourceVersion; it is listed again")
        yield Page(
            items=_items(document, resource_type, path),
            resource_version=first,
            last=not token,
            remaining=document["metadata"].get("remainingItemCount"),
        )
        if not token:
            return
        query["continue"] = token


def latest_resource_version(cluster: client.Cluster, resource_type: types.ResourceType, namespace: str) -> str:
    """Where the cluster stands now for this type: lower than a cursor means that etcd was restored."""
    path = paths.collection(resource_type, namespace)
    return _position(_read(cluster, path, {"limit": "1"}), path)[0]


def _read(cluster: client.Cluster, path: str, query: dict[str, str]) -> dict[str, Any]:
    document = cluster.get_json(path, query=query)
    if not str(document.get("kind", "")).endswith("List") or "items" not in document:
        raise problems.incomplete(f"list {path}", "the answer is not a list")
    return document


def _position(document: dict[str, Any], path: str) -> tuple[str, str]:
    """The resourceVersion of the list, and the token of its next page, empty at the end."""
    metadata = document.get("metadata")
    resource_version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(resource_version, str) or not resource_version:
        raise problems.incomplete(f"list {path}", "the list has no resourceVersion")
    return resource_version, str(metadata.get("continue") or "")


def _items(document: dict[str, Any], resource_type: types.ResourceType, path: str) -> list[dict[str, Any]]:
    """The objects, each with the apiVersion and kind that the server leaves out in lists of built-in types."""
    # An aggregated server written in Go may write an empty list as null; `_read` saw that the key is there.
    items = [] if document["items"] is None else document["items"]
    if not isinstance(items, list) or not all(isinstance(item, dict) and "metadata" in item for item in items):
        raise problems.incomplete(f"list {path}", "the list holds something that is no object")
    head = {"apiVersion": resource_type.api_version, "kind": resource_type.kind}
    return [{**head, **item} for item in items]
