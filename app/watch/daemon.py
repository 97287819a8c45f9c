"""The watch daemon: stand by until the cluster's lease is taken, then lead; stop at once when that is in doubt.

`run` is what `reverser watch` calls. Two or more run per cluster, one leads. All threads of a leader end with it: a
process that lost the lease exits with a code of its own and its supervisor starts it again, to stand by.
Neighbours: `writing.py` owns the ledger, `reconciling.py` the rules, `streams.py` and `seeding.py` read the cluster,
`ringing.py` sweeps, `reporting.py` writes status.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import structlog

from app import db, errors, failpoints, publishing
from app.kube import client, kinds
from app.models import leases
from app.settings import Settings
from app.watch import (
    backoff,
    causing,
    figures,
    guarding,
    keeping,
    namespaces,
    ours,
    reconciling,
    reporting,
    ringing,
    seeding,
    showing,
    streams,
    writing,
)

log = structlog.get_logger(__name__)

# Exit codes beside 0: EX_TEMPFAIL of sysexits.h for a lost lease, EX_SOFTWARE for a thread that died.
EXIT_LOST = 75
EXIT_BROKEN = 70
# How long a stopping leader may take before the process ends anyway.
_STOP_WITHIN = 5.0
_BEAT = 0.1


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Exits with EXIT_LOST when the lease is lost, EXIT_BROKEN when a thread died.

    Raises PermanentError for a database that is not migrated, StalledError for a wrong cluster or credentials.
    """
    stop, counted = threading.Event(), figures.Figures()
    failpoints.arm(settings.failpoints)
    _on_signals(stop, counted, settings)
    database = db.Database(settings.database_url, statement_timeout=settings.statement_timeout)
    cluster = client.connect(settings)
    try:
        code = 0
        if taken := stand_by(settings, database=database, cluster=cluster, stop=stop):
            code = Leader(settings, database=database, cluster=cluster, taken=taken, counted=counted).run(stop)
    finally:
        counted.write(settings.work_dir)
        log.info("figures", **counted.snapshot())
        cluster.close()
        database.close()
    if code:
        sys.exit(code)


@dataclass(frozen=True, slots=True)
class Taken:
    """The lease of a cluster, and from when on it holds for certain: a monotonic time before it was asked for."""

    lead: leases.Lead
    asked: float


def stand_by(
    settings: Settings, *, database: db.Database, cluster: client.Cluster, stop: threading.Event
) -> Taken | None:
    """Wait for the lease of the cluster; None when told to stop. Raises as `run` does."""
    waits = backoff.Backoff(first=0.5, longest=10.0)
    uid, checked, said = "", False, False
    while not stop.is_set():
        try:
            if not checked:
                database.check_schema()
                checked = True
            uid = uid or cluster.uid()
            asked = time.monotonic()
            lead = _take(settings, database, uid)
        except errors.TemporaryError as error:
            wait = waits.failed(at_least=error.delay)
            log.warning("not ready to lead", error=error.message, next_try_s=round(wait, 1))
        else:
            if lead is not None:
                log.info("leads", cluster=settings.cluster, token=lead.token)
                return Taken(lead, asked)
            if not said:
                log.info("stands by, another watch daemon leads", cluster=settings.cluster)
                said = True
            wait = settings.watch_lease / 4
        stop.wait(wait)
    return None


def _take(settings: Settings, database: db.Database, uid: str) -> leases.Lead | None:
    with database.write() as connection:
        return leases.take_lead(
            connection, cluster=settings.cluster, cluster_uid=uid, owner=settings.node, seconds=settings.watch_lease
        )


