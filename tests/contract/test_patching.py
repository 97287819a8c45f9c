"""Patches: JSON patch, merge patch, and strategic merge patch of the lists that Kubernetes merges by a key."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import JSON_PATCH, MERGE, STRATEGIC, Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, SERVICES, WIDGETS


def patched(client: Client, path: str, change: object, *, kind: str = STRATEGIC) -> Object:
    """The object after a patch."""
    return client.call("PATCH", path, change, kind=kind).done(200)


@pytest.mark.parametrize(
    ("step", "data"),
    [
        ({"op": "add", "path": "/data/new", "value": "x"}, {"a": "1", "b/c": "2", "d~e": "3", "new": "x"}),
        ({"op": "replace", "path": "/data/a", "value": "x"}, {"a": "x", "b/c": "2", "d~e": "3"}),
        ({"op": "remove", "path": "/data/a"}, {"b/c": "2", "d~e": "3"}),
        ({"op": "remove", "path": "/data/b~1c"}, {"a": "1", "d~e": "3"}),
        ({"op": "remove", "path": "/data/d~0e"}, {"a": "1", "b/c": "2"}),
        ({"op": "copy", "from": "/data/a", "path": "/data/z"}, {"a": "1", "b/c": "2", "d~e": "3", "z": "1"}),
        ({"op": "move", "from": "/data/a", "path": "/data/z"}, {"b/c": "2", "d~e": "3", "z": "1"}),
        ({"op": "test", "path": "/data/a", "value": "1"}, {"a": "1", "b/c": "2", "d~e": "3"}),
    ],
    ids=["add", "replace", "remove", "slash", "tilde", "copy", "move", "test"],
)
def test_a_json_patch(client: Client, place: str, step: Object, data: Object) -> None:
    """Each operation of a JSON patch does what RFC 6902 says; escapes are understood."""
    fields = {"metadata": {"name": "one"}, "spec": {"size": "small", "options": {"a": "1", "b/c": "2", "d~e": "3"}}}
    client.create(WIDGETS.all(place), {**WIDGETS.new("one"), **fields})
    moved = {key: f"/spec/options{step[key].removeprefix('/data')}" for key in ("path", "from") if key in step}
    found = patched(client, WIDGETS.one(place, "one"), [{**step, **moved}], kind=JSON_PATCH)
    assert found["spec"]["options"] == data


@pytest.mark.parametrize(
    ("steps", "code", "reason"),
    [
        ([{"op": "remove", "path": "/data/missing"}], 422, "Invalid"),
        ([{"op": "test", "path": "/data/key", "value": "other"}], 422, "Invalid"),
        ([{"op": "add", "path": "/missing/key", "value": "x"}], 422, "Invalid"),
        ({"op": "remove", "path": "/data/key"}, 400, "BadRequest"),
        ([{"op": "replace", "path": "/data", "value": "text"}], 422, "Invalid"),
    ],
    ids=["remove", "test", "add", "no-list", "type"],
)
def test_a_json_patch_that_does_not_fit(client: Client, place: str, steps: object, code: int, *, reason: str) -> None:
    """A JSON patch that cannot be applied changes nothing, not even by its earlier steps."""
    first = manifests.config_map(client, place, "one", data={"key": "value"})
    path = CONFIG_MAPS.one(place, "one")
    steps = [{"op": "add", "path": "/data/early", "value": "x"}, *steps] if isinstance(steps, list) else steps
    client.call("PATCH", path, steps, kind=JSON_PATCH).refused(code, reason)
    assert client.get(path) == first


def test_a_merge_patch(client: Client, place: str) -> None:
    """A merge patch sets what it names, removes what it sets to null, and replaces lists as a whole."""
    manifests.widget(client, place, "one", tags=["a", "b"], options={"keep": "1", "drop": "2"})
    change = {"spec": {"tags": ["c"], "options": {"drop": None, "new": "3"}, "count": 2}}
    spec = patched(client, WIDGETS.one(place, "one"), change, kind=MERGE)["spec"]
    assert (spec["tags"], spec["options"], spec["count"]) == (["c"], {"keep": "1", "new": "3"}, 2)
    assert spec["size"] == "small"


def test_a_merge_patch_replaces_the_containers(client: Client, place: str) -> None:
    """To a merge patch, the list of containers is one value."""
    manifests.deployment(client, place, "web", {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"})
    change = {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "b:2"}]}}}}
    spec = patched(client, DEPLOYMENTS.one(place, "web"), change, kind=MERGE)["spec"]
    assert images(spec) == {"b": "b:2"}


def images(spec: Object) -> dict[str, str]:
    """The containers' images by name, in their order."""
    return {one["name"]: one["image"] for one in spec["template"]["spec"]["containers"]}


