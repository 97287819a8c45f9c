"""What a worker does with its queues: follows its assignment, takes one message per queue, drains before it leaves.

All of this runs in the consumer's event loop, one call at a time; `app/worker/roster.py` decides elsewhere what is
assigned, and `app/worker/private.py` is asked for whatever Celery has no public name for.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog

from app import errors, events, publishing
from app.tasks import admitting, tools
from app.worker import private, roster

log = structlog.get_logger(__name__)

RECONCILE = 0.25
# Declaring a queue on RabbitMQ takes 3 to 10 ms, and meanwhile acknowledgements and heartbeats wait.
CHANGES_WITHIN = 0.5
# The result that Flower shows of a message that makes no task.
PASSED_OVER = "done by an earlier task"
# A queue that cannot be used is tried again after this: an operator may have mended it.
TRIED_AGAIN = 5.0


class Service:
    """The queues of one consumer. `grace` is how long a stop waits for messages in flight, in seconds."""

    def __init__(self, roster: roster.Roster, publisher: publishing.Publisher, *, grace: float) -> None:
        self._roster, self._publisher, self._grace = roster, publisher, grace
        self._in_flight: dict[str, Any] = {}
        self._refused: dict[str, float] = {}
        self._closing = False

    def connecting(self, consumer: private.Consumer) -> None:
        """A broker answers; each queue is added anew, for one may be deleted by now, and one may be refused."""
        self._roster.serves = ()
        private.forget(consumer)

    def connected(self, consumer: private.Consumer) -> None:
        """A new connection: what was in flight on the old one is redelivered by the broker."""
        self._in_flight.clear()
        private.guard_reads(consumer, self._garbage)
        private.identify_reads(consumer)
        self._roster.connected()

    def disconnected(self) -> None:
        """The connection is gone."""
        self._roster.disconnected()

    def reconcile(self, consumer: private.Consumer) -> None:
        """Listen to what is assigned and to nothing else; called several times a second."""
        if self._closing:
            return
        current, wanted = private.consumed(consumer), self._wanted()
        now = time.monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        for name in _until(now + CHANGES_WITHIN, current - wanted):
            # One with a message in flight is given up when that is done. Each answer to a cancel is waited for, and
            # messages of the others come meanwhile.
            if name not in self._in_flight:
                consumer.cancel_task_queue(name)
        added = wanted - current - self._refused.keys()
        for name in _until(now + CHANGES_WITHIN, added):
            if not consumer.add_task_queue(name):
                self._refused[name] = now + TRIED_AGAIN
        if added:
            private.nudge(consumer)
        self._roster.serves = tuple(sorted(str(events.destination_of(name)) for name in private.consumed(consumer)))

    def receive(self, consumer: private.Consumer, message: Any, handle: Callable[[Any], None]) -> None:
        """Check a delivery and hand it to Celery, refuse it, or give it back because this worker is leaving."""
        # One more of a queue that is about to be given up is taken: returned, it would come back at once.
        name = None if self._closing else private.queue_of(consumer, message)
        if name is None:
            private.give_back(consumer, message, leaving=self._closing)
            return
        # On Redis a key that is none of our queues is not believed: the message is refused for naming no destination.
        delivery = private.delivery_of(message, queue=name)
        try:
            admitted = admitting.admit(delivery)
        except errors.MessageError as error:
            self._refuse(admitting.identity(delivery), error.message)
            private.acknowledge(consumer, message)
            return
        # Not one of a queue that is given up: it would be cancelled here, which brings the next message in its middle.
        if tools.is_done(admitted.message) and self._wants(name):
            private.acknowledge(consumer, message)
            more = private.take_off(consumer, name, lambda waiting: _done(waiting, queue=name))
            for one in (admitted, *more):
                private.tell_done(consumer, one.headers, result=PASSED_OVER)
            return
        self._begin(consumer, message, name)
        handle(private.rewritten(message, headers=admitted.headers, body=admitted.body))

    def stop(self, consumer: private.Consumer) -> None:
        """Finish what is in flight, then let the next worker have the queues, in order."""
        self._closing = True
        private.hold_all(consumer)
        deadline = time.monotonic() + self._grace
        finished = private.turn_until(consumer, lambda: not self._in_flight, deadline=deadline)
        if not finished:
            log.warning("stopping with messages in flight; they are delivered again", queues=sorted(self._in_flight))
        private.leave(consumer)

    def _begin(self, consumer: private.Consumer, message: Any, name: str) -> None:
        self._in_flight[name] = message
        private.hold(consumer, name)

        def is_ours() -> bool:
            # One of a lost connection was delivered again since.
            return self._in_flight.get(name) is message

        def before() -> None:
            # An acknowledgement brings the next message, which would have to be returned, and comes behind its next.
            if is_ours() and not self._closing and not self._wants(name):
                consumer.cancel_task_queue(name)

        def after() -> None:
            if is_ours():
                del self._in_flight[name]
                if not self._closing:
                    private.resume(consumer, name)

        private.when_answered(message, before, after)

    def _wants(self, name: str) -> bool:
        return events.destination_of(name) in self._roster.assigned

    def _wanted(self) -> set[str]:
        return {events.queue_name(destination) for destination in self._roster.assigned}

    def _refuse(self, identity: dict[str, str], reason: str) -> None:
        log.warning("message refused", reason=reason, **identity)
        self._publisher.bury({**identity, "reason": reason})
        destination = events.destination_of(identity["queue"])
        if destination is not None:
            self._publisher.ring(destination, 0, 0)

    def _garbage(self, error: Exception) -> None:
        log.warning("something on a queue is no message at all", error=type(error).__name__)
        self._publisher.bury({"reason": "not a message of the broker's format"})


def _done(message: Any, *, queue: str) -> admitting.Admitted | None:
    """A message whose rows this process has done, or None. Raises MessageError for one that is to be refused."""
    admitted = admitting.admit(private.delivery_of(message, queue=queue))
    return admitted if tools.is_done(admitted.message) else None


def _until(deadline: float, names: Iterable[str]) -> Iterator[str]:
    """The names in their order, for as long as there is time."""
    return itertools.takewhile(lambda _: time.monotonic() < deadline, sorted(names))
