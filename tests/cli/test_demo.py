"""`reverser up` for somebody without a cluster: the sandbox, the demo in it, and the first change that they make."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.cli import demo, processes, updata
from app.kube import client, crds, manifests, problems
from tests.cli.installation import Installation
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

PROD = "clusters/prod/v1/configmaps/shop/app-config.yaml"
DEV = "clusters/dev/v1/configmaps/shop/app-config.yaml"
OBJECT = "/api/v1/namespaces/shop/configmaps/app-config"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    """An installation without a cluster, gone after the test."""
    one = Installation(tmp_path / "data")
    yield one
    one.end()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[client.Cluster]:
    """A sandbox with our kinds, on its own."""
    with SandboxServer(tmp_path) as server, closing(connect(server.kubeconfig())) as cluster:
        crds.apply(cluster, allow_local=True)
        yield cluster


@pytest.fixture
def folder(tmp_path: Path) -> updata.DataFolder:
    """A data folder for that sandbox."""
    one = updata.DataFolder.at(tmp_path / "data")
    one.make()
    return one


def connect(kubeconfig: Path) -> client.Cluster:
    """A cluster by its kubeconfig."""
    return client.connect(settings.Settings(kubeconfig=str(kubeconfig)))


def ask(place: Installation, path: str) -> dict[str, Any]:
    """Read one document of the sandbox that runs in a folder."""
    with closing(connect(place.folder.sandbox_kubeconfig)) as cluster:
        return cluster.get_json(path)


def colours(place: Installation) -> set[str]:
    """What both branches say about the demo's ConfigMap."""
    files = place.git("show", f"main:{PROD}"), place.git("show", f"dev:{DEV}")
    return {found for text in files for found in re.findall("colour: (.*)", text) or [""]}


def everything(place: Installation) -> set[str]:
    """All files of the demo on their branches."""
    return {
        name
        for branch, base in (("main", "clusters/prod"), ("dev", "clusters/dev"))
        for name in place.git("ls-tree", "-r", "--name-only", branch, base).splitlines()
    }


DEMO = {
    "clusters/prod/apps/v1/deployments/shop/web.yaml",
    PROD,
    "clusters/prod/v1/services/shop/web.yaml",
    DEV,
}


def test_a_newcomer_sees_a_change_become_a_commit(place: Installation) -> None:
    """`up` alone mirrors the demo to two branches; the change that it offers, typed as it stands, is on both.

    The terminal shows each commit, and says where everything is.
    """
    place.start()
    wait_until(lambda: "Change something" in place.said() and everything(place) == DEMO, timeout=60)
    assert colours(place) == {"blue"}
    up = place.read()
    assert up.kubeconfig == str(place.folder.sandbox_kubeconfig)
    assert set(up.pids) == {"supervisor", "redis", "sandbox", "watch", "worker", "flower"}

    said = place.said()
    words = re.search(r"^reverser (apply .*) <<'EOF'\n(.*?)^EOF$", said, re.DOTALL | re.MULTILINE)
    assert words
    applied = place.run("apply", "-f", "-", text=words[2])
    where = f"in the sandbox of {place.folder.path}\n"
    assert (applied.stdout, applied.stderr) == ("configmap/app-config applied\n", where)
    wait_until(lambda: colours(place) == {"green"}, timeout=30)
    for branch in ("main", "dev"):
        subject = place.git("log", "-1", "--format=%s", branch).strip()
        assert subject == "[UPDATE] v1/configmaps/app-config by manager/reverser-apply"
        sha = place.git("rev-parse", branch).strip()
        wait_until(lambda sha=sha, subject=subject: f"{sha[:7]} {subject}" in place.said())  # type: ignore[misc]
    # Neither a warning nor a restart on the way.
    shown = [
        line for line in place.said().removeprefix(said).splitlines() if not re.match(r"\d\d:\d\d:\d\d shop/", line)
    ]
    assert shown == []

    deleted = place.run("delete", "-f", "-", text=words[2])
    assert deleted.stdout == "configmap/app-config deleted\n"
    wait_until(lambda: everything(place) == DEMO - {PROD, DEV}, timeout=30)