class Renewal:
    """Renews the lease each quarter, and knows how long it certainly holds: by our own clock, from before each ask.

    What is dropped at the moment is said with it: that row is written anyway.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: db.Database,
        taken: Taken,
        publisher: publishing.Publisher,
    ) -> None:
        self._seconds = settings.watch_lease
        self._database = database
        self._lead = taken.lead
        self._publisher = publisher
        self._confirmed = taken.asked
        self._lost = False

    @property
    def holds(self) -> bool:
        """False as soon as the lease is lost or in doubt."""
        return not self._lost and time.monotonic() < self._confirmed + self._seconds

    def run(self, stop: threading.Event) -> None:
        """Thread: renew until told to stop."""
        while not stop.wait(self._seconds / 4):
            asked = time.monotonic()
            try:
                with self._database.write() as connection:
                    drops = self._publisher.going_on
                    renewed = leases.renew_lead(connection, self._lead, seconds=self._seconds, drops=drops)
            except errors.TemporaryError as error:
                log.warning("the lease was not renewed", error=error.message)
                continue
            if not renewed:
                self._lost = True
                return
            self._confirmed = asked


class Leader:
    """Everything that runs while this daemon leads."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: db.Database,
        cluster: client.Cluster,
        taken: Taken,
        counted: figures.Figures,
    ) -> None:
        self._database = database
        self._lead = lead = taken.lead
        self._stop = threading.Event()
        self._guard = guarding.Guard(self._stop)
        self._publisher = publishing.Publisher(settings)
        self._renewal = Renewal(settings, database=database, taken=taken, publisher=self._publisher)
        self._writer = writing.Writer(
            settings, database=database, lead=lead, publisher=self._publisher, stop=self._stop, counted=counted
        )
        causes = causing.Causes(self._writer)
        self._services = streams.Services(settings, cluster, self._writer, causes, self._stop, self._guard)
        self._streams = streams.Streams(self._services)
        self._objects = ours.OurObjects(settings, cluster, self._stop)
        self._namespaces = namespaces.Namespaces(settings, cluster, changed=self._objects.changed, stop=self._stop)
        self._reconciler = reconciling.Reconciler(
            settings,
            cluster=cluster,
            objects=self._objects,
            followed=self._namespaces,
            causes=causes,
            running=self._streams,
            stop=self._stop,
        )
        self._seeder = seeding.Seeder(self._services, self._streams, counted)
        self._board = showing.Board(settings, database=database, lead=lead, running=self._streams, stop=self._stop)
        self._keeper = keeping.Keeper(settings, database=database, lead=lead, stop=self._stop)
        self._sweeper = ringing.Sweeper(
            settings,
            database=database,
            lead=lead,
            publisher=self._publisher,
            causes=causes,
            stop=self._stop,
        )
        self._reporter = reporting.Reporter(
            self._services,
            database=database,
            objects=self._objects,
            followed=self._namespaces,
            reconciler=self._reconciler,
            running=self._streams,
            publisher=self._publisher,
        )

    def run(self, stop: threading.Event) -> int:
        """Lead until told to stop, or until the lease is lost; the exit code."""
        threads = self._start()
        while not stop.wait(_BEAT) and not self._stop.is_set() and self._renewal.holds:
            pass
        code = self._judge()
        self._end(threads)
        return code

    def _start(self) -> list[threading.Thread]:
        jobs: dict[str, Callable[[], None]] = {
            "renewal": lambda: self._renewal.run(self._stop),
            "writer": self._writer.run,
            "reconciler": self._reconciler.run,
            "seeder": self._seeder.run,
            "sweeper": self._sweeper.run,
            "reporter": self._reporter.run,
            "board": self._board.run,
            "keeper": self._keeper.run,
            "namespaces": self._namespaces.run,
        }
        for kind in kinds.OUR_TYPES:
            jobs[f"ours {kind}"] = lambda kind=kind: self._objects.follow_kind(kind)  # type: ignore[misc]
        for trigger in ours.TRIGGERS:
            jobs[f"trigger {trigger.kind}"] = lambda trigger=trigger: self._objects.follow_trigger(trigger)  # type: ignore[misc]
        threads = [
            threading.Thread(target=self._guarded, args=(name, job), name=name, daemon=True)
            for name, job in jobs.items()
        ]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, name: str, job: Callable[[], None]) -> None:
        """Run a thread that ends only with the leader, and ends it otherwise; the lease's own says so in `holds`."""
        self._guard.run(name, job)
        if name != "renewal":
            self._stop.set()

    def _judge(self) -> int:
        if any(isinstance(error, errors.LeaseLostError) for error in self._guard.failed) or not self._renewal.holds:
            log.error("the lease is lost or in doubt, this daemon ends and stands by again")
            return EXIT_LOST
        return EXIT_BROKEN if self._guard.failed else 0

    def _end(self, threads: list[threading.Thread]) -> None:
        """Stop everything, give the lease back, and be gone within seconds whatever hangs."""
        last = threading.Timer(_STOP_WITHIN, os._exit, args=(EXIT_BROKEN,))
        last.daemon = True
        last.start()
        self._stop.set()
        self._writer.inbox.wake()
        self._streams.close()
        self._objects.close()
        self._namespaces.close()
        deadline = time.monotonic() + _STOP_WITHIN / 2
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(errors.ReverserError), self._database.write() as connection:
            leases.release_lead(connection, self._lead)
        self._publisher.close()
        last.cancel()


def _on_signals(stop: threading.Event, counted: figures.Figures, settings: Settings) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def end(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    def dump(_signum: int, _frame: FrameType | None) -> None:
        # Not in the handler itself: it may have interrupted the holder of the lock.
        threading.Thread(target=counted.write, args=(settings.work_dir,), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGUSR1, dump)
