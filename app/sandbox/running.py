"""Running the sandbox: the folder, the port, the first objects, and a clean end.

The port is kept in the database, so that a kubeconfig stays valid over restarts; where somebody else has taken it and
does not give it back soon, another one is chosen, and said. Everything runs in one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import random
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from app import errors
from app.sandbox import faults, identity, kinds, objects, places, removing, requests, serving, storing, streaming

_HOST = "127.0.0.1"
# The namespaces that every cluster has. The uid of kube-system tells this cluster from others.
_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")
_BACKLOG = 1024
# Below what Linux (32768) and macOS (49152) give to outgoing connections, and below Kubernetes' node ports (30000).
_PORTS = range(20_000, 30_000)
_ATTEMPTS = 50
# How long the kept port is waited for, and between two looks. Seconds.
_PORT_PATIENCE = 3.0
_PORT_POLL = 0.1
# How long the end may wait for answers that are on their way; open streams end at once.
_GRACE = 0.4
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the sandbox can be reached."""

    url: str
    kubeconfig: Path
    # "" where no faults were asked for.
    fault_url: str
    # The port that was kept and is taken now, else 0.
    port_lost: int


def folder_of(data: Path) -> Path:
    """Where the sandbox keeps its files in a data folder."""
    return data / "sandbox"


def kubeconfig_path(folder: Path) -> Path:
    """The kubeconfig of the sandbox in a data folder."""
    return identity.Identity(folder_of(folder)).kubeconfig


def run(data: Path, *, port: int | None, fault_port: int | None, ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called once, when requests are answered.

    Raises PermanentError for a folder or a port that cannot be used, and OSError.
    """
    folder = _private(folder_of(data))
    # Before all else: of two that start at once, the one that is refused here touches nothing.
    store = storing.Store(folder / "sandbox.db")
    try:
        files = identity.at(folder)
        asyncio.run(_serve(files, store, port=port, fault_port=fault_port, ready=ready))
    finally:
        store.close()


def _private(folder: Path) -> Path:
    """The folder as its owner's alone, whoever made it, like all files that are made from now on."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for file in folder.iterdir():
        if not file.is_symlink() and file.is_file():
            file.chmod(0o600)
    return folder


async def _serve(
    files: identity.Identity,
    store: storing.Store,
    *,
    port: int | None,
    fault_port: int | None,
    ready: Callable[[Ready], None],
) -> None:
    found = objects.Objects(store)
    hub = streaming.Hub(store)
    asked_for = faults.Faults(store, hub)
    remover = removing.Remover(found, hub=hub, later=asyncio.get_running_loop().call_later)
    _make_namespaces(found)
    server = serving.Server(cluster=found, remover=remover, hub=hub, troubles=asked_for, token=files.token)
    with contextlib.ExitStack() as stack:
        listener, lost = _listen(store, port)
        stack.enter_context(listener)
        servers = [(_uvicorn(server.application(), tls=files), listener)]
        if fault_port is not None:
            servers.append((_uvicorn(faults.application(asked_for)), stack.enter_context(_bind(fault_port))))
        urls = [f"http{'s' if not index else ''}://{_HOST}:{_port(one)}" for index, (_, one) in enumerate(servers)]
        files.write_kubeconfig(urls[0])
        # What was loaded stays: the collector need not walk through it again and again.
        gc.freeze()
        announce = Ready(urls[0], files.kubeconfig, fault_url="".join(urls[1:]), port_lost=lost)
        await _until_stopped(servers, hub, lambda: ready(announce))


async def _until_stopped(
    servers: Sequence[tuple[_Server, socket.socket]], hub: streaming.Hub, ready: Callable[[], None]
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopped.set)
    running = {asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers}
    stop = asyncio.create_task(stopped.wait())
    for server, _ in servers:
        await server.listening.wait()
    ready()
    await asyncio.wait({*running, stop}, return_when=asyncio.FIRST_COMPLETED)
    hub.close()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.wait(running, timeout=_GRACE)
    stop.cancel()
    for task in running:
        if task.done():
            task.result()


class _Server(uvicorn.Server):
    """A server that leaves signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled for both servers at once."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.listening.set()


def _uvicorn(application: Any, *, tls: identity.Identity | None = None) -> _Server:
    _hold_back()
    config = uvicorn.Config(
        application,
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        # Clients keep connections for reuse for longer than the usual five seconds.
        timeout_keep_alive=120,
    )
    config.load()
    if config.ssl:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Server(config)


def _hold_back() -> None:
    """Keep uvicorn's own lines out of the log, but for errors that nobody asked for."""
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.ERROR)
    logger.filters[:] = [_is_unexpected]


def _is_unexpected(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, streaming.Broken)


def _make_namespaces(found: objects.Objects) -> None:
    """Make the namespaces of a new cluster."""
    for name in _NAMESPACES:
        target = requests.Target("", "v1", "namespaces", name=name)
        if found.store.get(places.place_of(kinds.NAMESPACES, target)) is None:
            found.make(kinds.NAMESPACES, {"metadata": {"name": name}}, manager="kube-apiserver")


def _listen(store: storing.Store, port: int | None) -> tuple[socket.socket, int]:
    """A socket on the port that was asked for or kept, else on a free one; and the kept port that is taken.

    Raises PermanentError when the port that was asked for is taken.
    """
    if port:
        listener, lost = _bind(port), 0
    else:
        listener, lost = _bind_kept(int(store.value("port") or 0))
    store.set_value("port", str(_port(listener)))
    return listener, lost


def _bind_kept(port: int) -> tuple[socket.socket, int]:
    """Clients know this port: who has it for a moment is waited for, before they have to be told another one."""
    deadline = time.monotonic() + _PORT_PATIENCE
    while port:
        try:
            return _bind(port), 0
        except errors.PermanentError:
            if time.monotonic() >= deadline:
                break
            time.sleep(_PORT_POLL)
    return _bind_new(), port


def _bind_new() -> socket.socket:
    """A port that nobody is given by chance while the sandbox is down, if one is free."""
    for port in random.sample(_PORTS, _ATTEMPTS):
        with contextlib.suppress(errors.PermanentError):
            return _bind(port)
    return _bind(0)


def _bind(port: int) -> socket.socket:
    # Named as TCP, or asyncio leaves Nagle's algorithm on: each answer would wait 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A port of connections that ended a moment ago is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise errors.PermanentError(
            f"port {port} cannot be had ({error.strerror}): name another one, or none for a free one"
        ) from error
    return listener


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
