"""The remote side of a repository, as the drain sees it: heads, fetch, push, each within a deadline.

Every operation runs in a helper process (`helper.py`), because libgit2 keeps known_hosts, CA files and timeouts per
process and a hung call cannot be interrupted. This module keeps the pool; `helping.py` is one helper seen from here.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from app import errors
from app.git import cache as caches
from app.git import helping, problems
from app.git.credentials import ANONYMOUS, Credentials
from app.git.names import Sha
from app.git.urls import host_of

Transport: TypeAlias = Literal["https", "ssh", "file"]
# Transport, host and fingerprint of the credentials; all repositories of this machine are one host.
_Key: TypeAlias = tuple[str, str, str]

# A helper takes 40 MB. Beyond this many idle ones, or this many seconds without work, the oldest is closed.
_MOST_IDLE = 8
_LONGEST_IDLE = 60.0


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One repository and how to reach it. `timeout` is the deadline of one operation, in seconds."""

    url: str
    transport: Transport
    credentials: Credentials = field(default=ANONYMOUS, repr=False)
    timeout: float = 30.0


@dataclass(frozen=True)
class Heads:
    """The branches of a remote. `default_branch` is None where HEAD names none that exists."""

    default_branch: str | None
    branches: dict[str, Sha]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a fetch found; the objects of `tip` and `default_tip` are in the cache.

    tip: None when the remote has no such branch.
    contains_until: whether `tip` contains the commit asked about; True when none was asked about and there is a tip.
    default_tip: where the branch is missing, the tip of the default branch; None in an empty repository.
    branches: how many branches the remote has.
    """

    tip: Sha | None
    contains_until: bool
    default_tip: Sha | None
    branches: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was read back after a push: the tip, which contains the commit, and how many branches the remote has."""

    tip: Sha
    branches: int


class Helpers:
    """A pool of helper processes, for all threads of a process; a forked child starts with an empty one.

    All operations raise StalledError where a person has to act (AuthenticationFailed, HostKeyUnknown, HostKeyMismatch,
    KnownHostsInvalid, CertificateRefused, RepositoryNotFound) and TemporaryError (HostUnreachable, RateLimited)
    where waiting helps. Messages hold no credential.
    """

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._process = os.getpid()
        self._lock = threading.Lock()
        # Oldest first: what it serves, since when it is idle, the helper.
        self._idle: list[tuple[_Key, float, helping.Helper]] = []
        atexit.register(self.close)

    def heads(self, remote: Remote) -> Heads:
        """The branches of the remote and their tips."""
        answer = self._call(remote, {"operation": "heads"})
        return Heads(answer["default_branch"], {name: Sha(tip) for name, tip in answer["branches"].items()})

    def fetch(
        self, remote: Remote, cache: caches.Cache, *, branch: str, until: Sha | None, whole: bool = False
    ) -> Fetched:
        """Bring the tip of `branch` into the cache, and its history back to `until` if it contains that.

        Shallow where the transport can, unless `whole` asks for all history. Raises CacheDamagedError when the cache
        cannot take it.
        """
        request = {"operation": "fetch", "branch": branch, "until": until, "whole": whole}
        answer = self._with_cache(remote, cache, request)
        return Fetched(
            tip=_sha(answer["tip"]),
            contains_until=answer["contains_until"],
            default_tip=_sha(answer["default_tip"]),
            branches=answer["branches"],
        )

    def push(self, remote: Remote, cache: caches.Cache, *, branch: str, commit: Sha, parent: Sha | None) -> Pushed:
        """Move `branch` from `parent` (None: it must not exist) to `commit`; never by force.

        Returns what was read back afterwards. Raises RemoteMovedError when the branch is elsewhere, PushRefusedError
        with the server's words, UnknownOutcomeError when nobody knows whether it moved.
        """
        request = {"operation": "push", "branch": branch, "commit": commit, "parent": parent}
        answer = self._with_cache(remote, cache, request)
        return Pushed(Sha(answer["tip"]), answer["branches"])

    def close(self) -> None:
        """End the idle helpers. The pool can be used again."""
        self._renew_after_fork()
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, helper in idle:
            helper.close()

    def _with_cache(self, remote: Remote, cache: caches.Cache, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._call(remote, {**request, "cache": str(cache.path)})
        except problems.CacheDamagedError:
            cache.condemn()
            raise
        cache.reload()
        return answer

    def _call(self, remote: Remote, request: dict[str, Any]) -> dict[str, Any]:
        key = _key(remote)
        idle = self._take(key)
        helper = idle or self._start(remote)
        sent = {**request, "url": remote.url, "transport": remote.transport, "timeout": remote.timeout}
        try:
            answer = helper.call(sent, timeout=remote.timeout)
        except helping.HelperLostError as error:
            helper.kill()
            if idle is not None and request["operation"] != "push" and isinstance(error, helping.HelperDiedError):
                # It died while nobody needed it. A push is not asked for twice: it may have arrived.
                return self._call(remote, request)
            raise _lost(request["operation"], remote, error) from error
        except BaseException:
            # Interrupted while the helper works (a time limit, Ctrl-C): its answer would be the next caller's.
            helper.kill()
            raise
        self._give_back(key, helper)
        if "error" in answer:
            raise problems.from_wire(answer["error"])
        return dict(answer["result"])

    def _start(self, remote: Remote) -> helping.Helper:
        try:
            return helping.Helper(self._work_dir, remote.credentials)
        except (helping.HelperLostError, OSError) as error:
            raise errors.TemporaryError(f"no helper process for Git could be started: {error}", delay=5.0) from error

    def _take(self, key: _Key) -> helping.Helper | None:
        self._renew_after_fork()
        with self._lock:
            place = next((at for at in reversed(range(len(self._idle))) if self._idle[at][0] == key), None)
            helper = self._idle.pop(place)[2] if place is not None else None
        if helper is None or helper.alive():
            return helper
        helper.kill()
        return None

    def _give_back(self, key: _Key, helper: helping.Helper) -> None:
        now = time.monotonic()
        with self._lock:
            self._idle.append((key, now, helper))
            spare = self._idle[:-_MOST_IDLE]
            spare += [item for item in self._idle[-_MOST_IDLE:] if now - item[1] > _LONGEST_IDLE]
            self._idle = [item for item in self._idle if item not in spare]
        for _, _, old in spare:
            old.close()

    def _renew_after_fork(self) -> None:
        # The parent's helpers are the parent's: its pipes must not be read, nor its lock waited for.
        if self._process != os.getpid():
            for _, _, helper in self._idle:
                helper.abandon()
            self._process, self._lock, self._idle = os.getpid(), threading.Lock(), []


def _key(remote: Remote) -> _Key:
    if remote.transport == "file":
        return remote.transport, "", ""
    return remote.transport, host_of(remote.url), remote.credentials.fingerprint()


def _lost(operation: str, remote: Remote, error: helping.HelperLostError) -> errors.TemporaryError:
    host = host_of(remote.url)
    if operation == "push":
        message = f"the push to {host} ended without an answer ({error}); the branch is read before the next try"
        return errors.UnknownOutcomeError(message, delay=problems.HOST_DELAY)
    message = f"{host} gave no answer ({error})"
    return errors.TemporaryError(message, delay=problems.HOST_DELAY, reason="HostUnreachable")


def _sha(text: str | None) -> Sha | None:
    return None if text is None else Sha(text)
