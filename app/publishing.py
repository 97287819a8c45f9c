"""How messages get onto destinations' queues: from a thread that may wait, and never at the cost of who publishes.

What cannot be sent is dropped, counted by its reason and said in the log: the ledger holds the Events, and the sweeper
rings for them. Neighbours: `app/queues.py` declares, `app/watch`, `app/tasks` and `app/worker` publish.
"""

from __future__ import annotations

import collections
import contextlib
import queue as thread_queue
import threading
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import orjson
import structlog
from amqp import exceptions as amqp_exceptions

from app import celeryconfig, events, failpoints, queues
from app.settings import Settings

log = structlog.get_logger(__name__)

# The oldest make room: what is on the dead-letter queue is to be read by a person.
DEAD_LONGEST = 1_000
# A ring that waited longer says nothing new: the sweeper's distance between rings is at most a minute.
RING_EXPIRES = 60.0
# Declared again after this, so that a broker that lost its data routes again while the connection lives on.
DECLARED_FOR = 5.0
# Messages that wait for the sending thread: about a second's worth at full speed, some 100 MB of Events.
CAPACITY = 1_000
BACKOFF_FIRST = 0.5
# How long `close` lets the thread send what it holds.
CLOSE_WITHIN = 5.0
# A reason is said again after this while it goes on, and went on until so long ago.
SAID_FOR = 60.0


class Reason(StrEnum):
    """Why a message was dropped."""

    FULL = "buffer_full"
    AWAY = "broker_away"
    BLOCKED = "broker_blocked"
    UNROUTABLE = "unroutable"
    TOO_LARGE = "too_large"
    REFUSED = "refused"


# What a person can do about it.
ADVICE = {
    Reason.FULL: "nothing, if it passes: more is published than the broker takes",
    Reason.AWAY: "start the broker, or correct REVERSER_BROKER_URL",
    Reason.BLOCKED: "look at its alarms: rabbitmq-diagnostics alarms; it is short of memory or disk",
    Reason.UNROUTABLE: "nothing, if it passes: queue and binding are declared again; else see who deletes them",
    Reason.TOO_LARGE: f"set max_message_size of the broker to {events.MAX_MESSAGE_BYTES} or more",
    Reason.REFUSED: "run `reverser doctor`: rights, policies, or memory of the broker",
}
# They concern one message, or one destination; the others stop whatever is sent.
_OF_ONE = frozenset({Reason.FULL, Reason.UNROUTABLE, Reason.TOO_LARGE, Reason.REFUSED})

_Item = events.Message | dict[str, str]


class Publisher:
    """Sends messages from a thread of its own; `publish` and `ring` return at once and never raise."""

    def __init__(self, settings: Settings, *, capacity: int = CAPACITY) -> None:
        # Messages since the start.
        self.published = 0
        self._drops: collections.Counter[Reason] = collections.Counter()
        self._dropped_at: dict[Reason, float] = {}
        self._counting = threading.Lock()
        self._waiting: thread_queue.Queue[_Item | None] = thread_queue.Queue(capacity)
        self._sender = _Sender(settings)
        self._outage = _Outage()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    @property
    def outage(self) -> Reason | None:
        """Why the broker takes nothing at all: what is handed over is lost, but for a try now and then.

        Known from what is sent: after a minute without a drop, nobody knows.
        """
        why = self._outage.why
        return why if why in self._recent() else None

    @property
    def dropped(self) -> int:
        """Messages that were dropped since the start."""
        return sum(self.drops.values())

    @property
    def drops(self) -> dict[str, int]:
        """The same by reason."""
        with self._counting:
            return {str(reason): count for reason, count in self._drops.items()}

    @property
    def going_on(self) -> dict[str, int]:
        """The same of what goes on: what stops all messages until one is taken, and all of it for a minute at most."""
        told = self._recent() & {*_OF_ONE, self._outage.why}
        return {reason: count for reason, count in self.drops.items() if reason in told}

    def _recent(self) -> set[Reason | None]:
        """Why something was dropped within the last minute."""
        now = time.monotonic()
        with self._counting:
            return {reason for reason, at in self._dropped_at.items() if now - at < SAID_FOR}

    def publish(self, messages: Iterable[events.Message]) -> None:
        """Hand messages to the sending thread, in order."""
        for message in messages:
            self._put(message)

    def ring(self, destination: events.Ref, first: int, last: int) -> None:
        """Say that rows pend, those from `first` to `last` if not 0. On RabbitMQ it expires after a minute."""
        self._put(events.Message(destination=destination, first=first, last=last))

    def bury(self, identity: Mapping[str, str]) -> None:
        """Keep what is known of an unreadable message on the dead-letter queue: identity, never content."""
        self._put(dict(identity))

    def close(self) -> None:
        """Send what waits, for a few seconds at most, and end the thread."""
        self._closing.set()
        with contextlib.suppress(thread_queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_WITHIN)

    def _put(self, item: _Item) -> None:
        try:
            self._waiting.put_nowait(item)
        except thread_queue.Full:
            self._drop(Reason.FULL)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            self._attempt(item)
            if self._closing.is_set() and self._waiting.empty():
                break
        self._sender.close()

    def _attempt(self, item: _Item) -> None:
        failpoints.reach("before_publish")
        reason = self._outage.pausing() or self._sender.send(item)
        failpoints.reach("after_publish")
        if reason:
            self._drop(reason)
            self._outage.failed(reason, error=self._sender.error, drops=self.drops)
        else:
            self.published += 1
            self._outage.worked(self.drops)

    def _drop(self, reason: Reason) -> None:
        with self._counting:
            self._drops[reason] += 1
            self._dropped_at[reason] = time.monotonic()


