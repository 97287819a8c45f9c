"""CustomResourceDefinitions: from their creation to their end, and how they check the objects of their type."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import manifests
from tests.contract.client import MERGE, Client, Object
from tests.contract.manifests import DEFINITIONS, OLD_WIDGETS, WIDGETS
from tests.waiting import wait_until


def test_a_definition_is_established(client: Client, place: str) -> None:
    """A definition is accepted, then established, and its type can be used and is discovered."""
    group = manifests.new_group()
    found = manifests.define(client, manifests.definition(group))
    conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert found["status"]["acceptedNames"] == found["spec"]["names"]
    assert found["status"]["storedVersions"] == ["v1"]
    assert found["spec"]["conversion"] == {"strategy": "None"}
    type_ = manifests.things(group)
    made = client.create(type_.all(place), type_.new("one", anything={"at": ["all"]}))
    assert made["anything"] == {"at": ["all"]}
    assert client.get(type_.all(place))["kind"] == "ThingList"
    wait_until(lambda: group in {one["name"] for one in client.get("/apis")["groups"]}, what="the group in /apis")
    assert [one["name"] for one in client.get(f"/apis/{group}/v1")["resources"]] == ["things"]


def test_names_are_filled_in(client: Client) -> None:
    """The singular and the kind of lists follow from the kind."""
    group = manifests.new_group()
    manifest = manifests.definition(group)
    manifest["spec"]["names"] = {"plural": "things", "kind": "Thing"}
    found = manifests.define(client, manifest)
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    assert found["spec"]["names"] == found["status"]["acceptedNames"] == names


def test_a_type_is_not_served_before_its_definition(client: Client, place: str) -> None:
    """A type without a definition is a 404."""
    type_ = manifests.things(manifests.new_group())
    assert client.call("GET", type_.all(place)).code == 404
    assert client.call("POST", type_.all(place), type_.new("one")).code == 404


def test_a_deleted_definition_takes_its_objects(client: Client, place: str) -> None:
    """When a definition goes, its objects go, its type is no longer served, and a new one begins empty."""
    group = manifests.new_group()
    manifests.define(client, manifests.definition(group))
    type_ = manifests.things(group)
    client.create(type_.all(place), type_.new("one"))
    name = DEFINITIONS.one("", f"things.{group}")
    client.delete(name)
    wait_until(lambda: client.call("GET", name).code == 404, timeout=30, what="the end of the definition")
    wait_until(lambda: client.call("GET", type_.all(place)).code == 404, timeout=30, what="the end of the type")
    manifests.define(client, manifests.definition(group))
    assert client.names(type_.all(place)) == []


def test_a_definition_that_is_not_served_takes_its_objects(client: Client, place: str) -> None:
    """A definition whose versions are switched off keeps its objects; when it goes, they go as well."""
    group = manifests.new_group()
    manifest = manifests.definition(group)
    manifests.define(client, manifest)
    type_, name = manifests.things(group), DEFINITIONS.one("", f"things.{group}")
    uid = client.create(type_.all(place), type_.new("one"))["metadata"]["uid"]
    (version,) = manifest["spec"]["versions"]
    for served, code in ((False, 404), (True, 200), (False, 404)):
        client.merge(name, {"spec": {"versions": [{**version, "served": served}]}})
        path = type_.one(place, "one")
        wait_until(lambda path=path, code=code: client.call("GET", path).code == code, timeout=30, what=path)  # type: ignore[misc]
        if served:
            assert client.get(path)["metadata"]["uid"] == uid
    client.delete(name)
    wait_until(lambda: client.call("GET", name).code == 404, timeout=30, what="the end of the definition")
    manifests.define(client, manifest)
    assert client.names(type_.all(place)) == []


def test_a_stream_tells_the_end_of_its_type(client: Client, place: str) -> None:
    """Whoever watches a type whose definition is deleted hears that its objects go."""
    group = manifests.new_group()
    manifests.define(client, manifests.definition(group))
    type_ = manifests.things(group)
    made = client.create(type_.all(place), type_.new("one"))
    with client.watch(type_.all(place), resourceVersion=made["metadata"]["resourceVersion"]) as watch:
        client.delete(DEFINITIONS.one("", f"things.{group}"))
        assert watch.steps(1) == [("DELETED", "one")]


def test_a_definition_gets_a_new_version(client: Client, place: str) -> None:
    """A version that is added serves the objects that are there, each with its own apiVersion."""
    group = manifests.new_group()
    manifest = manifests.definition(group)
    manifests.define(client, manifest)
    type_ = manifests.things(group)
    client.create(type_.all(place), type_.new("one"))
    second = {**manifest["spec"]["versions"][0], "name": "v2", "storage": False}
    versions = [manifest["spec"]["versions"][0], second]
    client.merge(DEFINITIONS.one("", f"things.{group}"), {"spec": {"versions": versions}})
    newer = manifests.things(group, "v2")
    path = newer.one(place, "one")
    wait_until(lambda: client.call("GET", path).code == 200, timeout=30, what=path)
    assert client.get(path)["apiVersion"] == f"{group}/v2"
    assert client.get(type_.one(place, "one"))["apiVersion"] == f"{group}/v1"


def test_every_version_serves_the_same_objects(client: Client, place: str) -> None:
    """An object is the same in each version: uid and resourceVersion; a watch of each tells of it."""
    with client.watch(OLD_WIDGETS.all(place), resourceVersion=client.version(OLD_WIDGETS.all(place))) as watch:
        made = manifests.widget(client, place, "one")
        told = watch.next()["object"]
    old = client.get(OLD_WIDGETS.one(place, "one"))
    assert old["apiVersion"] == told["apiVersion"] == "contract.example.com/v1beta1"
    for key in ("uid", "resourceVersion", "generation"):
        assert old["metadata"][key] == told["metadata"][key] == made["metadata"][key]
    assert old["spec"] == made["spec"]


def test_defaults_are_filled_in(client: Client, place: str) -> None:
    """A field that has a default has it where it was left out, inside of lists too; null counts as left out."""
    spec = manifests.widget(client, place, "one", parts=[{"name": "a"}, {"name": "b", "weight": 1}])["spec"]
    assert (spec["colour"], spec["replicas"]) == ("blue", 1)
    assert spec["parts"] == [{"name": "a", "weight": 5}, {"name": "b", "weight": 1}]
    assert manifests.widget(client, place, "two", colour=None)["spec"]["colour"] == "blue"


INVALID: list[tuple[Object, str]] = [
    ({"size": "huge"}, 'spec.size: Unsupported value: "huge": supported values: "small", "large"'),
    ({"size": 5}, 'spec.size: Invalid value: "integer": spec.size in body must be of type string: "integer"'),
    ({"colour": "Blue"}, "spec.colour: Invalid value: \"Blue\": spec.colour in body should match '^[a-z]+$'"),
    ({"count": 0}, "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1"),
    ({"count": 10}, "spec.count: Invalid value: 10: spec.count in body should be less than or equal to 9"),
    ({"count": "1"}, 'spec.count: Invalid value: "string": spec.count in body must be of type integer: "string"'),
    ({"count": 1.5}, 'spec.count: Invalid value: "number": spec.count in body must be of type integer: "number"'),
    ({"tags": ["a", ""]}, 'spec.tags[1]: Invalid value: "": spec.tags[1] in body should be at least 1 chars long'),
    ({"tags": list("abcd")}, "spec.tags: Too many: 4: must have at most 3 items"),
    ({"tags": "a"}, 'spec.tags: Invalid value: "string": spec.tags in body must be of type array: "string"'),
    ({"parts": [{}]}, "spec.parts[0].name: Required value"),
    ({"parts": [{"name": "a"}, {"name": "a"}]}, 'spec.parts[1]: Duplicate value: {"name":"a"}'),
    ({"options": {"a": 1}}, 'spec.options.a: Invalid value: "integer": spec.options.a in body must be of type string'),
    (
        {"port": True},
        'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
    ),
]


@pytest.mark.parametrize(("fields", "message"), INVALID, ids=[str(fields) for fields, _ in INVALID])
def test_a_field_that_is_not_valid(client: Client, place: str, fields: Object, message: str) -> None:
    """Each rule of a schema refuses what it should, and says which field and why."""
    manifest = WIDGETS.new("one", spec={"size": "small", **fields})
    status = client.call("POST", WIDGETS.all(place), manifest).refused(422, "Invalid")
    assert status["message"].startswith('Widget.contract.example.com "one" is invalid: ')
    assert message in status["message"]
    assert status["details"]["name"] == "one"
    assert (status["details"]["group"], status["details"]["kind"]) == ("contract.example.com", "Widget")
    assert status["details"]["causes"][0]["field"] == message.partition(":")[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "spec: Required value"),
        ({"spec": {}}, "spec.size: Required value"),
        ({"spec": None}, "spec: Required value"),
        ({"spec": "text"}, 'spec: Invalid value: "string": spec in body must be of type object: "string"'),
    ],
    ids=["no-spec", "empty", "null", "text"],
)
def test_a_field_that_is_required(client: Client, place: str, fields: Object, message: str) -> None:
    """A required field that is missing is named."""
    status = client.call("POST", WIDGETS.all(place), WIDGETS.new("one", **fields)).refused(422, "Invalid")
    assert status["message"].startswith('Widget.contract.example.com "one" is invalid: ')
    assert message in status["message"]


def test_all_that_is_wrong_is_told(client: Client, place: str) -> None:
    """An object with several faults is told all of them at once."""
    manifest = WIDGETS.new("one", spec={"size": "huge", "colour": "Blue", "count": 0})
    status = client.call("POST", WIDGETS.all(place), manifest).refused(422, "Invalid")
    fields = sorted(cause["field"] for cause in status["details"]["causes"])
    assert fields == ["spec.colour", "spec.count", "spec.size"]
    assert status["message"].startswith('Widget.contract.example.com "one" is invalid: [')


@pytest.mark.parametrize(
    "fields",
    [
        {"port": 80},
        {"port": "http"},
        {"maybe": None},
        {"maybe": "x"},
        {"anything": {"at": ["all", 1, None, {"deep": {}}]}},
        {"options": {"a.b/c": "x"}},
        {"count": 9},
        {"parts": []},
        {"options": {}},
    ],
    ids=str,
)
def test_a_field_that_is_valid(client: Client, place: str, fields: dict[str, Any]) -> None:
    """What a schema allows is kept as it was written."""
    spec = manifests.widget(client, place, "one", **fields)["spec"]
    assert {key: spec[key] for key in fields} == fields


def test_unknown_fields_are_pruned(client: Client, place: str) -> None:
    """What a schema does not know is not stored, unless the schema says that it is."""
    made = manifests.widget(client, place, "one", unknown=1, anything={"unknown": 1})
    assert "unknown" not in made["spec"]
    assert made["spec"]["anything"] == {"unknown": 1}
    changed = client.merge(WIDGETS.one(place, "one"), {"spec": {"unknown": 2}, "extra": 3})
    assert changed == made


def test_another_kind_is_refused(client: Client, place: str) -> None:
    """A body of another kind than the path's is refused; a custom object must say what it is."""
    spec = {"spec": {"size": "small"}, "metadata": {"name": "one"}}
    wrong = {"apiVersion": "contract.example.com/v1", "kind": "Gadget", **spec}
    message = client.call("POST", WIDGETS.all(place), wrong).refused(422, "Invalid")["message"]
    assert 'kind: Invalid value: "Gadget": must be Widget' in message
    client.call("POST", WIDGETS.all(place), spec).refused(400, "BadRequest")


