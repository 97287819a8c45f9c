"""Watch streams, read raw: one JSON document a line, typed errors, and an end that another thread can bring about.

`watch` goes on from a resourceVersion (of `listing.py`, or a stored cursor). `stream_list` lists and watches over one
connection (KEP-3157); where the server cannot, `NotSupported` sends the caller back to a paged list and a watch.
Reading raw is measured at ten times the rate of the library's typed watch, which also mishandles a 410.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import urllib3

from app import errors
from app.kube import client, paths, problems
from app.rules import types

Kind = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "SYNCED"]

# The types that a server writes; SYNCED is ours, for the bookmark that ends the initial events.
_KINDS: dict[Any, Kind] = {"ADDED": "ADDED", "MODIFIED": "MODIFIED", "DELETED": "DELETED", "BOOKMARK": "BOOKMARK"}
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
# How long the server may be late in ending a stream at its timeout before the connection counts as dead. Seconds.
_GRACE = 5.0
# The largest object that etcd takes is 1.5 MB; a line far above it is no event.
_LONGEST_LINE = 64_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a stream. `object` is the raw object; of a BOOKMARK or SYNCED only its metadata is meaningful.

    `initial` marks the objects of a streaming list before SYNCED: their resource_version is no resume point.
    """

    kind: Kind
    object: dict[str, Any]
    resource_version: str
    initial: bool = False


class Stream:
    """An open stream: iterate it in one thread, close it from any. Ends normally at the server's timeout.

    Iterating raises Expired, and TemporaryError for a broken connection or half a line. After `close`, or once `stop`
    is set, the iteration ends without an error.
    """

    def __init__(
        self, response: urllib3.BaseHTTPResponse, *, call: str, stop: threading.Event, initial: bool = False
    ) -> None:
        self._response = response
        self._call = call
        self._stop = stop
        self._closed = threading.Event()
        self._initial = initial

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._response.close()

    def __iter__(self) -> Iterator[Change]:
        try:
            for line in self._lines():
                if self._ended:
                    return
                yield self._change(line)
        except errors.ReverserError:
            if not self._ended:
                raise
        finally:
            # The connection may hold unread events: it must not go back into the pool.
            self._response.close()
        if self._initial and not self._ended:
            raise problems.NotSupported(f"{self._call}: the stream ended before its initial events did; list in pages")

    def close(self) -> None:
        """End the stream at once: a reader that waits for the next event wakes up."""
        self._closed.set()
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            # The reader was faster: the connection is closed already.
            return

    @property
    def _ended(self) -> bool:
        return self._closed.is_set() or self._stop.is_set()

    def _lines(self) -> Iterator[bytes]:
        """Cut the chunks of the response into lines; a chunk is usually one event, but need not be."""
        rest = b""
        for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, lines)
            if len(rest) > _LONGEST_LINE:
                raise problems.incomplete(self._call, "an event has no end")
        if rest:
            raise problems.incomplete(self._call, "the stream broke off within an event")

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(amt=None)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as failure:
            # A connection that another thread shuts down fails in any of these ways.
            raise problems.incomplete(self._call, f"the stream broke off ({type(failure).__name__})") from failure

    def _change(self, line: bytes) -> Change:
        event = client.decode(line, call=self._call)
        found = event.get("object")
        if not isinstance(found, dict):
            raise problems.incomplete(self._call, "an event has no object")
        if event.get("type") == "ERROR":
            raise self._error(found)
        kind = _KINDS.get(event.get("type"))
        if kind is None:
            raise problems.incomplete(self._call, "an event has an unknown type")
        metadata = found.get("metadata") or {}
        resource_version = metadata.get("resourceVersion")
        if not isinstance(resource_version, str) or not resource_version:
            raise problems.incomplete(self._call, "an event has no resourceVersion")
        if kind == "BOOKMARK" and self._initial and _ends_initial_events(metadata):
            self._initial = False
            kind = "SYNCED"
        return Change(kind=kind, object=found, resource_version=resource_version, initial=self._initial)

    def _error(self, status: dict[str, Any]) -> errors.ReverserError:
        """An ERROR event holds a Status; 410 as HTTP 200 is how an expired resourceVersion often arrives."""
        code = status.get("code")
        if code == 410 or status.get("reason") in {"Expired", "Gone"}:  # noqa: PLR2004 - HTTP status
            return problems.Expired(f"{self._call}: the resource version is too old; it is listed again", delay=0.0)
        return errors.TemporaryError(f"{self._call}: the stream ended with error {code}; it is opened again")


def watch(
    cluster: client.Cluster,
    resource_type: types.ResourceType,
    namespace: str,
    *,
    resource_version: str,
    timeout: float,
    stop: threading.Event,
) -> Stream:
    """Follow a type from a resourceVersion on; the server ends the stream after `timeout` seconds.

    The request is sent at once. Raises Expired, Forbidden, NotServed, TemporaryError.
    """
    query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
    return _open(cluster, paths.collection(resource_type, namespace), query=query, timeout=timeout, stop=stop)


def stream_list(
    cluster: client.Cluster,
    resource_type: types.ResourceType,
    namespace: str,
    *,
    timeout: float,
    stop: threading.Event,
) -> Stream:
    """List and follow over one connection: the objects as ADDED with `initial`, then SYNCED, then changes.

    SYNCED carries the resourceVersion at which the list is complete. Raises as `watch` does, and NotSupported when the
    server is too old (here for 400 and 422, while iterating for a stream that ends before SYNCED).
    """
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    path = paths.collection(resource_type, namespace)
    try:
        return _open(cluster, path, query=query, timeout=timeout, stop=stop)
    except errors.PermanentError as error:
        raise problems.NotSupported(f"{error.message}: it cannot stream lists; list in pages") from error


def _open(
    cluster: client.Cluster, path: str, *, query: dict[str, str], timeout: float, stop: threading.Event
) -> Stream:
    seconds = math.ceil(timeout)
    query = {**query, "timeoutSeconds": str(seconds)}
    response = cluster.request("GET", path, query=query, timeout=seconds + _GRACE, stream=True)
    return Stream(response, call=f"watch {path}", stop=stop, initial="sendInitialEvents" in query)


def _ends_initial_events(metadata: dict[str, Any]) -> bool:
    return (metadata.get("annotations") or {}).get(_INITIAL_EVENTS_END) == "true"