class _Outage:
    """Backoff between attempts on a broker that takes nothing. Each reason is said, and once that it is over."""

    def __init__(self) -> None:
        # Why the last try failed that concerned the broker as a whole; None as soon as it answers otherwise.
        self.why: Reason | None = None
        self._delay = 0.0
        self._retry_at = 0.0
        self._said: dict[Reason, float] = {}

    def pausing(self) -> Reason | None:
        """Why nothing is tried at the moment."""
        return self.why if time.monotonic() < self._retry_at else None

    def failed(self, reason: Reason, *, error: str, drops: Mapping[str, int]) -> None:
        now = time.monotonic()
        if now - self._said.get(reason, -SAID_FOR) >= SAID_FOR:
            self._said[reason] = now
            words = "publishing fails, messages are dropped and rung for later"
            log.warning(words, reason=str(reason), error=error, do=ADVICE[reason], dropped_since_start=drops)
        if reason in _OF_ONE:
            # That was an answer.
            self.worked(drops)
        elif now >= self._retry_at:
            self.why = reason
            self._delay = min(max(BACKOFF_FIRST, 2 * self._delay), celeryconfig.RETRY_LONGEST)
            self._retry_at = now + self._delay

    def worked(self, drops: Mapping[str, int]) -> None:
        if self.why:
            log.info("publishing works again", dropped_since_start=drops)
            self._said.pop(self.why, None)
        self.why, self._delay = None, 0.0


