"""The definitions of `deploy/rabbitmq` on a live broker: the rights of each role, and the way of lost messages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest

from app import events, queues
from app.events import Ref
from app.settings import Settings
from tests.servers import processes, rabbitmq
from tests.servers.topology import Topology, imported
from tests.waiting import wait_until
from tests.worker.conftest import Bench
from tests.worker.test_flower import LOGIN, Site

pytestmark = pytest.mark.rabbitmq

PROD = Ref("shop", "prod")
QUEUE = events.queue_name(PROD)
# A million deliveries would take a test some minutes.
FEW_DELIVERIES = 3


def few_deliveries(definitions: Any) -> None:
    """Lower the delivery limit."""
    definitions["policies"][0]["definition"]["delivery-limit"] = FEW_DELIVERIES


@pytest.fixture
def topology(rabbitmq_vhost: rabbitmq.Vhost) -> Iterator[Topology]:
    """The definitions with a low delivery limit, in a virtual host of this test's own."""
    with imported(rabbitmq_vhost, few_deliveries) as topology:
        yield topology


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """A channel with confirms."""
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        yield connection.default_channel


def test_each_role_can_do_its_work_and_is_refused_nothing(topology: Topology, tmp_path: Path, sqlite_url: str) -> None:
    """Watch daemon, worker and Flower, each as its own user, work from message to dead letter and remote control."""
    bench = Bench(tmp_path, broker_url=topology.url("watch"), database_url=sqlite_url)
    with contextlib.closing(bench):
        bench.add("shop/prod")
        bench.worker(broker_url=topology.url("worker"))
        bench.wait_serves("one", "shop/prod")
        site = Site(bench, LOGIN, broker_url=topology.url("flower"))
        try:
            wait_until(lambda: "reverser@one" in site.ask("/api/workers?refresh=1", login=LOGIN)[1], what="the worker")
            bench.publisher.ring(PROD, 1, 5)
            wait_until(lambda: done(site), what="the task in Flower, and who sent it")
            path = f"/api/worker/queue/add-consumer/reverser@one?queue={QUEUE}"
            added, _ = site.ask(path, method="POST", login=LOGIN, Origin=site.url)
        finally:
            processes.end(site.process)
        send_unreadable(bench.settings)
        letter = wait_until(lambda: take(topology, queues.DEAD_QUEUE), what="the dead letter")
    assert added == 200
    assert json.loads(letter.body)["queue"] == QUEUE
    assert topology.refusals() == []


def done(site: Site) -> bool:
    """Whether Flower shows a task as done that it saw being sent: an event that the watch daemon has a right for."""
    found = json.loads(site.ask("/api/tasks", login=LOGIN)[1])
    return any(task["state"] == "SUCCESS" and task["sent"] for task in found.values())


def send_unreadable(settings: Settings) -> None:
    """Send what no worker can read."""
    app = queues.make_app(settings)
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection)
        app.send_task(events.TASK_APPLY_EVENTS, kwargs={"schema": 99}, queue=str(QUEUE), producer=producer)


def take(topology: Topology, queue: str) -> Any:
    """The next message of a queue, if there is one."""
    with opened(topology.vhost.url) as channel:
        return channel.basic_get(queue, no_ack=True)


@pytest.mark.parametrize(
    ("role", "act"),
    [
        pytest.param("watch", lambda channel: channel.basic_consume(QUEUE), id="watch-takes"),
        pytest.param("watch", lambda channel: send(channel, "celeryev", "worker.heartbeat"), id="watch-heartbeat"),
        pytest.param("watch", lambda channel: send(channel, "celery.pidbox"), id="watch-controls"),
        pytest.param("worker", lambda channel: send(channel, "", QUEUE), id="worker-default-exchange"),
        pytest.param("worker", lambda channel: send(channel, "celery.pidbox"), id="worker-controls"),
        pytest.param("flower", lambda channel: send(channel, "dest", QUEUE), id="flower-sends"),
        pytest.param("flower", lambda channel: channel.queue_declare(QUEUE, durable=True), id="flower-declares"),
        pytest.param("flower", lambda channel: channel.basic_consume(QUEUE), id="flower-takes"),
    ],
)
def test_no_role_can_do_anothers_work(topology: Topology, role: str, act: Callable[[Any], Any]) -> None:
    """A role whose login leaked takes nobody's messages, sends nobody's and controls no worker but by its own part."""
    with opened(topology.vhost.url) as channel:
        queues.queue_for(PROD, broker_url=topology.vhost.url)(channel).declare()
        for name, kind in (("celeryev", "topic"), ("celery.pidbox", "fanout")):
            channel.exchange_declare(name, kind, durable=name == "celeryev", auto_delete=False)
    with opened(topology.url(role)) as channel, pytest.raises(amqp.AccessRefused):
        act(channel)


def test_what_cannot_stay_in_a_queue_goes_where_the_policies_say(topology: Topology) -> None:
    """A message that is delivered too often or rejected, and one without a queue, is kept; an old ring does not mix."""
    with opened(topology.vhost.url) as channel:
        queues.queue_for(PROD, broker_url=topology.vhost.url)(channel).declare()
        send(channel, "dest", QUEUE, body="old", expiration="1")
        expired = wait_until(lambda: take(topology, "dest.expired"), what="the old ring")
        send(channel, "dest", QUEUE, body="too often")
        deliveries, often = refuse(topology, channel, requeue=True)
        send(channel, "dest", QUEUE, body="rejected")
        _, rejected = refuse(topology, channel, requeue=False)
        send(channel, "dest", "dest.shop.nowhere", body="nowhere")
        nowhere = wait_until(lambda: take(topology, queues.DEAD_QUEUE), what="the message without a queue")
    policy = topology.vhost.server.ask("GET", "policies", topology.vhost.name, "dest-queues")["definition"]
    assert deliveries == FEW_DELIVERIES + 1
    assert [one.body for one in (expired, often, rejected, nowhere)] == ["old", "too often", "rejected", "nowhere"]
    assert [one.headers["x-first-death-reason"] for one in (often, rejected)] == ["delivery_limit", "rejected"]
    assert take(topology, queues.DEAD_QUEUE) is None
    # What it is for shows when the exchange is away, after minutes. Without the overflow RabbitMQ drops the strategy.
    assert (policy["dead-letter-strategy"], policy["overflow"]) == ("at-least-once", "reject-publish")


def send(channel: Any, exchange: str, key: str = "", *, body: str = "{}", **properties: str) -> None:
    """Publish a message; raises when the broker refuses it."""
    channel.basic_publish(amqp.Message(body, **properties), exchange=exchange, routing_key=key)


def refuse(topology: Topology, channel: Any, *, requeue: bool) -> tuple[int, Any]:
    """Refuse a message as often as it is delivered, until it is a dead letter; how often that was, and the letter."""
    with channel.connection.channel() as own:
        seen: list[str] = []

        def reject(message: Any) -> None:
            seen.append(message.body)
            own.basic_reject(message.delivery_tag, requeue=requeue)

        def dead() -> Any:
            with contextlib.suppress(TimeoutError):
                channel.connection.drain_events(timeout=0.1)
            return take(topology, queues.DEAD_QUEUE)

        own.basic_qos(0, 1, a_global=False)
        own.basic_consume(QUEUE, callback=reject)
        letter = wait_until(dead, what="the dead letter")
    return len(seen), letter
