"""Queues and their declarations, on both kinds of broker, and the publisher that never blocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Queue, exceptions
from kombu.utils import functional

from app import celeryconfig, errors, events, publishing, queues
from app.events import Event, Identifier, Message, Operation, Ref
from app.settings import Settings
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

PROD = Ref("shop", "prod")
AMQP_URL = "amqp://guest@127.0.0.1:1//"


def event(number: int, **changes: Any) -> Event:
    """An Event of shop/prod."""
    fields: dict[str, Any] = {
        "cluster": "home",
        "source_epoch": 1,
        "operation": Operation.UPDATE,
        "identifier": Identifier("", "v1", "configmaps", "shop", "app-config", "ConfigMap", f"uid-{number}"),
        "resource_version": "7",
        "observed_at": datetime(2026, 1, 1, tzinfo=UTC),
        "destination": PROD,
        "destination_uid": "d1",
        "repo_config": Ref("shop", "repo"),
        "branch": "main",
        "base_folder": "clusters/prod",
        "place_generation": 1,
        "rule": "shop/rule",
    }
    return Event.create(**(fields | changes)).numbered(number)


def test_a_queue_on_rabbitmq_is_quorum_with_one_active_consumer() -> None:
    """On RabbitMQ a queue is a quorum queue with single active consumer, on the durable topic exchange."""
    queue = queues.queue_for(PROD, broker_url=AMQP_URL)
    assert queue.queue_arguments == {"x-queue-type": "quorum", "x-single-active-consumer": True}
    assert (queue.name, queue.routing_key, queue.durable) == ("dest.shop.prod", "dest.shop.prod", True)
    assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("dest", "topic", True)


def test_a_queue_on_redis_has_no_arguments() -> None:
    """Redis lists take no arguments."""
    assert not queues.queue_for(PROD, broker_url="redis+socket:///tmp/r.sock").queue_arguments


@pytest.mark.parametrize("how", ["bare", "declared otherwise", "lookup"])
def test_a_name_always_gets_the_same_declaration(how: str) -> None:
    """However a destination's queue gets into Celery's table, it is declared with our arguments."""
    table = queues.make_app(Settings(broker_url=AMQP_URL)).amqp.queues
    if how == "bare":
        table.select_add("dest.shop.prod", exchange="other", exchange_type="direct", routing_key="x")
    elif how == "declared otherwise":
        table.add(Queue("dest.shop.prod", queue_arguments={"x-max-length": 1}))
    queue = table["dest.shop.prod"]
    assert queue.queue_arguments == {"x-queue-type": "quorum", "x-single-active-consumer": True}
    assert (queue.exchange.name, queue.routing_key) == ("dest", "dest.shop.prod")


@pytest.mark.parametrize("name", ["celery", "dest", "dest.shop", "", "dest..x", "other.shop.prod"])
def test_a_name_that_is_no_destination_is_refused(name: str) -> None:
    """A queue that belongs to no destination can neither be consumed nor sent to."""
    table = queues.make_app(Settings()).amqp.queues
    with pytest.raises(KeyError, match="is no queue of a destination"):
        table[name]
    assert not table


def test_an_app_listens_to_nothing_by_default() -> None:
    """No default queue exists: a worker without destinations consumes nothing."""
    app = queues.make_app(Settings())
    assert dict(app.amqp.queues.consume_from) == {}
    assert app.conf.accept_content == ["json"]


def test_the_visibility_timeout_outlasts_a_drain() -> None:
    """Redis gives a message back only long after the longest drain is over."""
    options = celeryconfig.config(Settings(drain_deadline=100.0))["broker_transport_options"]
    assert options["visibility_timeout"] > 2 * 100


def test_confirms_belong_to_publishers_of_rabbitmq_alone() -> None:
    """A worker never has publisher confirms: with a memory alarm it would stop consuming for ever."""
    settings = Settings(broker_url=AMQP_URL)
    assert celeryconfig.publishing(settings, on_blocked=print)["confirm_publish"] is True
    assert "confirm_publish" not in celeryconfig.config(settings)["broker_transport_options"]
    assert celeryconfig.publishing(Settings(), on_blocked=print) == {}


def received(settings: Settings, destination: Ref) -> Any:
    """The next message of a queue, or None."""
    with queues.make_app(settings).connection_for_read() as connection, connection.channel() as channel:
        return channel.basic_get(events.queue_name(destination), no_ack=True)


def test_a_published_batch_is_a_task_with_a_searchable_summary(redis_url: str) -> None:
    """A batch arrives under its task's name with its Events, and Flower sees identity, never content."""
    settings = Settings(broker_url=redis_url)
    publisher = publishing.Publisher(settings)
    publisher.publish(events.messages_for([event(1), event(2)]))
    publisher.close()
    message = received(settings, PROD)
    assert message.headers["task"] == events.TASK_APPLY_EVENTS
    assert "'dest': 'shop/prod'" in message.headers["kwargsrepr"]
    assert "expiration" not in message.properties
    _, kwargs, _ = message.decode()
    assert events.read_envelope(kwargs) == Message(destination=PROD, first=1, last=2)
    assert [one["sequence"] for one in kwargs["events"]] == [1, 2]
    assert (publisher.published, publisher.dropped) == (1, 0)


