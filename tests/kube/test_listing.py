"""Paged lists of the API servers."""

from __future__ import annotations

import pytest

from app.kube import client, listing, problems
from tests.kube import objects
from tests.servers.api import ApiServer


def test_all_pages_together_are_the_scope_at_one_version(cluster: client.Cluster, place: str) -> None:
    """Every object of the namespace comes once, every page carries one resourceVersion, only the last is last."""
    for number in range(7):
        objects.config_map(cluster, place, f"map-{number}", key="value")
    pages = list(listing.list_pages(cluster, objects.CONFIG_MAPS, place, page_size=3))
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert [page.last for page in pages] == [False, False, True]
    assert [page.remaining for page in pages] == [4, 1, None]
    assert len({page.resource_version for page in pages}) == 1
    names = [item["metadata"]["name"] for page in pages for item in page.items]
    assert names == [f"map-{number}" for number in range(7)]


def test_listed_objects_say_what_they_are(cluster: client.Cluster, place: str) -> None:
    """A list leaves apiVersion and kind out of its objects; they are filled in."""
    objects.config_map(cluster, place, "one", key="value")
    [page] = listing.list_pages(cluster, objects.CONFIG_MAPS, place, page_size=3)
    [item] = page.items
    assert (item["apiVersion"], item["kind"], item["data"]) == ("v1", "ConfigMap", {"key": "value"})


def test_an_empty_scope_is_one_last_page(cluster: client.Cluster, place: str) -> None:
    """An empty namespace is proven empty by one page with a resourceVersion."""
    [page] = listing.list_pages(cluster, objects.CONFIG_MAPS, place, page_size=3)
    assert (page.items, page.last) == ([], True)
    assert page.resource_version.isdigit()


def test_a_list_that_took_too_long_starts_again(cluster: client.Cluster, server: ApiServer, place: str) -> None:
    """When the cluster forgot the list's version between two pages, the list has expired; it is not half done."""
    for number in range(4):
        objects.event(cluster, place, f"event-{number}")
    # Events have no watch cache, which would still know the older version.
    pages = listing.list_pages(cluster, objects.EVENTS, place, page_size=2)
    assert not next(pages).last
    objects.event(cluster, place, "later")
    server.compact()
    with pytest.raises(problems.Expired):
        next(pages)


def test_the_latest_version_follows_each_write(cluster: client.Cluster, place: str) -> None:
    """The latest resourceVersion is never lower than that of an object that was written before."""
    for number in range(3):
        written = objects.config_map(cluster, place, f"map-{number}")
        latest = listing.latest_resource_version(cluster, objects.CONFIG_MAPS, place)
        assert int(latest) >= int(written["metadata"]["resourceVersion"])
