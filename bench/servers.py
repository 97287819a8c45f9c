"""Databases and brokers that live as long as a part of the bench; what a machine has no server for is left out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app import db
from tests import lanes
from tests.servers import postgres, rabbitmq, redis


@contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a migrated SQLite file."""
    with tempfile.TemporaryDirectory(prefix="reverser-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'reverser.db'}"
        db.upgrade(url)
        yield url


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of a migrated database on a PostgreSQL of our own, which does not wait for the disk."""
    programs = lanes.find_postgres()
    if programs is None:
        yield _left_out("postgresql", lanes.LANES["postgres"].how)
        return
    server = postgres.PostgresServer(programs)
    try:
        server.start()
        url = server.admin_url.render_as_string(hide_password=False)
        db.upgrade(url)
        yield url
    finally:
        server.stop()


@contextmanager
def redis_broker() -> Iterator[str | None]:
    """The URL of a Redis or Valkey."""
    program = redis.find_server()
    if program is None:
        yield _left_out("redis", "install valkey or redis")
        return
    server = redis.RedisServer(program)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@contextmanager
def rabbitmq_broker() -> Iterator[str | None]:
    """The URL of a RabbitMQ node."""
    program = rabbitmq.find_server()
    if program is None:
        yield _left_out("rabbitmq", lanes.LANES["rabbitmq"].how)
        return
    with rabbitmq.RabbitServer(program) as server:
        yield server.url


BROKERS = {"redis": redis_broker, "rabbitmq": rabbitmq_broker}
DATABASES = {"sqlite": sqlite, "postgresql": postgresql}


def _left_out(name: str, how: str) -> None:
    print(f"  {name} is left out: {how}")
