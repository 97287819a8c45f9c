"""`reverser up` with a real API server: the whole product on one machine, as its user meets it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.cli import processes, updata
from app.kube import client
from tests.servers.kube import KubeServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(240)]

GROUP = "configbutler.ai/v1alpha1"
CHILDREN = ("redis", "watch", "worker", "flower")


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """One API server for these tests."""
    with KubeServer(tmp_path_factory.mktemp("kube")) as server:
        yield server


class Installation:
    """One data folder and the commands on it."""

    def __init__(self, path: Path, kubeconfig: Path) -> None:
        self.folder = updata.DataFolder.at(path)
        self.kubeconfig = kubeconfig
        self.foreground: subprocess.Popen[str] | None = None

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "app.cli.main", *words, "--data-dir", str(self.folder.path)]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=120)

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        patient = [] if "--timeout" in words else ["--timeout", "100"]
        return self.run("up", "--detach", "--kubeconfig", str(self.kubeconfig), *patient, *words)

    def start(self, *words: str) -> None:
        command = self.command("up", "--kubeconfig", str(self.kubeconfig), *words)
        with (self.folder.path.parent / "said").open("w") as said:
            self.foreground = subprocess.Popen(command, stdout=said, stderr=said, text=True)

    def said(self) -> str:
        return (self.folder.path.parent / "said").read_text()

    def read(self) -> updata.Up:
        found = self.folder.read_up()
        assert found
        return found

    def identities(self) -> dict[str, processes.Identity]:
        return self.folder.read_identities()


@pytest.fixture
def place(tmp_path: Path, kube: KubeServer) -> Iterator[Installation]:
    """An installation that is gone after the test, whatever the test did."""
    one = Installation(tmp_path / "data", kube.kubeconfig())
    yield one
    left = one.identities()
    one.run("down")
    if one.foreground:
        one.foreground.terminate()
        one.foreground.wait(60)
    for identity in left.values():
        processes.end(identity, grace=1.0)


def _post(kubeconfig: Path, path: str, content: dict[str, Any]) -> None:
    with closing(client.connect(settings.Settings(kubeconfig=str(kubeconfig)))) as cluster:
        cluster.request("POST", path, body=json.dumps(content).encode())


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _git(repository: str, *words: str) -> str:
    done = subprocess.run(["git", "--git-dir", repository, *words], capture_output=True, text=True, check=False)
    return done.stdout


def test_a_cluster_that_is_away_is_said(tmp_path: Path, kube: KubeServer) -> None:
    """With --detach, what is not ready in time is named with the end of its log, the exit code is 1, nobody is left."""
    text = kube.kubeconfig().read_text().replace(kube.url, "https://127.0.0.1:9")
    away = tmp_path / "away"
    away.write_text(text)
    one = Installation(tmp_path / "data", away)
    result = one.up("--timeout", "6")
    assert result.returncode == 1
    assert "The cluster cannot be asked yet" in result.stdout
    assert "not ready after 6 s: watch" in result.stdout
    assert "watch.log" in result.stdout
    assert one.folder.read_up() is None
    assert not one.folder.is_running()
    assert one.run("down").stdout.startswith("Nothing runs")


def test_without_our_kinds(place: Installation, kube: KubeServer) -> None:
    """Where the cluster lacks our kinds, `up` says what to type, changes nothing there and waits for them."""
    place.start()
    wait_until(lambda: "reverser crds --allow-local | kubectl" in place.said(), timeout=30)
    wait_until(lambda: place.folder.read_up() is not None, timeout=60)
    with closing(client.connect(settings.Settings(kubeconfig=str(kube.kubeconfig())))) as cluster:
        found = cluster.get_json("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert found["items"] == []
    assert place.foreground
    place.foreground.send_signal(signal.SIGINT)
    assert place.foreground.wait(60) == 0
    assert place.said().endswith("Stopped.\n")


def test_life_of_an_installation(place: Installation) -> None:
    """Up, second up, down and up again: up.json tells the truth, and what was written is still there."""
    result = place.up("--apply-crds")
    assert result.returncode == 0, result.stdout + result.stderr
    up = place.read()
    assert set(up.pids) == {"supervisor", *CHILDREN}
    assert all(processes.identify(pid) for pid in up.pids.values())
    assert up.kubeconfig == str(place.kubeconfig)
    assert up.repository_url == Path(up.repository).as_uri()
    assert stat.S_IMODE((place.folder.path / "up.json").stat().st_mode) == 0o600
    assert not [path for path in place.folder.path.iterdir() if path.stat().st_mode & 0o077]
    with urllib.request.urlopen(up.flower_url + "/healthcheck", timeout=5) as answer:
        assert answer.status == 200

    second = place.up()
    assert (second.returncode, f"pid {up.pids['supervisor']}" in second.stdout) == (0, True)

    children = place.identities()
    down = place.run("down")
    assert (down.returncode, down.stdout) == (0, f"Stopped what ran in {place.folder.path}.\n")
    assert not any(map(processes.is_alive, children.values()))
    assert place.folder.read_up() is None
    database = place.folder.database.stat().st_ino
    assert place.up().returncode == 0
    assert place.folder.database.stat().st_ino == database


def test_kill_9_and_up_again(place: Installation) -> None:
    """Within a second after kill -9 of the supervisor nobody is left, and `up` starts again over what it left."""
    assert place.up("--apply-crds").returncode == 0
    left = place.identities()
    os.kill(left["supervisor"].pid, signal.SIGKILL)
    wait_until(lambda: not any(map(processes.is_alive, left.values())), timeout=1.0)
    again = place.up()
    assert again.returncode == 0, again.stdout + again.stderr
    assert not set(place.identities().values()) & set(left.values())


def test_deaths_and_lost_folders(place: Installation) -> None:
    """A killed worker and a Redis whose folder was deleted are replaced; a deleted data folder stops everything."""
    place.start("--apply-crds")
    wait_until(lambda: place.folder.read_up() is not None, timeout=60)
    before = place.read().pids
    os.kill(before["worker"], signal.SIGKILL)
    wait_until(lambda: place.read().pids["worker"] != before["worker"], timeout=30)
    assert "worker was killed by SIGKILL" in place.said()
    shutil.rmtree(place.folder.redis)
    wait_until(lambda: place.read().pids["redis"] != before["redis"], timeout=30)
    assert "redis lost its files: it is replaced" in place.said()
    children = place.identities()
    shutil.rmtree(place.folder.path)
    assert place.foreground
    assert place.foreground.wait(60) == 1
    assert "was deleted: everything is stopped" in place.said()
    assert not any(map(processes.is_alive, children.values()))


def test_an_object_arrives_in_git(place: Installation) -> None:
    """The three resources that `up` shows mirror a ConfigMap into the local repository; status and audit log tell."""
    assert place.up("--apply-crds").returncode == 0
    up = place.read()
    base = f"/apis/{GROUP}/namespaces/default"
    repository = {"repoUrl": up.repository_url, "allowedBranches": ["main"]}
    _post(place.kubeconfig, f"{base}/gitrepoconfigs", _ours("GitRepoConfig", "local", repository))
    destination = {"repoRef": {"name": "local"}, "branch": "main", "baseFolder": "clusters/prod"}
    _post(place.kubeconfig, f"{base}/gitdestinations", _ours("GitDestination", "prod", destination))
    rule = {"destinationRef": {"name": "prod"}, "rules": [{"resources": ["configmaps"]}]}
    _post(place.kubeconfig, f"{base}/watchrules", _ours("WatchRule", "apps", rule))
    greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}, "data": {"text": "hello"}}
    _post(place.kubeconfig, "/api/v1/namespaces/default/configmaps", greeting)
    path = "clusters/prod/v1/configmaps/default/greeting.yaml"
    wait_until(lambda: "hello" in _git(up.repository, "show", f"main:{path}"), timeout=60)

    entries = json.loads(place.run("audit", "log", "--object", "greeting", "--output", "json").stdout)
    assert [entry["path"] for entry in entries] == [path]
    (found,) = json.loads(place.run("status", "--output", "json").stdout)
    assert (found["destination"], found["branch"], found["ready"]) == ("default/prod", "main", True)
    assert found["last_sha"] == _git(up.repository, "rev-parse", "main").strip()
    table = place.run("status").stdout.splitlines()
    shown = dict(zip(table[0].split("\t"), table[1].split("\t"), strict=True))
    assert (shown["DESTINATION"], shown["READY"], shown["PENDING"]) == ("default/prod", "yes", "0")
    assert int(shown["EVENTS"]) >= 2
