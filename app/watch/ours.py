"""Our four kinds, held in memory by streams of their own, and the signals that something changed.

CRDs and APIServices are watched as well, as triggers for discovery only. An object that cannot be read never stops the
others; kinds that are not served yet are waited for. `reconciling.py` reads the objects, `reporting.py` their status.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import structlog

from app import errors, events
from app.kube import client, kinds, listing, problems, watching
from app.rules import types
from app.settings import Settings
from app.watch import following

log = structlog.get_logger(__name__)

Raw = Mapping[str, Any]


def _trigger(group: str, resource: str, kind: str) -> types.ResourceType:
    return types.ResourceType(
        group=group,
        version="v1",
        resource=resource,
        kind=kind,
        namespaced=False,
        verbs=frozenset({"list", "watch"}),
        preferred=True,
    )


# A change of one of these changes what the cluster serves.
TRIGGERS = (
    _trigger("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
    _trigger("apiregistration.k8s.io", "apiservices", "APIService"),
)


class OurObjects:
    """The raw objects of our kinds by kind and name; safe to read from any thread."""

    def __init__(self, settings: Settings, cluster: client.Cluster, stop: threading.Event) -> None:
        self.changed = threading.Event()
        self.types_changed = threading.Event()
        self._settings = settings
        self._cluster = cluster
        self._lock = threading.Lock()
        self._objects: dict[str, dict[events.Ref, Raw]] = {}
        self._missing_said = threading.Event()
        self._follower = following.Follower(settings, cluster, stop)

    @property
    def complete(self) -> bool:
        """Whether every kind was listed once: before that, what is not there is not gone."""
        with self._lock:
            return self._objects.keys() == kinds.OUR_TYPES.keys()

    def snapshot(self) -> dict[str, dict[events.Ref, Raw]]:
        """All objects, by kind and name."""
        with self._lock:
            return {kind: dict(found) for kind, found in self._objects.items()}

    def snapshot_of(self, kind: str, ref: events.Ref) -> Raw | None:
        """One object, or None."""
        with self._lock:
            return self._objects.get(kind, {}).get(ref)

    def put(self, kind: str, raw: Raw) -> None:
        """Keep a newer state of an object, for example what a status write returned."""
        with self._lock:
            if _ref(raw) in self._objects.get(kind, {}):
                self._objects[kind][_ref(raw)] = raw

    def follow_kind(self, kind: str) -> None:
        """Thread: keep one kind, until told to stop."""
        type_ = kinds.OUR_TYPES[kind]
        self._follower.repeat(
            kind, lambda: self._follow_kind(kind, type_), failed=lambda error: self._told(kind, error)
        )

    def follow_trigger(self, trigger: types.ResourceType) -> None:
        """Thread: signal each change of what the cluster serves, until told to stop."""
        kind = trigger.kind
        self._follower.repeat(kind, lambda: self._follow_trigger(trigger), failed=lambda error: self._told(kind, error))

    def close(self) -> None:
        """Wake the threads from their connections."""
        self._follower.close()

    def _told(self, kind: str, error: errors.ReverserError) -> str:
        """What to say: nothing for a trigger that this server lacks, one sentence for our four kinds together."""
        if not isinstance(error, problems.NotServed):
            return error.message
        if kind not in kinds.OUR_TYPES or self._missing_said.is_set():
            return ""
        self._missing_said.set()
        local = " --allow-local" if self._settings.allow_local_repos else ""
        return f"{error.message}; our kinds are not installed yet: run `reverser crds{local} | kubectl apply -f -`"

    def _follow_kind(self, kind: str, type_: types.ResourceType) -> None:
        """List, then watch until the server ends it. Listing again each time costs little and heals everything."""
        found: dict[events.Ref, Raw] = {}
        for page in listing.list_pages(self._cluster, type_, "", page_size=self._settings.page_size):
            found |= {_ref(item): item for item in page.items}
            position = page.resource_version
        with self._lock:
            same = self._marks(self._objects.get(kind)) == self._marks(found)
            self._objects[kind] = found
        if not same:
            self.changed.set()
        for change in self._follower.changes(type_, position):
            if change.kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._take(kind, change)

    def _follow_trigger(self, trigger: types.ResourceType) -> None:
        position = listing.latest_resource_version(self._cluster, trigger, "")
        self.types_changed.set()
        self.changed.set()
        for change in self._follower.changes(trigger, position):
            if change.kind != "BOOKMARK":
                self.types_changed.set()
                self.changed.set()

    def _take(self, kind: str, change: watching.Change) -> None:
        ref = _ref(change.object)
        with self._lock:
            held = self._objects[kind]
            before = _mark(held.get(ref))
            if change.kind == "DELETED":
                held.pop(ref, None)
            else:
                held[ref] = change.object
            after = _mark(held.get(ref))
        # A status write is no change of intent, and most of them are ours.
        if before != after:
            self.changed.set()

    @staticmethod
    def _marks(found: Mapping[events.Ref, Raw] | None) -> dict[events.Ref, object] | None:
        return None if found is None else {ref: _mark(raw) for ref, raw in found.items()}


def _ref(raw: Raw) -> events.Ref:
    metadata = raw["metadata"]
    return events.Ref(metadata.get("namespace", ""), metadata["name"])


def _mark(raw: Raw | None) -> object:
    """What changes when a person changed the object."""
    if raw is None:
        return None
    metadata = raw["metadata"]
    return metadata.get("uid"), metadata.get("generation"), metadata.get("deletionTimestamp")
