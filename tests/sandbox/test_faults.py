"""The fault port: each fault is what it says, for those it names and for as long as it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from app import errors, settings
from app.kube import client as kube
from app.kube import listing, problems, watching
from app.rules import types
from tests.contract.client import Client
from tests.servers.sandbox import SandboxServer
from tests.waiting import wait_until

MAPS = types.ResourceType(
    group="",
    version="v1",
    resource="configmaps",
    kind="ConfigMap",
    namespaced=True,
    verbs=frozenset({"get", "list", "watch"}),
    preferred=True,
)


@pytest.fixture
def cluster(sandbox: SandboxServer) -> Iterator[kube.Cluster]:
    """The sandbox as Reverser reaches it."""
    found = kube.connect(settings.Settings(kubeconfig=str(sandbox.kubeconfig())))
    yield found
    found.close()


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define(plural: str) -> dict[str, object]:
    """The definition of a custom type."""
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.faults.example.com"},
        "spec": {
            "group": "faults.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title()},
            "versions": [version],
        },
    }


def namespace_of(place: str) -> str:
    """The namespace of a path."""
    return place.split("/")[4]


def follow(cluster: kube.Cluster, place: str, version: str) -> watching.Stream:
    """A watch of the ConfigMaps of a namespace."""
    return watching.watch(
        cluster, MAPS, namespace_of(place), resource_version=version, timeout=30, stop=threading.Event()
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, problems.Forbidden),
        (410, problems.Expired),
        (429, errors.TemporaryError),
        (500, errors.TemporaryError),
    ],
)
def test_an_answer_is_given_as_often_as_asked(
    sandbox: SandboxServer, cluster: kube.Cluster, place: str, *, status: int, error: type[Exception]
) -> None:
    """The next lists of that path are answered so, others and later ones are not."""
    sandbox.fault("answer", status=status, path=rf"{place}\?", verb="list", times=2)
    for _ in range(2):
        with pytest.raises(error):
            next(listing.list_pages(cluster, MAPS, namespace_of(place), page_size=5))
    assert next(listing.list_pages(cluster, MAPS, namespace_of(place), page_size=5)).last
    assert cluster.get_json(place)["items"] == []


def test_a_fault_stays_until_it_is_taken_back(sandbox: SandboxServer, client: Client, place: str) -> None:
    """Without a number it is for ever, and for every verb."""
    sandbox.fault("answer", status=500, path=place)
    for method in ("GET", "GET", "DELETE"):
        client.call(method, place).refused(500, "InternalError")
    client.call("POST", place, {"metadata": {"name": "one"}}).refused(500, "InternalError")
    sandbox.clear_faults()
    assert client.names(place) == []


def test_too_many_requests_say_when_to_come_back(sandbox: SandboxServer, client: Client, place: str) -> None:
    """429 carries Retry-After."""
    sandbox.fault("answer", status=429, path=place, times=1)
    answer = client.call("GET", place)
    answer.refused(429, "TooManyRequests")
    assert answer.headers["Retry-After"] == "1"


def test_410_within_a_stream(sandbox: SandboxServer, cluster: kube.Cluster, client: Client, place: str) -> None:
    """A watch begins with 200 and tells of its end in an ERROR event."""
    version = client.version(place)
    sandbox.fault("answer", status=410, path=place, verb="watch", times=1, in_stream=True)
    with client.watch(place, resourceVersion=version) as watch:
        assert watch.code == 200
        [event] = watch.rest()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    sandbox.fault("answer", status=410, path=place, verb="watch", times=1, in_stream=True)
    with pytest.raises(problems.Expired), follow(cluster, place, version) as stream:
        list(stream)


def test_a_dropped_stream_has_no_end(sandbox: SandboxServer, cluster: kube.Cluster, client: Client, place: str) -> None:
    """The connections of matching streams break, which is not how a stream ends; others go on."""
    version = client.version(place)
    other = "/api/v1/namespaces/default/secrets"
    with follow(cluster, place, version) as stream, client.watch(other, resourceVersion=version) as left:
        client.create(place, {"metadata": {"name": "one"}})
        changes = iter(stream)
        assert next(changes).kind == "ADDED"
        assert sandbox.fault("drop", path=place) == {"streams": 1}
        with pytest.raises(errors.TemporaryError, match="broke off"):
            next(changes)
        client.create(other, {"metadata": {"name": "one"}})
        assert left.steps(1) == [("ADDED", "one")]
        client.delete(f"{other}/one")


def test_a_line_is_cut_in_half(sandbox: SandboxServer, cluster: kube.Cluster, client: Client, place: str) -> None:
    """The next event arrives by half, then the connection is gone; nobody takes it for an event."""
    version = client.version(place)
    with follow(cluster, place, version) as stream:
        changes = iter(stream)
        client.create(place, {"metadata": {"name": "one"}})
        assert next(changes).kind == "ADDED"
        assert sandbox.fault("cut", path=place) == {"streams": 1}
        client.create(place, {"metadata": {"name": "two"}})
        with pytest.raises(errors.TemporaryError):
            next(changes)
    with follow(cluster, place, version) as stream:
        changes = iter(stream)
        assert [next(changes).object["metadata"]["name"] for _ in range(2)] == ["one", "two"]


def test_answers_can_be_late(sandbox: SandboxServer, client: Client, place: str) -> None:
    """A delay holds back the requests that it names."""
    sandbox.fault("delay", seconds=0.5, path=place, verb="get", times=1)
    client.create(place, {"metadata": {"name": "one"}})
    begin = time.monotonic()
    client.get(f"{place}/one")
    assert time.monotonic() - begin >= 0.5


def test_a_list_of_the_past(sandbox: SandboxServer, client: Client, place: str) -> None:
    """A list can be that of an earlier resourceVersion, page by page, until the server has caught up."""
    before = client.create(place, {"metadata": {"name": "a"}})["metadata"]["resourceVersion"]
    client.create(place, {"metadata": {"name": "b"}})
    client.delete(f"{place}/a")
    sandbox.fault("stale", at=before, path=place, times=1)
    past = client.get(place)
    assert ([item["metadata"]["name"] for item in past["items"]], past["metadata"]["resourceVersion"]) == (
        ["a"],
        before,
    )
    assert [item["metadata"]["name"] for item in client.items(place)] == ["b"]


def test_a_first_page_of_nothing(sandbox: SandboxServer, client: Client, place: str) -> None:
    """A list can begin with an empty page, be it asked for in pages or not; all that there is follows."""
    for name in ("a", "b"):
        client.create(place, {"metadata": {"name": name}})
    sandbox.fault("empty", path=place, times=2)
    first = client.get(place, limit=1)
    assert first["items"] == []
    second = client.get(place, **{"limit": 1, "continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in second["items"]] == ["a"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = client.get(place, **{"limit": 1, "continue": second["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in third["items"]] == ["b"]
    assert client.get(place)["items"] == []
    assert len(client.items(place)) == 2


def test_a_compaction_on_demand(sandbox: SandboxServer, cluster: kube.Cluster, client: Client, place: str) -> None:
    """Older resourceVersions and page tokens are answered as the real server answers them after a compaction."""
    for name in ("a", "b", "c"):
        made = client.create(place, {"metadata": {"name": name}})
    pages = listing.list_pages(cluster, MAPS, namespace_of(place), page_size=2)
    assert not next(pages).last
    client.create(place, {"metadata": {"name": "d"}})
    sandbox.compact()
    with pytest.raises(problems.Expired):
        next(pages)
    version = made["metadata"]["resourceVersion"]
    with client.watch(place, resourceVersion=version) as watch:
        [event] = watch.rest()
    assert event["object"]["reason"] == "Expired"
    assert event["object"]["message"].startswith(f"too old resource version: {version} (")
    client.call("GET", place, resourceVersion=version, resourceVersionMatch="Exact").refused(410, "Expired")


def test_an_expired_page_can_go_on_without_consistency(sandbox: SandboxServer, client: Client, place: str) -> None:
    """The refusal carries a token for the rest of the list as it is now."""
    for name in ("a", "b", "c"):
        client.create(place, {"metadata": {"name": name}})
    token = client.get(place, limit=2)["metadata"]["continue"]
    client.create(place, {"metadata": {"name": "d"}})
    sandbox.compact()
    answer = client.call("GET", place, **{"limit": 2, "continue": token})
    assert (answer.code, answer.json["reason"]) == (410, "Expired")
    rest = client.get(place, **{"limit": 5, "continue": answer.json["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]


def test_a_restored_backup(sandbox: SandboxServer, client: Client, place: str) -> None:
    """State and counter jump back; a watch from the lost future is silent until the counter has passed it."""
    kept = client.create(place, {"metadata": {"name": "kept"}})
    lost = client.create(place, {"metadata": {"name": "lost"}})
    to = kept["metadata"]["resourceVersion"]
    assert sandbox.fault("rewind", to=to) == {"resourceVersion": to}
    assert client.items(place) == [{key: kept[key] for key in kept if key not in {"apiVersion", "kind"}}]
    assert client.version(place) == to
    with client.watch(place, resourceVersion=lost["metadata"]["resourceVersion"]) as watch:
        again = client.create(place, {"metadata": {"name": "again"}})
        assert again["metadata"]["resourceVersion"] == lost["metadata"]["resourceVersion"]
        client.create(place, {"metadata": {"name": "later"}})
        assert watch.steps(1) == [("ADDED", "later")]


def test_a_restored_backup_knows_its_own_types(sandbox: SandboxServer, client: Client) -> None:
    """A custom type that was defined later is not served any more; one that was deleted later is served again."""
    early, late = (define(name) for name in ("early", "late"))
    client.create(DEFINITIONS, early)
    to = client.version(DEFINITIONS)
    client.delete(f"{DEFINITIONS}/early.faults.example.com")
    wait_until(lambda: client.call("GET", "/apis/faults.example.com/v1/early").code == 404, what="its end")
    client.create(DEFINITIONS, late)
    assert client.items("/apis/faults.example.com/v1/late") == []
    sandbox.fault("rewind", to=to)
    client.call("GET", "/apis/faults.example.com/v1/late").refused(404, "NotFound")
    assert client.items("/apis/faults.example.com/v1/early") == []


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("explode", {}, "kind has to be one of"),
        ("answer", {"status": 418}, "status has to be one of"),
        ("answer", {"status": 410, "path": "("}, "unterminated subpattern"),
        ("delay", {}, "delay: KeyError"),
        ("stale", {"at": "early"}, "stale: ValueError"),
        ("rewind", {"to": 10**9}, "the history reaches from"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    sandbox: SandboxServer, kind: str, fields: dict[str, object], said: str
) -> None:
    """A misspelt fault fails the test that asked for it."""
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        sandbox.fault(kind, **fields)
