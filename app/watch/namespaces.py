"""The labels of all namespaces, while a rule selects by them.

A rule with a `namespaceSelector` is compiled with them, and again when they change (`reconciling.py`). What is not
known is never read as "no namespaces": an answer that does not come makes the rule wait, all others only for a moment;
a refusal is said in its status, and labels that were known once stay through a failure. Nobody is asked while no rule
needs it, and only a change that a selector answers otherwise to is news.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from app import errors
from app.kube import client, watching
from app.kube import namespaces as kube_namespaces
from app.rules import labels
from app.settings import Settings
from app.watch import following

Labels = kube_namespaces.Labels
Selectors = frozenset[labels.LabelSelector]

# Seconds after which the other rules go on without an answer, whether it fails, hangs or is long.
PATIENCE = 10.0
_TICK = 0.5


class Namespaces:
    """Name -> labels of every namespace; sets `changed` when others are selected. Safe to use from any thread."""

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
        self._selectors: Selectors = frozenset()
        self._labels: dict[str, Labels] | None = None
        # Since when there is no answer, though one is wanted; None while there is.
        self._silent_since: float | None = None

    @property
    def labels(self) -> Mapping[str, Labels] | None:
        """What is known; None before the first answer, and while nobody wants it."""
        with self._lock:
            return None if self._labels is None else dict(self._labels)

    def want(self, selectors: Selectors) -> bool:
        """Follow them for these selectors from now on, for none not any more; whether they are `settled`."""
        if not selectors:
            self._forget()
            return True
        with self._lock:
            self._selectors = selectors
        self._wanted.set()
        return self.settled()

    def settled(self) -> bool:
        """Whether it makes sense to go on with what is known, while they are wanted.

        False only before the first answer, which sets `changed`, as does a refusal; and for PATIENCE seconds at most,
        the end of which sets nothing: ask again.
        """
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
            self._selectors, self._labels, self.problem, self._silent_since = frozenset(), None, "", None
        self._follower.close()

    def _follow(self) -> None:
        """List, then watch until the server ends it."""
        found, position = kube_namespaces.list_labels(self._cluster, page_size=self._settings.page_size)
        self._replace(found)
        for change in self._follower.changes(kube_namespaces.NAMESPACES, position, wanted=self._opened):
            if change.kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._take(change)

    def _replace(self, found: dict[str, Labels]) -> None:
        with self._lock:
            if not self._wanted.is_set():
                return
            news = self._labels is None or self._selected(self._labels) != self._selected(found)
            self._labels, self._silent_since = found, None
        if news:
            self._changed.set()

    def _opened(self) -> bool:
        """They may be listed and watched, so that no problem is left; whether somebody wants them still."""
        with self._lock:
            wanted, news = self._labels is not None, bool(self.problem)
            self.problem = ""
        if news:
            self._changed.set()
        return wanted

    def _take(self, change: watching.Change) -> None:
        name = change.object["metadata"]["name"]
        after = {} if change.kind == "DELETED" else {name: kube_namespaces.labels_of(change.object)}
        with self._lock:
            if self._labels is None:
                return
            before = {name: self._labels.pop(name)} if name in self._labels else {}
            self._labels |= after
            news = self._selected(before) != self._selected(after)
        if news:
            self._changed.set()

    def _selected(self, found: Mapping[str, Labels]) -> list[set[str]]:
        """What each selector answers. The caller has the lock."""
        return [{name for name, has in found.items() if selector.matches(has)} for selector in self._selectors]

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
