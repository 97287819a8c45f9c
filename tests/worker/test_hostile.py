"""Hostile and broken messages on a live worker's Redis queue: each is refused, told, and the queue goes on.

On a Redis list stands whatever somebody pushed; what RabbitMQ delivers is a message at least
(`tests/worker/test_hostile_amqp.py`).
"""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Callable
from typing import Any

from app import events, publishing, queues
from app.events import Message, Ref
from tests.servers.redis import RedisServer
from tests.waiting import wait_until
from tests.worker import canary
from tests.worker.conftest import ON_REDIS, Bench

PROD = Ref("shop", "prod")
CANARY = canary.TEXT
NOTHING_AFTER = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def envelope(**changes: Any) -> dict[str, Any]:
    """A good message as kombu puts it on a Redis list, with changes."""
    kwargs = Message(destination=PROD, first=1, last=1).to_json()
    body = json.dumps([[], kwargs, NOTHING_AFTER]).encode()
    message = {
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": events.TASK_APPLY_EVENTS, "id": str(uuid.uuid4()), "lang": "py", "kwargsrepr": "{}"},
        "properties": {
            "delivery_info": {"exchange": "dest", "routing_key": "dest.shop.prod"},
            "delivery_tag": str(uuid.uuid4()),
            "body_encoding": "base64",
        },
    }
    headers = message["headers"] | changes.pop("headers", {})
    body = changes.pop("body", body)
    return message | {"body": base64.b64encode(body).decode(), "headers": headers} | changes


def kwargs_body(**changes: Any) -> bytes:
    """A body with other keyword arguments."""
    kwargs = Message(destination=PROD, first=1, last=1).to_json() | changes
    return json.dumps([[], kwargs, NOTHING_AFTER]).encode()


def deep(levels: int) -> bytes:
    """Keyword arguments that are nested."""
    return b'[[], {"schema": 1, "x": ' + b"[" * levels + b"]" * levels + b"}, {}]"


BAD: dict[str, Callable[[], Any]] = {
    "pickle": lambda: envelope(**{"content-type": "application/x-python-serialize"}, body=canary.PICKLE),
    "yaml": lambda: envelope(**{"content-type": "application/x-yaml"}, body=b"!!python/object/apply:os.system ['x']"),
    "pickle named json": lambda: envelope(body=canary.PICKLE),
    "odd encoding": lambda: envelope(**{"content-encoding": "zlib"}),
    "unknown compression": lambda: envelope(headers={"compression": "x"}),
    "wrong schema": lambda: envelope(body=kwargs_body(schema=99)),
    "no destination": lambda: envelope(body=kwargs_body(destination=None)),
    "other destination": lambda: envelope(body=kwargs_body(destination="audit/secret")),
    "numbers": lambda: envelope(body=kwargs_body(first="1", last=[CANARY])),
    "too large": lambda: envelope(body=kwargs_body(x="x" * 2_000_000)),
    "deep": lambda: envelope(body=deep(10_000)),
    "just not too deep for a parser": lambda: envelope(body=deep(990)),
    "not three parts": lambda: envelope(body=b'{"a": 1}'),
    "kwargs a list": lambda: envelope(body=b"[[], [], {}]"),
    "empty body": lambda: envelope(body=b""),
    "unknown task": lambda: envelope(headers={"task": "os.system"}),
    "a task of Celery": lambda: envelope(headers={"task": "celery.backend_cleanup"}),
    "task a list": lambda: envelope(headers={"task": [CANARY]}),
    "id a list": lambda: envelope(headers={"id": [CANARY]}),
    "no id": lambda: envelope(headers={"id": None}),
    "headers null": lambda: envelope() | {"headers": None},
    "headers a list": lambda: envelope() | {"headers": [CANARY]},
    "properties missing": lambda: {name: part for name, part in envelope().items() if name != "properties"},
    "no envelope": lambda: [CANARY],
    "not base64": lambda: envelope() | {"body": "%%%"},
    "a number": lambda: 7,
}


def push(server: RedisServer, item: Any, queue: str = "dest.shop.prod") -> None:
    """Put an item on a list, as somebody who found the broker would."""
    client = server.client()
    client.lpush(queue, item if isinstance(item, bytes) else json.dumps(item))
    client.close()


def dead(bench: Bench) -> list[dict[str, Any]]:
    """The dead letters."""
    with queues.make_app(bench.settings).connection_for_read() as connection, connection.channel() as channel:
        found = []
        while (message := channel.basic_get(queues.DEAD_QUEUE, no_ack=True)) is not None:
            found.append(message.decode())
        return found