class _Sender:
    """One connection for sending; used by the publisher's thread alone."""

    def __init__(self, settings: Settings) -> None:
        # The kind of the last one, for the log: its text may quote what was sent.
        self.error = ""
        self._settings = settings
        self._app = queues.make_app(settings)
        self._producer: Any = None
        self._declared: dict[events.Ref, float] = {}
        # Until when nothing is sent where it was refused: each try costs a connection. None is for burying.
        self._refused: dict[events.Ref | None, float] = {}
        self._blocked = self._returned = False

    def send(self, item: _Item) -> Reason | None:
        """Send one message, or bury one; why it could not be sent, or None."""
        self._returned = False
        destination = item.destination if isinstance(item, events.Message) else None
        if time.monotonic() < self._refused.get(destination, 0.0):
            return Reason.REFUSED
        self._refused.pop(destination, None)
        try:
            if isinstance(item, events.Message):
                self._send(item)
            else:
                self._bury(item)
        except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, the thread lives on.
            # Celery wraps what the client raised.
            cause = error.__cause__ or error
            reason, self.error = self._reason(cause), type(cause).__name__
            self.close(failed=True)
            if reason is Reason.REFUSED:
                self._refused[destination] = time.monotonic() + DECLARED_FOR
            elif reason not in _OF_ONE:
                # Whoever answers next may be another one, and what is remembered is no answer of his.
                self._refused.clear()
            return reason
        if self._returned:
            self.error = "returned"
            self._declared.clear()
            return Reason.UNROUTABLE
        return None

    def close(self, *, failed: bool = False) -> None:
        producer, self._producer = self._producer, None
        self._declared.clear()
        self._blocked = False
        if producer is not None:
            with contextlib.suppress(Exception):
                # A blocked broker does not answer a farewell either.
                (producer.connection.collect if failed else producer.connection.release)()

    def _reason(self, error: BaseException) -> Reason:
        if isinstance(error, amqp_exceptions.NotFound):
            return Reason.UNROUTABLE
        if isinstance(error, amqp_exceptions.PreconditionFailed) and "larger than" in str(error):
            return Reason.TOO_LARGE
        if isinstance(error, self._app.connection_for_write().connection_errors):
            return Reason.BLOCKED if self._blocked else Reason.AWAY
        return Reason.REFUSED

    def _send(self, message: events.Message) -> None:
        producer = self._connected()
        self._declare(message.destination, producer)
        message, kwargs = _within_size(message)
        self._app.send_task(
            message.task,
            kwargs=kwargs,
            kwargsrepr=message.summary(),
            queue=events.queue_name(message.destination),
            declare=[],
            producer=producer,
            ignore_result=True,
            # A batch says what happened, so it stays; a ring only says that rows pend. By the broker's clock: Celery's
            # `expires` is a time of ours, and a worker whose clock is ahead would drop every ring.
            expiration=None if message.events else RING_EXPIRES,
            **self._how(events.queue_name(message.destination)),
        )

    def _bury(self, identity: dict[str, str]) -> None:
        producer = self._connected()
        channel = producer.channel
        queues.declare(queues.DEAD, channel)
        waiting = channel.queue_declare(queue=queues.DEAD_QUEUE, durable=True, auto_delete=False).message_count
        if waiting >= DEAD_LONGEST:
            channel.basic_get(queues.DEAD_QUEUE, no_ack=True)
        # Not the default exchange of RabbitMQ: who may write to that may write to every queue, remote control included.
        producer.publish(identity, serializer="json", **self._how(queues.DEAD_QUEUE))

    def _connected(self) -> Any:
        if self._producer is None:
            options = celeryconfig.publishing(self._settings, on_blocked=self._on_blocked)
            connection = self._app.connection_for_write(transport_options=options)
            # `connect` waits two seconds before its second try, which is for the next one of several brokers.
            connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=False)
            on_return = self._on_return if celeryconfig.is_amqp(self._settings.broker_url) else None
            self._producer = self._app.amqp.Producer(connection, auto_declare=False, on_return=on_return)
        return self._producer

    def _on_blocked(self, _why: str) -> None:
        self._blocked = True

    def _on_return(self, *_what: object) -> None:
        self._returned = True

    def _declare(self, destination: events.Ref, producer: Any) -> None:
        now = time.monotonic()
        if now - self._declared.get(destination, -DECLARED_FOR) >= DECLARED_FOR:
            queues.declare(queues.queue_for(destination, broker_url=self._settings.broker_url), producer.channel)
            self._declared[destination] = now

    def _how(self, name: events.QueueName) -> dict[str, Any]:
        if not celeryconfig.is_amqp(self._settings.broker_url):
            # Straight onto the list: kombu would read every binding of the exchange from Redis for each message.
            return {"exchange": "", "routing_key": name, "retry": False}
        # Without a limit a broker under a memory alarm never answers; Redis has its socket timeout. Mandatory: what has
        # no queue comes back, where it would be gone in silence.
        patience = celeryconfig.SOCKET_TIMEOUT
        return {
            "exchange": queues.EXCHANGE, "routing_key": name,
            "retry": False, "mandatory": True, "confirm_timeout": patience,
        }  # fmt: skip


def _within_size(message: events.Message) -> tuple[events.Message, dict[str, Any]]:
    """The message with its keyword arguments, as a bare ring of the same rows where its Events are too large."""
    kwargs = message.to_json()
    if len(orjson.dumps(kwargs)) <= events.MAX_MESSAGE_BYTES:
        return message, kwargs
    ring = events.Message(destination=message.destination, first=message.first, last=message.last)
    return ring, ring.to_json()
