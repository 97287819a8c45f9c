"""Watch streams: from a version, from nothing, with a streaming list; what they carry and how they end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, WIDGETS, Type

INITIAL_END = "k8s.io/initial-events-end"
STREAMING: dict[str, Any] = {
    "sendInitialEvents": True,
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": True,
}


def names(events: list[Object]) -> list[tuple[str, str]]:
    """Type and name of events."""
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@pytest.mark.parametrize("type_", [CONFIG_MAPS, DEPLOYMENTS, WIDGETS], ids=lambda type_: type_.resource)
def test_every_change_arrives_in_order(client: Client, place: str, type_: Type) -> None:
    """From a list's version on: create, change, delete, each with the whole object as it was answered to the writer."""
    with client.watch(type_.all(place), resourceVersion=client.version(type_.all(place))) as watch:
        made = client.create(type_.all(place), sample(type_))
        changed = client.merge(type_.one(place, "one"), {"metadata": {"labels": {"a": "b"}}})
        client.delete(type_.one(place, "one"), {"propagationPolicy": "Background"})
        added, modified, deleted = watch.take(3)
    assert added == {"type": "ADDED", "object": made}
    assert modified == {"type": "MODIFIED", "object": changed}
    last = deleted["object"]
    assert deleted["type"] == "DELETED"
    assert int(last["metadata"].pop("resourceVersion")) > int(changed["metadata"].pop("resourceVersion"))
    assert last == changed


def sample(type_: Type) -> Object:
    """A manifest `one` of a type."""
    fields: dict[Type, Object] = {
        CONFIG_MAPS: {"data": {"key": "value"}},
        DEPLOYMENTS: {"spec": manifests.pod_template()},
        WIDGETS: {"spec": {"size": "small"}},
    }
    return type_.new("one", **fields[type_])


def test_a_stream_begins_like_an_answer(client: Client, place: str) -> None:
    """A stream begins at once, before there is an event, with 200 and the type of JSON."""
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=client.version(CONFIG_MAPS.all(place))) as watch:
        assert watch.code == 200
        assert watch.headers["Content-Type"].startswith("application/json")


def test_a_watch_from_an_older_version_catches_up(client: Client, place: str) -> None:
    """What happened after the version is told first, then what happens now; nothing twice, nothing left out."""
    start = client.version(CONFIG_MAPS.all(place))
    for name in ("a", "b"):
        manifests.config_map(client, place, name)
    client.delete(CONFIG_MAPS.one(place, "a"))
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=start) as watch:
        manifests.config_map(client, place, "c")
        assert names(watch.take(4)) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("ADDED", "c")]


def test_a_watch_from_an_objects_version_does_not_tell_it_again(client: Client, place: str) -> None:
    """The version of an object is after the event that made it."""
    first = manifests.config_map(client, place, "a")
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=first["metadata"]["resourceVersion"]) as watch:
        manifests.config_map(client, place, "b")
        assert names(watch.take(1)) == [("ADDED", "b")]


@pytest.mark.parametrize("version", [None, "0", ""])
def test_a_watch_from_nothing_tells_what_there_is(client: Client, place: str, version: str | None) -> None:
    """Without a version, or from 0, each object that is there comes first as ADDED."""
    for name in ("a", "b"):
        manifests.config_map(client, place, name)
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=version) as watch:
        assert sorted(names(watch.take(2))) == [("ADDED", "a"), ("ADDED", "b")]
        manifests.config_map(client, place, "c")
        assert names(watch.take(1)) == [("ADDED", "c")]


def test_versions_of_events_grow(client: Client, place: str) -> None:
    """Each event of a stream has a higher version than the one before."""
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=client.version(CONFIG_MAPS.all(place))) as watch:
        for number in range(5):
            manifests.config_map(client, place, f"n{number}")
        for number in range(5):
            client.delete(CONFIG_MAPS.one(place, f"n{number}"))
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in watch.take(10)]
    assert versions == sorted(set(versions))


def test_a_watch_of_one_namespace(client: Client, place: str) -> None:
    """A stream of a namespace tells of that namespace alone; one of all namespaces tells of each."""
    other = manifests.namespace(client)
    start = client.version(CONFIG_MAPS.all())
    with (
        client.watch(CONFIG_MAPS.all(place), resourceVersion=start) as one,
        client.watch(CONFIG_MAPS.all(), resourceVersion=start) as all_of_them,
    ):
        manifests.config_map(client, other, "there")
        manifests.config_map(client, place, "here")
        assert names(one.take(1)) == [("ADDED", "here")]
        assert names(all_of_them.take(2)) == [("ADDED", "there"), ("ADDED", "here")]


