"""What was answered is there after kill -9, and the cluster is the same one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.contract.client import Client, Object
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A sandbox that a test may kill."""
    with SandboxServer(tmp_path) as found:
        yield found


def restart(server: SandboxServer) -> Client:
    """Start it again and ask as before."""
    server.start()
    return Client(server.kubeconfig())


def write_until_cut_off(client: Client, answered: dict[str, Object], writer: int) -> None:
    """Create and change objects, and note each answer, until there is none."""
    number = 0
    try:
        while True:
            number += 1
            name = f"map-{writer}-{number % 7}"
            answer = client.call("POST", MAPS, {"metadata": {"name": name}, "data": {"step": str(number)}})
            if answer.code == 409:
                answer = client.call(
                    "PATCH", f"{MAPS}/{name}", {"data": {"step": str(number)}}, kind="application/merge-patch+json"
                )
            answered[name] = answer.done()
    except urllib3.exceptions.HTTPError:
        return


def test_every_answered_write_survives_kill_9(server: SandboxServer) -> None:
    """Killed again and again amid writes of several clients, it holds what it answered, or a later state of it."""
    answered: dict[str, Object] = {}
    versions = [0]
    for _ in range(3):
        client = Client(server.kubeconfig())
        goal = max(versions) + 100
        writers = [threading.Thread(target=write_until_cut_off, args=(client, answered, one)) for one in range(4)]
        for writer in writers:
            writer.start()
        wait_until(lambda goal=goal: newest(answered) > goal, what="a hundred writes")
        server.kill9()
        for writer in writers:
            writer.join()
        client = restart(server)
        listed = client.get(MAPS)
        versions.append(int(listed["metadata"]["resourceVersion"]))
        found = {item["metadata"]["name"]: item for item in listed["items"]}
        for name, told in answered.items():
            assert found[name]["metadata"]["uid"] == told["metadata"]["uid"]
            assert int(found[name]["data"]["step"]) >= int(told["data"]["step"])
        assert versions[-1] >= newest(answered)
    assert versions == sorted(set(versions))


def newest(answered: dict[str, Object]) -> int:
    """The highest resourceVersion of an answer."""
    return max((int(one["metadata"]["resourceVersion"]) for one in list(answered.values())), default=0)


def test_the_cluster_stays_the_same(server: SandboxServer) -> None:
    """The uid of kube-system, the address, the kubeconfig and a custom type are the same after kill -9."""
    client = Client(server.kubeconfig())
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one"}}
    things = "/apis/example.com/v1/namespaces/default/things"
    made = client.create(things, thing)
    uid = client.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    url, kubeconfig = server.url, server.kubeconfig().read_text()
    server.kill9()
    client = restart(server)
    assert client.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] == uid
    assert client.get(f"{things}/one") == made
    assert (server.url, server.kubeconfig().read_text()) == (url, kubeconfig)


def test_a_watch_goes_on_after_kill_9(server: SandboxServer) -> None:
    """A client that comes back with its last resourceVersion gets what happened since, the history included."""
    client = Client(server.kubeconfig())
    first = client.create(MAPS, {"metadata": {"name": "one"}})
    client.merge(f"{MAPS}/one", {"data": {"step": "2"}})
    client.delete(f"{MAPS}/one")
    server.kill9()
    client = restart(server)
    client.create(MAPS, {"metadata": {"name": "two"}})
    with client.watch(MAPS, resourceVersion=first["metadata"]["resourceVersion"]) as watch:
        assert watch.steps(3) == [("MODIFIED", "one"), ("DELETED", "one"), ("ADDED", "two")]


def test_a_deletion_is_finished_after_kill_9(server: SandboxServer) -> None:
    """A namespace whose deletion waited for a finalizer goes when it is removed in another life of the process."""
    client = Client(server.kubeconfig())
    client.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    maps = "/api/v1/namespaces/shop/configmaps"
    client.create(maps, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    client.create(maps, {"metadata": {"name": "free"}})
    client.delete("/api/v1/namespaces/shop")
    wait_until(lambda: client.names(maps) == ["held"], what="the content without finalizers to go")
    server.kill9()
    client = restart(server)
    client.merge(f"{maps}/held", {"metadata": {"finalizers": None}})
    wait_until(lambda: client.call("GET", "/api/v1/namespaces/shop").code == 404, what="the end of the namespace")


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
def test_a_collection_is_finished_after_kill_9(server: SandboxServer, policy: str) -> None:
    """An object that waited for the garbage collector when the process was killed goes soon after the next start."""
    client = Client(server.kubeconfig())
    client.create(MAPS, {"metadata": {"name": "waits"}})
    client.create(MAPS, {"metadata": {"name": "stays", "finalizers": ["example.com/hold"]}})
    client.delete(f"{MAPS}/stays")
    assert client.delete(f"{MAPS}/waits", {"propagationPolicy": policy})["metadata"]["deletionTimestamp"]
    server.kill9()
    client = restart(server)
    wait_until(lambda: client.names(MAPS) == ["stays"], what="the end of the object")
