"""TLS to the broker and to its management API: a server that is not the one of the URL gets no password."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import broker, errors
from app.settings import Settings
from tests.git import servers

HOST = "127.0.0.1"
CANARY = "broker-canary"


class Listener:
    """A TLS server that writes down what it hears, and hangs up."""

    def __init__(self, folder: Path, name: str) -> None:
        authority, certificate = servers.certificates(name)
        self.authority = folder / "authority.pem"
        self.authority.write_text(authority)
        (folder / "server.pem").write_text(certificate)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem")
        self.socket = socket.create_server((HOST, 0))
        self.port = self.socket.getsockname()[1]
        self.heard: list[bytes] = []

    def serve(self) -> None:
        """Serve until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                self._hear(self.socket.accept()[0])

    def _hear(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            with self.context.wrap_socket(connection, server_side=True) as secure:
                self.heard.append(secure.recv(1_000))


@pytest.fixture(params=[HOST, "elsewhere.example.com"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """A server with a certificate for our host, and one with a certificate for another."""
    listener = Listener(tmp_path, request.param)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    yield listener
    # A closed socket does not wake a thread that waits on it.
    listener.socket.shutdown(socket.SHUT_RDWR)
    listener.socket.close()
    thread.join()


def ask(scheme: str, port: int) -> None:
    """Ask a broker, or its management API."""
    url = f"{scheme}://user:{CANARY}@{HOST}:{port}/0"
    if scheme == "https":
        broker.policies(Settings(broker_url="amqp://", rabbitmq_api=url))
    else:
        broker.survey(Settings(broker_url=url))


@pytest.mark.parametrize("scheme", ["amqps", "rediss", "https"])
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "unknown"])
def test_only_the_broker_of_the_url_hears_anything(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, *, scheme: str, trusted: bool
) -> None:
    """A certificate by an unknown authority, or for another name, ends the connection before anything is said."""
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(listener.authority))
    right = trusted and HOST in request.node.name
    with pytest.raises(errors.TemporaryError) as raised:
        ask(scheme, listener.port)
    assert bool(listener.heard) == right
    assert ("certificate verify failed" in raised.value.message) != right
    assert CANARY not in raised.value.message
