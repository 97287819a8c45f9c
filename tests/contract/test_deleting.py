"""Deletes: at once, behind finalizers, with preconditions, of whole collections."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, SERVICES, WIDGETS

FINALIZER = "example.com/hold"


def held(client: Client, place: str, name: str = "one") -> Object:
    """A new ConfigMap with a finalizer."""
    return client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new(name, metadata={"finalizers": [FINALIZER]}))


def test_a_delete_is_answered_with_what_was_deleted(client: Client, place: str) -> None:
    """The answer to a delete of an object that goes at once is a Success that names it and its uid."""
    made = manifests.config_map(client, place, "one")
    assert client.delete(CONFIG_MAPS.one(place, "one")) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "one", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }


def test_a_delete_names_the_group(client: Client, place: str) -> None:
    """The answer names the group of a type that has one."""
    made = manifests.widget(client, place, "one")
    details = client.delete(WIDGETS.one(place, "one"))["details"]
    uid = made["metadata"]["uid"]
    assert details == {"name": "one", "group": "contract.example.com", "kind": "widgets", "uid": uid}


def test_what_is_not_there_cannot_be_deleted(client: Client, place: str) -> None:
    """A delete of an object that is not there is a 404, a second delete too."""
    manifests.config_map(client, place, "one")
    client.delete(CONFIG_MAPS.one(place, "one"))
    status = client.call("DELETE", CONFIG_MAPS.one(place, "one")).refused(404, "NotFound")
    assert status["message"] == 'configmaps "one" not found'


def test_the_same_name_again_is_another_object(client: Client, place: str) -> None:
    """After a delete, the name is free, and what takes it has another uid and a later version."""
    first = manifests.config_map(client, place, "one")["metadata"]
    client.delete(CONFIG_MAPS.one(place, "one"))
    second = manifests.config_map(client, place, "one")["metadata"]
    assert second["uid"] != first["uid"]
    assert int(second["resourceVersion"]) > int(first["resourceVersion"]) + 1


def test_a_finalizer_holds_an_object(client: Client, place: str) -> None:
    """A delete of an object with a finalizer marks it with a time, and whoever removes the finalizer ends it."""
    made = held(client, place)
    path = CONFIG_MAPS.one(place, "one")
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=made["metadata"]["resourceVersion"]) as watch:
        marked = client.delete(path)
        assert marked["kind"] == "ConfigMap"
        assert marked["metadata"]["deletionTimestamp"] >= made["metadata"]["creationTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
        assert client.get(path) == marked
        client.merge(path, {"metadata": {"finalizers": None}})
        client.call("GET", path).refused(404, "NotFound")
        assert watch.steps(2) == [("MODIFIED", "one"), ("DELETED", "one")]


def test_a_second_delete_of_what_is_held_changes_nothing(client: Client, place: str) -> None:
    """Deleting again what waits for its finalizers succeeds and keeps the time of the first delete."""
    held(client, place)
    path = CONFIG_MAPS.one(place, "one")
    first = client.delete(path)
    assert client.delete(path)["metadata"]["deletionTimestamp"] == first["metadata"]["deletionTimestamp"]
    assert client.get(path) == first


def test_what_is_being_deleted_can_be_changed(client: Client, place: str) -> None:
    """Until its finalizers are gone, an object may be changed; it gets no new finalizers and no second life."""
    held(client, place)
    path = CONFIG_MAPS.one(place, "one")
    marked = client.delete(path)
    changed = client.merge(path, {"data": {"key": "x"}})
    assert changed["data"] == {"key": "x"}
    assert changed["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": [FINALIZER, "example.com/more"]}}
    answer = client.call("PATCH", path, more, kind="application/merge-patch+json")
    assert "metadata.finalizers: Forbidden: no new finalizers can be added" in answer.refused(422, "Invalid")["message"]
    revived = client.update(path, {**changed, "metadata": {**changed["metadata"], "deletionTimestamp": None}})
    assert revived["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one")).refused(409, "AlreadyExists")


def test_two_finalizers_are_waited_for(client: Client, place: str) -> None:
    """An object goes with its last finalizer."""
    manifest = CONFIG_MAPS.new("one", metadata={"finalizers": ["example.com/a", "example.com/b"]})
    client.create(CONFIG_MAPS.all(place), manifest)
    path = CONFIG_MAPS.one(place, "one")
    client.delete(path)
    client.merge(path, {"metadata": {"finalizers": ["example.com/b"]}})
    assert client.get(path)["metadata"]["finalizers"] == ["example.com/b"]
    client.merge(path, {"metadata": {"finalizers": []}})
    client.call("GET", path).refused(404, "NotFound")


def test_custom_objects_have_finalizers(client: Client, place: str) -> None:
    """The same holds for custom types, whose generation the delete raises."""
    manifest = WIDGETS.new("one", metadata={"finalizers": [FINALIZER]}, spec={"size": "small"})
    client.create(WIDGETS.all(place), manifest)
    path = WIDGETS.one(place, "one")
    marked = client.delete(path)
    assert marked["metadata"]["generation"] == 2
    client.merge(path, {"metadata": {"finalizers": None}})
    client.call("GET", path).refused(404, "NotFound")


@pytest.mark.parametrize("where", ["uid", "resourceVersion"])
def test_a_precondition_must_hold(client: Client, place: str, where: str) -> None:
    """A delete that names another uid or version than the object's is refused and deletes nothing."""
    made = manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    wrong = {"uid": "00000000-0000-0000-0000-000000000000", "resourceVersion": "1"}[where]
    status = client.call("DELETE", path, {"preconditions": {where: wrong}}).refused(409, "Conflict")
    name = {"uid": "UID", "resourceVersion": "ResourceVersion"}[where]
    actual = made["metadata"][where]
    held_to = f"the {name} in the precondition ({wrong}) does not match the {name} in record ({actual})."
    after = {"uid": "deleted and then recreated", "resourceVersion": "modified"}[where]
    sentence = f"{held_to} The object might have been {after}"
    assert status["message"] == f'Operation cannot be fulfilled on ConfigMap "one": {sentence}'
    assert client.get(path) == made
    client.delete(path, {"preconditions": {where: actual}})


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_dependents_may_be_waited_for(client: Client, place: str, policy: str) -> None:
    """An object without dependents goes under each policy: at once, or when the garbage collector has looked.

    There is no garbage collector beside the real server; what it would wait for is in the finalizers.
    """
    manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    answer = client.delete(path, {"propagationPolicy": policy})
    held_by = {"Background": [], "Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}[policy]
    if answer["kind"] == "ConfigMap":
        assert answer["metadata"]["finalizers"] == held_by
        assert client.get(path)["metadata"]["deletionTimestamp"]
        client.merge(path, {"metadata": {"finalizers": None}})
    client.call("GET", path).refused(404, "NotFound")


def test_a_policy_can_be_in_the_query(client: Client, place: str) -> None:
    """The options of a delete may stand in the query."""
    manifests.config_map(client, place, "one")
    assert client.delete(CONFIG_MAPS.one(place, "one"), propagationPolicy="Background")["status"] == "Success"


def test_an_unknown_policy_deletes_nothing(client: Client, place: str) -> None:
    """An unknown propagation policy is an error."""
    manifests.config_map(client, place, "one")
    client.call("DELETE", CONFIG_MAPS.one(place, "one"), {"propagationPolicy": "Perhaps"}).refused(422, "Invalid")
    assert client.names(CONFIG_MAPS.all(place)) == ["one"]


def test_a_collection_is_deleted(client: Client, place: str) -> None:
    """A delete of a collection deletes what its selector selects, and each object is told to who watches."""
    for name in ("a", "b", "c"):
        manifests.config_map(client, place, name, labels={"app": "db" if name == "c" else "web"})
    path = CONFIG_MAPS.all(place)
    with client.watch(path, resourceVersion=client.version(path)) as watch:
        answer = client.delete(path, labelSelector="app=web")
        assert sorted(watch.steps(2)) == [("DELETED", "a"), ("DELETED", "b")]
    assert answer["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"]
    assert client.names(path) == ["c"]


def test_a_collection_without_a_selector(client: Client, place: str) -> None:
    """Without a selector, everything of the type in the namespace goes, and nothing elsewhere."""
    other = manifests.namespace(client)
    for each in (place, other):
        manifests.config_map(client, each, "one")
        manifests.widget(client, each, "one")
    for type_ in (CONFIG_MAPS, WIDGETS):
        client.delete(type_.all(place))
        assert client.names(type_.all(place)) == []
        assert client.names(type_.all(other)) == ["one"]


def test_a_collection_keeps_what_is_held(client: Client, place: str) -> None:
    """Objects of a collection that have finalizers are marked."""
    held(client, place)
    manifests.config_map(client, place, "two")
    client.delete(CONFIG_MAPS.all(place))
    [left] = client.items(CONFIG_MAPS.all(place))
    assert (left["metadata"]["name"], bool(left["metadata"]["deletionTimestamp"])) == ("one", True)


def test_a_deployment_goes_at_once_by_default(client: Client, place: str) -> None:
    """A built-in workload is deleted in the background: the object is gone when the delete is answered."""
    manifests.deployment(client, place, "web")
    assert client.delete(DEPLOYMENTS.one(place, "web"))["status"] == "Success"
    client.call("GET", DEPLOYMENTS.one(place, "web")).refused(404, "NotFound")


def test_a_deleted_service_is_answered_whole(client: Client, place: str) -> None:
    """A Service is one of the types whose delete answers with the object that was deleted."""
    made = client.create(SERVICES.all(place), SERVICES.new("web", spec={"ports": [{"port": 80}]}))
    gone = client.delete(SERVICES.one(place, "web"))
    assert (gone["kind"], gone["metadata"]["uid"]) == ("Service", made["metadata"]["uid"])


def test_a_new_object_may_not_be_deleted_already(client: Client, place: str) -> None:
    """A deletionTimestamp in a new object is passed over."""
    metadata = {"deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    made = client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", metadata=metadata))
    assert {"deletionTimestamp", "deletionGracePeriodSeconds"} & set(made["metadata"]) == set()
