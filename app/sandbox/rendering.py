"""Objects as clients ask for them: in the version of their path, as rows of a table, or as metadata alone."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Any

from app.sandbox import kinds, printing, requests, streaming

Object = dict[str, Any]

# What stands for a table or bare metadata instead of the type itself.
_TABLE = ("Table", "meta.k8s.io/v1")
_METADATA = ("PartialObjectMetadata", "meta.k8s.io/v1")


def one(registry: kinds.Registry, kind: kinds.Kind, found: Object, *, call: requests.Call) -> Object:
    """One object as an answer."""
    if call.accept.form == "table":
        version = {"resourceVersion": found["metadata"].get("resourceVersion", "")}
        return _table(registry, kind, [found], call=call, metadata=version)
    return _metadata(found) if call.accept.form == "metadata" else in_version(kind, found)


def many(
    registry: kinds.Registry, kind: kinds.Kind, found: Sequence[Object], *, call: requests.Call, metadata: Object
) -> Object:
    """A list as an answer."""
    if call.accept.form == "table":
        return _table(registry, kind, found, call=call, metadata=metadata)
    if call.accept.form == "metadata":
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return {**head, "items": [_metadata(item) for item in found]}
    head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata}
    if kind.definition:
        return {**head, "items": [in_version(kind, item) for item in found]}
    # As the real server: in lists of built-in types the items do not say what they are.
    return {**head, "items": [{k: v for k, v in item.items() if k not in {"kind", "apiVersion"}} for item in found]}


def view(registry: kinds.Registry, kind: kinds.Kind, *, call: requests.Call) -> streaming.View:
    """How a stream shows objects. Streams that ask for the same share the view."""
    if call.accept.form == "table":
        name, version = _TABLE
        return streaming.View(name, version, _Tables(registry, kind, call).event, is_shared=False)
    return _shared_view(kind, metadata_only=call.accept.form == "metadata")


@functools.lru_cache
def _shared_view(kind: kinds.Kind, *, metadata_only: bool) -> streaming.View:
    if metadata_only:
        name, version = _METADATA
        return streaming.View(name, version, _metadata)
    return streaming.View(kind.kind, kind.api_version, functools.partial(in_version, kind))


class _Tables:
    """The tables of one stream: the first one names the columns."""

    def __init__(self, registry: kinds.Registry, kind: kinds.Kind, call: requests.Call) -> None:
        self._registry = registry
        self._kind = kind
        self._call = call
        self._named = False

    def event(self, found: Object) -> Object:
        """The table of one event."""
        table = one(self._registry, self._kind, found, call=self._call)
        if self._named:
            return {**table, "columnDefinitions": None}
        self._named = True
        return table


def in_version(kind: kinds.Kind, found: Object) -> Object:
    """An object under the apiVersion of a type; every served version reads the same objects."""
    if found.get("apiVersion") == kind.api_version:
        return found
    return {**found, "apiVersion": kind.api_version, "kind": kind.kind}


def _metadata(found: Object) -> Object:
    return {"kind": _METADATA[0], "apiVersion": _METADATA[1], "metadata": found["metadata"]}


def _table(
    registry: kinds.Registry, kind: kinds.Kind, found: Sequence[Object], *, call: requests.Call, metadata: Object
) -> Object:
    return printing.table(
        registry,
        kind,
        [in_version(kind, item) for item in found],
        include_object=call.query.get("includeObject", "Metadata"),
        list_metadata=metadata,
        now=dt.datetime.now(dt.UTC),
    )
