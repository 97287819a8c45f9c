"""What `reverser up` runs: the embedded broker, perhaps the sandbox, the watch daemon, a worker and Flower.

All have one set of settings. `supervising.py` runs the services described here; `up.py` is the command.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from app import db, errors, settings
from app.cli import clusters, embedded, probing, processes, supervising, terminal, updata
from app.kube import client, documents

FLOWER_PORT = 5555
# A drain that is under way may finish; what is killed after that is drained again, once (promise P9).
WORKER_GRACE = 20.0
# Other settings of these would be ignored: `up` brings its own.
_BROUGHT_ALONG = ("database_url", "broker_url", "work_dir")
# Failures in a row before the broker's files are blamed.
_REDIS_FAILURES = 2


class Port:
    """The port of Flower: the one that was asked for, else one that is free whenever Flower starts."""

    def __init__(self, asked: int | None) -> None:
        self._asked = asked
        self.number = asked or probing.free_port(FLOWER_PORT)

    def choose(self) -> None:
        """Take another one where somebody else took it since, and say so."""
        if self._asked is None and not probing.is_port_free(self.number):
            taken, self.number = self.number, probing.free_port(FLOWER_PORT)
            terminal.say(f"Port {taken} was taken by another program: Flower listens on {self.number} now.")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """One data folder with the settings of all processes that work in it."""

    folder: updata.DataFolder
    cluster: clusters.Choice
    options: settings.Settings
    redis_binary: Path
    redis_socket: Path
    flower_port: Port

    @property
    def flower_url(self) -> str:
        """Where a browser finds Flower."""
        return f"http://127.0.0.1:{self.flower_port.number}"

    @property
    def repository_url(self) -> str:
        """What a GitRepoConfig names to write into the local repository."""
        return self.folder.repository.as_uri()

    def describe(self, pids: Mapping[str, int]) -> updata.Up:
        """The content of `up.json`."""
        return updata.Up(
            kubeconfig=self.options.kubeconfig,
            repository=str(self.folder.repository),
            repository_url=self.repository_url,
            database_url=self.options.database_url,
            broker_url=self.options.broker_url,
            flower_url=self.flower_url,
            pids=pids,
        )

    def ground(self) -> list[supervising.Service]:
        """What the others need, in the order in which it is stopped after them."""
        return [self._broker(), *([self._sandbox()] if self.cluster.is_sandbox else [])]

    def _sandbox(self) -> supervising.Service:
        """The sandbox API server; its data stands in the folder, too."""
        return supervising.Service(
            program=self._program("sandbox", own_command("sandbox", "--data-dir", str(self.folder.path))),
            # One of before, or of the folder that this one was copied from, may name the port of somebody else.
            before_start=lambda: self.folder.sandbox_kubeconfig.unlink(missing_ok=True),
            is_ready=lambda _node: _sandbox_answers(self.options),
        )

    def _broker(self) -> supervising.Service:
        """The embedded Redis. Its folder may be deleted at any time: it gets a new one."""
        folder, socket_file = self.folder.redis, self.redis_socket
        command = embedded.redis_command(binary=self.redis_binary, folder=folder, socket_file=socket_file)
        return supervising.Service(
            program=self._program("redis", command),
            is_ready=lambda _node: embedded.is_ready(socket_file),
            before_start=lambda: embedded.make_redis_folder(folder),
            after_failure=self._blame_files,
            is_well=lambda: bool(embedded.ping(socket_file)),
            is_lost=lambda: not (folder.is_dir() and socket_file.exists()),
        )

    def services(self, database: db.Database) -> list[supervising.Service]:
        """The watch daemon, the worker and Flower, in the order in which they are stopped."""
        cluster, port = self.options.cluster, self.flower_port
        return [
            supervising.Service(
                program=self._program("watch", own_command("watch")),
                asks=self._sandbox_address,
                is_ready=lambda node: probing.watch_leads(database, cluster=cluster, node=node),
            ),
            supervising.Service(
                program=self._program("worker", own_command("worker"), grace=WORKER_GRACE),
                asks=self._sandbox_address,
                is_ready=lambda node: probing.worker_lives(database, node=node),
            ),
            supervising.Service(
                program=self._program("flower", own_command("flower")),
                before_start=port.choose,
                arguments=lambda: ("--port", str(port.number)),
                is_ready=lambda node: probing.flower_answers(port=port.number, node=node),
            ),
        ]

    def _sandbox_address(self) -> str:
        """Where the sandbox listens, which moves when its port was taken while it was away; empty for a cluster."""
        if not self.cluster.is_sandbox:
            return ""
        try:
            ((found, _),) = documents.read(self.folder.sandbox_kubeconfig.read_text(encoding="utf-8"))
            return str(found["clusters"][0]["cluster"]["server"])
        except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
            # It is just being started.
            return ""

    def _program(self, name: str, command: tuple[str, ...], *, grace: float = 5.0) -> processes.Program:
        return processes.Program(
            name=name,
            command=command,
            environment={**settings.inherited_environment(), **self.options.to_environment()},
            log=self.folder.log_of(name),
            instance_variable=settings.variable_of("node"),
            grace=grace,
        )

    def _blame_files(self, failures: int) -> None:
        if failures >= _REDIS_FAILURES:
            embedded.set_data_aside(self.folder.redis)


def _sandbox_answers(options: settings.Settings) -> bool:
    """Whether the sandbox of this kubeconfig serves requests."""
    try:
        with contextlib.closing(client.connect(replace(options, kube_connect_timeout=probing.HTTP_TIMEOUT))) as cluster:
            cluster.request("GET", "/readyz", timeout=probing.HTTP_TIMEOUT)
    except errors.ReverserError:
        return False
    return True


def own_command(*words: str) -> tuple[str, ...]:
    """One of our commands with this very Python; -P keeps the current folder from being imported from."""
    return (sys.executable, "-P", "-m", "app.cli.main", *words)


def install(*, folder: updata.DataFolder, kubeconfig: str, flower_port: int | None) -> Installation:
    """Decide on everything before anything is started. Raises PermanentError that says what is missing."""
    options = settings.Settings.from_environment()
    _refuse_foreign_settings()
    cluster = clusters.choose(folder, options, named=kubeconfig)
    redis_binary, redis_socket = embedded.redis_binary(), embedded.socket_path(folder.redis)
    return Installation(
        folder=folder,
        cluster=cluster,
        options=replace(
            options,
            database_url=f"sqlite:///{folder.database}",
            broker_url=embedded.broker_url(redis_socket),
            work_dir=folder.path / "work",
            kubeconfig=cluster.kubeconfig,
            allow_local_repos=True,
        ),
        redis_binary=redis_binary,
        redis_socket=redis_socket,
        flower_port=Port(_free(flower_port)),
    )


def _refuse_foreign_settings() -> None:
    environment = settings.inherited_environment()
    for name in _BROUGHT_ALONG:
        variable = settings.variable_of(name)
        if environment.get(variable):
            raise errors.SettingsError(
                f"`reverser up` brings its own parts and would ignore {variable}: unset it, or run `reverser watch`, "
                "`reverser worker` and `reverser flower` by yourself"
            )


def _free(wanted: int | None) -> int | None:
    if wanted is not None and not probing.is_port_free(wanted):
        raise errors.PermanentError(f"port {wanted} is taken: give another --flower-port, or leave it out")
    return wanted
