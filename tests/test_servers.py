"""The servers that the fixtures start keep what a crash test relies on: what was confirmed survives a kill."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
from amqp.exceptions import InternalError

from tests import lanes
from tests.servers import postgres, proxy, rabbitmq
from tests.servers.redis import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """A cluster that may be killed."""
    server = postgres.PostgresServer(lanes.find_postgres() or lanes.leave_out("postgres"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.postgres
def test_postgres_keeps_a_committed_row(postgres_server: postgres.PostgresServer) -> None:
    """A row that was committed is there after the server was killed and started again."""
    with postgres.connect(postgres_server.admin_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    postgres_server.kill9()
    postgres_server.start()
    with postgres.connect(postgres_server.admin_url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchall() == [(1,)]


def test_redis_keeps_a_message(redis_server: RedisServer) -> None:
    """A message that the append-only file holds is there after the server was killed and started again."""
    client = redis_server.client()
    client.rpush("queue", "message")
    # The file is flushed each second; the operating system holds it at once, and survives.
    redis_server.kill9()
    redis_server.start()
    assert client.lrange("queue", 0, -1) == [b"message"]
    client.close()


@pytest.mark.rabbitmq
def test_rabbitmq_keeps_a_confirmed_message(rabbitmq_server: rabbitmq.RabbitServer) -> None:
    """A confirmed message on a quorum queue is there after the node was killed and started again."""
    queue = kombu.Queue("dest.shop.prod", durable=True, queue_arguments={"x-queue-type": "quorum"})
    with kombu.Connection(rabbitmq_server.url, transport_options={"confirm_publish": True}) as connection:
        queue(connection.default_channel).declare()
        connection.Producer().publish({"kept": True}, routing_key=queue.name)
    # The node notes a new quorum queue's name on disk half a second late; without the note the queue stays leaderless.
    wait_until(lambda: _noted(rabbitmq_server.folder, queue.name), what="the queue's name on disk")
    rabbitmq_server.kill9()
    rabbitmq_server.start()
    message = wait_until(lambda: _get(rabbitmq_server.url, queue), timeout=30)
    assert message
    assert message.payload == {"kept": True}


def _noted(folder: Path, queue: str) -> bool:
    return any(queue.encode() in path.read_bytes() for path in folder.rglob("names.dets"))


def _get(url: str, queue: kombu.Queue) -> kombu.Message | None:
    """The next message; none while the queue has not elected its leader yet."""
    with kombu.Connection(url) as connection:
        try:
            return queue(connection.default_channel).get(no_ack=True)
        except InternalError:
            return None


class Heard(socketserver.BaseRequestHandler):
    """Answers each line with the same, and notes it."""

    def handle(self) -> None:
        while data := self.request.recv(100):
            self.server.heard += data  # type: ignore[attr-defined]
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[socketserver.ThreadingTCPServer]:
    """A server that repeats what it hears, and remembers it as `heard`."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Heard) as server:
        server.daemon_threads, server.heard = True, b""  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "old"])
@pytest.mark.parametrize("toxic", proxy.TOXICS)
def test_what_a_network_does(echo: socketserver.ThreadingTCPServer, toxic: proxy.Toxic, *, is_new: bool) -> None:
    """Each toxic of the proxy has its own effect, on connections old and new, and none once it was healed."""
    host, port = echo.server_address[:2]

    def connect() -> socket.socket:
        return links.enter_context(socket.create_connection(("127.0.0.1", before.port), timeout=0.7))

    with proxy.Proxy((str(host), port)) as before, contextlib.ExitStack() as links:
        link = connect()
        link.sendall(b"first")
        assert link.recv(100) == b"first"
        before.taint(toxic)
        link = connect() if is_new else link
        began = time.monotonic()
        link.sendall(b"second")
        with contextlib.suppress(TimeoutError):
            match toxic:
                case "blackhole" | "half-open":
                    assert link.recv(100) == b"no answer"
                case "reset":
                    assert link.recv(100) == b"sec"
                    with pytest.raises(ConnectionResetError):
                        link.recv(100)
                case "slow":
                    assert link.recv(100) == b"s"
                case "latency":
                    assert link.recv(100) == b"second"
                    assert time.monotonic() - began >= 2 * proxy.LATENCY
        arrived = b"first" if toxic == "blackhole" else b"firsts" if toxic == "slow" else b"firstsecond"
        assert echo.heard == arrived  # type: ignore[attr-defined]
        assert before.met() == 1
        before.heal()
        link = connect()
        link.sendall(b"third")
        assert link.recv(100) == b"third"
