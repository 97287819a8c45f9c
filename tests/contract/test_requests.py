"""What a request may ask for beside its object: a dry run, and what to do with fields that nobody knows."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import APPLY, MERGE, Client
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, WIDGETS


def test_a_dry_run_creates_nothing(client: Client, place: str) -> None:
    """A dry run answers with the object as it would be, without a resourceVersion, and keeps nothing."""
    manifest = DEPLOYMENTS.new("web", spec=manifests.pod_template())
    found = client.create(DEPLOYMENTS.all(place), manifest, dryRun="All")
    assert found["spec"]["replicas"] == 1
    assert found["metadata"]["uid"]
    assert "resourceVersion" not in found["metadata"]
    assert client.names(DEPLOYMENTS.all(place)) == []


def test_a_dry_run_changes_nothing(client: Client, place: str) -> None:
    """A dry run of an update, a patch, an apply or a delete leaves the object as it is."""
    first = manifests.config_map(client, place, "one", data={"key": "1"})
    path = CONFIG_MAPS.one(place, "one")
    assert client.update(path, {**first, "data": {"key": "2"}}, dryRun="All")["data"] == {"key": "2"}
    assert client.merge(path, {"data": {"key": "3"}}, dryRun="All")["data"] == {"key": "3"}
    manifest = CONFIG_MAPS.new("one", data={"new": "4"})
    answer = client.call("PATCH", path, manifest, kind=APPLY, fieldManager="alice", dryRun="All")
    assert answer.done(200)["data"] == {"key": "1", "new": "4"}
    client.delete(path, dryRun="All")
    assert client.get(path) == first


def test_a_dry_run_is_checked(client: Client, place: str) -> None:
    """A dry run is refused where the request would be."""
    manifest = WIDGETS.new("one", spec={"size": "huge"})
    client.call("POST", WIDGETS.all(place), manifest, dryRun="All").refused(422, "Invalid")
    manifests.config_map(client, place, "one")
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one"), dryRun="All")
    answer.refused(409, "AlreadyExists")


def test_a_dry_run_is_all(client: Client, place: str) -> None:
    """Another value than All is an error."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one"), dryRun="Some")
    assert "dryRun: Unsupported value: " in answer.refused(422, "Invalid")["message"]


UNKNOWN = {"spec": {"size": "small", "unknown": 1, "parts": [{"name": "a", "wrong": 2}]}}
FIELDS = ['unknown field "spec.parts[0].wrong"', 'unknown field "spec.unknown"']


def test_unknown_fields_are_dropped_with_a_warning(client: Client, place: str) -> None:
    """What a custom type does not know is left out; the answer warns of each field. This is the default."""
    for number, validation in enumerate(("Warn", None)):
        manifest = {**WIDGETS.new(f"n{number}"), **UNKNOWN}
        answer = client.call("POST", WIDGETS.all(place), manifest, fieldValidation=validation)
        assert sorted(answer.warnings()) == FIELDS
        spec = answer.done(201)["spec"]
        assert "unknown" not in spec
        assert spec["parts"] == [{"name": "a", "weight": 5}]


def test_unknown_fields_are_ignored_on_demand(client: Client, place: str) -> None:
    """With Ignore they are left out in silence."""
    answer = client.call("POST", WIDGETS.all(place), {**WIDGETS.new("one"), **UNKNOWN}, fieldValidation="Ignore")
    assert "unknown" not in answer.done(201)["spec"]
    assert answer.warnings() == []


def test_unknown_fields_are_refused_on_demand(client: Client, place: str) -> None:
    """With Strict, as kubectl asks, they are an error that names each of them."""
    answer = client.call("POST", WIDGETS.all(place), {**WIDGETS.new("one"), **UNKNOWN}, fieldValidation="Strict")
    message = answer.refused(400, "BadRequest")["message"]
    assert "strict decoding error: " in message
    assert all(field in message for field in FIELDS)
    assert client.names(WIDGETS.all(place)) == []


def test_built_in_types_are_strict_too(client: Client, place: str) -> None:
    """An unknown field of a built-in type: dropped, warned of, or refused."""
    manifest = {**DEPLOYMENTS.new("web", spec={**manifests.pod_template(), "replica": 2}), "extra": True}
    answer = client.call("POST", DEPLOYMENTS.all(place), manifest, fieldValidation="Strict", dryRun="All")
    status = answer.refused(400, "BadRequest")
    assert 'unknown field "spec.replica"' in status["message"]
    assert 'unknown field "extra"' in status["message"]
    answer = client.call("POST", DEPLOYMENTS.all(place), manifest, fieldValidation="Warn")
    assert sorted(answer.warnings()) == ['unknown field "extra"', 'unknown field "spec.replica"']
    assert "replica" not in answer.done(201)["spec"]


def test_a_field_twice_is_an_error_on_demand(client: Client, place: str) -> None:
    """A key that stands twice in a document is told too; the last one counts."""
    text = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"key":"1"},"data":{"key":"2"}}'
    answer = client.call("POST", CONFIG_MAPS.all(place), text, fieldValidation="Strict")
    assert 'duplicate field "data"' in answer.refused(400, "BadRequest")["message"]
    answer = client.call("POST", CONFIG_MAPS.all(place), text, fieldValidation="Warn")
    assert answer.warnings() == ['duplicate field "data"']
    assert answer.done(201)["data"] == {"key": "2"}


def test_patches_are_strict_too(client: Client, place: str) -> None:
    """A patch that brings in an unknown field is refused with Strict."""
    manifests.widget(client, place, "one")
    path, change = WIDGETS.one(place, "one"), {"spec": {"unknown": 1}}
    answer = client.call("PATCH", path, change, kind=MERGE, fieldValidation="Strict")
    # The reason differs between kinds of patches; the code is what a client can rely on.
    assert answer.code in {400, 422}
    assert 'unknown field "spec.unknown"' in answer.json["message"]
    answer = client.call("PATCH", path, change, kind=MERGE)
    assert answer.warnings() == ['unknown field "spec.unknown"']
    assert "unknown" not in answer.done(200)["spec"]


def test_field_validation_has_three_values(client: Client, place: str) -> None:
    """Another value is an error."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one"), fieldValidation="Perhaps")
    assert 'fieldValidation: Unsupported value: "Perhaps"' in answer.refused(422, "Invalid")["message"]


@pytest.mark.parametrize("pretty", [True, False])
def test_a_pretty_answer_is_the_same(client: Client, place: str, *, pretty: bool) -> None:
    """`pretty` changes the look of an answer, not what it says."""
    manifests.config_map(client, place, "one")
    path = CONFIG_MAPS.one(place, "one")
    assert client.call("GET", path, pretty=pretty).json == client.get(path)
