"""Every name of Celery and kombu that is not public, in one place; `tests/worker/test_private.py` holds each of them.

Celery has no public way to drop a default step, to see a message before a task is made of it, to stop listening to one
queue for a moment, or to finish its messages before it leaves. The versions are pinned exactly. The rest of the worker
reads as if Celery could do these things.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue as thread_queue
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import billiard
import celery
import structlog
from amqp import serialization
from amqp.spec import Basic, Channel
from celery import bootsteps, exceptions
from celery.worker import consumer as celery_consumer
from celery.worker import state
from kombu import compression

from app import celeryconfig, queues
from app.events import Ref, destination_of
from app.tasks import admitting

log = structlog.get_logger(__name__)

CONSUMER = "app.worker.private:Consumer"
# How old Flower's picture of a worker may be, in seconds.
EVENTS_WITHIN = 0.25
# Messages that need no task are taken off a queue of Redis so many at a time.
TAKEN_AT_ONCE = 100


class ChannelLostError(ConnectionResetError):
    """The broker closed the channel that all queues are listened to on; to Celery it is a lost connection."""


class Serves(Protocol):
    """What the consumer asks of `app/worker/serving.py`."""

    def connecting(self, consumer: Consumer) -> None:
        """A broker answers; Celery declares next whatever is not forgotten, and ends when one is refused."""

    def connected(self, consumer: Consumer) -> None:
        """There is a new connection; queues are added while the event loop runs."""

    def disconnected(self) -> None:
        """The connection is lost."""

    def reconcile(self, consumer: Consumer) -> None:
        """Called several times a second."""

    def receive(self, consumer: Consumer, message: Any, handle: Callable[[Any], None]) -> None:
        """Called for each delivery."""

    def stop(self, consumer: Consumer) -> None:
        """Called when the worker is told to end."""


class Serve(bootsteps.StartStopStep):  # type: ignore[misc]
    """The consumer's step that keeps its queues."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Consumer, service: Serves, interval: float, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._service, self._interval = service, interval

    def start(self, consumer: Consumer) -> None:
        """The consumer is connected, for the first time or again."""
        if celeryconfig.is_amqp(consumer.app.conf.broker_url):
            lose_with(consumer.task_consumer.channel)
        self._service.connected(consumer)

    def register_with_event_loop(self, consumer: Consumer, hub: Any) -> None:
        """The event loop is about to run on this connection."""
        hub.call_repeatedly(self._interval, self._service.reconcile, consumer)

    def stop(self, consumer: Consumer) -> None:
        """The worker ends, or the connection was lost: Celery starts all steps again on the next one."""
        if consumer.connection is None:
            self._service.disconnected()


