"""Reverser as its users start it: `reverser up` on one machine, or one process each beside real servers.

Both lanes answer the same questions from outside: the commands, the database by SQL, the broker. Processes are
ended through the commands, or by the ids that the data folder names.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
import sqlalchemy

from app import db, settings
from app.cli import processes, updata
from tests.servers import processes as servers
from tests.servers import rabbitmq
from tests.waiting import PATIENCE, wait_until

COMMAND = (sys.executable, "-P", "-m", "app.cli.main")
Row = Mapping[str, Any]
# Without a login Flower shows its pages, and refuses its API.
FLOWER_LOGIN = "operator:flower-login"
# Small, so that most listings have more pages than one.
PAGE_SIZE = 5
# A status is written as soon as it changes: tests wait for it all the time. Nothing asks by itself which types are
# served: only the watch of CRDs and APIServices makes rules follow. Nobody waits a minute for a type to be gone.
CHOSEN = {
    "flower_login": FLOWER_LOGIN,
    "page_size": str(PAGE_SIZE),
    "status_interval": "0.2",
    "discovery_interval": "3600",
    "type_grace": "1",
}


class Lane:
    """What tests ask of a running Reverser, however it was started. `options` are the settings of its processes."""

    options: settings.Settings
    flower_url: str

    def is_running(self) -> bool:
        """Whether it was started, and not stopped."""
        raise NotImplementedError

    def start(self) -> None:
        """Start all processes."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all processes as an operator does."""
        raise NotImplementedError

    def kill(self, name: str) -> None:
        """Kill -9 one process; another one runs in its place then."""
        raise NotImplementedError

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""
        raise NotImplementedError

    def pid(self, name: str) -> int:
        """The process id of one of them."""
        raise NotImplementedError

    def log(self, name: str) -> Path:
        """What one of them said."""
        raise NotImplementedError

    def bound(self) -> set[str]:
        """The queues that are bound to our exchange; on Redis."""
        with self.redis() as client:
            # kombu keeps key, pattern and queue of each binding in one text.
            return {str(entry, "utf-8").split("\x06\x16")[-1] for entry in client.smembers("_kombu.binding.dest")}

    @contextlib.contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """A client of the broker, where that is a Redis on a socket."""
        client = redis.Redis(unix_socket_path=self.options.broker_url.removeprefix("redis+socket://"))
        with contextlib.closing(client):
            yield client

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every file that it keeps with its bytes: the database, what the broker keeps, logs, caches."""
        raise NotImplementedError

    def reverser(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the settings of this installation."""
        environment = {**os.environ, **self.options.to_environment()}
        # Where we stand there may be the data folder of a `make up`, which means another cluster.
        with tempfile.TemporaryDirectory() as nowhere:
            return subprocess.run(
                [*COMMAND, *words],
                env=environment,
                cwd=nowhere,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

    def answer(self, *words: str) -> list[dict[str, Any]]:
        """What a command says with --output json."""
        done = self.reverser(*words, "--output", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, list)
        return found

    def rows(self, query: str, **values: object) -> list[Row]:
        """Ask the database as an operator does."""
        database = db.Database(self.options.database_url)
        try:
            with database.read() as connection:
                return [row._asdict() for row in connection.execute(sqlalchemy.text(query), values)]
        finally:
            database.close()

    def pending(self, destination: str) -> int:
        """Rows that wait to be pushed."""
        query = "SELECT pending FROM destination_lag WHERE destination = :name AND deleted_at IS NULL"
        return sum(int(row["pending"]) for row in self.rows(query, name=destination))

    def seeded(self, destination: str) -> bool:
        """Whether a seed of a destination is in Git, and none is open."""
        query = (
            "SELECT r.state FROM seed_run r JOIN git_destination d ON d.id = r.destination_id "
            "WHERE d.namespace || '/' || d.name = :name"
        )
        states = {row["state"] for row in self.rows(query, name=destination)}
        return "swept" in states and not states & {"queued", "listing", "synced"} and not self.pending(destination)

    def wait_seeded(self, destination: str) -> None:
        """Wait until the first complete state of a destination is in Git, and nothing pends."""
        wait_until(lambda: self.seeded(destination), what=f"the seed of {destination}")

    def wait_drained(self, destination: str, timeout: float = 60) -> None:
        """Wait until nothing pends."""
        wait_until(lambda: self.pending(destination) == 0, timeout, what=f"rows of {destination} pend")

    def tasks(self, search: str = "") -> dict[str, dict[str, Any]]:
        """What Flower's API tells of the tasks that fit a search, by id."""
        url = f"{self.flower_url}/api/tasks?{urllib.parse.urlencode({'search': search})}"
        login = base64.b64encode(FLOWER_LOGIN.encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found


class Embedded(Lane):
    """`reverser up`: SQLite, an embedded Redis, repositories on this machine."""

    def __init__(self, path: Path, kubeconfig: Path, **chosen: str) -> None:
        """`chosen` are settings by name."""
        self.folder = updata.DataFolder.at(path)
        self.kubeconfig = kubeconfig
        self._variables = {settings.variable_of(name): value for name, value in (CHOSEN | chosen).items()}

    @property
    def up(self) -> updata.Up:
        """The content of up.json."""
        found = self.folder.read_up()
        assert found, "`reverser up` is not ready"
        return found

    @property
    def options(self) -> settings.Settings:  # type: ignore[override]
        """The settings of what runs, or would run, here."""
        return settings.Settings.from_environment(self.folder.environment())

    @property
    def flower_url(self) -> str:  # type: ignore[override]
        """Where Flower answers."""
        return str(self.up.flower_url)

    def is_running(self) -> bool:
        return self.folder.is_running()

    def pid(self, name: str) -> int:
        return self.up.pids[name]

    def log(self, name: str) -> Path:
        return self.folder.log_of(name)

    def start(self) -> None:
        """`reverser up --detach`."""
        words = ("up", "--detach", "--kubeconfig", str(self.kubeconfig), "--timeout", "90")
        done = self.typed(*words)
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        """`reverser down`."""
        done = self.typed("down")
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self, name: str) -> None:
        before = self.up.pids[name]
        # Who lost its folder may have been replaced in this moment.
        with contextlib.suppress(ProcessLookupError):
            os.kill(before, signal.SIGKILL)

        def replaced() -> bool:
            found = self.folder.read_up()
            return found is not None and found.pids[name] != before

        wait_until(replaced, what=f"a new {name}")

    def kill_supervisor(self) -> None:
        """Kill -9 the supervisor; everything it started ends with it."""
        left = self.folder.read_identities()
        os.kill(left["supervisor"].pid, signal.SIGKILL)
        wait_until(lambda: not any(map(processes.is_alive, left.values())), what="the children end")

    def end(self) -> None:
        left = self.folder.read_identities()
        self.typed("down")
        for identity in left.values():
            processes.end(identity, grace=1.0)

    def files(self) -> Iterator[tuple[Path, bytes]]:
        return read_all(self.folder.path)

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this folder, without any variable of its processes."""
        command = [*COMMAND, *words, "--data-dir", str(self.folder.path)]
        return subprocess.run(
            command, env={**os.environ, **self._variables}, capture_output=True, text=True, check=False, timeout=150
        )


def read_all(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below some folders with its bytes."""
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        # Temporary files may go while one looks; a socket is none.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()


class Separate(Lane):
    """`reverser migrate`, `watch`, `worker` and `flower`, each by itself, on servers that somebody else runs."""

    def __init__(
        self,
        folder: Path,
        options: settings.Settings,
        *,
        flower_port: int,
        kept: Sequence[Path] = (),
        vhost: rabbitmq.Vhost | None = None,
    ) -> None:
        self.options = options
        self.folder = folder
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self._flower_port = flower_port
        # Variables that one of the processes has in place of those of the others, by its name.
        self.apart: dict[str, dict[str, str]] = {}
        # Where the servers keep what they are given.
        self._kept = (folder, *kept)
        self._vhost = vhost
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def is_running(self) -> bool:
        return bool(self._running)

    def start(self, *, workers: Sequence[str] = ("worker",)) -> None:
        """Migrate, then start a watch daemon, Flower, and workers of these names."""
        done = self.reverser("migrate")
        assert done.returncode == 0, done.stderr
        for name in ("watch", "flower", *workers):
            self.add(name)

    def add(self, name: str) -> None:
        """Start one of them: another watch daemon or a worker as on another machine, by a name of its own."""
        if name == "flower":
            self._spawn(name, "flower", "--port", str(self._flower_port))
        elif name.startswith("watch"):
            self._spawn(name, "watch", REVERSER_NODE=name)
        else:
            self._spawn(name, "worker", REVERSER_NODE=name, REVERSER_WORK_DIR=str(self.folder / f"work-{name}"))

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        while self._running:
            servers.end(self._running.popitem()[1])

    def end(self) -> None:
        self.stop()

    def kill(self, name: str) -> None:
        self.remove(name, signal.SIGKILL)
        self.add(name)

    def remove(self, name: str, with_signal: signal.Signals) -> None:
        """End one of them, and wait until it is gone."""
        process = self._running.pop(name)
        process.send_signal(with_signal)
        process.wait(PATIENCE)

    def revive(self, name: str) -> None:
        """Start one of them anew, if it ended."""
        process = self._running.get(name)
        if process is not None and process.poll() is not None:
            self.add(name)

    def wait_ended(self, name: str) -> int:
        """Wait until one of them ended by itself; its exit code."""
        return self._running.pop(name).wait(PATIENCE)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def bound(self) -> set[str]:
        if not self._vhost:
            return super().bound()
        return {queue for exchange, _, queue in self._vhost.bindings() if exchange == "dest"}

    def files(self) -> Iterator[tuple[Path, bytes]]:
        return read_all(*self._kept)

    def _spawn(self, name: str, *words: str, **variables: str) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*COMMAND, *words],
                env={**os.environ, **self.options.to_environment(), **variables, **self.apart.get(name, {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
