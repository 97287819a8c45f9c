"""A RabbitMQ node of our own for the tests: private folder, free loopback ports, an epmd of its own.

A node takes seconds to start, so a run shares one, and each test has a virtual host of its own, made over HTTP.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp

from tests import lanes
from tests.servers import processes
from tests.waiting import wait_until

# The log of a node that starts says why when it cannot; a small machine takes ten seconds.
START_TIMEOUT = 60.0
# Debian's command of the same name becomes another user and stays with a service's folders.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
LOGIN = {
    "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
    "Content-Type": "application/json",
}
# As nearly all of a small machine's memory: the alarm is for the tests that ask for it.
NO_ALARM = "0.9"


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now; another process may be quicker, and then the start fails loudly."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def find_server() -> Path | None:
    """The start script of the server itself."""
    packaged = PROGRAMS / "rabbitmq-server"
    return packaged if packaged.exists() else lanes.find_program("rabbitmq-server")


class RabbitServer(processes.Server):
    """`start`, use `url`; `kill9` and `start` again keeps durable queues and their messages, `lose_data` does not."""

    def __init__(self, program: Path, *, config: str = "") -> None:
        self.program, self.config = program, config
        self.folder = Path(tempfile.mkdtemp(prefix="reverser-rabbit-"))
        self.port, self.http_port, self.distribution_port, self.epmd_port = free_ports(4)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL for Celery, of the virtual host that every node has."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @contextmanager
    def vhost(self) -> Iterator[Vhost]:
        """A virtual host of one test's own."""
        vhost = Vhost(self, f"test-{uuid.uuid4().hex}")
        self.ask("PUT", "vhosts", vhost.name)
        try:
            yield vhost
        finally:
            self.ask("DELETE", "vhosts", vhost.name)

    def start(self) -> None:
        """Start the node and wait until it serves AMQP and its HTTP API."""
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        listener = f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.http_port}\n"
        alarm = f"vm_memory_high_watermark.relative = {NO_ALARM}\n"
        (self.folder / "rabbitmq.conf").write_text(f"{listener}{alarm}{self.config}\n")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, timeout=START_TIMEOUT, what="RabbitMQ")

    def stop(self) -> None:
        """End the node and its epmd, and remove its folder."""
        self.kill9()
        wait_until(self._epmd_ended, what="epmd")
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill9(self) -> None:
        """Kill the node with everything in its session; the folder stays for the next `start`."""
        if self.process and self.process.poll() is None:
            processes.end_group(self.process)

    def running(self) -> list[subprocess.Popen[bytes]]:
        return [self.process] if self.process else []

    def lose_data(self) -> None:
        """Kill the node, and let the next `start` begin with nothing."""
        self.kill9()
        shutil.rmtree(self.folder / self._node_name)

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Let the node believe that its memory is full: it accepts nothing from connections that publish."""
        self.shell("rabbitmqctl set_vm_memory_high_watermark 0.000001")
        try:
            yield
        finally:
            self.shell(f"rabbitmqctl set_vm_memory_high_watermark {NO_ALARM}")

    def ask(self, method: str, *path: str, body: Any = None) -> Any:
        """Ask the HTTP API; None where it has nothing to say."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            where = "/".join(quote(part, safe="") for part in path)
            connection.request(method, f"/api/{where}", body=json.dumps(body or {}), headers=LOGIN)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status < http.client.BAD_REQUEST, f"{method} {where}: {answer.status} {said!r}"
        return json.loads(said) if said else None

    @property
    def _node_name(self) -> str:
        return f"reverser{self.port}@localhost"

    def shell(self, command: str) -> str:
        """Run a line of an operator's shell, in which rabbitmqctl speaks to this node; what it printed."""
        ours = self._environment()
        done = subprocess.run(
            ["sh", "-c", command],
            env=ours | {"PATH": f"{PROGRAMS}:{ours.get('PATH', os.defpath)}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=START_TIMEOUT,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _epmd_ended(self) -> bool:
        """Ask the port mapper to end; it refuses while it has not noticed that the node is gone."""
        program = lanes.find_program("epmd")
        assert program, "epmd comes with Erlang"
        port = str(self.epmd_port)
        ended = subprocess.run([program, "-port", port, "-kill"], capture_output=True, check=False, timeout=5)
        return b"living nodes" not in ended.stdout + ended.stderr

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return os.environ | {
            "HOME": folder,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node_name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        }

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"RabbitMQ did not start:\n{processes.log_tail(self.log)}")
        try:
            connection = amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=5)
            connection.connect()
            self.ask("GET", "vhosts")
        except (OSError, amqp.AMQPError):
            return False
        connection.close()
        return True


@dataclass(frozen=True, slots=True)
class Vhost:
    """A virtual host of a node: its URL, and what is declared in it."""

    server: RabbitServer
    name: str

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"amqp://guest:guest@127.0.0.1:{self.server.port}/{self.name}"

    def queues(self) -> set[str]:
        """The names of its queues."""
        return {queue["name"] for queue in self.server.ask("GET", "queues", self.name)}

    def bindings(self) -> set[tuple[str, str, str]]:
        """Exchange, routing key and queue (or exchange) of each binding, but the one that every queue has."""
        found = self.server.ask("GET", "bindings", self.name)
        return {(one["source"], one["routing_key"], one["destination"]) for one in found if one["source"]}

    @contextmanager
    def user(self) -> Iterator[User]:
        """A login of one test's own, with all rights in this virtual host."""
        user = User(self, f"{self.name}-user")
        self.server.ask("PUT", "users", user.name, body={"password": "guest", "tags": ""})
        try:
            user.may()
            yield user
        finally:
            self.server.ask("DELETE", "users", user.name)

    def cut(self) -> None:
        """Close every connection, as a broker that is restarted does."""
        # The HTTP API lists a connection some seconds late.
        self.server.shell(f"rabbitmqctl close_all_connections -p {self.name} cut")


@dataclass(frozen=True, slots=True)
class User:
    """A login whose rights change while it is used."""

    vhost: Vhost
    name: str

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"amqp://{self.name}:guest@127.0.0.1:{self.vhost.server.port}/{self.vhost.name}"

    def may(self, **rights: str) -> None:
        """Give these rights by their regular expressions, and all that are not named."""
        whole = {"configure": ".*", "write": ".*", "read": ".*"} | rights
        self.vhost.server.ask("PUT", "permissions", self.vhost.name, self.name, body=whole)
