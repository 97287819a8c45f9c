"""Whole installations that are there to be broken: who is who in them, how each is met, and how it comes back.

`embedded` is `reverser up` on the sandbox: its supervisor restarts what dies. `production` is two watch daemons and two
workers on RabbitMQ or Redis, PostgreSQL, sshd and a kube-apiserver: this module is their systemd.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app import settings
from app.kube import client, crds
from app.models import nodes
from tests import lanes
from tests.chaos import faults
from tests.git.servers import SshGitServer, free_port
from tests.servers import postgres, processes, proxy
from tests.servers.kube import KubeServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.rabbitmq import find_server as find_rabbitmq
from tests.servers.redis import RedisServer
from tests.servers.redis import find_server as find_redis
from tests.servers.sandbox import SandboxServer
from tests.system.cluster import OURS, Api, RefusedError, git_secret
from tests.system.installation import CHOSEN, Embedded, Lane, Row, Separate
from tests.system.repository import Repository
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Pace:
    """Settings of leases, and for how many seconds a process is frozen: longer than leases and heartbeats last."""

    settings: Mapping[str, str]
    freeze: float


SHORT = Pace({"branch_lease": "1.5", "watch_lease": "2", "statement_timeout": "1", "watch_timeout": "20"}, freeze=5.0)
DEFAULT = Pace({}, freeze=12.0)
# How long a process may take to end or to be back.
COMEBACK = 60.0
# How long a link may be idle: workers read credentials anew each half minute.
IDLE = 40.0
WATCHERS, WORKERS = ("watch-1", "watch-2"), ("worker-1", "worker-2")
NODES = (*WATCHERS, *WORKERS)
_SIGNALS: Mapping[faults.How, signal.Signals] = {
    "kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP,
}  # fmt: skip


class Stage:
    """One installation, and the servers around it. `whom` says which faults there are on it."""

    whom: tuple[faults.Who, ...]
    pace: Pace
    lane: Lane
    api: Api
    repository: Repository
    # By who they are.
    servers: dict[faults.Who, Any]
    # By what they are between.
    links: Mapping[str, proxy.Proxy] = MappingProxyType({})

    def __init__(self, folder: Path, pace: Pace = SHORT) -> None:
        """Start all of it; what does not come up leaves nothing behind."""
        self.pace = pace
        self._ending = contextlib.ExitStack()
        try:
            self._start(folder)
        except BaseException:
            self.end()
            raise

    def _start(self, folder: Path) -> None:
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What goes into a GitRepoConfig of the repository, beside its URL."""
        return {}

    def secret(self, namespace: str) -> None:
        """Create the Secret that `config` names in a namespace."""

    def points(self, who: faults.Who) -> Path:
        """The folder of failpoints that a process heeds."""
        raise NotImplementedError

    def pid(self, who: faults.Who) -> int:
        """A process of Reverser."""
        raise NotImplementedError

    def rows(self, query: str) -> list[Row]:
        """What the database says."""
        return self.lane.rows(query)

    def come_back(self, who: faults.Who, pid: int) -> None:
        """After a process of Reverser was told to end: wait until it did, and until another one is in its place."""
        raise NotImplementedError

    def meet(self, fault: faults.Fault, *, worker: int = 0) -> float | None:
        """Do a fault that needs no point, and undo it: in the end everything runs that ran before. When it ended.

        `worker` is whose helper is meant, where that is the question. None where nothing went through a link.
        """
        if fault.who == "link":
            return self._spoil(fault)
        if server := self.servers.get(fault.who):
            _strike(server, fault.how, freeze=self.pace.freeze)
            return time.time()
        pid = self.helper(worker or self.pid("worker")) if fault.who == "helper" else self.pid(fault.who)
        assert pid > 0
        os.kill(pid, _SIGNALS[fault.how])
        return self.undo(fault, pid, time.time())

    def _spoil(self, fault: faults.Fault) -> float | None:
        link = self.links[fault.point]
        if fault.how == faults.CUT_ANSWER:
            return self._cut_answer(link)
        assert fault.how in proxy.TOXICS
        link.taint(fault.how)
        try:
            ends = time.monotonic() + IDLE
            while not link.met() and time.monotonic() < ends:
                threading.Event().wait(0.05)
            found = link.met()
            threading.Event().wait(self.pace.freeze)
        finally:
            link.heal()
        return time.time() if found else None

    def _cut_answer(self, link: proxy.Proxy) -> float | None:
        """A hook of the repository waits after its branch was moved, and before anybody hears of it."""
        hook, waits = self.repository.path / "hooks" / "reference-transaction", self.repository.path / "hook-waits"
        pause = 'for _ in $(seq 200); do [ -e "$waits" ] || exit 0; sleep 0.05; done'
        script = f'#!/bin/sh\n[ "$1" = committed ] || exit 0\nwaits={waits}\ntouch "$waits"\n{pause}\n'
        hook.parent.mkdir(exist_ok=True)
        made = hook.with_suffix(".new")
        made.write_text(script)
        made.chmod(0o755)
        made.rename(hook)
        try:
            ends = time.monotonic() + IDLE
            while not waits.exists() and time.monotonic() < ends:
                threading.Event().wait(0.02)
            found = waits.exists() and link.cut()
        finally:
            hook.unlink()
            waits.unlink(missing_ok=True)
        return time.time() if found else None

    def undo(self, fault: faults.Fault, pid: int, met: float) -> float:
        """After a process was met at some time: wake it, or have it replaced. When the fault ended."""
        if fault.how == "stop":
            threading.Event().wait(self.pace.freeze)
            # Who looks after it may have ended it meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            return time.time()
        if fault.who != "helper":
            self.come_back(fault.who, pid)
        return met

    def who_else(self, wanted: faults.Who) -> faults.Who:
        """Who came by a point at which another process was waited for: its successor, where each has a folder."""
        return wanted

    def keep(self, folder: Path) -> None:
        """Copy logs and repository into a folder."""
        for log in self.logs():
            shutil.copy(log, folder / log.name)
        shutil.rmtree(folder / "repository.git", ignore_errors=True)
        shutil.copytree(self.repository.path, folder / "repository.git")

    def logs(self) -> list[Path]:
        """What the processes said."""
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        """The processes of Reverser that follow the cluster and write Git, by name."""
        raise NotImplementedError

    def end(self) -> None:
        """Leave nothing behind."""
        self._ending.close()

    def helper(self, worker: int) -> int:
        """A helper of a worker, as soon as it has one."""

        def found() -> int:
            children = processes.descendants(worker)
            return next((pid for pid in children if b"app.git.helper" in _command(pid)), 0)

        return wait_until(found, COMEBACK, what="a helper")