def test_a_watch_of_cluster_scope(client: Client) -> None:
    """Namespaces are watched like everything else."""
    with client.watch(NAMESPACES.all(), resourceVersion=client.version(NAMESPACES.all())) as watch:
        name = manifests.namespace(client)
        assert watch.steps(1) == [("ADDED", name)]


def test_a_watch_of_one_name(client: Client, place: str) -> None:
    """A field selector of the name makes a stream of one object."""
    path = CONFIG_MAPS.all(place)
    with client.watch(path, resourceVersion=client.version(path), fieldSelector="metadata.name=b") as watch:
        for name in ("a", "b"):
            manifests.config_map(client, place, name)
        client.delete(CONFIG_MAPS.one(place, "b"))
        assert watch.steps(2) == [("ADDED", "b"), ("DELETED", "b")]


def test_objects_enter_and_leave_a_selection(client: Client, place: str) -> None:
    """An object that begins to fit a selector is ADDED, one that stops is DELETED, whatever was done to it."""
    path = CONFIG_MAPS.all(place)
    with client.watch(path, resourceVersion=client.version(path), labelSelector="app=web") as watch:
        manifests.config_map(client, place, "a", data={"key": "1"})
        client.merge(CONFIG_MAPS.one(place, "a"), {"metadata": {"labels": {"app": "web"}}})
        client.merge(CONFIG_MAPS.one(place, "a"), {"data": {"key": "2"}})
        left = client.merge(CONFIG_MAPS.one(place, "a"), {"metadata": {"labels": {"app": "db"}}})
        client.delete(CONFIG_MAPS.one(place, "a"))
        manifests.config_map(client, place, "b", labels={"app": "web"})
        found = watch.take(4)
    assert names(found) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    # What has left is told as it was when it still fitted, at the version of the change.
    last = found[2]["object"]["metadata"]
    assert last["labels"] == {"app": "web"}
    assert last["resourceVersion"] == left["metadata"]["resourceVersion"]


def test_a_selection_catches_up(client: Client, place: str) -> None:
    """The same holds for what happened before the stream began."""
    path = CONFIG_MAPS.all(place)
    start = client.version(path)
    manifests.config_map(client, place, "a", labels={"app": "web"})
    client.merge(CONFIG_MAPS.one(place, "a"), {"metadata": {"labels": {"app": "db"}}})
    client.merge(CONFIG_MAPS.one(place, "a"), {"metadata": {"labels": {"app": "web"}}})
    with client.watch(path, resourceVersion=start, labelSelector="app=web") as watch:
        assert names(watch.take(3)) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]


def test_a_stream_ends_at_its_time(client: Client, place: str) -> None:
    """A stream ends by itself, in order, after `timeoutSeconds`."""
    began = time.monotonic()
    path = CONFIG_MAPS.all(place)
    with client.watch(path, resourceVersion=client.version(path), timeoutSeconds=1) as watch:
        assert [event for event in watch.rest() if event["type"] != "BOOKMARK"] == []
    assert 0.5 < time.monotonic() - began < 5


def test_a_bookmark_moves_on(client: Client, place: str) -> None:
    """Whoever allows bookmarks gets one before the end of a stream: a version past what happened elsewhere."""
    path, other = CONFIG_MAPS.all(place), manifests.namespace(client)
    start = client.version(path)
    with client.watch(path, resourceVersion=start, timeoutSeconds=6, allowWatchBookmarks=True) as watch:
        elsewhere = manifests.config_map(client, other, "there")["metadata"]["resourceVersion"]
        event = watch.next()
    assert event["type"] == "BOOKMARK"
    bookmark = event["object"]
    assert (bookmark["kind"], bookmark["apiVersion"]) == ("ConfigMap", "v1")
    assert int(bookmark["metadata"]["resourceVersion"]) >= int(elsewhere)
    assert "name" not in bookmark["metadata"]


@pytest.mark.parametrize("type_", [CONFIG_MAPS, WIDGETS], ids=lambda type_: type_.resource)
def test_a_streaming_list(client: Client, place: str, type_: Type) -> None:
    """Objects that are there, a bookmark that says that these were all, then changes: on one connection."""
    manifest = sample(type_)
    for name in ("a", "b", "c"):
        client.create(type_.all(place), {**manifest, "metadata": {"name": name}})
    with client.watch(type_.all(place), **STREAMING) as watch:
        assert names(watch.take(3)) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
        mark = watch.next()
        client.create(type_.all(place), {**manifest, "metadata": {"name": "d"}})
        assert names(watch.take(1)) == [("ADDED", "d")]
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {INITIAL_END: "true"}
    assert (mark["object"]["kind"], mark["object"]["apiVersion"]) == (type_.kind, type_.api_version)


