"""The two controllers that the sandbox plays, and its garbage collector."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.contract.client import Client
from tests.waiting import wait_until

NAMESPACES = "/api/v1/namespaces"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MAPS = "/api/v1/namespaces/default/configmaps"
HOLD = "example.com/hold"


def gone(client: Client, path: str) -> None:
    """Wait for the end of an object."""
    wait_until(lambda: client.call("GET", path).code == 404, what=f"the end of {path}")


def define(client: Client, plural: str) -> str:
    """A new custom type; the path of its objects in the namespace default."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    client.create(DEFINITIONS, definition)
    return f"/apis/example.com/v1/namespaces/default/{plural}"


def thing(plural: str, name: str, **metadata: object) -> dict[str, object]:
    """A custom object."""
    return {"apiVersion": "example.com/v1", "kind": plural.title(), "metadata": {"name": name, **metadata}}


def test_a_namespace_takes_its_content_with_it(client: Client) -> None:
    """Each object in it is deleted and told to who watches, then the namespace is; others are untouched."""
    things = define(client, "crumbs").replace("default", "shop")
    client.create(NAMESPACES, {"metadata": {"name": "shop"}})
    client.create("/api/v1/namespaces/shop/configmaps", {"metadata": {"name": "one"}})
    client.create(things, thing("crumbs", "two"))
    client.create(MAPS, {"metadata": {"name": "other"}})
    maps, namespaces = client.version(MAPS), client.version(NAMESPACES)
    assert client.delete(f"{NAMESPACES}/shop")["status"]["phase"] == "Terminating"
    gone(client, f"{NAMESPACES}/shop")
    with client.watch("/api/v1/configmaps", resourceVersion=maps) as watch:
        assert watch.steps(1) == [("DELETED", "one")]
    with client.watch(NAMESPACES, resourceVersion=namespaces) as watch:
        kinds = [kind for kind, name in watch.steps(2) if name == "shop"]
        assert (kinds[0], kinds[-1]) == ("MODIFIED", "DELETED")
    assert client.items(things) == []
    assert client.names(MAPS) == ["other"]
    client.create(NAMESPACES, {"metadata": {"name": "shop"}})
    assert client.names("/api/v1/namespaces/shop/configmaps") == []


def test_a_namespace_waits_for_finalizers(client: Client) -> None:
    """It stays, and takes nothing new, until the last finalizer of its content is removed."""
    client.create(NAMESPACES, {"metadata": {"name": "held"}})
    maps = f"{NAMESPACES}/held/configmaps"
    client.create(maps, {"metadata": {"name": "one", "finalizers": [HOLD]}})
    client.delete(f"{NAMESPACES}/held")
    wait_until(lambda: client.get(f"{maps}/one")["metadata"].get("deletionTimestamp"), what="the mark")
    status = client.call("POST", maps, {"metadata": {"name": "two"}}).refused(403, "Forbidden")
    assert "because it is being terminated" in status["message"]
    assert client.get(f"{NAMESPACES}/held")["status"]["phase"] == "Terminating"
    client.merge(f"{maps}/one", {"metadata": {"finalizers": None}})
    gone(client, f"{NAMESPACES}/held")


def test_a_definition_takes_its_objects_with_it(client: Client) -> None:
    """The custom resources are deleted and told, the stream ends, and the type is not served any more."""
    things = define(client, "pebbles")
    made = client.create(things, thing("pebbles", "one"))
    with client.watch(things, resourceVersion=made["metadata"]["resourceVersion"]) as watch:
        client.delete(f"{DEFINITIONS}/pebbles.example.com")
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in watch.rest()] == [("DELETED", "one")]
    gone(client, f"{DEFINITIONS}/pebbles.example.com")
    client.call("GET", things).refused(404, "NotFound")
    assert "pebbles" not in [
        one["name"] for one in client.call("GET", "/apis/example.com/v1").json.get("resources", [])
    ]


def test_a_type_that_goes_while_a_body_comes_is_not_served(client: Client) -> None:
    """A slow request for a type that is deleted before its body is there gets the 404 of an unknown type."""
    things = define(client, "flints")

    def slowly() -> Iterator[bytes]:
        body = json.dumps(thing("flints", "late")).encode()
        yield body[:9]
        client.delete(f"{DEFINITIONS}/flints.example.com")
        gone(client, f"{DEFINITIONS}/flints.example.com")
        wait_until(lambda: client.call("GET", things).code == 404, what="the end of the type")
        yield body[9:]

    client.call("POST", things, slowly()).refused(404, "NotFound")


def test_a_definition_waits_for_finalizers(client: Client) -> None:
    """The type is served, and takes nothing new, until its last object is gone; made again it is empty."""
    things = define(client, "stones")
    client.create(things, thing("stones", "one", finalizers=[HOLD]))
    client.delete(f"{DEFINITIONS}/stones.example.com")
    wait_until(lambda: client.get(f"{things}/one")["metadata"].get("deletionTimestamp"), what="the mark")
    status = client.call("POST", things, thing("stones", "two")).refused(403, "Forbidden")
    assert "custom resource definition is terminating" in status["message"]
    client.merge(f"{things}/one", {"metadata": {"finalizers": None}})
    gone(client, f"{DEFINITIONS}/stones.example.com")
    assert client.items(define(client, "stones")) == []


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
def test_dependents_are_collected(client: Client, policy: str) -> None:
    """An object that waits for the garbage collector goes soon: nothing here has dependents."""
    name = f"waits-{policy.lower()}"
    client.create(MAPS, {"metadata": {"name": name}})
    assert client.delete(f"{MAPS}/{name}", {"propagationPolicy": policy})["metadata"]["deletionTimestamp"]
    gone(client, f"{MAPS}/{name}")