def _strike(server: Any, how: faults.How, *, freeze: float) -> None:
    """Kill a server, end it as systemd does (all of its processes are told), or freeze it; it runs again afterwards."""
    pids = [pid for one in server.running() for pid in (one.pid, *processes.descendants(one.pid))]
    if how == "kill":
        server.kill9()
        server.start()
        return
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, _SIGNALS[how])
    if how == "stop":
        threading.Event().wait(freeze)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return
    for one in server.running():
        processes.end(one)
    server.kill9()
    server.start()


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class EmbeddedStage(Stage):
    """`reverser up` beside a sandbox."""

    whom = faults.EMBEDDED
    _NAMES: Mapping[faults.Who, str] = {"leader": "watch", "worker": "worker", "broker": "redis"}

    def _start(self, folder: Path) -> None:
        self._points = folder / "failpoints"
        self._points.mkdir()
        self._server = SandboxServer(folder / "server")
        self._ending.callback(self._server.stop)
        self.servers = {"API server": self._server}
        kubeconfig = self._server.start()
        self.api = _with_our_kinds(self._server, kubeconfig)
        chosen = {**self.pace.settings, "failpoints": str(self._points)}
        self.lane = self._lane = Embedded(folder / "data", kubeconfig, **chosen)
        self._ending.callback(self._lane.end)
        self.repository = Repository.local(folder / "repository.git")
        self._lane.start()

    def points(self, who: faults.Who) -> Path:  # noqa: ARG002 - all processes of `reverser up` have one environment
        return self._points

    def pid(self, who: faults.Who) -> int:
        return self._lane.pid(self._NAMES[who])

    def who_else(self, wanted: faults.Who) -> faults.Who:
        return "worker" if wanted == "leader" else "leader"

    def come_back(self, who: faults.Who, pid: int) -> None:
        def replaced() -> bool:
            found = self._lane.folder.read_up()
            return found is not None and found.pids[self._NAMES[who]] != pid

        wait_until(replaced, COMEBACK, what=f"a new {who}")

    def pids(self) -> dict[str, int]:
        return {name: self._lane.pid(name) for name in ("watch", "worker")}

    @property
    def database(self) -> Path:
        """The file of its SQLite database."""
        return Path(self._lane.options.database_url.removeprefix("sqlite:///"))

    def logs(self) -> list[Path]:
        return [self._lane.log(name) for name in self._NAMES.values()] + [self._server.log]


