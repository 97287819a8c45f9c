"""Many writers: what a resourceVersion and a uid promise to each of them, and what a write without a change is."""

from __future__ import annotations

import threading

from tests.contract import manifests
from tests.contract.client import JSON, JSON_PATCH, MERGE, STRATEGIC, Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, WIDGETS

LATE = "the object has been modified; please apply your changes to the latest version and try again"


def with_metadata(found: Object, **metadata: object) -> Object:
    """The object with other metadata."""
    return {**found, "metadata": {**found["metadata"], **metadata}}


def test_an_update_from_an_old_version_conflicts(client: Client, place: str) -> None:
    """Whoever writes what he read before somebody else wrote is told so, and changes nothing."""
    first = manifests.config_map(client, place, "one", data={"key": "1"})
    path = CONFIG_MAPS.one(place, "one")
    second = client.update(path, {**first, "data": {"key": "2"}})
    status = client.call("PUT", path, {**first, "data": {"key": "3"}}).refused(409, "Conflict")
    assert status["message"] == f'Operation cannot be fulfilled on configmaps "one": {LATE}'
    assert status["details"] == {"name": "one", "kind": "configmaps"}
    assert client.get(path) == second


def test_a_conflict_names_the_group(client: Client, place: str) -> None:
    """The message and the details of a conflict name the group of a type that has one."""
    first = manifests.deployment(client, place, "web")
    path = DEPLOYMENTS.one(place, "web")
    client.merge(path, {"spec": {"replicas": 2}})
    status = client.call("PUT", path, first).refused(409, "Conflict")
    assert status["message"] == f'Operation cannot be fulfilled on deployments.apps "web": {LATE}'
    assert status["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


def test_an_update_without_a_version_wins(client: Client, place: str) -> None:
    """A built-in type may be replaced without saying which version was read."""
    manifests.config_map(client, place, "one", data={"key": "1"})
    changed = client.update(CONFIG_MAPS.one(place, "one"), CONFIG_MAPS.new("one", data={"key": "2"}))
    assert changed["data"] == {"key": "2"}


def test_a_custom_object_needs_a_version(client: Client, place: str) -> None:
    """A custom object can only be replaced by one who says which version he read."""
    manifests.widget(client, place, "one")
    answer = client.call("PUT", WIDGETS.one(place, "one"), WIDGETS.new("one", spec={"size": "large"}))
    status = answer.refused(422, "Invalid")
    assert status["message"] == (
        'widgets.contract.example.com "one" is invalid: metadata.resourceVersion: Invalid value: 0: '
        "must be specified for an update"
    )


def test_an_update_of_another_object_conflicts(client: Client, place: str) -> None:
    """An object that was made anew under the same name is not overwritten by one who means the old one."""
    old = manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    client.delete(path)
    new = manifests.config_map(client, place, "one")
    body = with_metadata(old, resourceVersion=new["metadata"]["resourceVersion"])
    status = client.call("PUT", path, body).refused(409, "Conflict")
    uids = f"UID in precondition: {old['metadata']['uid']}, UID in object meta: {new['metadata']['uid']}"
    assert status["message"].endswith(f"Precondition failed: {uids}")


def test_a_patch_may_name_its_version(client: Client, place: str) -> None:
    """A patch with a resourceVersion is for that version only; without one, for whatever there is."""
    first = manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    version = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}}
    client.merge(path, {"data": {"key": "1"}, **version})
    for kind in (MERGE, STRATEGIC):
        status = client.call("PATCH", path, {"data": {"key": "2"}, **version}, kind=kind).refused(409, "Conflict")
        assert status["message"] == f'Operation cannot be fulfilled on configmaps "one": {LATE}'
    assert client.merge(path, {"data": {"key": "3"}})["data"] == {"key": "3"}


def test_a_patch_may_test_first(client: Client, place: str) -> None:
    """A JSON patch whose test does not hold changes nothing."""
    manifests.config_map(client, place, "one", data={"key": "1"})
    path = CONFIG_MAPS.one(place, "one")
    steps = [{"op": "test", "path": "/data/key", "value": "2"}, {"op": "remove", "path": "/data/key"}]
    client.call("PATCH", path, steps, kind=JSON_PATCH).refused(422, "Invalid")
    assert client.get(path)["data"] == {"key": "1"}


def test_a_patch_keeps_the_uid(client: Client, place: str) -> None:
    """A patch with a uid is for the object of that uid only: nothing can change one."""
    manifests.config_map(client, place, "one")
    patch = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "data": {"key": "1"}}
    status = client.call("PATCH", CONFIG_MAPS.one(place, "one"), patch, kind=MERGE).refused(422, "Invalid")
    assert "metadata.uid: Invalid value" in status["message"]


def test_a_write_without_a_change_is_none(client: Client, place: str) -> None:
    """An update or a patch that changes nothing keeps the resourceVersion, and no watch hears of it."""
    first = manifests.config_map(client, place, "one", data={"key": "1"})
    path = CONFIG_MAPS.one(place, "one")
    with client.watch(CONFIG_MAPS.all(place), resourceVersion=first["metadata"]["resourceVersion"]) as watch:
        assert client.update(path, first) == first
        assert client.merge(path, {"data": {"key": "1"}}) == first
        assert client.call("PATCH", path, {"data": {"key": "1"}}, kind=STRATEGIC).done() == first
        steps = [{"op": "replace", "path": "/data/key", "value": "1"}]
        assert client.call("PATCH", path, steps, kind=JSON_PATCH).done() == first
        manifests.config_map(client, place, "two")
        assert watch.steps(1) == [("ADDED", "two")]


def test_a_custom_object_without_a_change(client: Client, place: str) -> None:
    """The same holds for custom objects, with what the server added as defaults."""
    first = manifests.widget(client, place, "one")
    path = WIDGETS.one(place, "one")
    assert client.update(path, first) == first
    assert client.merge(path, {"spec": {"size": "small"}}) == first


def test_versions_grow_over_all_types(client: Client, place: str) -> None:
    """One counter serves all types: what is written later has the higher version."""
    written = [
        manifests.config_map(client, place, "one"),
        manifests.deployment(client, place, "one"),
        manifests.widget(client, place, "one"),
        client.merge(CONFIG_MAPS.one(place, "one"), {"data": {"key": "1"}}),
    ]
    versions = [int(one["metadata"]["resourceVersion"]) for one in written]
    assert versions == sorted(set(versions))


def test_writers_who_try_again_lose_nothing(client: Client, place: str) -> None:
    """Writers at the same time who read again after a conflict all leave their mark."""
    manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")

    def write(key: str) -> None:
        while True:
            found = client.get(path)
            body = {**found, "data": {**found.get("data", {}), key: "x"}}
            if client.call("PUT", path, body, kind=JSON).code == 200:
                return

    writers = [threading.Thread(target=write, args=(f"key-{number}",)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert sorted(client.get(path)["data"]) == [f"key-{number}" for number in range(6)]


def test_one_of_many_creates(client: Client, place: str) -> None:
    """Of those who create one name at the same time, one succeeds and the others are told so."""
    codes: list[int] = []

    def create() -> None:
        codes.append(client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one")).code)

    writers = [threading.Thread(target=create) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert sorted(codes) == [201, 409, 409, 409, 409, 409]
