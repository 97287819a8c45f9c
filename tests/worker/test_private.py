"""The private names of Celery and kombu that the worker leans on: a new version that changes one fails here first."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import billiard
import kombu
import pytest
from amqp import channel as amqp_channel
from amqp import connection as amqp_connection
from amqp import serialization
from celery import bootsteps
from celery.app import amqp
from celery.apps import worker as celery_worker
from celery.concurrency import asynpool
from celery.events import dispatcher
from celery.worker import consumer as celery_consumer
from celery.worker import control, loops, state, strategy
from celery.worker.consumer import events, tasks
from kombu import messaging
from kombu.asynchronous import hub
from kombu.message import Message
from kombu.transport import redis as redis_transport
from kombu.transport.virtual import base as virtual

from app import queues
from app.events import Ref
from app.settings import Settings
from app.worker import private
from tests.servers import rabbitmq

PROD = Ref("shop", "prod")


@pytest.fixture
def channel(redis_url: str) -> Iterator[Any]:
    """A channel on Redis that listens to shop/prod."""
    app = queues.make_app(Settings(broker_url=redis_url))
    connection = app.connection_for_read()
    task_consumer = app.amqp.TaskConsumer(connection, queues=[queues.queue_for(PROD, broker_url=redis_url)])
    task_consumer.on_message = lambda _message: None
    task_consumer.consume()
    yield task_consumer.channel
    connection.release()


@pytest.mark.parametrize(
    ("package", "version"),
    [("celery", "5.7.0"), ("kombu", "5.7.0"), ("amqp", "5.4.2"), ("billiard", "4.3.2"), ("flower", "2.2.0")],
)
def test_versions_are_those_that_were_measured(package: str, version: str) -> None:
    """Another version needs this file and app/worker/private.py read again."""
    assert importlib.metadata.version(package) == version


def test_the_consumer_takes_the_steps_we_name() -> None:
    """Celery's consumer still has each step that ours lists, and ours lacks only what we leave out."""
    theirs = set(celery_consumer.Consumer.Blueprint.default_steps)
    ours = {step for step in private.Consumer.Blueprint.default_steps if isinstance(step, str)}
    assert ours <= theirs
    left_out = {name.rpartition(":")[2] for name in theirs - ours}
    assert left_out == {"Mingle", "Gossip", "DelayedDelivery", "Agent"}


def test_the_names_of_the_consumer_exist() -> None:
    """The methods that we override or call have the shape that we rely on."""
    assert list(inspect.signature(celery_consumer.Consumer.create_task_handler).parameters) == ["self", "promise"]
    assert "worker_options" in inspect.signature(celery_consumer.Consumer.__init__).parameters
    assert list(inspect.signature(celery_consumer.Consumer.cancel_task_queue).parameters) == ["self", "queue"]
    source = inspect.getsource(celery_consumer.Consumer.create_task_handler)
    assert "message.ack_log_error" in source
    assert "message.reject_log_error" in source
    assert "message.body, message.headers" in inspect.getsource(strategy.default)


def test_the_table_of_queues_has_its_hooks() -> None:
    """Every way of a queue into Celery's table ends in `add` or `new_missing`."""
    assert list(inspect.signature(amqp.Queues.new_missing).parameters) == ["self", "name"]
    assert "self.add(self.new_missing(name))" in inspect.getsource(amqp.Queues.__missing__)
    assert "self.add(queue, **kwargs)" in inspect.getsource(amqp.Queues.select_add)
    assert "self.queues_cls(" in inspect.getsource(amqp.AMQP.Queues)
    assert "queues or list(self.queues.consume_from.values())" in inspect.getsource(amqp.AMQP.TaskConsumer)


def test_a_binding_that_kombu_remembers_can_be_forgotten() -> None:
    """A queue whose bindings were written once is bound again when they are forgotten; only a known one is skipped."""
    known = virtual.BrokerState()
    known.binding_declare("dest.shop.prod", "dest", "dest.shop.prod", None)
    assert "self.state.has_binding(" in inspect.getsource(virtual.Channel.queue_bind)
    assert known.has_binding("dest.shop.prod", "dest", "dest.shop.prod")
    known.queue_bindings_delete("dest.shop.prod")
    assert not known.has_binding("dest.shop.prod", "dest", "dest.shop.prod")
    # One that is not known is no error.
    known.queue_bindings_delete("dest.shop.prod")


