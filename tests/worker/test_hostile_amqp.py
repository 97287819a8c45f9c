"""Hostile and broken messages on a live worker's RabbitMQ queue: each is refused, told, and the queue goes on.

Published by AMQP's own client, as anybody with a login would; the twin of `tests/worker/test_hostile.py`.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import kombu

from app import events, queues
from app.events import Message, Ref
from tests.servers import rabbitmq
from tests.waiting import wait_until
from tests.worker import canary
from tests.worker.conftest import ON_RABBITMQ, Bench

PROD = Ref("shop", "prod")
QUEUE = events.queue_name(PROD)
CANARY = canary.TEXT
NOTHING_AFTER = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Raw(amqp.Message):  # type: ignore[misc]
    """A message whose properties are these very bytes."""

    raw = b""

    def _serialize_properties(self) -> bytes:
        return self.raw


def body(**changes: Any) -> bytes:
    """The body of a good message, with other keyword arguments."""
    kwargs = Message(destination=PROD, first=1, last=1).to_json() | changes
    return json.dumps([[], kwargs, NOTHING_AFTER]).encode()


def message(content: bytes | None = None, *, headers: dict[str, Any] | None = None, **properties: Any) -> amqp.Message:
    """A good message with other headers, properties and content."""
    ours = {"task": events.TASK_APPLY_EVENTS, "id": str(uuid.uuid4()), "lang": "py", "kwargsrepr": "{}"}
    whole = {"content_type": "application/json", "content_encoding": "utf-8"} | properties
    return amqp.Message(body() if content is None else content, application_headers=ours | (headers or {}), **whole)


def with_properties(raw: bytes) -> amqp.Message:
    """A good body under properties that Python's client cannot write."""
    made = Raw(body())
    made.raw = raw
    return made


def nested_headers(levels: int) -> bytes:
    """Properties whose headers are tables in tables."""
    table = b""
    for _ in range(levels):
        table = b"\x01xF" + struct.pack(">I", len(table)) + table
    return struct.pack(">HI", 0x2000, len(table)) + table


BAD: dict[str, Callable[[], amqp.Message]] = {
    "pickle": lambda: message(canary.PICKLE, content_type="application/x-python-serialize"),
    "yaml": lambda: message(b"!!python/object/apply:os.system ['x']", content_type="application/x-yaml"),
    "pickle named json": lambda: message(canary.PICKLE),
    "odd encoding": lambda: message(content_encoding="zlib"),
    "unknown compression": lambda: message(CANARY.encode(), headers={"compression": "x"}),
    "compressed, and a thousand times as large": lambda: message(
        zlib.compress(body(x=" " * 1_000_000)), headers={"compression": "zlib"}
    ),
    "wrong schema": lambda: message(body(schema=99, secret=CANARY)),
    "unknown destination": lambda: message(body(destination="audit/nowhere")),
    "too large": lambda: message(body(x="x" * 2_000_000)),
    "nested content": lambda: message(b'[[], {"schema": 1, "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}, {}]"),
    "nested headers": lambda: with_properties(nested_headers(10_000)),
    "a date beyond all calendars": lambda: with_properties(struct.pack(">HQ", 0x40, 2**63)),
    "text that is none": lambda: with_properties(struct.pack(">HB", 0x8000, 2) + b"\xff\xfe"),
    "no properties": lambda: with_properties(b"\0\0"),
    "unknown task": lambda: message(headers={"task": "os.system"}),
    "task a table": lambda: message(headers={"task": {CANARY: 1}}),
}


@contextmanager
def publishing(vhost: rabbitmq.Vhost) -> Iterator[Callable[[amqp.Message], None]]:
    """A way to put a message on shop/prod's queue, confirmed, under a key that is not the queue's."""
    with kombu.Connection(vhost.url, transport_options={"confirm_publish": True}) as connection:
        channel = connection.channel()
        channel.queue_bind(QUEUE, "dest", routing_key="dest.audit.nowhere")

        def publish(made: amqp.Message) -> None:
            channel.basic_publish_confirm(made, exchange="dest", routing_key="dest.audit.nowhere")

        yield publish


def dead(bench: Bench) -> list[dict[str, Any]]:
    """The dead letters."""
    with queues.make_app(bench.settings).connection_for_read() as connection, connection.channel() as channel:
        found = []
        while (letter := channel.basic_get(queues.DEAD_QUEUE, no_ack=True)) is not None:
            found.append(json.loads(letter.body))
        return found


@ON_RABBITMQ
def test_no_message_stops_a_queue(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """Whatever is on a queue is refused and buried by identity alone; the worker lives on and applies the next one."""
    bench.add("shop/prod")
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    with publishing(rabbitmq_vhost) as publish:
        for make in BAD.values():
            publish(make())
        publish(message(body(first=4, last=4)))
        bench.publisher.ring(PROD, 5, 5)
        wait_until(lambda: {4, 5} <= {last for _, last, _ in bench.drains()}, 30, what="the good messages")
    assert worker.poll() is None
    assert "Connection to broker lost" not in bench.log().read_text()
    # Each refusal rings once.
    wait_until(lambda: queues.queue_depths(bench.settings, [PROD]) == {PROD: 0}, what="an empty queue")
    letters: list[dict[str, Any]] = []
    wait_until(lambda: letters.extend(dead(bench)) or len(letters) >= len(BAD), what="the dead letters")
    assert len(letters) == len(BAD)
    assert {letter["queue"] for letter in letters} == {QUEUE}
    assert CANARY not in json.dumps(letters)
    assert CANARY not in bench.log().read_text()
    assert not canary.LEFT.exists()


@ON_RABBITMQ
def test_callbacks_and_an_eta_in_a_message_have_no_effect(bench: Bench, rabbitmq_vhost: rabbitmq.Vhost) -> None:
    """A message cannot make a worker call another task, wait, or give it other limits: those parts are not read."""
    bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    callback = {"task": events.TASK_APPLY_SEED, "args": [], "kwargs": {}, "options": {"queue": "dest.shop.other"}}
    kwargs = Message(destination=PROD, first=3, last=3).to_json()
    content = json.dumps([["x"], kwargs, NOTHING_AFTER | {"callbacks": [callback], "chain": [callback]}]).encode()
    with publishing(rabbitmq_vhost) as publish:
        publish(message(content, headers={"eta": "2999-01-01T00:00:00", "timelimit": [0.001, 0.001]}))
    bench.publisher.ring(PROD, 4, 4)
    bench.wait_drained(2)
    assert [last for _, last, _ in bench.drains()] == [3, 4]
    assert "dest.shop.other" not in rabbitmq_vhost.queues()
