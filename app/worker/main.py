"""`reverser worker`: builds the Celery worker and runs it until it is told to stop.

Shared: a pool of threads, one message per queue in flight. Dedicated: one prefork child, so that a drain that hangs or
eats its memory can be killed. Neighbours: `roster` says which queues, `serving` follows, `app/tasks` does the work.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from celery import bootsteps, exceptions, signals

from app import db, errors, failpoints, publishing, queues
from app.drain import draining
from app.settings import Settings
from app.tasks import applying, tools
from app.worker import private, roster, serving

log = structlog.get_logger(__name__)

# How often a worker that starts asks for a database that is away, in seconds.
ASK_AGAIN = 1.0
# After SIGTERM a drain may use its deadline up, and needs a moment to record it.
GRACE_AFTER_DEADLINE = 5.0
# How long a thread may compute while another one waits, in seconds. With Python's 5 ms the consumer's loop, which waits
# after each answer of its broker while drains compute, read some dozen messages a second.
SWITCH = 0.0005
# How Celery's sentence about root begins.
_ROOT = "You're running the worker with superuser privileges"


class RosterStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the roster after the pool has forked, and signs off after the consumer has drained."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, roster: roster.Roster, **options: Any) -> None:
        super().__init__(worker, **options)
        self._roster = roster

    def start(self, _worker: Any) -> None:
        """The pool has forked, and Celery has set up its own signals."""
        private.heed_signals()
        self._roster.start()

    def stop(self, _worker: Any) -> None:
        """The consumer has drained."""
        self._roster.stop()

    terminate = stop


def run(
    settings: Settings,
    *,
    destinations: Sequence[str] = (),
    slots: int | None = None,
    dedicated: bool = False,
    make_drainer: tools.MakeDrainer = draining.Drainer,
) -> int:
    """Serve destinations until SIGTERM or SIGINT; returns the exit code.

    `destinations` are names and globs of `namespace/name`, none for all; `slots` are destinations at the same time in a
    shared worker (default `worker_slots`), a dedicated one has one. Raises PermanentError for a database that is not
    migrated, or that a newer version wrote, and StalledError for a broker that refuses our login.
    """
    failpoints.arm(settings.failpoints)
    sys.setswitchinterval(SWITCH)
    _check_database(settings)
    # Celery would end with a traceback.
    queues.check_login(settings)
    publisher = publishing.Publisher(settings)
    _start_tools(settings, make_drainer, dedicated=dedicated)
    worker = _worker(settings, publisher, globs=destinations, slots=slots, dedicated=dedicated)
    try:
        worker.start()
    finally:
        tools.stop()
        publisher.close()
    return int(worker.exitcode or 0)


def _check_database(settings: Settings) -> None:
    """Start on a database of this version only; one that is away is waited for."""
    said = False
    with contextlib.closing(
        db.Database(settings.database_url, statement_timeout=settings.statement_timeout)
    ) as database:
        while True:
            try:
                database.check_schema()
            except errors.TemporaryError as error:
                if not said:
                    log.warning("the database does not answer yet; it is asked again each second", error=error.message)
                said = True
                time.sleep(ASK_AGAIN)
            else:
                return


def _start_tools(settings: Settings, make_drainer: tools.MakeDrainer, *, dedicated: bool) -> None:
    """Make the tools where the tasks will run."""
    if not dedicated:
        tools.start(settings, make_drainer)
        return

    def in_child(**_kwargs: Any) -> None:
        tools.start(settings, make_drainer)

    def at_end_of_child(**_kwargs: Any) -> None:
        tools.stop()

    signals.worker_process_init.connect(in_child, weak=False)
    signals.worker_process_shutdown.connect(at_end_of_child, weak=False)


def _worker(
    settings: Settings, publisher: publishing.Publisher, *, globs: Sequence[str], slots: int | None, dedicated: bool
) -> Any:
    app = queues.make_app(settings)
    applying.register(app)
    # A drain needs no broker: it goes on under its lease, its message is delivered again and finds nothing more to do.
    # Ended with each connection, a push of 12 s would never come to its end while the broker comes and goes.
    app.conf.worker_cancel_long_running_tasks_on_connection_loss = False
    private.register_step(app, RosterStep)
    signals.setup_logging.connect(_leave_logging_alone, weak=False)
    own = roster.Roster(settings, globs=globs, dedicated=dedicated)
    grace = settings.drain_deadline + GRACE_AFTER_DEADLINE
    with _root_accepted():
        return app.Worker(
            hostname=f"reverser@{settings.node}",
            pool_cls="prefork" if dedicated else "threads",
            concurrency=1 if dedicated else slots or settings.worker_slots,
            consumer_cls=private.CONSUMER,
            task_events=True,
            without_mingle=True,
            without_gossip=True,
            quiet=True,
            loglevel=settings.log_level.upper(),
            # These three reach the steps: Celery hands unknown options on to them.
            roster=own,
            service=serving.Service(own, publisher, grace=grace),
            interval=serving.RECONCILE,
        )


@contextlib.contextmanager
def _root_accepted() -> Iterator[None]:
    """Keep Celery from warning that it runs as root, as a container and a developer's machine often do.

    The danger that it warns of is pickle, which runs code out of a message: ours are JSON, and nothing else is read.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_ROOT, category=exceptions.SecurityWarning)
        yield


def _leave_logging_alone(**_kwargs: Any) -> None:
    """Celery sets up logging unless somebody listens to its signal."""