class Consumer(celery_consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer with our steps and our eyes on each delivery."""

    class Blueprint(celery_consumer.Consumer.Blueprint):  # type: ignore[misc]
        """Without mingle and gossip (a second of start-up each) and without delayed delivery (bindings for ever)."""

        default_steps = (
            "celery.worker.consumer.connection:Connection",
            "celery.worker.consumer.events:Events",
            "celery.worker.consumer.heart:Heart",
            "celery.worker.consumer.control:Control",
            "celery.worker.consumer.tasks:Tasks",
            Serve,
            "celery.worker.consumer.consumer:Evloop",
        )

    def __init__(self, *args: Any, worker_options: dict[str, Any], **kwargs: Any) -> None:
        self.service: Serves = worker_options["service"]
        # Whether Flower gets no events, because the broker takes none.
        self.muted = False
        # Whether a queue was refused when it was listened to: from then on each is tried before.
        self._wary = False
        self._events_due = 0.0
        _guard_decoding()
        super().__init__(*args, worker_options=worker_options, **kwargs)
        if celeryconfig.is_amqp(self.app.conf.broker_url):
            # Per queue on RabbitMQ, and known to be a quorum queue's before the first queue is: error 540 otherwise.
            self.initial_prefetch_count = 1
            self.app.amqp.queues.add(queues.queue_for(Ref("none", "none"), broker_url=self.app.conf.broker_url))

    def start(self) -> None:
        """Celery's, until the worker is told to end.

        What is in flight ends here: the first that Celery's own stop does is to close the pool and to forget all that
        no process of it has confirmed yet.
        """
        try:
            super().start()
        except exceptions.WorkerShutdown:
            log.info("the worker is asked to end; drains under way end first, unless it is asked to end at once")
            if self.connection is not None:
                self.service.stop(self)
                with contextlib.suppress(*self.connection_errors):
                    self._send_events()
            raise

    def connect(self) -> Any:
        """Celery's connection, before it declares the queues that it listened to before."""
        connection = super().connect()
        self.service.connecting(self)
        return connection

    def connection_for_write(self, *args: Any, **options: Any) -> Any:
        """The connection of Flower's events: a broker under an alarm reads none, and each would wait in the loop."""
        connection = super().connection_for_write(*args, **options)
        self.muted = False
        if celeryconfig.is_amqp(self.app.conf.broker_url):
            connection.connection.on_blocked = lambda _why: self._mute(muted=True)
            connection.connection.on_unblocked = lambda: self._mute(muted=False)
        return connection

    def _mute(self, *, muted: bool) -> None:
        # What an operator turned off stays off.
        if self.event_dispatcher.enabled if muted else self.muted:
            self.event_dispatcher.enabled = not muted
            self.muted = muted

    def _flush_events(self) -> None:
        """Called in the event loop after an event of a task: send it with those of the next moment, not by itself."""
        now = time.monotonic()
        if now >= self._events_due:
            self._events_due = now + EVENTS_WITHIN
            self.hub.call_later(EVENTS_WITHIN, self._send_events)

    def _send_events(self) -> None:
        if self.event_dispatcher is not None and not self.muted:
            self.event_dispatcher.flush()

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ARG002 - Celery's name.
        """A body that could not be decompressed: refused like any other, where Celery would log what it holds."""
        self.service.receive(self, message, _never)

    def add_task_queue(self, queue: str, *_args: Any, **_options: Any) -> bool:
        """Listen to a queue; whether it can be. Remote control says any name, and an error here ends the worker."""
        reason = self._refusal(queue)
        if reason:
            log.warning("a queue cannot be used", queue=queue[:80], reason=reason)
            return False
        try:
            super().add_task_queue(queue)
        except ChannelLostError as lost:
            log.warning("a queue is refused, and all others with it: they are listened to anew", reason=str(lost))
            self._wary = True
            raise
        return True

    def _refusal(self, queue: str) -> str:
        destination = destination_of(queue)
        if destination is None:
            return "it is none of a destination: dest.<namespace>.<name>"
        broker_url = self.app.conf.broker_url
        if celeryconfig.is_amqp(broker_url):
            try:
                # On a channel of its own: a refusal closes the channel, and with it every queue that listens there.
                with self.connection.channel() as channel:
                    bound: Any = queues.queue_for(destination, broker_url=broker_url)(channel)
                    bound.declare()
                    if self._wary:
                        # A message that comes returns to its place with the channel, and counts as delivered once more.
                        channel.basic_qos(0, 1, a_global=False)
                        bound.consume("trial", callback=lambda _message: None)
                self.task_consumer.auto_declare = False
            except self.channel_errors as error:
                return str(error).partition("\n")[0][:200]
        return ""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery's handler behind our check."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            self.service.receive(self, message, handle)

        return on_task_received


def _never(_message: Any) -> None:
    raise RuntimeError("a message that could not be decoded was admitted")


def _guard_decoding() -> None:
    """Keep what happens before our check from ending the worker, which would meet the same message again for ever.

    Ours are never compressed, and a megabyte may become a gigabyte. Tables in tables, or text that is none, are errors
    of Python in the middle of AMQP's reading.
    """
    for name in compression.encoders():  # type: ignore[no-untyped-call]
        compression.register(_refuse, _refuse, name)  # type: ignore[no-untyped-call]
    serialization.PROPERTY_CLASSES[Basic.CLASS_ID] = _properties


def _refuse(_body: bytes) -> bytes:
    raise ValueError("a compressed message")


def _properties(buffer: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """AMQP's own reading of a message's properties; one that cannot be read has none."""
    try:
        properties, end = serialization.decode_properties_basic(buffer, offset)
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes raise.
        return {}, len(buffer)
    return properties, end


def lose_with(channel: Any) -> None:
    """Make a connection lost when the broker closes this channel of RabbitMQ's.

    The client opens it anew and raises an error of the channel to whoever waits for whatever at the moment. Nothing
    listens on it any more, and where a timer of the event loop waited the error is a line in the log.
    """

    def closed(_code: int, reason: str, *_method: int) -> None:
        channel.send_method(Channel.CloseOk)
        raise ChannelLostError(reason)

    channel._callbacks[Channel.Close] = closed  # noqa: SLF001


def consumed(consumer: Consumer) -> set[str]:
    """The queues that the consumer listens to, those on hold included."""
    return set(consumer.app.amqp.queues.consume_from)


def forget(consumer: Consumer) -> None:
    """Listen to no queue on the next connection, until it is added."""
    consumer.app.amqp.queues.deselect(consumed(consumer))


def queue_of(consumer: Consumer, message: Any) -> str | None:
    """The queue that a delivery came from; empty where nobody knows, None for one that was given up a moment ago."""
    key = message.delivery_info.get("routing_key")
    if not celeryconfig.is_amqp(consumer.app.conf.broker_url):
        # Redis says no more than the sender did, who may have named any.
        return key if isinstance(key, str) and key in consumed(consumer) else ""
    tags = consumer.task_consumer._active_tags  # noqa: SLF001
    tag = message.delivery_info["consumer_tag"]
    return key if tags.get(key) == tag else next((queue for queue, own in tags.items() if own == tag), None)


def delivery_of(message: Any, *, queue: str) -> admitting.Delivery:
    """A kombu message as our check sees it."""
    return admitting.Delivery(
        queue=queue,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        # A body that kombu could not decompress is as good as none.
        body=None if message.errors else message.body,
    )


def rewritten(message: Any, *, headers: dict[str, Any], body: bytes) -> Any:
    """The same delivery with other content."""
    message.headers, message.body = headers, body
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None  # noqa: SLF001
    return message


def tell_done(consumer: Consumer, headers: Mapping[str, Any], *, result: str) -> None:
    """Have Flower show a message as a task that succeeded, though there was none."""
    tell = consumer.event_dispatcher.send
    named = {"name": headers["task"], "args": headers["argsrepr"], "kwargs": headers["kwargsrepr"]}
    tell("task-received", uuid=headers["id"], root_id=headers["id"], parent_id=None, retries=0, **named)
    tell("task-succeeded", uuid=headers["id"], result=repr(result), runtime=0.0)


def acknowledge(consumer: Consumer, message: Any) -> None:
    """Take a delivery off its queue, unless the connection is gone: then the broker delivers it again."""
    with contextlib.suppress(*consumer.connection_errors):
        message.ack()


def take_off(
    consumer: Consumer, queue: str, admit: Callable[[Any], admitting.Admitted | None]
) -> list[admitting.Admitted]:
    """Take the next messages off a queue of Redis without a delivery, up to the first that is not admitted.

    Delivered, each costs three answers of the server, one after the other, and a busy worker's other queues lie for as
    long. RabbitMQ sends the next message of each queue meanwhile.
    """
    channel = _redis_channel(consumer)
    if channel is None:
        return []
    with contextlib.suppress(*channel.connection_errors), channel.conn_or_acquire() as client:
        taken = []
        with client.pipeline(transaction=False) as pipeline:
            for item in reversed(client.lrange(queue, -TAKEN_AT_ONCE, -1)):
                admitted = _read(channel, item, admit)
                if admitted is None:
                    break
                # By its content: another worker may have taken it meanwhile.
                pipeline.lrem(queue, -1, item)
                taken.append(admitted)
            pipeline.execute()
        return taken
    return []


def _read(channel: Any, item: bytes, admit: Callable[[Any], admitting.Admitted | None]) -> admitting.Admitted | None:
    try:
        return admit(channel.message_to_python(json.loads(item)))
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes raise: delivered, they are refused.
        return None


def give_back(consumer: Consumer, message: Any, *, leaving: bool) -> None:
    """Return a delivery for another worker."""
    # The channel that closes returns it to its place; rejected, it goes to the tail where no delivery limit is set.
    if not (leaving and celeryconfig.is_amqp(consumer.app.conf.broker_url)):
        with contextlib.suppress(*consumer.connection_errors):
            message.requeue()


def when_answered(message: Any, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call these around Celery's acknowledgement or refusal of a delivery; in the event loop, where it does so."""
    for name in ("ack_log_error", "reject_log_error"):
        setattr(message, name, _between(before, getattr(message, name), after))


def _between(before: Callable[[], None], answer: Callable[..., None], after: Callable[[], None]) -> Callable[..., None]:
    def answered(*args: Any, **kwargs: Any) -> None:
        try:
            before()
            answer(*args, **kwargs)
        finally:
            after()

    return answered


def hold(consumer: Consumer, queue: str) -> None:
    """Take nothing more from a queue for now. RabbitMQ's prefetch of one per queue does it by itself."""
    channel = _redis_channel(consumer)
    if channel is not None and queue in channel._active_queues:  # noqa: SLF001
        channel._active_queues.remove(queue)  # noqa: SLF001
        channel._update_queue_cycle()  # noqa: SLF001


def hold_all(consumer: Consumer) -> None:
    """Take nothing more from any queue."""
    for queue in consumed(consumer):
        hold(consumer, queue)


def resume(consumer: Consumer, queue: str) -> None:
    """Listen to a queue again, unless it was given up in the meantime."""
    channel = _redis_channel(consumer)
    listening = channel is not None and queue in channel._tag_to_queue.values()  # noqa: SLF001
    if channel is not None and listening and queue not in channel._active_queues:  # noqa: SLF001
        channel._active_queues.append(queue)  # noqa: SLF001
        channel._update_queue_cycle()  # noqa: SLF001
        nudge(consumer)


def nudge(consumer: Consumer) -> None:
    """Make Redis answer the blocking call under way, which does not name the queues that were added since."""
    channel = _redis_channel(consumer)
    if channel is None or not channel._in_poll:  # noqa: SLF001
        return
    with contextlib.suppress(*channel.connection_errors), channel.conn_or_acquire() as client:
        client.client_unblock(channel._in_poll.client_id)  # noqa: SLF001


def guard_reads(consumer: Consumer, on_garbage: Callable[[Exception], None]) -> None:
    """Keep a list item that is no message of kombu's from ending the worker; Redis lists hold what anybody pushed."""
    channel = _redis_channel(consumer)
    if channel is None:
        return
    read = channel.handlers["BRPOP"]
    # kombu takes a missing key for a lost connection; here it is one that the item's sender left out.
    lost = (error for error in channel.connection_errors if error is not KeyError)
    passing = (*lost, thread_queue.Empty)

    def guarded(**options: Any) -> Any:
        try:
            return read(**options)
        except passing:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the decoding of a stranger's bytes raises.
            on_garbage(error)
            return True

    channel.handlers["BRPOP"] = guarded


def identify_reads(consumer: Consumer) -> None:
    """Ask Redis for the id of each connection that blocks, before it does: `nudge` needs it."""
    channel = _redis_channel(consumer)
    if channel is None:
        return
    block = channel._brpop_start  # noqa: SLF001

    def identified(**options: Any) -> None:
        connection = channel.client.connection
        if getattr(connection, "identified", None) is not connection._sock:  # noqa: SLF001
            connection.send_command("CLIENT", "ID")
            connection.client_id = connection.read_response()
            connection.identified = connection._sock  # noqa: SLF001
        block(**options)

    channel._brpop_start = identified  # noqa: SLF001


def turn_until(consumer: Consumer, done: Callable[[], bool], *, deadline: float) -> bool:
    """Run the consumer's event loop until `done`, or until the monotonic `deadline`; whether it is done."""
    loop = consumer.hub.create_loop()
    with contextlib.suppress(StopIteration, *consumer.connection_errors):
        while not done() and time.monotonic() < deadline:
            next(loop)
    return done()


def leave(consumer: Consumer) -> None:
    """Give all queues up, in order.

    On RabbitMQ the channel is closed: a cancel would start the standby while acknowledgements are still on their way.
    """
    nudge(consumer)
    task_consumer, consumer.task_consumer = consumer.task_consumer, None
    if task_consumer is None:
        return
    with contextlib.suppress(*consumer.connection_errors, *consumer.channel_errors):
        if celeryconfig.is_amqp(consumer.app.conf.broker_url):
            task_consumer.channel.close()
        else:
            task_consumer.cancel()


def heed_signals() -> None:
    """End on SIGTERM and Ctrl-C when what is in flight is done; on SIGQUIT and a second Ctrl-C at once.

    In place of Celery's handlers: at once, these cancel each queue, which starts the standby while the drains go on,
    and wait for them in the handler. Threads cannot be ended but with their process.
    """

    def finish(*_: Any) -> None:
        signal.signal(signal.SIGINT, _end_at_once)
        state.should_stop = os.EX_OK

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    signal.signal(signal.SIGQUIT, _end_at_once)


def _end_at_once(*_: Any) -> None:
    """End as kill -9 does, the children first: the connection closes last, and gives the messages back in order."""
    children = billiard.active_children()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    for child in children:
        child.join()
    os._exit(1)


def register_step(app: celery.Celery, step: type[bootsteps.Step]) -> None:
    """Add a step of the worker itself."""
    app.steps["worker"].add(step)


def _redis_channel(consumer: Consumer) -> Any | None:
    """The channel of the task consumer on Redis; None on RabbitMQ, or while there is none."""
    task_consumer = consumer.task_consumer
    if task_consumer is None or celeryconfig.is_amqp(consumer.app.conf.broker_url):
        return None
    return task_consumer.channel
