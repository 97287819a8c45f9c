"""Streams: exact order, no gap, no cost for readers that are slow or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.sandbox import selecting, storing, streaming

MAPS = storing.Type("", "configmaps")
VIEW = streaming.View("ConfigMap", "v1", lambda found: found)


class Cluster:
    """A store with its streams."""

    def __init__(self, path: Path) -> None:
        self.store = storing.Store(path)
        self.hub = streaming.Hub(self.store)

    def put(self, name: str, **labels: str) -> None:
        """Write one ConfigMap."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
        self.store.write([storing.Write(storing.Place("", "configmaps", "shop", name), body)])

    def remove(self, name: str) -> None:
        """Delete one ConfigMap."""
        self.store.write([storing.Write(storing.Place("", "configmaps", "shop", name), None)])

    def watch(self, revision: int | None = 0, **fields: Any) -> streaming.Stream:
        """Open a stream of all ConfigMaps."""
        asked: dict[str, Any] = {
            "path": "/api/v1/configmaps",
            "kind": MAPS,
            "namespace": "",
            "selector": selecting.Selector(),
            "view": VIEW,
            "revision": revision,
            "timeout": 30.0,
            "bookmarks": False,
            "marks_end": False,
        }
        return self.hub.open(streaming.Watch(**{**asked, **fields}))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """An empty cluster."""
    found = Cluster(tmp_path / "sandbox.db")
    yield found
    found.store.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that waits, for at most ten seconds."""
    asyncio.run(asyncio.wait_for(test, 10))


async def events(stream: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, str, int]]:
    """Type, name and revision of each event."""
    async for chunk in stream:
        for line in chunk.splitlines():
            event = orjson.loads(line)
            metadata = event["object"]["metadata"]
            yield event["type"], metadata.get("name", ""), int(metadata["resourceVersion"])


async def take(stream: AsyncIterator[tuple[str, str, int]], count: int) -> list[tuple[str, str, int]]:
    """The next events."""
    return [await anext(stream) for _ in range(count)]


def test_nothing_is_lost_between_opening_and_reading(cluster: Cluster) -> None:
    """A change after a stream was opened is in it, once and in order, even when reading begins later."""

    async def test() -> None:
        cluster.put("a")
        stream = cluster.watch(revision=None)
        cluster.put("b")
        cluster.remove("a")
        reader = events(stream.lines())
        assert await take(reader, 3) == [("ADDED", "a", 1), ("ADDED", "b", 2), ("DELETED", "a", 3)]
        await reader.aclose()

    run(test())


def test_many_readers_see_one_order(cluster: Cluster) -> None:
    """Readers that begin at different revisions see the same changes in the same order."""

    async def test() -> None:
        readers = [events(cluster.watch(revision=start).lines()) for start in (0, 3, 7)]
        waiting = [asyncio.ensure_future(take(one, 40)) for one in readers]
        for step in range(47):
            cluster.put(f"m-{step % 5}")
            if step % 7 == 0:
                await asyncio.sleep(0)
        first, second, third = [await one for one in waiting]
        assert [revision for _, _, revision in first] == list(range(1, 41))
        assert second[:37] == first[3:]
        assert third[:33] == first[7:]
        for reader in readers:
            await reader.aclose()

    run(test())


def test_a_selection_is_entered_and_left(cluster: Cluster) -> None:
    """An object that begins to match is added, one that stops is deleted as it was known; others are not seen."""
    selector = selecting.Selector(labels=(lambda labels: labels.get("tier") == "web",))

    async def test() -> None:
        reader = events(cluster.watch(selector=selector).lines())
        cluster.put("a")
        cluster.put("a", tier="web")
        cluster.put("a", tier="web", more="x")
        cluster.put("a", tier="db")
        cluster.put("a", tier="web")
        cluster.remove("a")
        told = [("ADDED", "a", 2), ("MODIFIED", "a", 3), ("DELETED", "a", 4), ("ADDED", "a", 5), ("DELETED", "a", 6)]
        assert await take(reader, 5) == told
        await reader.aclose()

    run(test())


def test_a_position_in_the_future_waits(cluster: Cluster) -> None:
    """A watch from a revision that is still to come is silent until it has passed."""

    async def test() -> None:
        reader = events(cluster.watch(revision=3).lines())
        for step in range(5):
            cluster.put(f"m-{step}")
        assert await take(reader, 2) == [("ADDED", "m-3", 4), ("ADDED", "m-4", 5)]
        await reader.aclose()

    run(test())


def test_a_slow_reader_is_ended_and_costs_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that falls behind the history gets a clean end, and nothing was kept for it."""
    monkeypatch.setattr(storing, "HISTORY", 50)

    async def test() -> None:
        reader = events(cluster.watch().lines())
        cluster.put("a")
        assert await anext(reader) == ("ADDED", "a", 1)
        for step in range(200):
            cluster.put("a", step=str(step))
        assert [one async for one in reader] == []
        assert list(cluster.hub.streams()) == []

    run(test())


