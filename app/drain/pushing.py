"""One push: build on the recorded head, push from the known parent, and when the remote has moved, look and rebuild.

The remote is not asked first: `push_negotiation` compares its branch with the parent that this drain built on, so a
branch that nobody else moved costs one connection (DESIGN section 8).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from app import db, errors, failpoints, settings
from app.drain import building, credentials, finding, leasing, planning, recording
from app.git import cache as caches
from app.git import remote as remotes
from app.git.names import Sha
from app.models import destinations, leases, ledger, wishes

log = structlog.get_logger()

# Somebody else pushes to the branch as fast as we do: after this many rebuilds the drain waits its turn.
TRIES = 5
# A rewritten branch is seeded again; the seed should find the drain awake. In seconds.
DIVERGED_DELAY = 2.0
# The first wait between two tries, in seconds; doubled and jittered.
FIRST_PAUSE = 0.05
BRANCH_DELETED = "BranchDeleted"


@dataclass(slots=True)
class Result:
    """What one push did, with the seconds that its steps took."""

    commits: int = 0
    rows: int = 0
    head: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pusher:
    """What a push needs beside the destination."""

    database: db.Database
    options: settings.Settings
    helpers: remotes.Helpers
    credentials: credentials.CredentialSource

    def push(
        self,
        held: leasing.HeldBranch,
        destination: destinations.Destination,
        *,
        limit: int,
        max_commits: int,
        look: bool,
    ) -> Result:
        """Turn up to `limit` pending rows into at most `max_commits` commits, push them, record them.

        With `look` the remote is read first, even where the head to build on is known. Raises TemporaryError,
        StalledError; after either the rows still pend and nothing is lost.
        """

        def read() -> list[ledger.Pending]:
            with self.database.read() as connection:
                return ledger.pending(connection, destination.id, place_id=destination.place_id, limit=limit)

        return self._push(held, destination, read, max_commits=max_commits, look=look, creates=True)

    def remove(
        self, held: leasing.HeldBranch, destination: destinations.Destination, rows: Sequence[ledger.Pending]
    ) -> Result:
        """Make commits of these rows, which remove files, and of no other; no branch comes into being for it.

        Raises as `push`, and StalledError(BranchDeleted) where there is no branch.
        """
        return self._push(held, destination, lambda: rows, max_commits=len(rows), look=True, creates=False)

    def record_gone(
        self, held: leasing.HeldBranch, destination: destinations.Destination, rows: Sequence[ledger.Pending]
    ) -> Result:
        """Record of these rows, which remove files, that they are gone with their branch."""
        with caches.open_cache(self.options.work_dir, destination.url_key) as cache:
            plan = self._builder(cache, destination, base=None).build(rows, max_commits=len(rows))
        held.lease = recording.record_plan(self.database, held.lease, destination=destination, plan=plan)
        return Result(rows=len(plan.ends))

    def _push(
        self,
        held: leasing.HeldBranch,
        destination: destinations.Destination,
        read: Callable[[], Sequence[ledger.Pending]],
        *,
        max_commits: int,
        look: bool,
        creates: bool,
    ) -> Result:
        remote = remotes.Remote(
            url=destination.url,
            transport=destination.transport,
            credentials=self.credentials.of(destination),
            timeout=self.options.git_timeout,
        )
        with caches.open_cache(self.options.work_dir, destination.url_key) as cache:
            if look or not _can_build(held.lease, cache):
                self._look(held, destination, cache, remote, creates=creates)
            for attempt in range(TRIES):
                try:
                    return self._try(held, destination, cache, remote, read, max_commits=max_commits)
                except errors.RemoteMovedError as moved:
                    log.info("remote_moved", destination=str(destination.ref), message=moved.message)
                    time.sleep(FIRST_PAUSE * 2**attempt * random.random())  # noqa: S311 - jitter, not a secret
                    self._look(held, destination, cache, remote, creates=creates)
        raise errors.TemporaryError(
            f"branch {destination.branch} moved {TRIES} times while we pushed; will try again in 5 s",
            delay=5.0,
            reason="RemoteMoved",
        )

    def _builder(
        self, cache: caches.Cache, destination: destinations.Destination, *, base: Sha | None
    ) -> building.Builder:
        return building.Builder(
            cache=cache, base=base, destination=destination, database=self.database, options=self.options
        )

    def _try(
        self,
        held: leasing.HeldBranch,
        destination: destinations.Destination,
        cache: caches.Cache,
        remote: remotes.Remote,
        read: Callable[[], Sequence[ledger.Pending]],
        *,
        max_commits: int,
    ) -> Result:
        clock = _Clock()
        builder = self._builder(cache, destination, base=_head(held.lease))
        plan = builder.build(read(), max_commits=max_commits)
        clock.lap("build")
        head, branches = _to_push(held.lease, plan), None
        if head is not None:
            parent = _head(held.lease) if held.lease.state == leases.PRESENT else None
            failpoints.reach("before_push")
            branches = self.helpers.push(remote, cache, branch=destination.branch, commit=head, parent=parent).branches
            failpoints.reach("after_push")
        clock.lap("push")
        failpoints.reach("before_record")
        held.lease = recording.record_plan(
            self.database, held.lease, destination=destination, plan=plan, head=head, branches=branches
        )
        clock.lap("record")
        failpoints.reach("after_record")
        clock.laps |= {"render": builder.timings.render, "trees": builder.timings.trees}
        return _result(plan, clock)

    def _look(
        self,
        held: leasing.HeldBranch,
        destination: destinations.Destination,
        cache: caches.Cache,
        remote: remotes.Remote,
        *,
        creates: bool,
    ) -> None:
        """Fetch, find own unrecorded commits, and set the head to build on."""
        lease = held.lease
        held.looked = True
        # A branch that started empty holds nothing but what we and others pushed since: all of it is looked at.
        started_empty = lease.state == leases.MISSING and lease.head is None
        fetched = self.helpers.fetch(remote, cache, branch=destination.branch, until=_head(lease), whole=started_empty)
        failpoints.reach("after_fetch")
        with self.database.write() as connection:
            destinations.note_connection(
                connection, destination.repo_config_id, check=destinations.CONNECTED, branches=fetched.branches
            )
        if fetched.tip is None:
            held.lease = self._branch_missing(lease, destination, fetched.default_tip, creates=creates)
            return
        if lease.state == leases.PRESENT and fetched.tip == lease.head:
            return
        if lease.state == leases.PRESENT and not fetched.contains_until:
            self._diverged(lease, destination, fetched.tip)
        until = _head(lease) if fetched.contains_until else None
        found = finding.Scan()
        if lease.state != leases.UNKNOWN:
            found = finding.find(self.database, cache, tip=fetched.tip, until=until, branch_id=lease.branch_id)
        held.lease = recording.record_found(self.database, lease, found, tip=fetched.tip)

    def _branch_missing(
        self, lease: leases.BranchLease, destination: destinations.Destination, start: Sha | None, *, creates: bool
    ) -> leases.BranchLease:
        if lease.state == leases.PRESENT or not creates:
            raise errors.StalledError(
                f"branch {destination.branch} was deleted on the remote; it is not created again: push "
                f"{lease.head} to it, or let the destination name another branch",
                reason=BRANCH_DELETED,
            )
        with self.database.write() as connection:
            leases.fence_branch(connection, lease)
            return leases.move_head(connection, lease, head=start, state=leases.MISSING)

    def _diverged(self, lease: leases.BranchLease, destination: destinations.Destination, tip: Sha) -> NoReturn:
        """Say it, and have the branch's destinations seeded again on top of what is there; nothing is forced."""
        message = (
            f"branch {destination.branch} was rewritten: its tip {tip[:10]} does not contain {str(lease.head)[:10]}, "
            "which was recorded; what is there stays, and the destination is seeded again on top of it"
        )
        with self.database.write() as connection:
            leases.fence_branch(connection, lease)
            leases.move_head(connection, lease, head=tip, state=leases.PRESENT)
            wishes.of_branch(connection, branch_id=lease.branch_id, cause="the branch was rewritten")
        raise errors.BranchDivergedError(message, delay=DIVERGED_DELAY)


def _head(lease: leases.BranchLease) -> Sha | None:
    return None if lease.head is None else Sha(lease.head)


def _to_push(lease: leases.BranchLease, plan: planning.Plan) -> Sha | None:
    """What the branch should be at; None where it stays as it is.

    A branch that is not there yet begins with the start alone, where that holds each file already.
    """
    is_new = lease.state == leases.MISSING and any(not item.removed for item in plan.items.values())
    return plan.head or (plan.base if is_new else None)


def _can_build(lease: leases.BranchLease, cache: caches.Cache) -> bool:
    """Whether the head to build on is known and at hand; if it is out of date, the push will say so."""
    return lease.state != leases.UNKNOWN and (lease.head is None or cache.has(lease.head))


def _result(plan: planning.Plan, clock: _Clock) -> Result:
    return Result(commits=len(plan.commits), rows=len(plan.ends), head=plan.head or "", seconds=clock.laps)


class _Clock:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
