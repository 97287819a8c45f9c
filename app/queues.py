"""Destination queues: how they are declared, and how messages get onto them.

The one place that makes a Celery app (`make_app`: publisher, worker and Flower use the same), so that a bare queue
name always gets the right arguments. `Publisher` never blocks and never fails its caller: what it cannot send it drops
and counts, because the ledger holds the Events and the sweeper rings for them. Neighbours: `app/celeryconfig.py` has
the options, `app/watch` publishes by task name, `app/tasks` and `app/worker` receive, `app/broker.py` asks.
"""

from __future__ import annotations

import contextlib
import queue as thread_queue
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import celery
import kombu.exceptions
import orjson
import structlog
from celery.app import amqp
from kombu import entity

from app import celeryconfig, errors, events
from app.settings import Settings

log = structlog.get_logger(__name__)

# Messages that could not be read, by identity only. No destination has this name: a destination's queue has two dots.
DEAD_QUEUE = events.QueueName("dest.dead")
DEAD_LONGEST = 1_000
# A ring that waited longer says nothing new: the sweeper's distance between rings is at most a minute.
RING_EXPIRES = 60.0
# Declared again after this, so that a broker that lost its data routes again while the connection lives on.
DECLARED_FOR = 5.0
# Messages that wait for the sending thread: about a second's worth at full speed, some 100 MB of Events.
CAPACITY = 1_000
BACKOFF_FIRST, BACKOFF_LONGEST = 0.5, 30.0
# How long `close` lets the thread send what it holds.
CLOSE_WITHIN = 5.0
_SCHEMES = frozenset({"amqp", "amqps", "pyamqp", "pyamqps", "redis", "rediss", "redis+socket", "sentinel"})

_EXCHANGE = entity.Exchange(celeryconfig.EXCHANGE, type="topic", durable=True)  # type: ignore[no-untyped-call]
_DEAD = entity.Queue(DEAD_QUEUE, _EXCHANGE, routing_key=DEAD_QUEUE, durable=True)  # type: ignore[no-untyped-call]


def queue_for(destination: events.Ref, *, broker_url: str) -> entity.Queue:
    """The declaration of a destination's queue; its arguments depend on the kind of broker."""
    name = events.queue_name(destination)
    return entity.Queue(  # type: ignore[no-untyped-call]
        name, _EXCHANGE, routing_key=name, durable=True, queue_arguments=_queue_arguments(broker_url) or None
    )


def _queue_arguments(broker_url: str) -> dict[str, Any]:
    # Only these two: whatever else a queue needs is a policy on ^dest\., which can change without a new declaration.
    return {"x-queue-type": "quorum", "x-single-active-consumer": True} if celeryconfig.is_amqp(broker_url) else {}


class DestQueues(amqp.Queues):  # type: ignore[misc]
    """Celery's table of queues, holding destinations' queues only, with one declaration for each.

    Remote control (`add_consumer` from Flower) and `send_task(queue=...)` bring bare names or arguments of their own;
    a declaration that differs from the first one is error 406 and ends the worker.
    """

    broker_url = ""

    def add(self, queue: entity.Queue | str, **_options: Any) -> entity.Queue:
        """Add a queue by its name alone. Raises KeyError for a name that is no destination's."""
        added: entity.Queue = self._add(self.new_missing(queue if isinstance(queue, str) else queue.name))
        return added

    def new_missing(self, name: str) -> entity.Queue:
        """The declaration for a bare name. Raises KeyError for a name that is no destination's."""
        destination = events.destination_of(name)
        if destination is None:
            raise KeyError(f"{name[:80]!r} is no queue of a destination: dest.<namespace>.<name>")
        return queue_for(destination, broker_url=self.broker_url)