def test_a_ring_expires_in_the_broker(redis_url: str) -> None:
    """A ring has no Events and is worth nothing after a minute: of the broker's, whatever clock a worker has."""
    settings = Settings(broker_url=redis_url)
    publisher = publishing.Publisher(settings)
    publisher.ring(PROD, 3, 9)
    publisher.close()
    message = received(settings, PROD)
    assert message.headers["expires"] is None
    assert message.properties["expiration"] == f"{1_000 * publishing.RING_EXPIRES:.0f}"
    assert message.decode()[1] == {"schema": 1, "destination": "shop/prod", "first": 3, "last": 9, "events": []}


def test_a_message_costs_redis_the_same_for_any_number_of_destinations(redis_server: RedisServer) -> None:
    """It goes straight onto its list: the bindings of all other destinations are not read for it."""
    publisher = publishing.Publisher(Settings(broker_url=redis_server.url))
    client = redis_server.client()
    for number in range(1, 201):
        publisher.ring(Ref("shop", f"d{number % 50}"), number, number)
    publisher.close()
    assert publisher.published == 200
    read = client.info("commandstats").get("cmdstat_smembers", {"calls": 0})["calls"]
    assert read < 100
    assert client.llen("dest.shop.d1") == 4
    client.close()


def test_an_oversize_message_becomes_a_ring(redis_url: str) -> None:
    """Events that are too large for a message are rung for: the ledger has them."""
    settings = Settings(broker_url=redis_url)
    publisher = publishing.Publisher(settings)
    huge = tuple(event(number, rule="r" * 20_000) for number in range(1, 101))
    publisher.publish([Message(destination=PROD, first=1, last=100, events=huge)])
    publisher.close()
    message = received(settings, PROD)
    assert len(message.body) < 1_000
    assert message.decode()[1]["last"] == 100


def test_depths_count_and_declare_nothing(redis_server: RedisServer) -> None:
    """Depths are counts of waiting messages, 0 for a queue that is not there, and asking makes no queue."""
    settings = Settings(broker_url=redis_server.url)
    publisher = publishing.Publisher(settings)
    for number in (1, 2, 3):
        publisher.ring(PROD, number, number)
    publisher.close()
    other = Ref("shop", "other")
    assert queues.queue_depths(settings, [PROD, other]) == {PROD: 3, other: 0}
    client = redis_server.client()
    assert not [key for key in client.keys() if b"other" in key]  # noqa: SIM118 - a Redis command.
    client.close()


def test_depths_without_a_broker_are_a_temporary_error(redis_server: RedisServer) -> None:
    """Who asks a broker that is away is told to ask again."""
    redis_server.kill9()
    with pytest.raises(errors.TemporaryError, match="broker cannot be asked"):
        queues.queue_depths(Settings(broker_url=redis_server.url), [PROD])


