"""Destination queues: how they are declared, how much is on them, and how they go.

The one place that makes a Celery app (`make_app`: publisher, worker and Flower use the same), so that a bare queue
name always gets the right arguments. Neighbours: `app/celeryconfig.py` has the options, `app/publishing.py` sends,
`app/tasks` and `app/worker` receive, `app/broker.py` asks.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import celery
import kombu.connection
import kombu.exceptions
from celery.app import amqp
from celery.app import events as celery_events
from celery.events import dispatcher
from kombu import entity
from kombu.transport import redis

from app import celeryconfig, errors, events
from app.settings import Settings

# Messages that could not be read, by identity only. No destination has this name: a destination's queue has two dots.
DEAD_QUEUE = events.QueueName("dest.dead")
_SCHEMES = frozenset({"amqp", "amqps", "pyamqp", "pyamqps", "redis", "rediss", "redis+socket", "sentinel"})

EXCHANGE = entity.Exchange(celeryconfig.EXCHANGE, type="topic", durable=True)  # type: ignore[no-untyped-call]
DEAD = entity.Queue(DEAD_QUEUE, EXCHANGE, routing_key=DEAD_QUEUE, durable=True)  # type: ignore[no-untyped-call]


def queue_for(destination: events.Ref, *, broker_url: str) -> entity.Queue:
    """The declaration of a destination's queue; its arguments depend on the kind of broker."""
    name = events.queue_name(destination)
    return entity.Queue(  # type: ignore[no-untyped-call]
        name, EXCHANGE, routing_key=name, durable=True, queue_arguments=_queue_arguments(broker_url) or None
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
        added: entity.Queue = super().add(self.new_missing(queue if isinstance(queue, str) else queue.name))
        return added

    def new_missing(self, name: str) -> entity.Queue:
        """The declaration for a bare name. Raises KeyError for a name that is no destination's."""
        destination = events.destination_of(name)
        if destination is None:
            raise KeyError(f"{name[:80]!r} is no queue of a destination: dest.<namespace>.<name>")
        return queue_for(destination, broker_url=self.broker_url)


class _RedisChannel(redis.Channel):
    """kombu's, with one client for all commands: to make one for each is a tenth of what a busy worker computes."""

    _shared: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature.
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[no-untyped-call]
        # kombu drops the pool when the connection is lost.
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = super()._create_client()  # type: ignore[no-untyped-call]
        return self._shared


class _RedisTransport(redis.Transport):
    Channel = _RedisChannel


class PromptConnection(kombu.connection.Connection):
    """kombu's connection with pauses and a channel of ours, which Celery has no option for."""

    def get_transport_cls(self) -> Any:
        """What talks to the broker of the URL."""
        found = super().get_transport_cls()  # type: ignore[no-untyped-call]
        return _RedisTransport if found is redis.Transport else found

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Try until it is there, with pauses of 1, 3 and then 5 s where nothing else is said."""
        pauses = {"interval_start": 1, "interval_step": 2, "interval_max": celeryconfig.RETRY_LONGEST}
        return super().ensure_connection(*args, **(pauses | kwargs))  # type: ignore[no-untyped-call]


class DestAMQP(amqp.AMQP):  # type: ignore[misc]
    """Celery's AMQP part with our table of queues and our pauses."""

    queues_cls = DestQueues
    Connection = PromptConnection

    def Queues(self, queues: Any, *args: Any, **kwargs: Any) -> DestQueues:  # noqa: N802 - Celery's name.
        """Celery's factory of the table; the table has to know the kind of broker."""
        table = cast("DestQueues", super().Queues(queues, *args, **kwargs))
        table.broker_url = self.app.conf.broker_url
        return table


class _Dispatcher(dispatcher.EventDispatcher):  # type: ignore[misc]
    """Celery's sender of Flower's events, without what would stop a worker for their sake."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # A full buffer is sent by whoever fills it: by a thread of the pool, on a connection that the event loop reads.
        super().__init__(*args, **(options | {"buffer_limit": sys.maxsize}))

    def send(self, type: str, *args: Any, **options: Any) -> Any:  # noqa: A002 - Celery's name.
        # A heartbeat would be tried again in the event loop, and without an end where its channel is dead.
        return super().send(type, *args, **(options | {"retry": False}))


class _Events(celery_events.Events):  # type: ignore[misc]
    dispatcher_cls = _Dispatcher


def make_app(settings: Settings) -> celery.Celery:
    """The Celery app of every process. It is not made the current app of the process: the worker does that."""
    app = celery.Celery("reverser", amqp=DestAMQP, events=_Events, set_as_current=False)
    app.conf.update(celeryconfig.config(settings))
    return app


def declare(queue: entity.Queue, channel: Any) -> None:
    """Declare and bind a queue, whatever was declared before."""
    # On Redis kombu remembers which bindings it wrote, whatever the server holds by now.
    state = getattr(channel.connection, "state", None)
    if state is not None:
        state.queue_bindings_delete(queue.name)
    bound: Any = queue(channel)
    bound.declare()


def delete(settings: Settings, destinations: Sequence[events.Ref]) -> None:
    """Delete destinations' queues with their bindings and whatever is on them.

    Raises TemporaryError when the broker cannot be asked.
    """
    with asking(settings) as connection, connection.channel() as channel:
        for destination in destinations:
            queue = queue_for(destination, broker_url=settings.broker_url)
            if not celeryconfig.is_amqp(settings.broker_url):
                # Redis forgets an empty list by itself; kombu takes away the bindings that it wrote, and no others.
                declare(queue, channel)
            bound: Any = queue(channel)
            bound.delete()


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


def check_login(settings: Settings) -> None:
    """Raises StalledError where the broker refuses our login; one that is away says nothing about it."""
    try:
        with asking(settings):
            return
    except errors.TemporaryError as error:
        cause = error.__cause__
        # RabbitMQ's answers to a wrong user or password and to an unknown virtual host; Redis has a class for it.
        if getattr(cause, "reply_code", 0) in {403, 530} or type(cause).__name__ == "AuthenticationError":
            raise errors.StalledError(
                f"{error.message}: correct user, password or virtual host in REVERSER_BROKER_URL",
                reason="BrokerRefused",
            ) from error


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