class DestAMQP(amqp.AMQP):  # type: ignore[misc]
    """Celery's AMQP part with our table of queues."""

    queues_cls = DestQueues

    def Queues(self, queues: Any, *args: Any, **kwargs: Any) -> DestQueues:  # noqa: N802 - Celery's name.
        """Celery's factory of the table; the table has to know the kind of broker."""
        table = cast("DestQueues", super().Queues(queues, *args, **kwargs))
        table.broker_url = self.app.conf.broker_url
        return table


def make_app(settings: Settings) -> celery.Celery:
    """The Celery app of every process. It is not made the current app of the process: the worker does that."""
    app = celery.Celery("reverser", amqp=DestAMQP, set_as_current=False)
    app.conf.update(celeryconfig.config(settings))
    return app


class Publisher:
    """Sends messages from a thread of its own; `publish` and `ring` return at once and never raise.

    What does not fit or cannot be sent is dropped and counted: `published` and `dropped` are messages since the start.
    """

    def __init__(self, settings: Settings, *, capacity: int = CAPACITY) -> None:
        self.published = 0
        self.dropped = 0
        self._waiting: thread_queue.Queue[events.Message | dict[str, str] | None] = thread_queue.Queue(capacity)
        self._sender = _Sender(settings)
        self._outage = _Outage()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, messages: Iterable[events.Message]) -> None:
        """Hand messages to the sending thread, in order."""
        for message in messages:
            self._put(message)

    def ring(self, destination: events.Ref, first: int, last: int) -> None:
        """Say that rows pend: at least up to `last`, any at all where it is 0. The message expires after a minute."""
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

    def _put(self, item: events.Message | dict[str, str]) -> None:
        try:
            self._waiting.put_nowait(item)
        except thread_queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._outage.waiting():
                self.dropped += 1
            else:
                self._attempt(item)
            if self._closing.is_set() and self._waiting.empty():
                break
        self._sender.close()

    def _attempt(self, item: events.Message | dict[str, str]) -> None:
        try:
            self._sender.send(item)
        except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, the thread lives on.
            self.dropped += 1
            self._outage.failed(error)
            self._sender.close()
        else:
            self.published += 1
            self._outage.worked(self.dropped)


class _Outage:
    """Backoff between attempts on a broker that fails, said once and once again when it is over."""

    def __init__(self) -> None:
        self._delay = 0.0
        self._retry_at = 0.0

    def waiting(self) -> bool:
        return time.monotonic() < self._retry_at

    def failed(self, error: Exception) -> None:
        if not self._delay:
            log.warning("publishing fails, messages are dropped until the broker is back", error=type(error).__name__)
        self._delay = min(max(BACKOFF_FIRST, 2 * self._delay), BACKOFF_LONGEST)
        self._retry_at = time.monotonic() + self._delay

    def worked(self, dropped: int) -> None:
        if self._delay:
            log.info("publishing works again", dropped_since_start=dropped)
        self._delay = self._retry_at = 0.0


class _Sender:
    """One connection for sending; used by the publisher's thread alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = make_app(settings)
        self._producer: Any = None
        self._declared: dict[events.Ref, float] = {}

    def send(self, item: events.Message | dict[str, str]) -> None:
        """Send one message, or bury one. Raises whatever the broker's client raises."""
        if isinstance(item, events.Message):
            self._send(item)
        else:
            self._bury(item)

    def close(self) -> None:
        producer, self._producer = self._producer, None
        self._declared.clear()
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.connection.release()

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
            retry=False,
            # A batch says what happened, so it stays; a ring only says that rows pend.
            expires=None if message.events else RING_EXPIRES,
            **self._deadline(),
        )

    def _bury(self, identity: dict[str, str]) -> None:
        producer = self._connected()
        channel = producer.channel
        _declare(_DEAD, channel)
        if channel.queue_declare(queue=DEAD_QUEUE, durable=True, auto_delete=False).message_count >= DEAD_LONGEST:
            channel.basic_get(DEAD_QUEUE, no_ack=True)
        # Not the default exchange: who may write to that one may write to every queue, remote control included.
        producer.publish(
            identity, exchange=_EXCHANGE, routing_key=DEAD_QUEUE, serializer="json", retry=False, **self._deadline()
        )

    def _connected(self) -> Any:
        if self._producer is None:
            connection = self._app.connection_for_write(transport_options=celeryconfig.publishing(self._settings))
            connection.connect()
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        return self._producer

    def _declare(self, destination: events.Ref, producer: Any) -> None:
        now = time.monotonic()
        if now - self._declared.get(destination, -DECLARED_FOR) >= DECLARED_FOR:
            _declare(queue_for(destination, broker_url=self._settings.broker_url), producer.channel)
            self._declared[destination] = now

    def _deadline(self) -> dict[str, float]:
        # Without a limit a broker under a memory alarm never answers. Redis has its socket timeout.
        amqp_broker = celeryconfig.is_amqp(self._settings.broker_url)
        return {"confirm_timeout": celeryconfig.SOCKET_TIMEOUT} if amqp_broker else {}


