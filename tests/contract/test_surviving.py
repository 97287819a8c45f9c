"""What survives: a server that was killed and started again has all that it had answered for, and repeats no number.

The server of all tests is killed once for this file. What it forgets by compaction is asked here too: only after a
start does the real server answer from its database, and not from what it remembers.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import dataclass

import pytest
import urllib3

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEFINITIONS, DEPLOYMENTS, NAMESPACES, WIDGETS
from tests.servers.api import ApiServer
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Before:
    """What a client knew when the server was killed."""

    place: str
    objects: dict[str, Object]
    # An early state: its version and its first page; and the latest version that there was.
    early: int
    page: Object
    latest: int


@pytest.fixture(scope="module")
def before(server: ApiServer, client: Client) -> Before:
    """Some objects, read before the server was killed; it runs again."""
    place = manifests.namespace(client)
    for number in range(4):
        manifests.config_map(client, place, f"n{number}", data={"key": "x"})
    page = client.get(CONFIG_MAPS.all(place), limit=2)
    manifests.deployment(client, place, "web")
    manifests.widget(client, place, "one")
    held = CONFIG_MAPS.new("held", metadata={"finalizers": ["example.com/hold"]})
    client.create(CONFIG_MAPS.all(place), held)
    client.delete(CONFIG_MAPS.one(place, "held"))
    client.delete(CONFIG_MAPS.one(place, "n3"))
    paths = [
        NAMESPACES.one("", "kube-system"),
        NAMESPACES.one("", place),
        DEFINITIONS.one("", "widgets.contract.example.com"),
        DEPLOYMENTS.one(place, "web"),
        WIDGETS.one(place, "one"),
        *(CONFIG_MAPS.one(place, name) for name in ("n0", "n1", "n2", "held")),
    ]
    objects = {path: client.get(path) for path in paths}
    latest = int(client.version(CONFIG_MAPS.all()))
    found = Before(place, objects, int(page["metadata"]["resourceVersion"]), page, latest)
    server.kill9()
    start(server, client)
    return found


def start(server: ApiServer, client: Client) -> None:
    """Start it again, and wait for custom types: they are served a moment after it says that it is ready."""
    server.start()
    wait_until(lambda: client.call("GET", WIDGETS.all()).code == 200, timeout=30, what="the custom type")


def test_objects_survive(client: Client, before: Before) -> None:
    """Each object is as it was: uid, resourceVersion, times, managers; what was deleted stays away."""
    assert {path: client.get(path) for path in before.objects} == before.objects
    assert client.names(CONFIG_MAPS.all(before.place)) == ["held", "n0", "n1", "n2"]


def test_the_cluster_is_the_same(client: Client, before: Before) -> None:
    """The uid of kube-system, by which a cluster is known, stays."""
    path = NAMESPACES.one("", "kube-system")
    assert client.get(path)["metadata"]["uid"] == before.objects[path]["metadata"]["uid"]


def test_versions_go_on(client: Client, before: Before) -> None:
    """No resourceVersion is given twice: what is written now has a later one than anything before."""
    assert int(client.version(CONFIG_MAPS.all(before.place))) >= before.latest
    written = manifests.config_map(client, manifests.namespace(client), "after")
    assert int(written["metadata"]["resourceVersion"]) > before.latest


def test_an_update_goes_on(client: Client, before: Before) -> None:
    """An object that was read before the kill can be updated after it."""
    path = DEPLOYMENTS.one(before.place, "web")
    found = before.objects[path]
    changed = client.update(path, {**found, "spec": {**found["spec"], "replicas": 3}})
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (3, 2)


def test_a_page_goes_on_or_has_expired(client: Client, before: Before) -> None:
    """A `continue` from before the kill leads to the rest of that list, or has expired; never to a wrong page."""
    token = before.page["metadata"]["continue"]
    answer = client.call("GET", CONFIG_MAPS.all(before.place), **{"continue": token, "limit": 2})
    if answer.code == 410:
        answer.refused(410, "Expired")
    else:
        assert [item["metadata"]["name"] for item in answer.json["items"]] == ["n2", "n3"]


def test_a_watch_goes_on_or_has_expired(client: Client, before: Before) -> None:
    """A watch from before the kill tells all that came since, or says that its version has expired; no silent gap."""
    manifests.config_map(client, before.place, "later")
    with client.watch(CONFIG_MAPS.all(before.place), resourceVersion=before.early) as watch:
        first = watch.next()
        if first["type"] == "ERROR":
            assert first["object"]["code"] == 410
        else:
            told = [(event["type"], event["object"]["metadata"]["name"]) for event in (first, *watch.take(3))]
            assert told == [("ADDED", "held"), ("MODIFIED", "held"), ("DELETED", "n3"), ("ADDED", "later")]
    client.delete(CONFIG_MAPS.one(before.place, "later"))


@pytest.fixture
def compacted(server: ApiServer, client: Client, before: Before) -> Before:
    """The same, and the server has forgotten every state but the present one."""
    manifests.config_map(client, before.place, "compacted")
    client.delete(CONFIG_MAPS.one(before.place, "compacted"))
    server.compact()
    return before


def test_a_page_of_a_forgotten_state_has_expired(client: Client, compacted: Before) -> None:
    """A `continue` of a state that was forgotten is 410, with a token to go on from where it was, inconsistently."""
    path = CONFIG_MAPS.all(compacted.place)
    token = compacted.page["metadata"]["continue"]
    answer = client.call("GET", path, **{"continue": token, "limit": 2})
    expired = answer.json
    assert (answer.code, expired.get("code"), expired.get("reason")) == (410, 410, "Expired")
    assert "The provided continue parameter is too old" in expired["message"]
    resumed = client.names(path, **{"continue": expired["metadata"]["continue"]})
    assert resumed == ["n2"]


def test_an_exact_version_that_was_forgotten_has_expired(client: Client, compacted: Before) -> None:
    """A list at an exact version that was forgotten is 410."""
    path = CONFIG_MAPS.all(compacted.place)
    answer = client.call("GET", path, resourceVersion=compacted.early, resourceVersionMatch="Exact")
    answer.refused(410, "Expired")


def test_a_watch_of_a_forgotten_version_has_expired(client: Client, compacted: Before) -> None:
    """A watch from a version that was forgotten says 410 at once: as its answer, or as its first event."""
    with client.watch(CONFIG_MAPS.all(compacted.place), resourceVersion=compacted.early) as watch:
        if watch.code == 200:
            event = watch.next()
            assert event["type"] == "ERROR"
            status = event["object"]
            assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
            assert status["message"].startswith("too old resource version: ")
        else:
            assert watch.code == 410


def test_a_list_after_compaction_is_whole(client: Client, compacted: Before) -> None:
    """Compaction forgets history, no objects: a new list and a new watch work as before."""
    path = CONFIG_MAPS.all(compacted.place)
    assert client.names(path) == ["held", "n0", "n1", "n2"]
    with client.watch(path, resourceVersion=client.version(path)) as watch:
        client.merge(f"{path}/n0", {"data": {"key": "y"}})
        assert watch.steps(1) == [("MODIFIED", "n0")]
    client.merge(f"{path}/n0", {"data": {"key": "x"}})


def test_every_answered_write_survives(server: ApiServer, client: Client, place: str) -> None:
    """A server that is killed in the middle of many writes has each write that it answered, under its version."""
    answered: dict[str, str] = {}
    path = CONFIG_MAPS.all(place)

    def write(writer: int) -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            for number in itertools.count():
                made = manifests.config_map(client, place, f"w{writer}-{number}")
                answered[made["metadata"]["name"]] = made["metadata"]["resourceVersion"]

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(answered) > 60 or not any(map(threading.Thread.is_alive, writers)), what="some writes")
    server.kill9()
    for writer in writers:
        writer.join(30)
    start(server, client)
    found = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in client.items(path)}
    assert len(answered) > 60
    assert {name: found.get(name) for name in answered} == answered
    assert len(set(found.values())) == len(found)
    later = manifests.config_map(client, place, "later")["metadata"]["resourceVersion"]
    assert int(later) > max(map(int, found.values()))