def test_the_demo_is_made_once(place: Installation) -> None:
    """What was deleted stays deleted over down and up, and a start over an unchanged sandbox makes no commit."""
    assert place.up().returncode == 0
    wait_until(lambda: everything(place) == DEMO, timeout=60)
    uid = ask(place, "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    assert place.run("delete", "-f", "-", text=text).returncode == 0
    left = DEMO - {"clusters/prod/v1/services/shop/web.yaml"}
    wait_until(lambda: everything(place) == left, timeout=30)
    commits = place.git("rev-list", "--all")
    assert place.run("down").returncode == 0

    assert place.up().returncode == 0
    assert ask(place, "/api/v1/namespaces/kube-system")["metadata"]["uid"] == uid
    with pytest.raises(problems.NotServed):
        ask(place, "/api/v1/namespaces/shop/services/web")
    before = place.run("audit", "log", "--output", "json").stdout
    change = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: shop}\n"
    assert place.run("apply", "-f", "-", text=change).returncode == 0
    wait_until(lambda: "last.yaml" in place.git("ls-tree", "-r", "--name-only", "main"), timeout=30)
    assert place.git("rev-list", "main", "--count") == f"{commits_of(place, commits, 'main') + 1}\n"
    assert "last" not in before


def commits_of(place: Installation, among: str, branch: str) -> int:
    """How many of some commits are on a branch."""
    return len(set(place.git("rev-list", branch).split()) & set(among.split()))