@pytest.mark.rabbitmq
def test_a_channel_that_the_broker_closes_is_a_lost_connection(rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """Whoever waits when the broker closes the channel of the queues learns that the connection is lost."""
    with kombu.Connection(rabbitmq_vhost.url) as connection:
        assert issubclass(private.ChannelLostError, connection.connection_errors)
        assert not issubclass(private.ChannelLostError, connection.channel_errors)
        channel = connection.default_channel
        private.lose_with(channel)
        # An acknowledgement of nothing; the broker's answer is read by whoever reads next, here for another channel.
        channel.basic_ack(4711)
        with pytest.raises(private.ChannelLostError, match="unknown delivery tag 4711"):
            connection.channel().queue_declare("a")


def test_an_error_of_a_timer_reaches_the_consumer_where_it_is_a_lost_connection() -> None:
    """The event loop logs what a timer raises, but for the connection's errors; Celery connects again on these."""
    assert "except propagate:\n                    raise" in inspect.getsource(hub.Hub.fire_timers)
    assert "hub.propagate_errors = errors" in inspect.getsource(loops.asynloop)
    assert "recoverable_errors = self.connection_errors" in inspect.getsource(celery_consumer.Consumer.start)


def test_signals_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer ends by the flags that we set, and Celery sets its own handlers before its steps start."""
    assert "should_stop is not None and should_stop is not False" in inspect.getsource(state.maybe_shutdown)
    assert "self.install_platform_tweaks(self)" in inspect.getsource(celery_worker.Worker.on_start)
    starting = inspect.getsource(bootsteps.Blueprint.start)
    assert starting.index("self.on_start()") < starting.index("step.start(")
    monkeypatch.setattr(state, "should_stop", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    try:
        private.heed_signals()
        first = signal.getsignal(signal.SIGINT)
        assert first == signal.getsignal(signal.SIGTERM) != signal.getsignal(signal.SIGQUIT)
        signal.raise_signal(signal.SIGINT)
        assert state.should_stop == os.EX_OK
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGQUIT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_children_are_listed() -> None:
    """The children of a prefork pool are processes of billiard's, which lists them with their ids."""
    child = billiard.Process(target=threading.Event().wait)
    child.start()
    try:
        assert child.pid in [one.pid for one in billiard.active_children()]
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert "from billiard" in inspect.getsource(asynpool)


def test_a_message_can_be_written_anew() -> None:
    """A kombu message gives its new body to Celery after its old one was read."""
    message = Message(body="[1]", content_type="application/json", content_encoding="utf-8", headers={"a": 1})
    assert message.payload == [1]
    changed = private.rewritten(message, headers={"b": 2}, body=b"[2]")
    assert changed.payload == [2]
    assert changed.headers == {"b": 2}


def test_a_delivery_names_its_consumer() -> None:
    """A consumer of kombu's keeps its tags by queue, until it cancels one and no longer; AMQP delivers under a tag."""
    assert "self._active_tags[queue.name] = tag" in inspect.getsource(messaging.Consumer._add_tag)
    cancelling = inspect.getsource(messaging.Consumer.cancel_by_queue)
    assert cancelling.index("_active_tags.pop") < cancelling.index("basic_cancel")
    assert "'consumer_tag': consumer_tag" in inspect.getsource(amqp_channel.Channel._on_basic_deliver)
    assert "consumer.add_task_queue" in inspect.getsource(control.add_consumer)


def test_events_are_sent_on_a_connection_that_we_make() -> None:
    """The dispatcher of events takes its connection from the consumer, and sends while it is `enabled`."""
    starting = inspect.getsource(events.Events.start)
    assert "conn = c.connection_for_write(" in starting
    # The hub reads it, and so hears of the end of an alarm.
    assert "conn.transport.register_with_event_loop(conn.connection, c.hub)" in starting
    assert "if self.enabled:" in inspect.getsource(dispatcher.EventDispatcher.send)
    source = inspect.getsource(amqp_connection.Connection)
    assert "return self.on_blocked(reason)" in source
    assert "return self.on_unblocked()" in source


def test_events_are_buffered_until_we_send_them() -> None:
    """The dispatcher buffers a task's events and tells the consumer, who flushes it; what is left is kept at a loss."""
    starting = inspect.getsource(events.Events.start)
    assert "buffer_group=['task'] if c.hub else None" in starting
    assert "on_send_buffered=c.on_send_event_buffered if c.hub else None" in starting
    assert "dis.extend_buffer(prev)" in starting
    sending = inspect.getsource(dispatcher.EventDispatcher.send)
    assert "if len(buf) >= self.buffer_limit:" in sending
    assert "self.on_send_buffered()" in sending
    consumer = inspect.getsource(celery_consumer.Consumer)
    # In the event loop, whichever thread the event is of.
    assert "self._flush_events_promise = promise(self._flush_events)" in consumer
    assert "self.hub.call_soon(self._flush_events_promise)" in consumer
    assert list(inspect.signature(hub.Hub.call_later).parameters) == ["self", "delay", "callback", "args"]


@pytest.mark.rabbitmq
def test_an_event_on_a_dead_connection_stops_nobody(rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """Celery asks for a heartbeat to be tried again; on a channel that is dead that would never end."""
    app = queues.make_app(Settings(broker_url=rabbitmq_vhost.url))
    with app.connection_for_write() as connection:
        eventer = app.events.Dispatcher(connection, hostname="reverser@one")
        assert eventer.buffer_limit > 1_000_000
        eventer.send("worker-heartbeat", freq=2.0, retry=True)
        lost = connection.connection
        lost.transport.sock.shutdown(socket.SHUT_RDWR)
        # An event that is lost, and whoever asks for the connection gets another one: the channel is of the first.
        eventer.send("task-started")
        assert connection.connection is not lost
        sending = threading.Thread(target=eventer.send, args=("worker-heartbeat",), kwargs={"retry": True}, daemon=True)
        sending.start()
        sending.join(20.0)
        lost.collect()
        assert not sending.is_alive()


def test_a_redis_channel_asks_with_one_client(channel: Any) -> None:
    """Every command of a channel goes through the client that we keep, until its pool is dropped."""
    assert "yield self._create_client()" in inspect.getsource(redis_transport.Channel.conn_or_acquire)
    with channel.conn_or_acquire() as one, channel.conn_or_acquire() as same:
        assert one is same
        assert one.ping()
    assert channel.client is not one
    channel._pool.disconnect()
    channel._pool = None
    with channel.conn_or_acquire() as other:
        assert other is not one
        assert other.ping()


def test_what_is_read_before_our_check_is_guarded() -> None:
    """AMQP's messages read their properties by the table that we write to, and kombu's ask us when one fails."""
    assert "PROPERTY_CLASSES[class_id](buf, offset)" in inspect.getsource(serialization.GenericContent)
    assert "message._reraise_error(self.on_decode_error)" in inspect.getsource(messaging.Consumer._receive_callback)
    assert "on_decode_error=c.on_decode_error" in inspect.getsource(tasks.Tasks.start)


def test_a_redis_channel_can_stop_and_resume_a_queue(channel: Any) -> None:
    """A queue on hold is not among those that the next BRPOP names, and is again afterwards."""
    stand_in = _Consumer(channel)
    assert channel.active_queues == ["dest.shop.prod"]
    private.hold(stand_in, "dest.shop.prod")
    assert channel.active_queues == []
    private.resume(stand_in, "dest.shop.other")
    assert channel.active_queues == []
    private.resume(stand_in, "dest.shop.prod")
    assert channel.active_queues == ["dest.shop.prod"]


def test_a_redis_channel_reads_through_its_handlers(channel: Any) -> None:
    """The transport calls what stands in `handlers`, and blocks through `_brpop_start` on `client.connection`."""
    assert channel.handlers["BRPOP"].__func__ is redis_transport.Channel._brpop_read
    assert "chan.handlers[type]()" in inspect.getsource(redis_transport.MultiChannelPoller.on_readable)
    assert "channel._brpop_start()" in inspect.getsource(redis_transport.MultiChannelPoller._register_BRPOP)
    assert "self._in_poll = self.client.connection" in inspect.getsource(redis_transport.Channel._brpop_start)


class _Consumer:
    """As much of a consumer as holding a queue needs."""

    def __init__(self, channel: Any) -> None:
        self.task_consumer = type("TaskConsumer", (), {"channel": channel})()
        self.app = queues.make_app(Settings())
