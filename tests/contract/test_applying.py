"""Server-side apply, and managedFields: who says what an object should be, and who wrote it last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract import manifests
from tests.contract.client import APPLY, Answer, Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, WIDGETS, Type

FIELDS_OF_DATA: Object = {"f:data": {".": {}, "f:key": {}}}


def apply(client: Client, type_: Type, place: str, manifest: Object, *, manager: str, **query: Any) -> Answer:
    """Apply a manifest as a manager."""
    path = type_.one(place, manifest["metadata"]["name"])
    return client.call("PATCH", path, manifest, kind=APPLY, fieldManager=manager, **query)


def applied(client: Client, place: str, manager: str, *, force: bool | None = None, **data: str) -> Answer:
    """Apply a ConfigMap `one` with this data."""
    return apply(client, CONFIG_MAPS, place, CONFIG_MAPS.new("one", data=data), manager=manager, force=force)


def managers(found: Object) -> list[tuple[str, str, Object]]:
    """Manager, operation and fields of each entry, by manager: their order in the object depends on the second."""
    entries = found["metadata"]["managedFields"]
    told = [(entry["manager"], entry["operation"], entry["fieldsV1"]) for entry in entries]
    return sorted(told, key=lambda entry: entry[:2])


def test_apply_creates(client: Client, place: str) -> None:
    """Applying an object that is not there creates it, and notes the manager with the fields that it set."""
    made = applied(client, place, "alice", key="1").done(201)
    assert made["data"] == {"key": "1"}
    [entry] = made["metadata"]["managedFields"]
    assert entry.pop("time") == made["metadata"]["creationTimestamp"]
    assert entry == {
        "manager": "alice",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:key": {}}},
    }


def test_apply_changes(client: Client, place: str) -> None:
    """Applying again with another value changes it."""
    applied(client, place, "alice", key="1").done(201)
    assert applied(client, place, "alice", key="2").done(200)["data"] == {"key": "2"}


def test_applying_the_same_again_is_no_change(client: Client, place: str) -> None:
    """Applying the same again keeps the resourceVersion."""
    first = applied(client, place, "alice", key="1").done(201)
    assert applied(client, place, "alice", key="1").done(200) == first


def test_what_is_left_out_is_removed(client: Client, place: str) -> None:
    """A field that a manager applied before and leaves out now is gone."""
    applied(client, place, "alice", key="1", other="2")
    assert applied(client, place, "alice", key="1").done(200)["data"] == {"key": "1"}


def test_what_others_set_stays(client: Client, place: str) -> None:
    """Fields that a manager never applied are left alone."""
    manifests.config_map(client, place, "one", data={"other": "2"})
    assert applied(client, place, "alice", key="1").done(200)["data"] == {"key": "1", "other": "2"}


def test_a_field_of_two_managers_stays_with_the_other(client: Client, place: str) -> None:
    """Two managers may apply the same value; the field goes when both have left it out."""
    applied(client, place, "alice", key="1", shared="2")
    applied(client, place, "bob", shared="2").done(200)
    found = applied(client, place, "alice", key="1").done(200)
    assert found["data"] == {"key": "1", "shared": "2"}
    assert managers(found) == [
        ("alice", "Apply", {"f:data": {"f:key": {}}}),
        ("bob", "Apply", {"f:data": {"f:shared": {}}}),
    ]


def test_another_value_conflicts(client: Client, place: str) -> None:
    """A manager who sets another value for a field of somebody else is refused and told whose it is."""
    first = applied(client, place, "alice", key="1").done(201)
    status = applied(client, place, "bob", key="2").refused(409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "alice": .data.key'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".data.key"}
    assert status["details"] == {"causes": [cause]}
    assert client.get(CONFIG_MAPS.one(place, "one")) == first


def test_many_conflicts_are_named(client: Client, place: str) -> None:
    """The message names every field that conflicts."""
    applied(client, place, "alice", key="1", other="1")
    status = applied(client, place, "bob", key="2", other="2").refused(409, "Conflict")
    assert status["message"] == 'Apply failed with 2 conflicts: conflicts with "alice":\n- .data.key\n- .data.other'
    assert [cause["field"] for cause in status["details"]["causes"]] == [".data.key", ".data.other"]


def test_a_conflict_with_a_writer_says_how_he_wrote(client: Client, place: str) -> None:
    """A conflict with somebody who updated names the API version that he used, and the time."""
    client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", data={"key": "1"}), fieldManager="alice")
    message = applied(client, place, "bob", key="2").refused(409, "Conflict")["message"]
    assert message.startswith('Apply failed with 1 conflict: conflict with "alice" using v1')


def test_force_takes_the_field(client: Client, place: str) -> None:
    """With force, the field gets the new value and the new manager, and the old one loses it."""
    applied(client, place, "alice", key="1", other="2")
    found = applied(client, place, "bob", force=True, key="3").done(200)
    assert found["data"] == {"key": "3", "other": "2"}
    assert managers(found) == [
        ("alice", "Apply", {"f:data": {"f:other": {}}}),
        ("bob", "Apply", {"f:data": {"f:key": {}}}),
    ]


def test_apply_needs_a_manager(client: Client, place: str) -> None:
    """Nobody applies without saying who he is."""
    path = CONFIG_MAPS.one(place, "one")
    status = client.call("PATCH", path, CONFIG_MAPS.new("one"), kind=APPLY).refused(422, "Invalid")
    assert "fieldManager: Required value: is required for apply patch" in status["message"]


def test_force_is_for_apply_alone(client: Client, place: str) -> None:
    """`force` on another patch is an error, not passed over."""
    manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    answer = client.call("PATCH", path, {}, kind="application/merge-patch+json", force=True)
    assert "force: Forbidden: may not be specified for non-apply patch" in answer.refused(422, "Invalid")["message"]


def test_containers_are_applied_by_name(client: Client, place: str) -> None:
    """Two managers can each have a container in one Deployment; whoever leaves his out takes it away."""

    def set_containers(manager: str, *names: str) -> Object:
        spec = manifests.pod_template(*({"name": name, "image": f"{name}:1"} for name in names))
        if manager == "bob":
            spec = {"template": {"spec": {"containers": spec["template"]["spec"]["containers"] if names else []}}}
        return apply(client, DEPLOYMENTS, place, DEPLOYMENTS.new("web", spec=spec), manager=manager).done()

    set_containers("alice", "a")
    both = set_containers("bob", "b")
    assert names_of(both) == ["a", "b"]
    assert names_of(set_containers("alice", "a", "c")) == ["a", "b", "c"]
    assert names_of(set_containers("alice", "a")) == ["a", "b"]


def names_of(found: Object) -> list[str]:
    """The names of a Deployment's containers."""
    return sorted(one["name"] for one in found["spec"]["template"]["spec"]["containers"])