@pytest.mark.parametrize(
    "change",
    [
        {"names": {"plural": "things", "kind": "thing!"}},
        {"scope": "Somewhere"},
        {"group": ""},
        {"versions": []},
        {"names": {"plural": "others", "kind": "Other"}},
    ],
    ids=["kind", "scope", "group", "versions", "name"],
)
def test_a_definition_is_checked(client: Client, change: Object) -> None:
    """A definition that makes no sense is refused."""
    manifest = manifests.definition(manifests.new_group())
    client.call("POST", DEFINITIONS.all(), {**manifest, "spec": {**manifest["spec"], **change}}).refused(422, "Invalid")


def test_a_definition_stores_one_version(client: Client) -> None:
    """Exactly one version is the one that is stored."""
    manifest = manifests.definition(manifests.new_group(), storage=False)
    message = client.call("POST", DEFINITIONS.all(), manifest).refused(422, "Invalid")["message"]
    assert "must have exactly one version marked as storage version" in message


def test_a_definition_needs_a_schema(client: Client) -> None:
    """Every version has a schema."""
    manifest = manifests.definition(manifests.new_group())
    del manifest["spec"]["versions"][0]["schema"]
    message = client.call("POST", DEFINITIONS.all(), manifest).refused(422, "Invalid")["message"]
    assert "spec.versions[0].schema.openAPIV3Schema: Required value" in message