@pytest.fixture
def web(client: Client, place: str) -> str:
    """The path of a Deployment with two containers, variables and ports."""
    first = {
        "name": "a",
        "image": "a:1",
        "env": [{"name": "KEEP", "value": "1"}, {"name": "DROP", "value": "2"}],
        "ports": [{"containerPort": 80}, {"containerPort": 443}],
        "args": ["one", "two"],
    }
    manifests.deployment(client, place, "web", first, {"name": "b", "image": "b:1"})
    return DEPLOYMENTS.one(place, "web")


def in_pod(*containers: Object) -> Object:
    """A patch of the containers of a pod template."""
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def test_containers_are_merged_by_name(client: Client, web: str) -> None:
    """A strategic merge patch changes the container that it names and leaves the others; a new one is added."""
    spec = patched(client, web, in_pod({"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}))["spec"]
    assert images(spec) == {"a": "a:1", "b": "b:2", "c": "c:1"}
    assert [one["name"] for one in spec["template"]["spec"]["containers"][0]["env"]] == ["KEEP", "DROP"]


def test_lists_within_lists_are_merged(client: Client, web: str) -> None:
    """Variables are merged by name and ports by number; a list of plain values is replaced."""
    change = {"name": "a", "env": [{"name": "DROP", "value": "3"}], "ports": [{"containerPort": 8080}], "args": ["x"]}
    [first, _] = patched(client, web, in_pod(change))["spec"]["template"]["spec"]["containers"]
    assert first["env"] == [{"name": "DROP", "value": "3"}, {"name": "KEEP", "value": "1"}] or first["env"] == [
        {"name": "KEEP", "value": "1"},
        {"name": "DROP", "value": "3"},
    ]
    assert {port["containerPort"] for port in first["ports"]} == {80, 443, 8080}
    assert (first["image"], first["args"]) == ("a:1", ["x"])


def test_a_part_of_a_list_is_deleted(client: Client, web: str) -> None:
    """`$patch: delete` takes one element out of a merged list."""
    change = {"name": "a", "env": [{"name": "DROP", "$patch": "delete"}]}
    spec = patched(client, web, in_pod(change, {"name": "b", "$patch": "delete"}))["spec"]
    [only] = spec["template"]["spec"]["containers"]
    assert (only["name"], only["env"]) == ("a", [{"name": "KEEP", "value": "1"}])


def test_a_list_is_replaced_on_demand(client: Client, web: str) -> None:
    """`$patch: replace` in a merged list makes the rest of it the whole list."""
    spec = patched(client, web, in_pod({"$patch": "replace"}, {"name": "c", "image": "c:1"}))["spec"]
    assert images(spec) == {"c": "c:1"}


def test_a_map_is_replaced_on_demand(client: Client, place: str) -> None:
    """`$patch: replace` in a map makes the rest of it the whole map."""
    manifests.config_map(client, place, "one", data={"a": "1", "b": "2"})
    found = patched(client, CONFIG_MAPS.one(place, "one"), {"data": {"$patch": "replace", "c": "3"}})
    assert found["data"] == {"c": "3"}


def test_some_keys_are_retained(client: Client, web: str) -> None:
    """`$retainKeys` names what stays of a map: a change of strategy takes the old one's parameters with it."""
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patched(client, web, change)["spec"]["strategy"] == {"type": "Recreate"}


def test_an_order_is_set(client: Client, web: str) -> None:
    """`$setElementOrder` says how a merged list is sorted, as client-side apply needs it."""
    order = {"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}}}
    spec = patched(client, web, order)["spec"]
    assert list(images(spec)) == ["b", "a"]


def test_plain_values_are_deleted_from_a_list(client: Client, place: str) -> None:
    """`$deleteFromPrimitiveList` takes values out of a merged list of plain values such as the finalizers."""
    manifest = CONFIG_MAPS.new("one", metadata={"finalizers": ["example.com/a", "example.com/b"]})
    client.create(CONFIG_MAPS.all(place), manifest)
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
    found = patched(client, CONFIG_MAPS.one(place, "one"), change)
    assert found["metadata"]["finalizers"] == ["example.com/b"]


def test_finalizers_are_merged(client: Client, place: str) -> None:
    """A strategic merge patch adds to the finalizers; a merge patch replaces them."""
    manifest = CONFIG_MAPS.new("one", metadata={"finalizers": ["example.com/a"]})
    client.create(CONFIG_MAPS.all(place), manifest)
    path, change = CONFIG_MAPS.one(place, "one"), {"metadata": {"finalizers": ["example.com/b"]}}
    assert sorted(patched(client, path, change)["metadata"]["finalizers"]) == ["example.com/a", "example.com/b"]
    assert patched(client, path, change, kind=MERGE)["metadata"]["finalizers"] == ["example.com/b"]


def test_ports_of_a_service_are_merged_by_number(client: Client, place: str) -> None:
    """The ports of a Service are merged by their number."""
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    client.create(SERVICES.all(place), SERVICES.new("web", spec={"ports": ports}))
    change = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    spec = patched(client, SERVICES.one(place, "web"), change)["spec"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in spec["ports"]] == [
        ("http", 80, 8080),
        ("https", 443, 443),
    ]


def test_a_null_removes_a_field(client: Client, web: str) -> None:
    """A null in a strategic merge patch removes a field, in a list's element too."""
    [first, _] = patched(client, web, in_pod({"name": "a", "args": None}))["spec"]["template"]["spec"]["containers"]
    assert "args" not in first


def test_labels_are_merged(client: Client, place: str) -> None:
    """What `kubectl label` sends: a label is set, another one taken away, the rest stays."""
    manifests.config_map(client, place, "one", labels={"keep": "1", "drop": "2"})
    for kind in (STRATEGIC, MERGE):
        change = {"metadata": {"labels": {"drop": None, "new": "3"}}}
        found = patched(client, CONFIG_MAPS.one(place, "one"), change, kind=kind)
        assert found["metadata"]["labels"] == {"keep": "1", "new": "3"}


def test_custom_types_have_no_strategic_merge(client: Client, place: str) -> None:
    """A custom type has no merge keys, so that a strategic merge patch is answered with what is understood."""
    manifests.widget(client, place, "one")
    path = WIDGETS.one(place, "one")
    status = client.call("PATCH", path, {"spec": {"size": "large"}}, kind=STRATEGIC).refused(
        415, "UnsupportedMediaType"
    )
    assert status["message"].startswith(
        "the body of the request was in an unknown format - accepted media types include: "
    )
    assert {JSON_PATCH, MERGE} <= set(status["message"].rpartition(": ")[2].split(", "))


def test_a_patch_needs_its_object(client: Client, place: str) -> None:
    """A patch of an object that is not there is a 404."""
    for kind, change in ((MERGE, {"data": {}}), (STRATEGIC, {"data": {}}), (JSON_PATCH, [])):
        client.call("PATCH", CONFIG_MAPS.one(place, "one"), change, kind=kind).refused(404, "NotFound")


def test_a_patch_is_checked_like_an_update(client: Client, place: str) -> None:
    """What a patch makes of an object must be valid."""
    manifests.widget(client, place, "one")
    status = client.call("PATCH", WIDGETS.one(place, "one"), {"spec": {"size": "huge"}}, kind=MERGE)
    assert 'spec.size: Unsupported value: "huge"' in status.refused(422, "Invalid")["message"]


def test_a_patch_keeps_the_name(client: Client, place: str) -> None:
    """A patch cannot rename an object or move it."""
    manifests.config_map(client, place, "one")
    for metadata in ({"name": "two"}, {"namespace": "other"}):
        answer = client.call("PATCH", CONFIG_MAPS.one(place, "one"), {"metadata": metadata}, kind=MERGE)
        answer.refused(400, "BadRequest")