class ProductionStage(Stage):
    """Separate processes, two of each, on servers of their own."""

    whom = faults.PRODUCTION

    def __init__(self, folder: Path, pace: Pace = SHORT, *, broker: str = "rabbitmq") -> None:
        self._broker = broker
        super().__init__(folder, pace)

    def _start(self, folder: Path) -> None:
        self._folder = folder
        server = KubeServer(folder / "kube")
        self._database = postgres.PostgresServer(_needed(lanes.find_postgres(), "PostgreSQL"))
        queue = (
            RabbitServer(_needed(find_rabbitmq(), "RabbitMQ"))
            if self._broker == "rabbitmq"
            else RedisServer(_needed(find_redis(), "Redis"))
        )
        self._host = SshGitServer(folder)
        self.servers = {"API server": server, "database": self._database, "broker": queue, "Git server": self._host}
        for one in self.servers.values():
            self._ending.callback(one.stop)
        for one in (server, self._database, queue):
            one.start()
        self.api = _with_our_kinds(server, server.kubeconfig())
        self._host_link = self._linked(proxy.address(self._host.url("repository")))
        url = self._host_link.url(self._host.url("repository"))
        self.repository = Repository(self._host.repository("repository"), url)
        chosen = {settings.variable_of(name): value for name, value in {**CHOSEN, **self.pace.settings}.items()}
        options = replace(
            settings.Settings.from_environment(chosen),
            database_url=postgres.Databases(self._database.admin_url).create().render_as_string(hide_password=False),
            broker_url=queue.url,
            work_dir=folder / "work",
            kubeconfig=str(server.kubeconfig()),
        )
        self.lane = self._lane = Separate(folder, options, flower_port=free_port())
        self._ending.callback(self._lane.end)
        self.links = {faults.GIT_LINK: self._host_link}
        for kind, names in (("watch", WATCHERS), ("worker", WORKERS)):
            apart = self._link(kind, options, server)
            for name in names:
                self._folder_of(name).mkdir()
                self._lane.apart[name] = {
                    settings.variable_of(setting): value
                    for setting, value in {**apart, "failpoints": str(self._folder_of(name))}.items()
                }
        done = self._lane.reverser("migrate")
        assert done.returncode == 0, done.stderr
        for name in NODES:
            self._lane.add(name)
        self._ends = threading.Event()
        keeper = threading.Thread(target=self._keep, name="keeper")
        keeper.start()
        self._ending.callback(keeper.join)
        self._ending.callback(self._ends.set)
        wait_until(lambda: self._leader() and len(self._workers()) == len(WORKERS), COMEBACK, what="all lead and serve")

    def _link(self, kind: str, options: settings.Settings, server: KubeServer) -> dict[str, str]:
        """Put a proxy between one kind of process and each server; the settings that lead through them."""
        database_url = postgres.parse(options.database_url)
        database = self._linked(postgres.address(database_url))
        queue, api = (self._linked(proxy.address(url)) for url in (options.broker_url, server.url))
        kubeconfig = self._folder / f"kubeconfig-{kind}"
        kubeconfig.write_text(server.kubeconfig().read_text().replace(server.url, api.url(server.url)))
        self.links = {
            **self.links, f"{kind}-database": database, f"{kind}-broker": queue, f"{kind}-API server": api,
        }  # fmt: skip
        return {
            "database_url": postgres.through(database_url, database).render_as_string(hide_password=False),
            "broker_url": queue.url(options.broker_url),
            "kubeconfig": str(kubeconfig),
        }

    def _linked(self, to: proxy.Address) -> proxy.Proxy:
        link = proxy.Proxy(to)
        link.start()
        self._ending.callback(link.stop)
        return link

    def config(self) -> dict[str, Any]:
        return {"secret": "git"}

    def secret(self, namespace: str) -> None:
        known = self._host.credentials.known_hosts.replace(f":{self._host.port} ", f":{self._host_link.port} ")
        git_secret(self.api, namespace, "git", replace(self._host.credentials, known_hosts=known))

    def points(self, who: faults.Who) -> Path:
        return self._folder_of(self._name(who))

    def pid(self, who: faults.Who) -> int:
        return self._lane.pid(self._name(who))

    def come_back(self, who: faults.Who, pid: int) -> None:
        wait_until(lambda: pid not in map(self._lane.pid, NODES), COMEBACK, what=f"a new {who}")

    def logs(self) -> list[Path]:
        return [self._lane.log(name) for name in NODES]

    def pids(self) -> dict[str, int]:
        return {name: self._lane.pid(name) for name in NODES}

    def _keep(self) -> None:
        """Thread: start what ended, as systemd does: a leader that was frozen ends when it wakes."""
        while not self._ends.wait(0.2):
            for name in NODES:
                self._lane.revive(name)

    def _folder_of(self, name: str) -> Path:
        return self._folder / f"failpoints-{name}"

    def _name(self, who: faults.Who) -> str:
        if who in {"leader", "standby"}:
            wait_until(lambda: self._leader() in WATCHERS, COMEBACK, what="a leader")
            leader = self._leader()
            return leader if who == "leader" else next(one for one in WATCHERS if one != leader)
        return self._busy_worker()

    def _leader(self) -> str:
        rows = self._lane.rows("SELECT owner FROM watch_lease WHERE until > now()")
        return str(rows[0]["owner"]) if rows else ""

    def _busy_worker(self) -> str:
        """The worker that serves most of the destinations that are always there."""
        wait_until(self._workers, COMEBACK, what="a worker")
        return str(max(self._workers(), key=lambda row: sum("/pulse-" in ref for ref in row["serves"]))["name"])

    def _workers(self) -> list[Row]:
        query = "SELECT name, serves FROM worker_node WHERE heartbeat > now() - make_interval(secs => :silent)"
        return self._lane.rows(query, silent=nodes.STALE_AFTER)


EMBEDDED, PRODUCTION = LANES = "embedded", "production"


@contextlib.contextmanager
def standing(lane: str, pace: Pace = SHORT, *, broker: str = "rabbitmq") -> Iterator[Stage]:
    """An installation, until the end of the block; `broker` is that of production."""
    with tempfile.TemporaryDirectory(prefix="reverser-chaos-", dir=processes.MEMORY) as name:
        folder = Path(name)
        stage = EmbeddedStage(folder, pace) if lane == EMBEDDED else ProductionStage(folder, pace, broker=broker)
        try:
            yield stage
        finally:
            stage.end()


def _needed(found: Path | None, name: str) -> Path:
    if found is None:
        raise SystemExit(f"the lane of production needs {name}")
    return found


def _with_our_kinds(server: Any, kubeconfig: Path) -> Api:
    cluster = client.connect(settings.Settings(kubeconfig=str(kubeconfig)))
    crds.apply(cluster, allow_local=True)
    cluster.close()
    api = Api(server)

    def served() -> bool:
        with contextlib.suppress(RefusedError):
            return all(api.list(resource) == [] for resource in OURS)
        return False

    wait_until(served, COMEBACK, what="our kinds are served")
    return api