def _declare(queue: entity.Queue, channel: Any) -> None:
    """Declare and bind a queue, whatever was declared before."""
    # On Redis kombu remembers which bindings it wrote, whatever the server holds by now.
    state = getattr(channel.connection, "state", None)
    if state is not None:
        state.queue_bindings_delete(queue.name)
    bound: Any = queue(channel)
    bound.declare()


def _within_size(message: events.Message) -> tuple[events.Message, dict[str, Any]]:
    """The message with its keyword arguments, as a bare ring of the same rows where its Events are too large."""
    kwargs = message.to_json()
    if len(orjson.dumps(kwargs)) <= events.MAX_MESSAGE_BYTES:
        return message, kwargs
    ring = events.Message(destination=message.destination, first=message.first, last=message.last)
    return ring, ring.to_json()


def queue_depths(settings: Settings, destinations: Sequence[events.Ref]) -> dict[events.Ref, int]:
    """Messages that wait on each destination's queue; 0 for a queue that does not exist. Declares nothing.

    Raises TemporaryError when the broker cannot be asked.
    """
    with asking(settings) as connection:
        return {destination: _depth(connection, events.queue_name(destination)) for destination in destinations}


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator[Any]:
    """A connection for a question. Raises TemporaryError when the broker cannot be asked, SettingsError for its URL."""
    if urlsplit(settings.broker_url).scheme not in _SCHEMES:
        # Of others kombu fails in ways of its own, at the import of a library that is not there for one.
        raise _no_url()
    try:
        connection = make_app(settings).connection_for_read()
    except ValueError as error:
        raise _no_url() from error
    try:
        _connect(connection)
        yield connection
    # A wrong password is an error of the channel in AMQP.
    except (*connection.connection_errors, *connection.channel_errors, kombu.exceptions.OperationalError) as error:
        words = str(error).partition("\n")[0][:200] or type(error).__name__
        raise errors.TemporaryError(f"the broker cannot be asked ({words})", delay=5.0) from error
    finally:
        connection.release()


def _connect(connection: Any) -> None:
    try:
        # `connect` waits two seconds before its second try; a person waits for this.
        connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=False)
    except ssl.SSLError as error:
        # A certificate that is refused is a ValueError, too.
        raise errors.TemporaryError(f"the broker's TLS is refused ({error})", delay=5.0) from error
    except ValueError as error:
        # The path of a Redis URL that is no number of a database, for one.
        raise _no_url() from error


def _no_url() -> errors.SettingsError:
    # Without the error's text, which may quote the URL with its password.
    return errors.SettingsError("REVERSER_BROKER_URL is no redis://, redis+socket:// or amqp:// URL")


def _depth(connection: Any, name: events.QueueName) -> int:
    try:
        # A channel of its own: RabbitMQ closes the channel of a passive declaration that finds nothing.
        with connection.channel() as channel:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
    except connection.channel_errors:
        return 0
