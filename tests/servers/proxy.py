"""A proxy before a server of the tests, for a network that breaks: it falls silent, cuts, delays, or does half of it.

Silence is what a cable that was cut, a dead firewall or a frozen server are to a client whose bytes still find a
kernel: they are taken, and never answered. A peer whose kernel is gone as well cannot be had without the rights of an
administrator; whoever notices this silence notices that one too.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit, urlunsplit

from tests.servers import processes

# Where a server listens: host and port, or a unix socket.
Address = tuple[str, int] | Path

# What a network does to connections, those that there are and those that are made meanwhile:
# blackhole: nothing passes, in either direction, and nothing ends.
# half-open: what the client sends arrives, and no answer comes back.
# reset: an answer ends in the middle of a line, and the connection with it.
# slow: a byte in a second.
# latency: each piece takes so much longer.
Toxic = Literal["blackhole", "half-open", "reset", "slow", "latency"]
TOXICS: tuple[Toxic, ...] = get_args(Toxic)
LATENCY = 0.25


def address(url: str) -> Address:
    """Where the server of a URL listens."""
    parts = urlsplit(url)
    return (parts.hostname, parts.port) if parts.hostname and parts.port else Path(parts.path)


class Proxy(processes.Server):
    """Connect to `port` on the loopback; everything may be called from any thread."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[_Link] = []
        self._toxic: Toxic | None = None
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        # A connection is either made before a `taint` or `cut`, and then it is met by it, or after it.
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def url(self, url: str) -> str:
        """The URL of a server, with this proxy before it."""
        parts = urlsplit(url)
        if parts.scheme == "redis+socket":
            return f"redis://127.0.0.1:{self.port}/0"
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}"))

    def start(self) -> None:
        """Take connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take none any more, and end those that there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(processes.GRACE)
        self._listener.close()
        self.cut()

    def taint(self, toxic: Toxic) -> None:
        """From now on this happens to what passes."""
        with self._lock:
            self._toxic = toxic
            self._links = [link for link in self._links if link.is_open]
            for link in self._links:
                link.met = False
                # What is lost on the way stays lost: no network goes on behind a hole.
                link.toxic = "blackhole" if link.lost else toxic

    def met(self) -> int:
        """To how many connections it happened so far."""
        with self._lock:
            return sum(link.met for link in self._links)

    def heal(self) -> None:
        """It happens no more. A connection of which bytes were lost never works again."""
        with self._lock:
            self._toxic = None
            for link in self._links:
                link.met = False
                link.toxic = "blackhole" if link.lost else None

    def silence(self) -> None:
        """From now on nothing passes: what is sent is gone, also on connections that are made meanwhile."""
        self.taint("blackhole")

    def speak(self) -> None:
        """New connections work again; those that fell silent never do, even where nothing was said meanwhile."""
        with self._lock:
            self._toxic = None

    def cut(self) -> int:
        """Close all connections, on both sides; how many there were. New ones are taken."""
        with self._lock:
            links, self._links = self._links, []
        return sum(link.close() for link in links)

    def open_links(self) -> int:
        """How many connections there are."""
        with self._lock:
            return sum(link.is_open for link in self._links)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                try:
                    server = self._connect()
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    link = _Link(client, server, self._toxic)
                    self._links.append(link)
                    link.start()

    def _connect(self) -> socket.socket:
        if not isinstance(self._target, Path):
            return socket.create_connection(self._target)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server


class _Link:
    """One connection and its continuation."""

    def __init__(self, client: socket.socket, server: socket.socket, toxic: Toxic | None) -> None:
        self.toxic, self.is_open = toxic, True
        # Whether the toxic had an effect, and whether bytes are gone.
        self.met = self.lost = False
        self._client, self._server = client, server
        ways = ((client, server), (server, client))
        self._threads = [
            threading.Thread(target=self._pass_on, args=way, name="proxy link", daemon=True) for way in ways
        ]

    def start(self) -> None:
        """Pass on what comes, both ways."""
        for thread in self._threads:
            thread.start()

    def close(self) -> bool:
        """End it on both sides; whether it was open."""
        was_open = self._shut()
        for thread in self._threads:
            thread.join(processes.GRACE)
        for end in (self._client, self._server):
            end.close()
        return was_open

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._send(data, target)
        # That one side went away is kept from the other as well; and a client that is told of a reset hears of no end.
        if self.is_open and self.toxic not in {"blackhole", "half-open"}:
            self._shut()

    def _send(self, data: bytes, target: socket.socket) -> None:
        is_answer, is_lost = target is self._client, self.lost
        match self.toxic:
            case "blackhole":
                self.lost, self.met = True, self.met or not is_lost
            case "half-open" if is_answer:
                self.lost = self.met = True
            case "reset" if is_answer:
                self.met = True
                target.sendall(data[: len(data) // 2])
                self._reset()
            case "slow":
                self.met = True
                while data and self.toxic == "slow" and self.is_open:
                    target.sendall(data[:1])
                    data = data[1:]
                    time.sleep(1.0)
                target.sendall(data)
            case "latency":
                self.met = True
                time.sleep(LATENCY)
                target.sendall(data)
            case _:
                target.sendall(data)

    def _reset(self) -> None:
        """Close it so that the client is told of a reset, and not of an end."""
        self.is_open = False
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for end in (self._server, self._client):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            end.close()

    def _shut(self) -> bool:
        was_open, self.is_open = self.is_open, False
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return was_open
