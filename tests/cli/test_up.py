"""`reverser up` for a cluster that is there: the whole product on one machine, as its user meets it.

`test_demo.py` has what `up` does for somebody without a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app import db, settings
from app.cli import processes
from app.kube import client
from app.models import leases
from tests.cli.installation import Installation
from tests.servers.api import EACH, KUBE_ONLY, ApiServer, make
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

GROUP = "configbutler.ai/v1alpha1"
CHILDREN = ("redis", "watch", "worker", "flower")


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for these tests."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, server: ApiServer) -> Iterator[Installation]:
    """An installation that is gone after the test, whatever the test did."""
    one = Installation(tmp_path / "data", server.kubeconfig())
    yield one
    one.end()


def _post(kubeconfig: Path, path: str, content: dict[str, Any]) -> None:
    with closing(client.connect(settings.Settings(kubeconfig=str(kubeconfig)))) as cluster:
        cluster.request("POST", path, body=json.dumps(content).encode())


def _status(kubeconfig: Path, path: str) -> dict[str, Any]:
    with closing(client.connect(settings.Settings(kubeconfig=str(kubeconfig)))) as cluster:
        found: dict[str, Any] = cluster.get_json(path).get("status", {})
    return found


def _kinds(kubeconfig: Path) -> list[str]:
    with closing(client.connect(settings.Settings(kubeconfig=str(kubeconfig)))) as cluster:
        found = cluster.get_json("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    return [item["metadata"]["name"] for item in found["items"]]


def _delete_our_kinds(kubeconfig: Path) -> None:
    """Tests before this one may have installed them."""
    with closing(client.connect(settings.Settings(kubeconfig=str(kubeconfig)))) as cluster:
        for name in _kinds(kubeconfig):
            cluster.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    wait_until(lambda: not _kinds(kubeconfig), timeout=30)


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.fixture
def away(tmp_path: Path, server: ApiServer) -> Iterator[Installation]:
    """An installation for a cluster that does not answer."""
    kubeconfig = tmp_path / "away"
    kubeconfig.write_text(server.kubeconfig().read_text().replace(server.url, "https://127.0.0.1:9"))
    one = Installation(tmp_path / "data", kubeconfig)
    yield one
    assert not one.folder.is_running()
    assert one.folder.read_up() is None
    assert one.run("down").stdout.startswith("Nothing runs")


def test_a_cluster_that_is_away_is_said(away: Installation) -> None:
    """With --detach, what is not ready in time is named with the end of its log, the exit code is 1, nobody is left."""
    result = away.up("--timeout", "6")
    assert result.returncode == 1
    assert "The cluster at https://127.0.0.1:9 cannot be asked yet: no answer" in result.stdout
    assert "not ready after 6 s: watch" in result.stdout
    assert "watch.log" in result.stdout


def test_crds_for_a_cluster_that_is_away(away: Installation) -> None:
    """With --apply-crds a cluster that does not answer ends `up`, which names its address and says what to do."""
    result = away.run("up", "--kubeconfig", str(away.kubeconfig), "--apply-crds")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the cluster at https://127.0.0.1:9 cannot be asked: no answer")
    assert result.stderr.endswith(f"Start it, or correct the server in {away.kubeconfig}, and run this again\n")
    assert "tried again" not in result.stderr


def test_another_cluster_is_refused(place: Installation) -> None:
    """A folder that mirrors one cluster is not started with another one, whatever its kubeconfig is called."""
    place.folder.make()
    url = f"sqlite:///{place.folder.database}"
    db.upgrade(url)
    with closing(db.Database(url)) as database, database.write() as connection:
        leases.take_lead(connection, cluster="home", cluster_uid="another", owner="me", seconds=0.1)
    result = place.run("up", "--kubeconfig", str(place.kubeconfig))
    assert result.returncode == 1
    assert f"{place.folder.path} mirrors another cluster than the one at https://127.0.0.1" in result.stderr
    assert "give this one a --data-dir of its own" in result.stderr
    assert place.folder.read_cluster() == ""
    assert not place.folder.is_running()


@pytest.mark.parametrize("reached", ["up.lock", "redis.sock", "watch"])
def test_ctrl_c_while_it_starts(place: Installation, reached: str) -> None:
    """Ctrl-C at any moment of the start stops what runs and says so, without a traceback."""
    place.start("--apply-crds")
    assert place.foreground

    def is_reached() -> bool:
        files = {path.name for path in place.folder.path.rglob("*")} if place.folder.path.exists() else set()
        return reached in files | place.identities().keys()

    wait_until(is_reached, timeout=30)
    left = place.identities()
    place.foreground.send_signal(signal.SIGINT)
    assert place.foreground.wait(60) == 0
    assert place.said().endswith("Stopped.\n")
    assert "Traceback" not in place.said()
    assert not any(map(processes.is_alive, left.values()))


def test_one_that_is_starting(place: Installation) -> None:
    """Who comes while another one is starting on the same folder is told so, and starts nothing."""
    place.folder.make()
    with place.folder.locked():
        second = place.run("up", "--kubeconfig", str(place.kubeconfig))
    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: another `reverser up` is starting in {place.folder.path} just now")
    assert not place.folder.database.exists()


def test_two_at_once(place: Installation) -> None:
    """Of two that start at once on one folder one runs; the other one says so, and is no harm to it."""
    place.start("--apply-crds")
    wait_until(place.folder.is_running, timeout=30)
    second = place.run("up", "--kubeconfig", str(place.kubeconfig))
    # The first one may be ready by the time that the second one looks.
    said = {1: f"Error: another `reverser up` is starting in {place.folder.path}", 0: "Reverser runs in"}
    assert (second.stdout + second.stderr).startswith(said[second.returncode])
    wait_until(lambda: place.folder.read_up() is not None, timeout=60)
    assert place.foreground
    assert place.read().pids["supervisor"] == place.foreground.pid


def test_without_our_kinds(place: Installation) -> None:
    """Where the cluster lacks our kinds, `up` says what to type, changes nothing there and waits for them."""
    _delete_our_kinds(place.kubeconfig)
    place.start()
    wait_until(lambda: "reverser crds --allow-local | reverser apply --kubeconfig" in place.said(), timeout=30)
    wait_until(lambda: place.folder.read_up() is not None, timeout=60)
    assert _kinds(place.kubeconfig) == []
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
    status = place.run("status")
    assert f"Nothing runs in {place.folder.path}: start it with `reverser up`." in status.stderr
    # Where no cluster is named, the one of before is mirrored on.
    again = place.run("up", "--detach", "--timeout", "100")
    assert again.returncode == 0
    assert f"Going on with the cluster of {place.kubeconfig}." in again.stdout
    assert place.folder.database.stat().st_ino == database


@KUBE_ONLY
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
    # Redis may write on meanwhile.
    shutil.rmtree(place.folder.redis, ignore_errors=True)
    wait_until(lambda: place.read().pids["redis"] != before["redis"], timeout=30)
    assert "redis lost its files: it is replaced" in place.said()
    children = place.identities()
    shutil.rmtree(place.folder.path)
    assert place.foreground
    assert place.foreground.wait(60) == 1
    assert "was deleted: everything is stopped" in place.said()
    assert not any(map(processes.is_alive, children.values()))


def test_an_object_arrives_in_git(place: Installation) -> None:
    """The three resources that `up` shows mirror a ConfigMap into the local repository; status and audit log tell.

    The terminal shows the commit, and nothing that a newcomer has to wonder about.
    """
    place.start("--apply-crds")
    wait_until(lambda: place.folder.read_up() is not None, timeout=60)
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
    wait_until(lambda: "hello" in place.git("show", f"main:{path}"), timeout=60)

    entries = json.loads(place.run("audit", "log", "--object", "greeting", "--output", "json").stdout)
    assert [entry["path"] for entry in entries] == [path]
    (found,) = json.loads(place.run("status", "--output", "json").stdout)
    assert (found["destination"], found["branch"], found["ready"]) == ("default/prod", "main", True)
    assert found["last_sha"] == place.git("rev-parse", "main").strip()
    table = place.run("status").stdout.splitlines()
    shown = dict(zip(table[0].split("\t"), table[1].split("\t"), strict=True))
    assert (shown["DESTINATION"], shown["READY"], shown["PENDING"]) == ("default/prod", "yes", "0")
    assert int(shown["EVENTS"]) >= 2
    assert place.run("status").stderr == ""

    line = next(line for line in place.said().splitlines() if found["last_sha"][:7] in line)
    assert line.split()[1:3] == ["default/prod", "main"]
    assert line.split()[4] in {"[SEED_SYNC]", "[CREATE]"}
    for noise in ("SecurityWarning", "cannot follow", "429", "\x1b["):
        assert noise not in place.said()
    path = f"/apis/{GROUP}/namespaces/default/gitrepoconfigs/local"
    wait_until(lambda: _status(place.kubeconfig, path).get("remoteBranchCount") == 1, timeout=30)
