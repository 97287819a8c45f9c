"""A reader that takes its time, over the wire: more stands between the server and it than the connection holds."""

from __future__ import annotations

from tests.contract.client import Client, Object

# More than the buffers of a connection on loopback take: the server waits amid the initial events.
COUNT = 200
LARGE = "x" * 180_000


def told(event: Object) -> tuple[str, str, int]:
    """Type, name and resourceVersion of an event."""
    metadata = event["object"]["metadata"]
    return event["type"], metadata.get("name", ""), int(metadata["resourceVersion"])


def test_a_bookmark_names_nothing_that_was_not_sent(client: Client, place: str) -> None:
    """A change while a reader pauses amid a streaming list comes after each bookmark that does not count it."""
    for number in range(COUNT):
        client.create(place, {"metadata": {"name": f"map-{number:03}"}, "data": {"key": LARGE}})
    streaming_list = {"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": True}
    with client.watch(place, timeoutSeconds=3, **streaming_list) as watch:
        events = [told(watch.next())]
        late = int(client.create(place, {"metadata": {"name": "late"}})["metadata"]["resourceVersion"])
        events += [told(event) for event in watch.rest()]
    assert [event for event in events if event[1] == "late"] == [("ADDED", "late", late)]
    assert sum(kind == "BOOKMARK" for kind, _, _ in events) == 2
    assert sum(kind == "ADDED" for kind, _, _ in events) == COUNT + 1
    before = events[: events.index(("ADDED", "late", late))]
    assert [version for kind, _, version in before if kind == "BOOKMARK" and version >= late] == []