def test_a_pickle_that_is_read_leaves_its_folder() -> None:
    """The pickle among the bad messages would show that it was unpickled."""
    pickle.loads(canary.PICKLE)
    canary.LEFT.rmdir()


@ON_REDIS
def test_no_message_stops_a_queue(bench: Bench, redis_server: RedisServer) -> None:
    """Whatever is on a queue, the worker of that queue lives on and the next good message is applied."""
    bench.add("shop/prod")
    worker = bench.worker()
    bench.wait_serves("one", "shop/prod")
    for name, make in BAD.items():
        number = 1000 + list(BAD).index(name)
        push(redis_server, make())
        bench.publisher.ring(PROD, number, number)
        wait_until(lambda number=number: any(last == number for _, last, _ in bench.drains()), 20, what=f"after {name}")
        assert worker.poll() is None, name
    push(redis_server, b"\xff\xfe garbage")
    push(redis_server, b'{"a": ' * 50_000)
    bench.publisher.ring(PROD, 5, 5)
    wait_until(lambda: any(last == 5 for _, last, _ in bench.drains()), 20)
    assert worker.poll() is None
    assert queues.queue_depths(bench.settings, [PROD]) == {PROD: 0}
    letters: list[dict[str, Any]] = []
    wait_until(lambda: letters.extend(dead(bench)) or len(letters) >= len(BAD) + 2, 20, what="the dead letters")
    assert len(letters) == len(BAD) + 2
    assert CANARY not in json.dumps(letters)
    assert CANARY not in bench.log().read_text()
    assert not canary.LEFT.exists()


@ON_REDIS
def test_a_refused_message_is_buried_by_identity_and_its_rows_are_rung(bench: Bench, redis_server: RedisServer) -> None:
    """A refused message leaves its identity on the dead-letter queue, its content nowhere, and a ring."""
    bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    task_id = str(uuid.uuid4())
    push(redis_server, envelope(body=kwargs_body(schema=99, secret=CANARY), headers={"id": task_id}))
    bench.wait_drained(1)
    letters = wait_until(lambda: dead(bench))
    assert [letter["id"] for letter in letters] == [task_id]
    assert letters[0]["queue"] == "dest.shop.prod"
    assert letters[0]["task"] == events.TASK_APPLY_EVENTS
    assert "schema" in letters[0]["reason"]
    assert CANARY not in json.dumps(letters)
    assert CANARY not in bench.log().read_text()


@ON_REDIS
def test_the_dead_letter_queue_is_bounded(bench: Bench, redis_server: RedisServer) -> None:
    """However many messages are refused, only the last thousand identities are kept."""
    client = redis_server.client()
    for number in range(publishing.DEAD_LONGEST + 20):
        bench.publisher.bury({"reason": str(number)})
        if number % 500 == 0:
            wait_until(lambda number=number: bench.publisher.published + bench.publisher.dropped > number)
    wait_until(lambda: bench.publisher.published == publishing.DEAD_LONGEST + 20)
    assert client.llen(queues.DEAD_QUEUE) == publishing.DEAD_LONGEST
    client.close()
    assert dead(bench)[-1] == {"reason": str(publishing.DEAD_LONGEST + 19)}


@ON_REDIS
def test_callbacks_and_an_eta_in_a_message_have_no_effect(bench: Bench, redis_server: RedisServer) -> None:
    """A message cannot make a worker call another task, wait, or give it other limits: those parts are not read."""
    bench.add("shop/prod")
    bench.worker()
    bench.wait_serves("one", "shop/prod")
    callback = {"task": events.TASK_APPLY_SEED, "args": [], "kwargs": {}, "options": {"queue": "dest.shop.other"}}
    kwargs = Message(destination=PROD, first=3, last=3).to_json()
    body = json.dumps([["x"], kwargs, NOTHING_AFTER | {"callbacks": [callback], "chain": [callback]}]).encode()
    push(redis_server, envelope(body=body, headers={"eta": "2999-01-01T00:00:00", "timelimit": [0.001, 0.001]}))
    bench.wait_drained(1)
    bench.publisher.ring(PROD, 4, 4)
    bench.wait_drained(2)
    other = Ref("shop", "other")
    assert queues.queue_depths(bench.settings, [other]) == {other: 0}