def test_custom_lists_are_applied_by_their_keys(client: Client, place: str) -> None:
    """A custom type says by which key its lists are merged."""
    first = WIDGETS.new("one", spec={"size": "small", "parts": [{"name": "a", "note": "x"}]})
    apply(client, WIDGETS, place, first, manager="alice").done(201)
    second = WIDGETS.new("one", spec={"parts": [{"name": "b"}]})
    found = apply(client, WIDGETS, place, second, manager="bob").done(200)
    assert found["spec"]["parts"] == [{"name": "a", "note": "x", "weight": 5}, {"name": "b", "weight": 5}]


@pytest.mark.parametrize(
    ("there", "applied_names", "after"),
    [("b", "ab", "ab"), ("ab", "cb", "acb"), ("abc", "cd", "abcd"), ("ab", "ba", "ba"), ("a", "bc", "abc")],
)
def test_an_applied_order_is_kept(client: Client, place: str, there: str, applied_names: str, after: str) -> None:
    """What is applied keeps its order among what others have set, as far as both can be kept."""
    manifests.widget(client, place, "one", parts=[{"name": name} for name in there])
    parts = [{"name": name} for name in applied_names]
    manifest = WIDGETS.new("one", spec={"parts": parts})
    found = apply(client, WIDGETS, place, manifest, manager="alice", force=True).done(200)
    assert "".join(part["name"] for part in found["spec"]["parts"]) == after


def test_applied_objects_are_checked(client: Client, place: str) -> None:
    """What an apply makes must be valid; what is required may come from another manager."""
    wrong = WIDGETS.new("one", spec={"size": "huge"})
    apply(client, WIDGETS, place, wrong, manager="alice").refused(422, "Invalid")
    assert client.names(WIDGETS.all(place)) == []


def test_apply_says_what_it_is(client: Client, place: str) -> None:
    """An applied manifest must have apiVersion and kind."""
    path = CONFIG_MAPS.one(place, "one")
    body = {"metadata": {"name": "one"}}
    client.call("PATCH", path, body, kind=APPLY, fieldManager="alice").refused(400, "BadRequest")


def test_yaml_is_applied(client: Client, place: str) -> None:
    """What is applied may be YAML."""
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {key: value}\n"
    path = CONFIG_MAPS.one(place, "one")
    assert client.call("PATCH", path, text, kind=APPLY, fieldManager="alice").done(201)["data"] == {"key": "value"}


def test_applying_a_status(client: Client, place: str) -> None:
    """A status is applied through its own path, and its entry says so."""
    manifests.widget(client, place, "one")
    path = f"{WIDGETS.one(place, 'one')}/status"
    manifest = WIDGETS.new("one", status={"phase": "done"})
    found = client.call("PATCH", path, manifest, kind=APPLY, fieldManager="alice").done(200)
    assert found["status"] == {"phase": "done"}
    entries = {entry["manager"]: entry for entry in found["metadata"]["managedFields"]}
    assert (entries["alice"]["operation"], entries["alice"]["subresource"]) == ("Apply", "status")


