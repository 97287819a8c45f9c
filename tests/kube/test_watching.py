"""Watch streams and streaming lists of the API servers."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from app import errors, events, settings
from app.kube import client, listing, problems, watching
from tests.kube import objects
from tests.servers import proxy
from tests.servers.api import EACH, ApiServer, make
from tests.servers.kube import KubeServer
from tests.waiting import wait_until


def follow(cluster: client.Cluster, place: str, *, start: str, timeout: float = 30) -> watching.Stream:
    """A watch on the ConfigMaps of a namespace."""
    return watching.watch(
        cluster, objects.CONFIG_MAPS, place, resource_version=start, timeout=timeout, stop=threading.Event()
    )


def test_every_change_arrives_in_order(cluster: client.Cluster, place: str) -> None:
    """From a list's version on, create, change and delete of an object arrive in order, whole, with their versions."""
    start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
    ref = events.Ref(place, "one")
    with follow(cluster, place, start=start) as stream:
        objects.config_map(cluster, place, "one", key="1")
        objects.patch(cluster, objects.CONFIG_MAPS, ref, {"data": {"key": "2"}})
        objects.delete(cluster, objects.CONFIG_MAPS, ref)
        found = list(itertools.islice(stream, 3))
    assert [change.kind for change in found] == ["ADDED", "MODIFIED", "DELETED"]
    assert [change.object["data"]["key"] for change in found] == ["1", "2", "2"]
    assert [change.object["kind"] for change in found] == ["ConfigMap"] * 3
    versions = [int(change.resource_version) for change in found]
    assert versions == sorted(set(versions))
    assert not any(change.initial for change in found)


def test_a_stream_ends_normally_at_its_timeout(cluster: client.Cluster, place: str) -> None:
    """The server ends a stream at the time that was asked for, and that is no error."""
    start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
    began = time.monotonic()
    with follow(cluster, place, start=start, timeout=1) as stream:
        assert [change for change in stream if change.kind != "BOOKMARK"] == []
    assert 0.5 < time.monotonic() - began < 10


