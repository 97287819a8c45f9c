"""How a kind is held in memory: list, watch, and start again after whatever goes wrong.

`ours.py` follows our four kinds with it and `namespaces.py` the namespaces; the streams of what is mirrored have
cursors and are another matter (`streams.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import structlog

from app import errors
from app.kube import client, problems, watching
from app.rules import types
from app.settings import Settings
from app.watch import backoff

log = structlog.get_logger(__name__)

NOT_SERVED_WAIT = 3.0
REFUSED_WAIT = 10.0
# 429 in a row that nobody has to hear of.
BUSY_TIMES = 3


class Follower:
    """Repeats what follows a kind, and keeps its connections so that they can be closed; safe for many threads."""

    def __init__(self, settings: Settings, cluster: client.Cluster, stop: threading.Event) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stop = stop
        self._lock = threading.Lock()
        self._connections: set[watching.Stream] = set()

    def repeat(
        self,
        kind: str,
        follow: Callable[[], None],
        *,
        failed: Callable[[errors.ReverserError], str],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Follow until told to stop, while it is `wanted`. `failed` hears of each error and says what to log."""
        waits, said, busy = backoff.Backoff(), "", 0
        while not self._stop.is_set() and wanted():
            try:
                follow()
                said, busy = "", 0
                continue
            except problems.Expired:
                wait, message = 0.0, ""
            except problems.Busy as error:
                # A kind that was just installed answers so for a moment.
                busy += 1
                wait, message = waits.failed(at_least=error.delay), failed(error) if busy > BUSY_TIMES else ""
            except problems.NotServed as error:
                wait, message = NOT_SERVED_WAIT, failed(error)
            except errors.TemporaryError as error:
                wait, message = waits.failed(at_least=error.delay), failed(error)
            except errors.ReverserError as error:
                wait, message = REFUSED_WAIT, failed(error)
            if wait and message and message != said and not self._stop.is_set():
                log.warning("cannot follow", kind=kind, error=message)
                said = message
            self._stop.wait(wait)

    def changes(
        self, type_: types.ResourceType, position: str, *, wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[watching.Change]:
        """What happens to a type in all namespaces from a resourceVersion on, until the server ends the stream.

        `wanted` is asked, and whether to stop, once the stream is known to `close`: whoever closes then misses none.
        """
        stream = watching.watch(
            self._cluster,
            type_,
            "",
            resource_version=position,
            timeout=self._settings.watch_timeout,
            stop=self._stop,
        )
        with self._lock:
            self._connections.add(stream)
        try:
            with stream:
                if wanted() and not self._stop.is_set():
                    yield from stream
        finally:
            with self._lock:
                self._connections.discard(stream)

    def close(self) -> None:
        """Wake the threads from their connections."""
        with self._lock:
            for connection in self._connections:
                connection.close()