def test_the_last_writer_is_noted(client: Client, place: str) -> None:
    """A create and an update note their manager with the fields that they set."""
    path = CONFIG_MAPS.all(place)
    made = client.create(path, CONFIG_MAPS.new("one", data={"key": "1"}), fieldManager="alice")
    assert managers(made) == [("alice", "Update", FIELDS_OF_DATA)]
    changed = client.merge(CONFIG_MAPS.one(place, "one"), {"data": {"new": "2"}}, fieldManager="bob")
    assert managers(changed) == [
        ("alice", "Update", FIELDS_OF_DATA),
        ("bob", "Update", {"f:data": {"f:new": {}}}),
    ]


def test_a_field_has_one_writer(client: Client, place: str) -> None:
    """Whoever changes the value of a field takes it from the one who wrote it before."""
    client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", data={"key": "1"}), fieldManager="alice")
    changed = client.merge(CONFIG_MAPS.one(place, "one"), {"data": {"key": "2"}}, fieldManager="bob")
    assert managers(changed) == [
        ("alice", "Update", {"f:data": {}}),
        ("bob", "Update", {"f:data": {"f:key": {}}}),
    ]


def test_an_entry_has_its_time(client: Client, place: str) -> None:
    """Each entry says when, through which API version and, for a status, through which path it was written."""
    manifests.widget(client, place, "one")
    path = f"{WIDGETS.one(place, 'one')}/status"
    found = client.merge(path, {"status": {"phase": "done"}}, fieldManager="alice")
    entry = next(entry for entry in found["metadata"]["managedFields"] if entry["manager"] == "alice")
    assert entry.pop("time") >= found["metadata"]["creationTimestamp"]
    assert entry == {
        "manager": "alice",
        "operation": "Update",
        "apiVersion": "contract.example.com/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {".": {}, "f:phase": {}}},
        "subresource": "status",
    }


def test_a_scale_is_noted(client: Client, place: str) -> None:
    """Whoever scales owns the number of replicas, through the scale path; his entry has no time."""
    manifests.deployment(client, place, "web", replicas=1)
    manifests.widget(client, place, "one")
    for path in (DEPLOYMENTS.one(place, "web"), WIDGETS.one(place, "one")):
        for replicas in (3, 3, 4):
            client.merge(f"{path}/scale", {"spec": {"replicas": replicas}}, fieldManager="alice")
        found = client.get(path)
        entries = {entry["manager"]: entry for entry in found["metadata"]["managedFields"]}
        assert entries.pop("alice") == {
            "manager": "alice",
            "operation": "Update",
            "apiVersion": found["apiVersion"],
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
            "subresource": "scale",
        }
        [other] = entries.values()
        assert "f:replicas" not in other["fieldsV1"]["f:spec"]


def test_containers_are_named_by_their_key(client: Client, place: str) -> None:
    """The fields of a merged list's element stand under its key."""
    manifests.deployment(client, place, "web")
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}
    found = apply(client, DEPLOYMENTS, place, DEPLOYMENTS.new("web", spec=spec), manager="bob", force=True).done(200)
    [fields] = [fields for manager, _, fields in managers(found) if manager == "bob"]
    containers = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert [json.loads(key.removeprefix("k:")) for key in containers] == [{"name": "web"}]
    assert containers['k:{"name":"web"}'] == {".": {}, "f:name": {}, "f:image": {}}


def test_a_manager_is_the_client_by_default(client: Client, place: str) -> None:
    """Without a field manager, the first word of the client's User-Agent is noted."""
    made = manifests.config_map(client, place, "one", data={"key": "1"})
    [(manager, _, _)] = managers(made)
    assert manager == "python-urllib3"


def test_managed_fields_can_be_cleared(client: Client, place: str) -> None:
    """A list with one empty entry clears the notes; nobody takes new ones before the next apply."""
    manifests.config_map(client, place, "one", data={"key": "1"})
    cleared = client.merge(CONFIG_MAPS.one(place, "one"), {"metadata": {"managedFields": [{}]}})
    assert cleared["metadata"].get("managedFields", []) == []
    changed = client.merge(CONFIG_MAPS.one(place, "one"), {"data": {"key": "2"}})
    assert "managedFields" not in changed["metadata"]


@pytest.mark.parametrize("manager", ["x" * 129, "two\nlines"])
def test_a_manager_has_a_short_name(client: Client, place: str, manager: str) -> None:
    """A manager's name has at most 128 printable characters."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one"), fieldManager=manager)
    answer.refused(422, "Invalid")