def test_a_connection_that_nobody_serves_ends_in_an_error_after_its_timeout(
    server: ApiServer, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lost its peer behind a load balancer hears nothing, not even an end: it does not wait for ever."""
    monkeypatch.setattr(watching, "_GRACE", 0.5)
    link = proxy.Proxy(proxy.address(server.url))
    link.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig().read_text().replace(server.url, link.url(server.url)))
    cluster = client.connect(settings.Settings(kubeconfig=str(kubeconfig)))
    try:
        start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
        with follow(cluster, place, start=start, timeout=1) as stream:
            link.silence()
            with pytest.raises(errors.TemporaryError, match="broke off"):
                list(stream)
    finally:
        cluster.close()
        link.stop()


def test_another_thread_closes_a_waiting_stream_at_once(cluster: client.Cluster, place: str) -> None:
    """A reader that waits for the next change returns at once, without an error, when the stream is closed."""
    start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
    seen: list[watching.Change] = []
    with follow(cluster, place, start=start) as stream:
        reader = threading.Thread(target=lambda: seen.extend(stream))
        reader.start()
        objects.config_map(cluster, place, "one")
        # `extend` fills the list as it reads, so the reader waits for the second change now.
        wait_until(lambda: seen or not reader.is_alive())
        began = time.monotonic()
        stream.close()
        reader.join(5)
    assert not reader.is_alive()
    assert time.monotonic() - began < 1
    assert [change.kind for change in seen] == ["ADDED"]


def test_a_set_stop_ends_the_iteration(cluster: client.Cluster, place: str) -> None:
    """Once `stop` is set, no further change is handed out."""
    start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
    stop = threading.Event()
    with watching.watch(cluster, objects.CONFIG_MAPS, place, resource_version=start, timeout=30, stop=stop) as stream:
        objects.config_map(cluster, place, "one")
        changes = iter(stream)
        assert next(changes).kind == "ADDED"
        stop.set()
        objects.config_map(cluster, place, "two")
        assert list(changes) == []


def test_a_streaming_list_is_a_list_and_then_a_watch(cluster: client.Cluster, place: str) -> None:
    """Objects first, then SYNCED with the list's version, then changes, on one connection."""
    for number in range(5):
        objects.config_map(cluster, place, f"map-{number}")
    with watching.stream_list(cluster, objects.CONFIG_MAPS, place, timeout=30, stop=threading.Event()) as stream:
        changes = iter(stream)
        initial = [next(changes) for _ in range(5)]
        synced = next(changes)
        objects.config_map(cluster, place, "later")
        live = next(changes)
    assert {change.object["metadata"]["name"] for change in initial} == {f"map-{number}" for number in range(5)}
    assert all(change.initial and change.kind == "ADDED" for change in initial)
    assert (synced.kind, synced.initial) == ("SYNCED", False)
    assert int(synced.resource_version) >= max(int(change.resource_version) for change in initial)
    assert (live.kind, live.initial, live.object["metadata"]["name"]) == ("ADDED", False, "later")


def test_a_streaming_list_of_nothing_says_so(cluster: client.Cluster, place: str) -> None:
    """An empty namespace is proven empty by SYNCED alone."""
    with watching.stream_list(cluster, objects.CONFIG_MAPS, place, timeout=30, stop=threading.Event()) as stream:
        assert next(iter(stream)).kind == "SYNCED"


def test_a_version_that_the_cluster_forgot_has_expired(cluster: client.Cluster, server: ApiServer, place: str) -> None:
    """A watch from a compacted resourceVersion is Expired, by whatever way the server says it."""
    for number in range(3):
        objects.config_map(cluster, place, f"map-{number}")
    server.compact()
    # Events have no watch cache, so the answer is that of etcd.
    with pytest.raises(problems.Expired):  # noqa: SIM117 - the error may come at either step
        with watching.watch(
            cluster, objects.EVENTS, place, resource_version="1", timeout=10, stop=threading.Event()
        ) as stream:
            list(stream)


@pytest.mark.kube
def test_a_server_without_streaming_lists_is_told_apart(tmp_path: Path) -> None:
    """A server that cannot stream lists raises NotSupported, and its paged list and watch work."""
    server = KubeServer(tmp_path / "old", flags=("--feature-gates=WatchList=false",))
    try:
        cluster = client.connect(settings.Settings(kubeconfig=str(server.start())))
        with pytest.raises(problems.NotSupported, match="list in pages"):
            watching.stream_list(cluster, objects.CONFIG_MAPS, "", timeout=5, stop=threading.Event())
        *_, page = listing.list_pages(cluster, objects.CONFIG_MAPS, "default", page_size=5)
        with follow(cluster, "default", start=page.resource_version) as stream:
            objects.config_map(cluster, "default", "one")
            assert next(iter(stream)).object["metadata"]["name"] == "one"
    finally:
        server.stop()


@pytest.mark.parametrize("name", EACH)
def test_a_killed_server_breaks_the_stream_and_keeps_its_objects(tmp_path: Path, name: str) -> None:
    """A crash of the API server is a TemporaryError for readers; after it, a watch goes on or says to list again."""
    server = make(name, tmp_path / "crash")
    try:
        cluster = client.connect(settings.Settings(kubeconfig=str(server.start())))
        start = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, "default")
        stream = follow(cluster, "default", start=start)
        server.kill9()
        with pytest.raises(errors.TemporaryError):
            list(stream)
        with pytest.raises(errors.TemporaryError):
            cluster.uid()
        server.start()
        objects.config_map(cluster, "default", "one")
        try:
            with follow(cluster, "default", start=start) as stream:
                found = [next(iter(stream)).object]
        except problems.Expired:
            # A server that has just started may no longer know the versions of before.
            found = [
                obj
                for page in listing.list_pages(cluster, objects.CONFIG_MAPS, "default", page_size=500)
                for obj in page.items
            ]
        assert "one" in {obj["metadata"]["name"] for obj in found}
    finally:
        server.stop()
