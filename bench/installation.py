"""A kube-apiserver and a whole Reverser beside it, as a user would start it, for the bench to measure."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import db, settings
from app.kube import client
from tests.servers import processes
from tests.servers.kube import KubeServer

NAMESPACE = "bench"
OURS = "/apis/configbutler.ai/v1alpha1"
# Parallel requests while objects are made; the API server is the limit beyond.
WRITERS = 8


@dataclass(frozen=True, slots=True)
class Installation:
    """A running `reverser up` and the cluster that it mirrors."""

    folder: Path
    cluster: client.Cluster

    @property
    def facts(self) -> dict[str, Any]:
        """The content of up.json."""
        return dict(json.loads((self.folder / "up.json").read_text()))

    @property
    def repository(self) -> Path:
        """The local bare repository."""
        return Path(self.facts["repository"])

    def database(self) -> db.Database:
        """A connection of our own to its database."""
        return db.Database(self.facts["database_url"])

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object."""
        answer = self.cluster.request("POST", path, body=json.dumps(body).encode(), content_type=client.JSON)
        return dict(json.loads(answer.data))

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge a change into an object."""
        answer = self.cluster.request("PATCH", path, body=json.dumps(body).encode(), content_type=client.MERGE_PATCH)
        return dict(json.loads(answer.data))

    def fill(self, namespace: str, count: int, make: Callable[[str, int], dict[str, Any]], *, resource: str) -> None:
        """Create a namespace with `count` objects."""
        self.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        path = f"{resource.format(namespace=namespace)}"
        with ThreadPoolExecutor(WRITERS) as pool:
            for _ in pool.map(lambda number: self.post(path, make(namespace, number)), range(count)):
                pass

    def mirror(self, namespace: str, resources: Sequence[str]) -> None:
        """A config, a destination on main and a rule for a namespace."""
        url = self.facts["repository_url"]
        at = f"{OURS}/namespaces/{namespace}"
        config = {"repoUrl": url, "allowedBranches": ["main"]}
        place = {"repoRef": {"name": "local"}, "branch": "main", "baseFolder": f"clusters/{namespace}"}
        rule = {"destinationRef": {"name": "prod"}, "rules": [{"resources": list(resources)}]}
        self._make(f"{at}/gitrepoconfigs", "GitRepoConfig", "local", config)
        self._make(f"{at}/gitdestinations", "GitDestination", "prod", place)
        self._make(f"{at}/watchrules", "WatchRule", "all", rule)

    def _make(self, path: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        body = {"apiVersion": "configbutler.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.post(path, body)

    def tip(self) -> str:
        """The tip of main as its file says, without starting git; empty before the first push."""
        reference = self.repository / "refs/heads/main"
        return reference.read_text().strip() if reference.exists() else ""

    def files(self) -> dict[str, str]:
        """Path -> blob id of what main holds."""
        command = ["git", "-C", str(self.repository), "ls-tree", "-r", "main"]
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        entries = (line.split("\t", 1) for line in listed.splitlines())
        return {path: about.split()[2] for about, path in entries}

    def peak_memory(self) -> dict[str, float]:
        """Peak resident memory of each process in MB, and of the largest helper of the worker."""
        pids = self.facts["pids"]
        helpers = max((peak_memory_of(child) for child in processes.descendants(pids["worker"])), default=0.0)
        return {**{name: peak_memory_of(pid) for name, pid in pids.items()}, "worker's helper": helpers}

    def watch_figures(self) -> dict[str, float]:
        """The counters of the watch daemon, now."""
        path = self.folder / "work/figures-watch.json"
        path.unlink(missing_ok=True)
        os.kill(self.facts["pids"]["watch"], signal.SIGUSR1)
        wait(path.exists, 10)
        return dict(json.loads(path.read_text()))

    def worker_figures(self) -> dict[str, float]:
        """Seconds and counts of all drains so far, from the worker's log."""
        total: dict[str, float] = {}
        for line in (self.folder / "logs/worker.log").read_text().splitlines():
            if '"drained"' not in line:
                continue
            for name, value in json.loads(line).items():
                if isinstance(value, int | float):
                    total[name] = round(total.get(name, 0) + value, 4)
        return total


@contextmanager
def running() -> Iterator[Installation]:
    """Start an API server and `reverser up`; stop both at the end."""
    folder = Path(tempfile.mkdtemp(prefix="reverser-bench-"))
    server = KubeServer(folder / "kube")
    kubeconfig = str(server.start())
    data = folder / "data"
    try:
        _reverser("up", "--detach", "--apply-crds", "--data-dir", str(data), "--kubeconfig", kubeconfig)
        yield Installation(data, client.connect(settings.Settings(kubeconfig=kubeconfig)))
    finally:
        _reverser("down", "--data-dir", str(data))
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _reverser(*arguments: str) -> None:
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr}{done.stdout}")


def wait(condition: Callable[[], object], seconds: float) -> float:
    """Wait for a condition; how long it took, in seconds."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            raise SystemExit(f"not within {seconds} s")
        time.sleep(0.005)
    return time.perf_counter() - started


def peak_memory_of(pid: int) -> float:
    """Peak resident memory of a process in MB; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    kilobytes = next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))
    return round(int(kilobytes) / 1024, 1)


def memory_of(pid: int) -> float:
    """Resident memory of a process in MB, now."""
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024, 1)


def configmap(namespace: str, number: int) -> dict[str, Any]:
    """A ConfigMap of about 0.6 kB."""
    lines = "\n".join(f"key-{line} = value {number} {line}" for line in range(16))
    metadata = {"name": f"config-{number:05}", "namespace": namespace, "labels": {"app": f"app-{number % 50}"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"app.properties": lines, "n": "0"}}
