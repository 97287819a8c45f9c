"""A proxy before a server of the tests, for a network that breaks: it falls silent, or cuts what goes through it.

Silence is what a cable that was cut, a dead firewall or a frozen server are to a client whose bytes still find a
kernel: they are taken, and never answered. A peer whose kernel is gone as well cannot be had without the rights of an
administrator; whoever notices this silence notices that one too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from tests.servers import processes

# Where a server listens: host and port, or a unix socket.
Address = tuple[str, int] | Path


class Proxy(processes.Server):
    """Connect to `port` on the loopback; `silence`, `speak` and `cut` may be called from any thread."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[_Link] = []
        self._silent = False
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        # A connection is either made before a `silence` or `cut`, and then it is met by it, or after it.
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

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

    def silence(self) -> None:
        """From now on nothing passes: what is sent is gone, also on connections that are made meanwhile."""
        with self._lock:
            self._silent = True
            for link in self._links:
                link.silent = True

    def speak(self) -> None:
        """New connections work again; those that fell silent never do."""
        with self._lock:
            self._silent = False

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
                    link = _Link(client, server, silent=self._silent)
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

    def __init__(self, client: socket.socket, server: socket.socket, *, silent: bool) -> None:
        self.silent, self.is_open = silent, True
        self._ends = (client, server)
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
        for end in self._ends:
            end.close()
        return was_open

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.silent:
                    target.sendall(data)
        # That one side went away is kept from the other as well.
        if not self.silent:
            self._shut()

    def _shut(self) -> bool:
        was_open, self.is_open = self.is_open, False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return was_open
