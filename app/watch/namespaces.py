"""The labels of all namespaces, while a rule selects by them.

A rule with a `namespaceSelector` is compiled with them, and again when they change (`reconciling.py`). What is not
known is never read as "no namespaces": an answer that does not come makes the rule wait, all others only for a moment;
a refusal is said in its status, and labels that were known once stay through a failure. Nobody is asked while no rule
needs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from app import errors
from app.kube import client, listing, watching
from app.rules import types
from app.settings import Settings
from app.watch import following

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
# Seconds after which the other rules go on without an answer, whether it fails, hangs or is long.
PATIENCE = 10.0
_TICK = 0.5


class Namespaces:
    """Name -> labels of every namespace; sets `changed` when they are other ones. Safe to use from any thread."""

    def __init__(
        self, settings: Settings, cluster: client.Cluster, *, changed: threading.Event, stop: threading.Event
    ) -> None:
        # Why they cannot be read, empty while they can.
        self.problem = ""
        self._settings = settings
        self._cluster = cluster
        self._changed = changed
        self._stop = stop
        self._follower = following.Follower(settings, cluster, stop)
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._labels: dict[str, Labels] | None = None
        # Since when there is no answer, though one is wanted; None while there is.
        self._silent_since: float | None = None

    @property
    def labels(self) -> Mapping[str, Labels] | None:
        """What is known; None before the first answer, and while nobody wants it."""
        with self._lock:
            return None if self._labels is None else dict(self._labels)

    def want(self, *, wanted: bool) -> bool:
        """Follow them from now on, or not any more; whether it makes sense to go on with what is known.

        False only before the first answer, which sets `changed`, as does a refusal; and for PATIENCE seconds at most,
        the end of which sets nothing: ask again.
        """
        if not wanted:
            self._forget()
            return True
        self._wanted.set()
        with self._lock:
            return self._labels is not None or bool(self.problem) or self._silent() >= PATIENCE

    def run(self) -> None:
        """Thread: follow them while they are wanted, until told to stop."""
        while not self._stop.is_set():
            if self._wanted.wait(_TICK):
                self._follower.repeat("Namespace", self._follow, failed=self._failed, wanted=self._wanted.is_set)

    def close(self) -> None:
        """Wake the thread from its connection."""
        self._follower.close()

    def _forget(self) -> None:
        if not self._wanted.is_set():
            return
        self._wanted.clear()
        with self._lock:
            self._labels, self.problem, self._silent_since = None, "", None
        self._follower.close()

    def _follow(self) -> None:
        """List, then watch until the server ends it."""
        found: dict[str, Labels] = {}
        for page in listing.list_pages(self._cluster, NAMESPACES, "", page_size=self._settings.page_size):
            found |= {item["metadata"]["name"]: _labels(item) for item in page.items}
            position = page.resource_version
        self._replace(found)
        for change in self._follower.changes(NAMESPACES, position, wanted=lambda: self._labels is not None):
            if change.kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._take(change)

    def _replace(self, found: dict[str, Labels]) -> None:
        with self._lock:
            if not self._wanted.is_set():
                return
            same = self._labels == found and not self.problem
            self._labels, self.problem, self._silent_since = found, "", None
        if not same:
            self._changed.set()

    def _take(self, change: watching.Change) -> None:
        name = change.object["metadata"]["name"]
        after = None if change.kind == "DELETED" else _labels(change.object)
        with self._lock:
            if self._labels is None or self._labels.get(name) == after:
                return
            if after is None:
                del self._labels[name]
            else:
                self._labels[name] = after
        self._changed.set()

    def _failed(self, error: errors.ReverserError) -> str:
        """What cannot be read is said at once where a person has to act, else when it does not pass."""
        with self._lock:
            said = self._wanted.is_set() and (
                not isinstance(error, errors.TemporaryError) or self._silent() >= PATIENCE
            )
            news = said and self.problem != error.message
            if news:
                self.problem = error.message
        if news:
            self._changed.set()
        return error.message

    def _silent(self) -> float:
        """For how many seconds no answer has come. The caller has the lock."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since


def _labels(obj: Mapping[str, Mapping[str, Labels]]) -> Labels:
    return obj["metadata"].get("labels") or {}