def test_publishing_to_a_dead_broker_returns_at_once(redis_server: RedisServer) -> None:
    """Publishing without a broker takes no time, raises nothing and is counted, also when the buffer is full."""
    redis_server.kill9()
    publisher = publishing.Publisher(Settings(broker_url=redis_server.url), capacity=5)
    begun = time.monotonic()
    for number in range(100):
        publisher.ring(PROD, number, number)
    assert time.monotonic() - begun < 0.5
    wait_until(lambda: publisher.dropped == 100)
    publisher.close()
    assert publisher.published == 0


def test_publishing_goes_on_when_the_broker_is_back(redis_server: RedisServer) -> None:
    """After an outage the same publisher sends again."""
    publisher = publishing.Publisher(Settings(broker_url=redis_server.url))
    publisher.ring(PROD, 1, 1)
    wait_until(lambda: publisher.published == 1)
    redis_server.kill9()
    publisher.ring(PROD, 2, 2)
    wait_until(lambda: publisher.dropped == 1)
    redis_server.start()

    def sent() -> bool:
        publisher.ring(PROD, 3, 3)
        return publisher.published > 1

    wait_until(sent)
    publisher.close()


class Clock:
    """The time as the publisher knows it, which can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr(publishing, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + self._ahead))

    def pass_by(self, seconds: float) -> None:
        """Time goes by, and nothing else happens."""
        self._ahead += seconds


def test_a_broker_that_was_away_for_long_is_found_soon(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it was tried in vain, a broker that is back is tried within five seconds."""
    clock = Clock(monkeypatch)
    redis_server.kill9()
    publisher = publishing.Publisher(Settings(broker_url=redis_server.url))
    for number in range(1, 8):
        publisher.ring(PROD, number, number)
        wait_until(lambda number=number: publisher.dropped == number)
        clock.pass_by(60.0)
    publisher.ring(PROD, 8, 8)
    wait_until(lambda: publisher.dropped == 8)
    assert publisher.outage is publishing.Reason.AWAY
    assert publisher.going_on == {"broker_away": 8}
    redis_server.start()
    clock.pass_by(5.0)
    publisher.ring(PROD, 9, 9)
    wait_until(lambda: publisher.published + publisher.dropped == 9)
    assert (publisher.published, publisher.outage) == (1, None)
    publisher.close()


def test_an_outage_that_nobody_meets_any_more_is_not_told(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is sent, nothing is known of the broker: what was dropped a minute ago does not go on for ever."""
    clock = Clock(monkeypatch)
    redis_server.kill9()
    publisher = publishing.Publisher(Settings(broker_url=redis_server.url))
    publisher.ring(PROD, 1, 1)
    wait_until(lambda: publisher.dropped == 1)
    assert (publisher.outage, publisher.going_on) == (publishing.Reason.AWAY, {"broker_away": 1})
    clock.pass_by(publishing.SAID_FOR + 1)
    assert (publisher.outage, publisher.going_on) == (None, {})
    publisher.close()


def test_a_worker_looks_for_its_broker_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose broker is away asks for it after 1 and 3 s, and then every 5 s for ever."""
    pauses: list[float] = []
    monkeypatch.setattr(functional, "sleep", lambda _seconds: None)
    connection = queues.make_app(Settings(broker_url=AMQP_URL)).connection_for_read()
    with pytest.raises(exceptions.OperationalError):
        # As Celery calls it.
        connection.ensure_connection(lambda _error, pause: pauses.append(pause), 5, callback=None)
    assert pauses == [1, 3, 5, 5, 5]


def test_closing_sends_what_waits(redis_url: str) -> None:
    """What was handed over before `close` is sent by it."""
    settings = Settings(broker_url=redis_url)
    publisher = publishing.Publisher(settings)
    for number in range(200):
        publisher.ring(PROD, number, number)
    publisher.close()
    assert publisher.published == 200
    assert queues.queue_depths(settings, [PROD]) == {PROD: 200}
