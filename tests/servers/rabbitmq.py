"""A RabbitMQ node of our own for the tests: private folder, free loopback ports, an epmd of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import amqp

from tests import lanes
from tests.servers import processes
from tests.waiting import wait_until

# The log of a node that starts says why when it cannot; a small machine takes ten seconds.
START_TIMEOUT = 60.0
# Debian's command of the same name becomes another user and stays with a service's folders.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")


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


class RabbitServer:
    """`start`, use `url`; `kill9` and `start` again keeps durable queues and their messages."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="reverser-rabbit-"))
        self.port, self.distribution_port, self.epmd_port = free_ports(3)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start the node and wait until it serves AMQP."""
        (self.folder / "plugins").write_text("[].\n")
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
            "RABBITMQ_NODENAME": f"reverser{self.port}@localhost",
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
        except (OSError, amqp.AMQPError):
            return False
        connection.close()
        return True