def test_the_mark_of_a_streaming_list_is_a_start(client: Client, place: str) -> None:
    """A watch from the version of the mark goes on without a gap."""
    manifests.config_map(client, place, "a")
    with client.watch(CONFIG_MAPS.all(place), **STREAMING) as watch:
        mark = watch.take(2)[1]
    manifests.config_map(client, place, "b")
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=mark["object"]["metadata"]["resourceVersion"]) as watch:
        assert names(watch.take(1)) == [("ADDED", "b")]


def test_a_streaming_list_of_nothing(client: Client, place: str) -> None:
    """An empty namespace is proven empty by the mark alone."""
    with client.watch(CONFIG_MAPS.all(place), **STREAMING) as watch:
        assert watch.next()["object"]["metadata"]["annotations"] == {INITIAL_END: "true"}


def test_a_streaming_list_has_seen_every_write(client: Client, place: str) -> None:
    """A streaming list without a version has all that was written before it was asked for."""
    for number in range(5):
        written = manifests.config_map(client, place, f"n{number}")
        with client.watch(CONFIG_MAPS.all(place), **STREAMING) as watch:
            found = watch.take(number + 2)
        assert found[-2]["object"] == written
        assert int(found[-1]["object"]["metadata"]["resourceVersion"]) >= int(written["metadata"]["resourceVersion"])


def test_a_streaming_list_with_a_selector(client: Client, place: str) -> None:
    """A streaming list of a selection is the selection."""
    for name, app in (("a", "web"), ("b", "db")):
        manifests.config_map(client, place, name, labels={"app": app})
    with client.watch(CONFIG_MAPS.all(place), labelSelector="app=db", **STREAMING) as watch:
        assert names(watch.take(1)) == [("ADDED", "b")]
        assert watch.next()["type"] == "BOOKMARK"


@pytest.mark.parametrize(
    "query",
    [
        {"sendInitialEvents": True},
        {"sendInitialEvents": True, "resourceVersionMatch": "Exact", "allowWatchBookmarks": True},
        {"resourceVersionMatch": "NotOlderThan"},
    ],
    ids=["no-match", "exact", "no-initial-events"],
)
def test_a_streaming_list_is_asked_for_in_one_way(client: Client, place: str, query: dict[str, Any]) -> None:
    """Initial events need a version match of NotOlderThan, and the other way round."""
    client.call("GET", CONFIG_MAPS.all(place), watch=1, **query).refused(422, "Invalid")


def test_a_watch_without_initial_events(client: Client, place: str) -> None:
    """Initial events that are declined are not sent, although no version is given."""
    manifests.config_map(client, place, "a")
    query = {**STREAMING, "sendInitialEvents": False}
    with client.watch(CONFIG_MAPS.all(place), **query) as watch:
        manifests.config_map(client, place, "b")
        assert watch.steps(1) == [("ADDED", "b")]


def test_a_watch_from_the_future(client: Client, place: str) -> None:
    """A watch from a version that is not there yet does not tell what came before it."""
    version = int(client.version(CONFIG_MAPS.all(place))) + 1_000_000
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=version, timeoutSeconds=1) as watch:
        manifests.config_map(client, place, "a")
        assert [event for event in watch.rest() if event["type"] != "ERROR"] == []


def test_a_watch_from_a_version_that_is_no_number(client: Client, place: str) -> None:
    """A watch from something that is no version is an error."""
    assert client.call("GET", CONFIG_MAPS.all(place), watch=1, resourceVersion="abc").code in {400, 422, 500}


def test_a_second_watch_misses_nothing_of_the_first(client: Client, place: str) -> None:
    """A stream that is cut can be resumed from the last event that arrived."""
    path = CONFIG_MAPS.all(place)
    with client.watch(path, resourceVersion=client.version(path)) as watch:
        for number in range(6):
            manifests.config_map(client, place, f"n{number}")
        seen = watch.take(3)
    with client.watch(path, resourceVersion=seen[-1]["object"]["metadata"]["resourceVersion"]) as watch:
        assert names(watch.take(3)) == [("ADDED", "n3"), ("ADDED", "n4"), ("ADDED", "n5")]


def test_many_readers_see_the_same(client: Client, place: str) -> None:
    """Every stream of a collection tells the same."""
    path = CONFIG_MAPS.all(place)
    start = client.version(path)
    streams = [client.watch(path, resourceVersion=start) for _ in range(5)]
    try:
        for number in range(5):
            manifests.config_map(client, place, f"n{number}")
        told = [stream.take(5) for stream in streams]
    finally:
        for stream in streams:
            stream.__exit__()
    assert all(one == told[0] for one in told)
