"""Conditions and status writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app import errors, events
from app.kube import client, kinds, paths, problems, status
from tests.kube import objects

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
DESTINATIONS = kinds.OUR_TYPES["GitDestination"]


def merge(old: list[dict[str, Any]], *new: status.Condition, now: datetime = LATER) -> list[dict[str, Any]]:
    """The conditions of generation 2."""
    return status.merge_conditions(old, new, generation=2, now=now)


def ready(state: Any = "True", reason: str = "Synced", message: str = "all is pushed") -> status.Condition:
    """A Ready condition."""
    return status.Condition("Ready", state, reason, message)


def test_the_time_moves_with_the_status_only() -> None:
    """`lastTransitionTime` is that of the last change of True, False or Unknown; reason and message may change."""
    [first] = merge([], ready(), now=NOON)
    assert first["lastTransitionTime"] == "2030-01-01T12:00:00Z"
    [same] = merge([first], ready(reason="Waiting", message="one change waits"))
    assert same["lastTransitionTime"] == first["lastTransitionTime"]
    assert (same["reason"], same["message"], same["observedGeneration"]) == ("Waiting", "one change waits", 2)
    [changed] = merge([same], ready("False"))
    assert changed["lastTransitionTime"] == "2030-01-01T13:00:00Z"


def test_times_are_written_in_utc() -> None:
    """A time of another zone is written as UTC."""
    [condition] = merge([], ready(), now=NOON.astimezone(timezone(timedelta(hours=5))))
    assert condition["lastTransitionTime"] == "2030-01-01T12:00:00Z"


def test_conditions_of_others_stay() -> None:
    """A condition of a type that is not ours stays as it is, and the input is not changed."""
    foreign = {"type": "Approved", "status": "True", "lastTransitionTime": "2029-01-01T00:00:00Z"}
    old = [foreign, *merge([], ready())]
    before = [dict(one) for one in old]
    merged = merge(old, ready("False"))
    assert [one["type"] for one in merged] == ["Ready", "Approved"]
    assert merged[1] == foreign
    assert old == before


def test_a_long_message_is_cut() -> None:
    """A message has at most 2,000 characters and shows that it was cut."""
    [condition] = merge([], ready(message="x" * 40_000))
    assert len(condition["message"]) == 2_000
    assert condition["message"].endswith("…")


@pytest.fixture
def destination(our_kinds: client.Cluster, place: str) -> dict[str, Any]:
    """A destination in the cluster."""
    spec = {"repoRef": {"name": "repo"}, "branch": "main", "baseFolder": "prod"}
    return objects.create(our_kinds, DESTINATIONS, {"metadata": {"name": "prod", "namespace": place}, "spec": spec})


def read(cluster: client.Cluster, found: dict[str, Any]) -> dict[str, Any]:
    """The object as the server has it."""
    return cluster.get_json(paths.single(DESTINATIONS, events.Ref(found["metadata"]["namespace"], "prod")))


def test_a_status_is_written_and_fields_are_removed(our_kinds: client.Cluster, destination: dict[str, Any]) -> None:
    """The status in the cluster is what was asked for: new fields, changed lists, and fields that are gone."""
    wanted = {"conditions": merge([], ready()), "pending": 3, "lastCommitSHA": "abc"}
    written = status.patch_status(our_kinds, DESTINATIONS, destination, status=wanted)
    assert written["status"] == read(our_kinds, destination)["status"] == wanted
    less = {"conditions": merge([], ready("False")), "pending": 3}
    status.patch_status(our_kinds, DESTINATIONS, written, status=less)
    assert read(our_kinds, destination)["status"] == less
    assert read(our_kinds, destination)["spec"] == destination["spec"]


def test_an_unchanged_status_is_not_written(our_kinds: client.Cluster, destination: dict[str, Any]) -> None:
    """Writing the same status again sends nothing: the resourceVersion stays."""
    written = status.patch_status(our_kinds, DESTINATIONS, destination, status={"pending": 3})
    assert status.patch_status(our_kinds, DESTINATIONS, written, status={"pending": 3}) is written
    assert read(our_kinds, destination)["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]


def test_a_status_never_lands_on_another_object(our_kinds: client.Cluster, destination: dict[str, Any]) -> None:
    """An object that was made anew under the same name conflicts; one that is gone is not served."""
    ref = events.Ref(destination["metadata"]["namespace"], "prod")
    objects.delete(our_kinds, DESTINATIONS, ref)
    with pytest.raises(problems.NotServed):
        status.patch_status(our_kinds, DESTINATIONS, destination, status={"pending": 3})
    again = {"metadata": {"name": ref.name, "namespace": ref.namespace}, "spec": destination["spec"]}
    objects.create(our_kinds, DESTINATIONS, again)
    with pytest.raises(problems.Conflict):
        status.patch_status(our_kinds, DESTINATIONS, destination, status={"pending": 3})
    assert "status" not in read(our_kinds, destination)


def test_a_status_outside_of_the_schema_is_refused(our_kinds: client.Cluster, destination: dict[str, Any]) -> None:
    """A status that the CRD does not know is an error that names the field, not a silent loss."""
    with pytest.raises(errors.PermanentError, match=r"status\.syncStatus"):
        status.patch_status(our_kinds, DESTINATIONS, destination, status={"syncStatus": "perhaps"})
