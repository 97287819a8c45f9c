"""Status, generation and scale: parts of an object with a path of their own."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, SERVICES, STATEFUL_SETS, WIDGETS


def status_of(path: str) -> str:
    """The path of an object's status."""
    return f"{path}/status"


@pytest.fixture
def widget(client: Client, place: str) -> str:
    """The path of a custom object."""
    manifests.widget(client, place, "one")
    return WIDGETS.one(place, "one")


def test_a_status_is_not_created(client: Client, place: str) -> None:
    """The status of a new object is left out: it is for controllers to say."""
    made = client.create(WIDGETS.all(place), WIDGETS.new("one", spec={"size": "small"}, status={"phase": "done"}))
    assert "status" not in made


def test_a_status_is_not_changed_with_its_object(client: Client, widget: str) -> None:
    """An update or a patch of the object leaves its status alone."""
    client.merge(status_of(widget), {"status": {"phase": "done"}})
    found = client.get(widget)
    changed = client.update(widget, {**found, "spec": {"size": "large"}, "status": {"phase": "other"}})
    assert (changed["spec"]["size"], changed["status"]) == ("large", {"phase": "done"})
    assert client.merge(widget, {"status": {"phase": "third"}}) == changed


def test_only_the_status_is_changed_by_its_path(client: Client, widget: str) -> None:
    """The status path leaves spec and labels as they are, and does not count as a new generation."""
    before = client.get(widget)
    body = {**before, "spec": {"size": "large"}, "status": {"phase": "done"}}
    body["metadata"] = {**before["metadata"], "labels": {"a": "b"}}
    after = client.update(status_of(widget), body)
    assert (after["status"], after["spec"]) == ({"phase": "done"}, before["spec"])
    assert "labels" not in after["metadata"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert client.get(widget) == after


def test_a_status_is_read_by_its_path(client: Client, widget: str) -> None:
    """Reading the status path gives the whole object."""
    assert client.get(status_of(widget)) == client.get(widget)


def test_a_status_is_checked(client: Client, widget: str) -> None:
    """A status must be valid."""
    wrong = {"status": {"phase": 5}}
    answer = client.call("PATCH", status_of(widget), wrong, kind="application/merge-patch+json")
    assert "status.phase" in answer.refused(422, "Invalid")["message"]


def test_a_status_knows_its_version(client: Client, widget: str) -> None:
    """A status that was computed from an old object conflicts."""
    old = client.get(widget)
    client.merge(widget, {"spec": {"count": 2}})
    client.call("PUT", status_of(widget), {**old, "status": {"phase": "x"}}).refused(409, "Conflict")


def test_an_unchanged_status_is_no_write(client: Client, widget: str) -> None:
    """Writing the same status again keeps the resourceVersion."""
    first = client.merge(status_of(widget), {"status": {"phase": "done"}})
    assert client.merge(status_of(widget), {"status": {"phase": "done"}}) == first


def test_a_built_in_status(client: Client, place: str) -> None:
    """The status of a Deployment has its own path too."""
    made = manifests.deployment(client, place, "web")
    assert made["status"] == {}
    path = DEPLOYMENTS.one(place, "web")
    condition = {"type": "Available", "status": "True", "reason": "Ready", "message": "all is well"}
    change = {"status": {"replicas": 1, "conditions": [condition]}, "spec": {"replicas": 5}}
    after = client.merge(status_of(path), change)
    assert (after["status"]["replicas"], after["spec"]["replicas"]) == (1, 1)
    assert client.merge(path, {"status": {"replicas": 9}})["status"]["replicas"] == 1


def test_a_type_without_a_status_has_no_path_for_it(client: Client, place: str) -> None:
    """A ConfigMap has no status path."""
    manifests.config_map(client, place, "one")
    assert client.call("GET", status_of(CONFIG_MAPS.one(place, "one"))).code == 404


def test_a_generation_counts_what_is_wanted(client: Client, widget: str) -> None:
    """The generation grows with the spec, not with labels, annotations or the status."""

    def generation(change: Object, path: str = widget) -> int:
        return int(client.merge(path, change)["metadata"]["generation"])

    assert client.get(widget)["metadata"]["generation"] == 1
    assert generation({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}) == 1
    assert generation({"status": {"phase": "done"}}, status_of(widget)) == 1
    assert generation({"spec": {"count": 2}}) == 2
    assert generation({"spec": {"count": 2}}) == 2
    assert generation({"spec": {"count": None}}) == 3


def test_built_in_types_that_count_generations(client: Client, place: str) -> None:
    """Workloads have a generation; ConfigMaps and Services have none."""
    path = DEPLOYMENTS.one(place, "web")
    assert manifests.deployment(client, place, "web")["metadata"]["generation"] == 1
    assert client.merge(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert client.merge(path, {"spec": {"replicas": 2}})["metadata"]["generation"] == 2
    stateful = STATEFUL_SETS.new("db", spec={"serviceName": "db", **manifests.pod_template()})
    assert client.create(STATEFUL_SETS.all(place), stateful)["metadata"]["generation"] == 1
    assert "generation" not in manifests.config_map(client, place, "one", data={"a": "b"})["metadata"]
    service = client.create(SERVICES.all(place), SERVICES.new("web", spec={"ports": [{"port": 80}]}))
    assert "generation" not in service["metadata"]


def test_a_scale_is_read(client: Client, place: str) -> None:
    """The scale of a Deployment says how many are wanted and by which selector they are found."""
    made = manifests.deployment(client, place, "web", replicas=3)
    scale = client.get(f"{DEPLOYMENTS.one(place, 'web')}/scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 0, "selector": "app=web"})
    shared = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    assert scale["metadata"] == {key: made["metadata"][key] for key in shared}


def test_a_scale_is_written(client: Client, place: str) -> None:
    """Writing the scale changes the number of replicas, and the generation with it."""
    manifests.deployment(client, place, "web")
    path = DEPLOYMENTS.one(place, "web")
    assert client.merge(f"{path}/scale", {"spec": {"replicas": 4}})["spec"] == {"replicas": 4}
    scale = client.get(f"{path}/scale")
    client.update(f"{path}/scale", {**scale, "spec": {"replicas": 5}})
    found = client.get(path)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (5, 3)
    client.call("PUT", f"{path}/scale", {**scale, "spec": {"replicas": 6}}).refused(409, "Conflict")


def test_a_negative_scale_is_refused(client: Client, place: str) -> None:
    """Nobody has fewer than no replicas."""
    manifests.deployment(client, place, "web")
    path = f"{DEPLOYMENTS.one(place, 'web')}/scale"
    answer = client.call("PATCH", path, {"spec": {"replicas": -1}}, kind="application/merge-patch+json")
    assert "spec.replicas: Invalid value: -1" in answer.refused(422, "Invalid")["message"]


def test_a_custom_scale(client: Client, widget: str) -> None:
    """A custom type says which of its fields its scale is about."""
    client.merge(status_of(widget), {"status": {"replicas": 1, "selector": "app=one"}})
    scale = client.merge(f"{widget}/scale", {"spec": {"replicas": 3}})
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 1, "selector": "app=one"})
    assert client.get(widget)["spec"]["replicas"] == 3