def test_a_slow_reader_within_the_history_misses_nothing(cluster: Cluster) -> None:
    """A reader that comes late finds every change that the history holds."""

    async def test() -> None:
        reader = events(cluster.watch(timeout=0.2).lines())
        for step in range(1_000):
            cluster.put("a", step=str(step))
        assert [revision async for _, _, revision in reader] == list(range(1, 1_001))

    run(test())


def test_a_compaction_does_not_end_an_idle_stream(cluster: Cluster) -> None:
    """A stream that has seen everything goes on after the history was forgotten."""

    async def test() -> None:
        reader = events(cluster.watch().lines())
        cluster.put("a")
        assert await take(reader, 1) == [("ADDED", "a", 1)]
        cluster.store.compact()
        cluster.put("b")
        assert await take(reader, 1) == [("ADDED", "b", 2)]
        await reader.aclose()

    run(test())


def test_a_stream_ends_at_its_time_with_a_bookmark(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends cleanly after its timeout; one that asked for bookmarks gets one shortly before, at the counter."""
    monkeypatch.setattr(streaming, "_LAST_BOOKMARK", 0.1)

    async def test() -> None:
        cluster.put("a")
        cluster.store.write([storing.Write(storing.Place("", "secrets", "shop", "s"), {"metadata": {"name": "s"}})])
        stream = cluster.watch(revision=1, timeout=0.3, bookmarks=True)
        assert [one async for one in events(stream.lines())] == [("BOOKMARK", "", 2)]
        assert [one async for one in events(cluster.watch(revision=1, timeout=0.1).lines())] == []

    run(test())


def test_no_bookmark_runs_ahead_of_a_slow_reader(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while a reader takes its time for earlier events stands behind the next bookmark, not before it."""
    monkeypatch.setattr(streaming, "_AT_ONCE", 1)
    monkeypatch.setattr(streaming, "_BOOKMARK", 0.0)

    async def test() -> None:
        cluster.put("a")
        cluster.put("b")
        reader = events(cluster.watch(bookmarks=True).lines())
        assert await take(reader, 1) == [("ADDED", "a", 1)]
        cluster.put("late")
        assert await take(reader, 2) == [("ADDED", "b", 2), ("BOOKMARK", "", 2)]
        assert await take(reader, 1) == [("ADDED", "late", 3)]
        await reader.aclose()

    run(test())


def test_the_end_of_the_initial_events_is_where_they_were_read(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change amid the initial events of a streaming list comes after their end, and is not counted as in them."""
    monkeypatch.setattr(streaming, "_AT_ONCE", 1)

    async def test() -> None:
        cluster.put("a")
        cluster.put("b")
        reader = events(cluster.watch(revision=None, bookmarks=True, marks_end=True).lines())
        assert await take(reader, 1) == [("ADDED", "a", 1)]
        cluster.put("late")
        assert await take(reader, 3) == [("ADDED", "b", 2), ("BOOKMARK", "", 2), ("ADDED", "late", 3)]
        await reader.aclose()

    run(test())


@pytest.mark.parametrize(("is_shared", "encoded"), [(True, 1), (False, 5)])
def test_streams_share_what_they_all_see(cluster: Cluster, *, is_shared: bool, encoded: int) -> None:
    """An event is encoded once for all streams with one view, and for each of those that see it in their own way."""
    rendered: list[object] = []

    def render(found: Any) -> Any:
        rendered.append(found)
        return found

    view = streaming.View("ConfigMap", "v1", render, is_shared=is_shared)

    async def test() -> None:
        cluster.put("a")
        for _ in range(5):
            reader = events(cluster.watch(view=view).lines())
            assert await take(reader, 1) == [("ADDED", "a", 1)]
            await reader.aclose()

    run(test())
    assert len(rendered) == encoded


def test_closing_ends_every_stream_at_once(cluster: Cluster) -> None:
    """Open streams end cleanly, and those that come later end at once."""

    async def test() -> None:
        readers = [asyncio.ensure_future(_all(cluster.watch())) for _ in range(20)]
        await asyncio.sleep(0)
        cluster.hub.close()
        readers.append(asyncio.ensure_future(_all(cluster.watch())))
        assert await asyncio.gather(*readers) == [[]] * 21
        assert list(cluster.hub.streams()) == []

    run(test())


async def _all(stream: streaming.Stream) -> list[tuple[str, str, int]]:
    return [one async for one in events(stream.lines())]
