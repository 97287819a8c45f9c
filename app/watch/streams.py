"""The streams: one thread follows one type (in one namespace or all) and hands each change to the writer.

`Streams.follow` keeps exactly the streams that the routing needs. A stream resumes from its cursor; without one it
takes the cluster's present resourceVersion, and a seed brings what is there (`seeding.py`), so that the stream always
runs from before the list request. An API server that forgot (410) or went back in time (etcd restored) starts a seed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog

from app import errors
from app.kube import client, listing, problems, watching
from app.models import cursors
from app.models import streams as stored
from app.rules import types, versions
from app.settings import Settings
from app.watch import backoff, causing, guarding, inbox, routing, writing

log = structlog.get_logger(__name__)

# A type that RBAC forbids or that is not served is tried again this slowly: a person has to act.
REFUSED_WAIT = 10.0
# How long an API server that lags behind another one may take until it has caught up.
LAG = 3.0
# Why everything is listed after that.
RESTORED, LAGGED = "the cluster was restored from a backup", "the API server lagged, or the cluster was restored"
# A thread whose connection was shut down ends at once; longer means that it hangs in a call with its own timeout.
_JOIN = 40.0


@dataclass(frozen=True)
class Services:
    """What every stream stands on."""

    settings: Settings
    cluster: client.Cluster
    writer: writing.Writer
    causes: causing.Causes
    stop: threading.Event
    guard: guarding.Guard


class State(StrEnum):
    """What a stream does."""

    STARTS = "starts"
    FOLLOWS = "follows"
    WAITS = "waits"
    # The type cannot be read: a person has to act.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class _Doing:
    """What a stream does, since when, why, and when it tries again."""

    state: State
    since: datetime
    message: str = ""
    next_try: datetime | None = None


class Stream:
    """One stream and its thread."""

    def __init__(
        self,
        key: routing.StreamKey,
        type_: types.ResourceType,
        cursor: cursors.Cursor | None,
        services: Services,
        *,
        left_off: cursors.Cursor | None = None,
    ) -> None:
        """It resumes from `cursor`; without one it begins anew, and `left_off` is how far its type was read before."""
        self.key = key
        self.type = type_
        # Set from when the resume point is written: a listing that starts later misses nothing.
        self.running = threading.Event()
        self._services = services
        last = cursor or left_off
        self._position = last.resource_version if last else ""
        self._epoch = last.source_epoch if last else 1
        # Why it begins anew; empty where it resumes.
        self._anew = "" if cursor else "no resume point"
        # Replaced as a whole, because other threads read it.
        self._doing = _Doing(State.STARTS, datetime.now(UTC))
        self._heard = time.monotonic()
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._connection: watching.Stream | None = None
        self.thread = threading.Thread(target=self._guarded, name=f"stream {key}", daemon=True)

    @property
    def refusal(self) -> str:
        """Why the type cannot be read; empty while it can."""
        doing = self._doing
        return doing.message if doing.state is State.REFUSED else ""

    def tell(self) -> stored.StreamState:
        """What it does at the moment, for people."""
        doing, silent = self._doing, timedelta(seconds=time.monotonic() - self._heard)
        heard_at = datetime.now(UTC) - silent if self._position else None
        return stored.StreamState(
            self.key.group, self.key.version, self.key.resource, self.key.namespace,
            str(doing.state), doing.since, heard_at, doing.next_try, doing.message,
        )  # fmt: skip

    def close(self) -> None:
        """Tell the thread to end, and wake it from its connection."""
        self._stop.set()
        self._woken.set()
        self._drop_connection()

    def try_again(self) -> None:
        """What was refused may be served by now."""
        if self.refusal:
            self._woken.set()

    def start_over(self, cause: str) -> None:
        """Do not resume: the stream begins anew, with a seed of what it covers."""
        self._anew = cause
        self._drop_connection()

    def compare(self) -> None:
        """Connect anew where the cluster is behind the stream. Raises what the request raises."""
        if self._is_behind(self._latest()):
            self._drop_connection()

    def _is_behind(self, latest: str) -> bool:
        return bool(self._position) and bool(versions.newer(self._position, latest))

    def _latest(self) -> str:
        """Where the cluster stands now for the type."""
        return listing.latest_resource_version(self._services.cluster, self.type, self.key.namespace)

    def _guarded(self) -> None:
        """A stream that is silently dead would lose every change of its type."""
        self._services.guard.run(self.thread.name, self._run)

    def _run(self) -> None:
        waits = backoff.Backoff()
        while not self._ending():
            try:
                self._follow()
                waits.worked()
                continue
            except problems.Expired:
                self._anew = "the resume point expired"
                wait = waits.failed()
                self._waits(self._anew, wait)
            except (problems.Forbidden, problems.NotServed) as error:
                self._refused(error)
                wait = REFUSED_WAIT
            except errors.TemporaryError as error:
                wait = waits.failed(at_least=error.delay)
                self._waits(error.message, wait)
                if not self._ending():
                    log.info("stream_broke", stream=str(self.key), error=error.message, next_try_s=round(wait, 1))
            except errors.ReverserError as error:
                log.warning("stream_stalled", stream=str(self.key), error=error.message)
                wait = REFUSED_WAIT
                self._waits(error.message, wait)
            self._woken.wait(wait)
            self._woken.clear()

    def _follow(self) -> None:
        """Connect and hand over changes until the server ends the stream."""
        settings = self._services.settings
        self._find_start()
        with watching.watch(
            self._services.cluster,
            self.type,
            self.key.namespace,
            resource_version=self._position,
            timeout=settings.watch_timeout * random.uniform(0.5, 1.0),  # noqa: S311 - spreads reconnects
            stop=self._stop,
        ) as connection:
            self._keep_connection(connection)
            self._does(State.FOLLOWS)
            for change in connection:
                self._heard = time.monotonic()
                item = inbox.Live(self.key, self.type, change, self._epoch, datetime.now(UTC))
                if not self._services.writer.inbox.put_live(item, stop=self._stop):
                    return
                self._position = change.resource_version

    def _find_start(self) -> None:
        """Compare the last position with the cluster, and make another one where it is no resume point.

        After that, listings may begin. What is no resume point any more says all the same if the cluster went back.
        """
        anew, latest = self._anew, self._latest()
        behind, cause = self._is_behind(latest), anew
        if behind:
            # One of several API servers may lag for a moment, and what it listed then would be taken for the present. A
            # cluster that was restored may pass the old number meanwhile: it is listed either way.
            if self._stop.wait(LAG):
                raise errors.TemporaryError("the stream ends")
            latest = self._latest()
            cause = RESTORED if self._is_behind(latest) else LAGGED
            log.error("the cluster went back in time", stream=str(self.key), cause=cause)
        if behind or anew:
            self._epoch = self._services.causes.begin_stream(
                self.key, resource_version=latest, cause=cause, lost=self._epoch if behind else None
            )
            self._position = latest
            # Unless it was told so again meanwhile.
            self._anew = "" if self._anew == anew else self._anew
        if self.refusal:
            log.info("the type can be read again", stream=str(self.key))
            self._does(State.STARTS)
        self._heard = time.monotonic()
        self.running.set()
        self._services.writer.seeds_changed.set()

    def _refused(self, error: errors.ReverserError) -> None:
        """403 or 404 is never read as empty: the type stops, its scopes end without a sweep."""
        self.running.clear()
        self._anew = "the type can be read again"
        if not self.refusal:
            log.warning("stream_refused", stream=str(self.key), error=error.message)
        self._does(State.REFUSED, error.message, next_try_in=REFUSED_WAIT)
        self._services.causes.refuse_stream(self.key, reason=error.reason)

    def _waits(self, why: str, seconds: float) -> None:
        self._does(State.WAITS, why, next_try_in=seconds)

    def _does(self, state: State, message: str = "", *, next_try_in: float | None = None) -> None:
        now, before = datetime.now(UTC), self._doing
        next_try = None if next_try_in is None else now + timedelta(seconds=next_try_in)
        self._doing = _Doing(state, before.since if state is before.state else now, message, next_try)

    def _keep_connection(self, connection: watching.Stream) -> None:
        with self._lock:
            self._connection = connection
        if self._ending():
            connection.close()

    def _drop_connection(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _ending(self) -> bool:
        return self._stop.is_set() or self._services.stop.is_set()


class Streams:
    """The running streams; `follow` is called by the reconciler's thread only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Replaced as a whole, because the seeder and the reporter read it.
        self.running: Mapping[routing.StreamKey, Stream] = {}
        self._started = False

    def follow(self, routes: routing.Routing) -> None:
        """Stop the streams that are not wanted, then start the new ones where those left off."""
        unwanted = [stream for key, stream in self.running.items() if key not in routes.streams]
        fresh = [key for key in routes.streams if key not in self.running]
        if not unwanted and not fresh and self._started:
            return
        self._end(unwanted)
        kept = {key: stream for key, stream in self.running.items() if key in routes.streams}
        # What nobody wants any more says how far it was read, once it is suspended.
        resumed = self._services.causes.resume(routes.streams)
        left_off = self._services.causes.left_off(fresh)
        started = {
            key: Stream(key, routes.streams[key], resumed.get(key), self._services, left_off=left_off.get(key))
            for key in fresh
        }
        self.running = {**kept, **started}
        self._started = True
        for stream in started.values():
            stream.thread.start()

    def refusals(self) -> dict[routing.StreamKey, str]:
        """The types that cannot be read, and why."""
        return {key: stream.refusal for key, stream in self.running.items() if stream.refusal}

    def try_again(self) -> None:
        """The cluster serves other types than before: whoever was refused asks at once."""
        for stream in self.running.values():
            stream.try_again()

    def close(self) -> None:
        """Tell all threads to end; they are daemons and nobody waits for them long."""
        for stream in self.running.values():
            stream.close()

    def _end(self, streams: list[Stream]) -> None:
        for stream in streams:
            stream.close()
        for stream in streams:
            stream.thread.join(_JOIN)
            if stream.thread.is_alive():
                # It hands nothing over any more: its stop is set. Its cursor is safe.
                log.warning("a stream does not end", stream=str(stream.key))