def test_some_of_a_definition_stays(client: Client) -> None:
    """Group, plural and scope of a definition do not change."""
    group = manifests.new_group()
    manifests.define(client, manifests.definition(group))
    path = DEFINITIONS.one("", f"things.{group}")
    answer = client.call("PATCH", path, {"spec": {"scope": "Cluster"}}, kind=MERGE)
    assert "spec.scope: Invalid value" in answer.refused(422, "Invalid")["message"]


def test_a_type_of_cluster_scope(client: Client, place: str) -> None:
    """A definition of cluster scope is served without namespaces."""
    group = manifests.new_group()
    manifest = manifests.definition(group)
    manifest["spec"]["scope"] = "Cluster"
    manifests.define(client, manifest)
    type_ = manifests.Type(f"{group}/v1", "things", "Thing", namespaced=False)
    made = client.create(type_.all(), type_.new("one"))
    assert "namespace" not in made["metadata"]
    assert client.names(type_.all()) == ["one"]
    assert client.call("GET", f"/apis/{group}/v1/namespaces/{place}/things").code == 404


def test_without_a_status_path_the_status_is_a_field(client: Client, place: str) -> None:
    """A type without the status subresource has a status like any other field, and no path for it."""
    group = manifests.new_group()
    manifests.define(client, manifests.definition(group))
    type_ = manifests.things(group)
    made = client.create(type_.all(place), type_.new("one", status={"phase": "x"}))
    assert made["status"] == {"phase": "x"}
    assert client.call("GET", f"{type_.one(place, 'one')}/status").code == 404
    assert client.merge(type_.one(place, "one"), {"status": {"phase": "y"}})["metadata"]["generation"] == 2


def test_our_own_definitions_are_accepted(client: Client) -> None:
    """A definition that `kubectl apply` wrote keeps what it was given."""
    manifest = manifests.widgets()
    found = client.get(DEFINITIONS.one("", manifest["metadata"]["name"]))
    columns = found["spec"]["versions"][0]["additionalPrinterColumns"]
    assert columns == manifest["spec"]["versions"][0]["additionalPrinterColumns"]
    assert found["spec"]["versions"][0]["schema"] == manifest["spec"]["versions"][0]["schema"]