def test_kill_9_of_everything(place: Installation) -> None:
    """After kill -9 of `up`, the next one has the same sandbox with the same objects, at the same address."""
    assert place.up().returncode == 0
    before = ask(place, OBJECT)["metadata"]
    kubeconfig = place.folder.sandbox_kubeconfig.read_bytes()
    left = place.identities()
    os.kill(left["supervisor"].pid, signal.SIGKILL)
    wait_until(lambda: not any(map(processes.is_alive, left.values())), timeout=2.0)
    again = place.up()
    assert again.returncode == 0, again.stdout + again.stderr
    assert place.folder.sandbox_kubeconfig.read_bytes() == kubeconfig
    after = ask(place, OBJECT)["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])


def test_without_the_demo(place: Installation) -> None:
    """--no-demo leaves the sandbox empty but for our kinds, and offers a mirror to type instead."""
    result = place.up("--no-demo")
    assert result.returncode == 0, result.stderr
    assert "Say what goes where" in result.stdout
    names = {item["metadata"]["name"] for item in ask(place, "/api/v1/namespaces")["items"]}
    assert "shop" not in names
    assert ask(place, "/apis/configbutler.ai/v1alpha1/gitdestinations")["items"] == []


def test_a_demo_that_was_interrupted_is_completed(
    sandbox: client.Cluster, folder: updata.DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the demo was made when `up` died, the next start makes the rest, and changes nothing of it."""
    apply, made = manifests.Sender.apply, []

    def dies(self: manifests.Sender, manifest: manifests.Manifest) -> str:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(manifest)
        return apply(self, manifest)

    with monkeypatch.context() as patched:
        patched.setattr(manifests.Sender, "apply", dies)
        with pytest.raises(KeyboardInterrupt):
            demo.make(folder, sandbox)
    assert not demo.is_made(folder)
    with pytest.raises(problems.NotServed):
        sandbox.get_json(OBJECT)
    base = "/apis/configbutler.ai/v1alpha1/namespaces/shop"
    before = sandbox.get_json(f"{base}/gitrepoconfigs/local")
    assert before["spec"]["repoUrl"] == folder.repository.as_uri()
    demo.make(folder, sandbox)
    assert demo.is_made(folder)
    assert sandbox.get_json(f"{base}/gitrepoconfigs/local")["metadata"] == before["metadata"]
    assert sandbox.get_json(OBJECT)["data"] == {"colour": "blue"}
    assert len(sandbox.get_json(f"{base}/watchrules")["items"]) == 2


def test_a_demo_that_was_left_out_stays_out(sandbox: client.Cluster, folder: updata.DataFolder) -> None:
    """A sandbox that began without the demo is its user's own; one that had it is not said to be without it."""
    demo.leave_out(folder)
    demo.make(folder, sandbox)
    assert not demo.is_made(folder)
    with pytest.raises(problems.NotServed):
        sandbox.get_json("/api/v1/namespaces/shop")
    folder.demo.unlink()
    demo.make(folder, sandbox)
    demo.leave_out(folder)
    assert demo.is_made(folder)


def test_a_demo_that_was_deleted_is_not_told_of(sandbox: client.Cluster, folder: updata.DataFolder) -> None:
    """Whoever deletes the demo is not offered changes of it by the next start, and does not get it again."""
    demo.make(folder, sandbox)
    assert demo.follow_move(folder, sandbox) == ""
    assert demo.is_made(folder)
    sandbox.request("DELETE", "/apis/configbutler.ai/v1alpha1/namespaces/shop/gitrepoconfigs/local")
    assert demo.follow_move(folder, sandbox) == ""
    assert not demo.is_made(folder)
    demo.make(folder, sandbox)
    with pytest.raises(problems.NotServed):
        sandbox.get_json("/apis/configbutler.ai/v1alpha1/namespaces/shop/gitrepoconfigs/local")


def test_a_folder_that_was_moved(place: Installation, tmp_path: Path) -> None:
    """A moved folder goes on with its own sandbox, and its demo with the repository that moved with it."""
    assert place.up().returncode == 0
    wait_until(lambda: everything(place) == DEMO, timeout=60)
    former = place.folder.repository.as_uri()
    assert place.run("down").returncode == 0
    moved = Installation(tmp_path / "moved")
    place.folder.path.rename(moved.folder.path)
    try:
        started = moved.up()
        assert started.returncode == 0, started.stdout + started.stderr
        assert moved.read().kubeconfig == str(moved.folder.sandbox_kubeconfig)
        said = f"This folder was moved: GitRepoConfig shop/local named {former}, and names "
        assert f"{said}{moved.folder.repository.as_uri()} now." in started.stdout
        change = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: shop}\n"
        assert moved.run("apply", "-f", "-", text=change).returncode == 0
        wait_until(lambda: "last.yaml" in moved.git("ls-tree", "-r", "--name-only", "main"), timeout=30)
    finally:
        moved.end()


def test_a_folder_that_was_copied(place: Installation, tmp_path: Path) -> None:
    """A copy has a sandbox of its own while the first one runs, and is told whose repository its demo names."""
    assert place.up().returncode == 0
    copy = Installation(tmp_path / "copy")
    command = ["cp", "-r", str(place.folder.path), str(copy.folder.path)]
    subprocess.run(command, check=False, capture_output=True)
    try:
        started = copy.up()
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"names {place.folder.repository.as_uri()}, the repository of another folder" in started.stdout
        change = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: shop}\n"
        applied = copy.run("apply", "-f", "-", text=change)
        assert applied.stderr == f"in the sandbox of {copy.folder.path}\n"
        with pytest.raises(problems.NotServed):
            ask(place, "/api/v1/namespaces/shop/configmaps/last")
    finally:
        copy.end()


def test_the_port_of_the_sandbox_is_taken(place: Installation) -> None:
    """When somebody took the port of a sandbox that died, the watch daemon and the worker follow it to the new one."""
    assert place.up().returncode == 0
    wait_until(lambda: everything(place) == DEMO, timeout=60)
    before, kubeconfig = place.identities(), place.folder.sandbox_kubeconfig.read_text()
    found = re.search(r"https://127.0.0.1:(\d+)", kubeconfig)
    assert found
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(before["sandbox"].pid, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(before["sandbox"]), timeout=5)
        thief.bind(("127.0.0.1", int(found[1])))
        thief.listen()
        wait_until(lambda: place.identities()["worker"] != before["worker"], timeout=60)
        change = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: shop}\n"
        assert place.run("apply", "-f", "-", text=change).returncode == 0
        wait_until(lambda: "last.yaml" in place.git("ls-tree", "-r", "--name-only", "main"), timeout=60)
    assert place.folder.sandbox_kubeconfig.read_text() != kubeconfig
