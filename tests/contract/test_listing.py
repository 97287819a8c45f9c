"""Lists in pages, and lists of a certain resourceVersion."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, WIDGETS

NAMES = [f"n{number}" for number in range(7)]


@pytest.fixture
def seven(client: Client, place: str) -> str:
    """The path of seven ConfigMaps."""
    for name in NAMES:
        manifests.config_map(client, place, name, labels={"even": str(int(name[1:]) % 2 == 0).lower()})
    return CONFIG_MAPS.all(place)


def pages(client: Client, path: str, **query: Any) -> list[Object]:
    """All pages of a list."""
    found = [client.get(path, **query)]
    while token := found[-1]["metadata"].get("continue"):
        found.append(client.get(path, **{**query, "continue": token}))
    return found


def names_of(page: Object) -> list[str]:
    """The names on a page."""
    return [item["metadata"]["name"] for item in page["items"]]


def test_pages_are_the_list(client: Client, seven: str) -> None:
    """Pages together are the list, in order, at one resourceVersion; each says how much is left."""
    found = pages(client, seven, limit=3)
    assert [names_of(page) for page in found] == [NAMES[:3], NAMES[3:6], NAMES[6:]]
    assert [page["metadata"].get("remainingItemCount") for page in found] == [4, 1, None]
    assert len({page["metadata"]["resourceVersion"] for page in found}) == 1
    assert found[-1]["metadata"].get("continue", "") == ""


def test_a_limit_that_is_not_reached(client: Client, seven: str) -> None:
    """A list that fits into its limit is one page without `continue`."""
    for limit in (7, 100, 0):
        [page] = pages(client, seven, limit=limit)
        assert names_of(page) == NAMES
        assert "remainingItemCount" not in page["metadata"]


def test_pages_of_custom_types(client: Client, place: str) -> None:
    """Custom types have pages too."""
    for name in NAMES[:3]:
        manifests.widget(client, place, name)
    found = pages(client, WIDGETS.all(place), limit=2)
    assert [names_of(page) for page in found] == [["n0", "n1"], ["n2"]]


def test_pages_with_a_selector(client: Client, seven: str) -> None:
    """Pages of a selection are the selection; how much is left is then not told."""
    found = pages(client, seven, limit=2, labelSelector="even=true")
    assert [name for page in found for name in names_of(page)] == ["n0", "n2", "n4", "n6"]
    assert all("remainingItemCount" not in page["metadata"] for page in found)
    assert len({page["metadata"]["resourceVersion"] for page in found}) == 1


def test_pages_do_not_see_what_came_later(client: Client, seven: str, place: str) -> None:
    """A page shows the state of the first page's time, whatever was written in between."""
    first = client.get(seven, limit=3)
    manifests.config_map(client, place, "n31")
    client.delete(f"{seven}/n4")
    client.merge(f"{seven}/n5", {"data": {"key": "late"}})
    second = client.get(seven, **{"limit": 3, "continue": first["metadata"]["continue"]})
    assert names_of(second) == ["n3", "n4", "n5"]
    assert "data" not in second["items"][2]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert client.names(seven) == ["n0", "n1", "n2", "n3", "n31", "n5", "n6"]


def test_the_page_size_may_change(client: Client, seven: str) -> None:
    """A later page may have another limit; without one it is the whole rest."""
    first = client.get(seven, limit=2)
    rest = client.get(seven, **{"continue": first["metadata"]["continue"]})
    assert names_of(rest) == NAMES[2:]


@pytest.mark.parametrize("token", ["nonsense", "eyJ2IjoieCJ9"])
def test_a_token_that_is_none(client: Client, seven: str, token: str) -> None:
    """A `continue` that the server did not give is an error."""
    client.call("GET", seven, **{"limit": 2, "continue": token}).refused(400, "BadRequest")


def test_a_list_is_what_was_written(client: Client, seven: str) -> None:
    """A list without a resourceVersion shows every write that was answered before."""
    for number in range(5):
        client.merge(f"{seven}/n0", {"data": {"key": str(number)}})
        assert client.items(seven)[0]["data"] == {"key": str(number)}


def test_a_list_of_any_version(client: Client, seven: str) -> None:
    """A list at version 0 may be older; in one that rests, it is what there is."""
    assert client.names(seven, resourceVersion=0) == NAMES
    found = client.get(seven, resourceVersion=0, resourceVersionMatch="NotOlderThan")
    assert names_of(found) == NAMES


def test_a_list_not_older_than_a_write(client: Client, seven: str) -> None:
    """A list at a write's version, or later, shows the write."""
    written = client.merge(f"{seven}/n0", {"data": {"key": "x"}})
    version = written["metadata"]["resourceVersion"]
    for match in ("NotOlderThan", None):
        found = client.get(seven, resourceVersion=version, resourceVersionMatch=match)
        assert found["items"][0]["data"] == {"key": "x"}
        assert int(found["metadata"]["resourceVersion"]) >= int(version)


def test_a_list_of_an_exact_version(client: Client, seven: str) -> None:
    """A list at an exact version is the state of that time, in pages too."""
    version = client.version(seven)
    client.delete(f"{seven}/n0")
    client.merge(f"{seven}/n1", {"data": {"key": "late"}})
    found = client.get(seven, resourceVersion=version, resourceVersionMatch="Exact")
    assert names_of(found) == NAMES
    assert "data" not in found["items"][1]
    assert found["metadata"]["resourceVersion"] == version
    paged = client.get(seven, resourceVersion=version, resourceVersionMatch="Exact", limit=2)
    assert names_of(paged) == NAMES[:2]
    assert paged["metadata"]["resourceVersion"] == version


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Perhaps", "resourceVersion": "1"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
    ],
    ids=["no-version", "unknown", "exact-zero"],
)
def test_a_version_match_needs_a_version(client: Client, seven: str, query: dict[str, Any]) -> None:
    """`resourceVersionMatch` without a version that it fits is an error."""
    client.call("GET", seven, **query).refused(422, "Invalid")


def test_a_version_that_is_no_number(client: Client, seven: str) -> None:
    """A resourceVersion that the server did not give is an error."""
    assert client.call("GET", seven, resourceVersion="abc").code in {400, 422, 500}


def test_a_list_of_the_future(client: Client, seven: str) -> None:
    """A list at a version that is not there yet is refused after a while, and the client is told to come again."""
    version = int(client.version(seven)) + 1_000_000
    status = client.call("GET", seven, resourceVersion=version).refused(504, "Timeout")
    assert "Too large resource version" in status["message"]
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_an_object_of_a_version(client: Client, seven: str) -> None:
    """A single object can be asked for at version 0, and not older than a version."""
    written = client.merge(f"{seven}/n0", {"data": {"key": "x"}})
    version = written["metadata"]["resourceVersion"]
    assert client.get(f"{seven}/n0", resourceVersion=version) == written
    assert client.get(f"{seven}/n0", resourceVersion=0)["metadata"]["name"] == "n0"


def test_the_version_of_an_empty_list_moves(client: Client, place: str) -> None:
    """The resourceVersion of a list is that of the whole server: it grows although nothing of the list changed."""
    before = client.version(WIDGETS.all(place))
    written = manifests.config_map(client, place, "one")
    assert int(client.version(WIDGETS.all(place))) >= int(written["metadata"]["resourceVersion"]) > int(before)
