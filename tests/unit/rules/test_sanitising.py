"""Sanitising: what the server and tools wrote goes, what people meant stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from app import errors
from app.rules import sanitising
from tests.unit.rules import strategies


def _obj(api_version: str, kind: str, *, metadata: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", **(metadata or {})}, **rest}


def _live(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {"uid": "u", **obj["metadata"]}}


def test_status_and_server_metadata_go_everything_else_stays() -> None:
    """A deny-list: data, rules and fields that nobody has heard of stay."""
    server = dict.fromkeys(["uid", "generation"], "x")
    kept = {"labels": {"a": "b"}, "finalizers": ["f"], "generateName": "a-", "unheard": 1}
    obj = _obj("example.com/v1", "Order", metadata={**server, **kept}, status={"x": 1}, spec={"status": 2}, rules=[])
    assert sanitising.sanitise(obj) == _obj("example.com/v1", "Order", metadata=kept, spec={"status": 2}, rules=[])


def test_tool_annotations_go_and_empty_maps_with_them() -> None:
    """The copy that kubectl keeps holds the data once more; it never leaves the process."""
    last_applied = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"canary":"s3cr3t"}}'}
    clean = sanitising.sanitise(_obj("v1", "ConfigMap", metadata={"annotations": last_applied, "labels": {}}))
    assert clean == _obj("v1", "ConfigMap", metadata={"labels": {}})
    clean = sanitising.sanitise(_obj("v1", "ConfigMap", metadata={"annotations": {**last_applied, "mine": "x"}}))
    assert clean["metadata"]["annotations"] == {"mine": "x"}
    assert b"s3cr3t" not in sanitising.body(clean)


KIND_TABLE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "namespace",
        _obj(
            "v1",
            "Namespace",
            metadata={"labels": {"kubernetes.io/metadata.name": "a"}},
            spec={"finalizers": ["kubernetes"]},
        ),
        _obj("v1", "Namespace"),
    ),
    (
        "namespace with labels",
        _obj("v1", "Namespace", metadata={"labels": {"kubernetes.io/metadata.name": "a", "b": "c"}}),
        _obj("v1", "Namespace", metadata={"labels": {"b": "c"}}),
    ),
    (
        "service",
        _obj(
            "v1",
            "Service",
            spec={
                "clusterIP": "10.0.0.1",
                "clusterIPs": ["10.0.0.1"],
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "healthCheckNodePort": 30001,
                "ports": [{"port": 80, "nodePort": 30000}],
            },
        ),
        _obj("v1", "Service", spec={"ports": [{"port": 80, "nodePort": 30000}]}),
    ),
    (
        "headless service of two families",
        _obj(
            "v1",
            "Service",
            spec={
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "PreferDualStack",
            },
        ),
        _obj(
            "v1",
            "Service",
            spec={
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "PreferDualStack",
            },
        ),
    ),
    (
        "service account",
        _obj("v1", "ServiceAccount", secrets=[{"name": "a-token-x1y2z"}], imagePullSecrets=[{"name": "pull"}]),
        _obj("v1", "ServiceAccount", imagePullSecrets=[{"name": "pull"}]),
    ),
    (
        "bound volume",
        _obj(
            "v1",
            "PersistentVolume",
            metadata={"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            spec={"claimRef": {"name": "c", "uid": "u"}, "capacity": {}},
        ),
        _obj("v1", "PersistentVolume", spec={"capacity": {}}),
    ),
    (
        "volume for one claim",
        _obj("v1", "PersistentVolume", spec={"claimRef": {"name": "c", "uid": "u", "resourceVersion": "1"}}),
        _obj("v1", "PersistentVolume", spec={"claimRef": {"name": "c"}}),
    ),
    (
        "bound claim",
        _obj(
            "v1",
            "PersistentVolumeClaim",
            metadata={
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/bind-completed": "yes"}
            },
            spec={"volumeName": "pv-1", "accessModes": []},
        ),
        _obj("v1", "PersistentVolumeClaim", spec={"accessModes": []}),
    ),
    (
        "claim of one volume",
        _obj("v1", "PersistentVolumeClaim", spec={"volumeName": "pv-1"}),
        _obj("v1", "PersistentVolumeClaim", spec={"volumeName": "pv-1"}),
    ),
    (
        "stateful set",
        _obj(
            "apps/v1",
            "StatefulSet",
            spec={
                "template": {"metadata": {"creationTimestamp": None}, "spec": {}},
                "volumeClaimTemplates": [
                    {"metadata": {"name": "d", "creationTimestamp": None}, "status": {"phase": "Pending"}},
                    "odd",
                ],
            },
        ),
        _obj(
            "apps/v1",
            "StatefulSet",
            spec={"template": {"spec": {}}, "volumeClaimTemplates": [{"metadata": {"name": "d"}}, "odd"]},
        ),
    ),
    (
        "job",
        _obj(
            "batch/v1",
            "Job",
            metadata={"labels": {"job-name": "a", "mine": "x"}},
            spec={
                "selector": {"matchLabels": {"controller-uid": "u"}},
                "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "job-name": "a"}}},
            },
        ),
        _obj("batch/v1", "Job", metadata={"labels": {"mine": "x"}}),
    ),
    (
        "job with a selector of its own",
        _obj("batch/v1", "Job", spec={"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}}),
        _obj("batch/v1", "Job", spec={"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}}),
    ),
    (
        "cron job",
        _obj("batch/v1", "CronJob", spec={"jobTemplate": {"metadata": {"creationTimestamp": None}, "spec": {"a": 1}}}),
        _obj("batch/v1", "CronJob", spec={"jobTemplate": {"spec": {"a": 1}}}),
    ),
    (
        "crd",
        _obj(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            spec={"conversion": {"strategy": "None"}, "group": "g"},
        ),
        _obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"group": "g"}),
    ),
    (
        "crd with a webhook",
        _obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"conversion": {"strategy": "Webhook"}}),
        _obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"conversion": {"strategy": "Webhook"}}),
    ),
    (
        "knative service",
        _obj("serving.knative.dev/v1", "Service", spec={"clusterIP": "x", "healthCheckNodePort": 1}),
        _obj("serving.knative.dev/v1", "Service", spec={"clusterIP": "x", "healthCheckNodePort": 1}),
    ),
    (
        "secret of another group",
        _obj("example.com/v1", "Secret", data={"a": "b"}),
        _obj("example.com/v1", "Secret", data={"a": "b"}),
    ),
    (
        "odd shapes",
        _obj("v1", "Service", spec="text"),
        _obj("v1", "Service", spec="text"),
    ),
]


@pytest.mark.parametrize(("obj", "expected"), [row[1:] for row in KIND_TABLE], ids=[row[0] for row in KIND_TABLE])
def test_server_fields_go_by_group_and_kind(obj: dict[str, Any], expected: dict[str, Any]) -> None:
    """The table of fields, line by line; a condition keeps what somebody decided, and once is enough."""
    before = copy.deepcopy(obj)
    clean = sanitising.sanitise(_live(obj))
    assert clean == expected
    assert obj == before
    assert sanitising.sanitise(clean) == clean


@given(strategies.objects)
def test_an_unknown_kind_keeps_all_but_its_status(rest: dict[str, Any]) -> None:
    """No field of a custom resource is ever lost."""
    obj = {**rest, **_obj("example.com/v1", "Order")}
    expected = {key: value for key, value in obj.items() if key != "status"}
    assert sanitising.sanitise(obj) == expected


def test_a_secret_is_refused_whatever_a_rule_says() -> None:
    """Promise P12: the last door before the ledger; the message holds nothing of it."""
    with pytest.raises(errors.PermanentError) as caught:
        sanitising.sanitise(_obj("v1", "Secret", data={"password": "czNjcjN0"}))
    assert caught.value.reason == "EncryptionRequired"
    assert "czNjcjN0" not in repr(caught.value)


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"kind": "A", "metadata": {}},
        {"apiVersion": "v1", "metadata": {}},
        {"apiVersion": "v1", "kind": "A"},
        {"apiVersion": 1},
    ],
)
def test_what_is_no_object_is_refused(obj: dict[str, Any]) -> None:
    """It becomes a dead row with a reason."""
    with pytest.raises(errors.PermanentError) as caught:
        sanitising.sanitise(obj)
    assert caught.value.reason == "InvalidObject"


def test_equal_objects_have_equal_hashes() -> None:
    """The order of keys makes no change; a value does (promise P3)."""
    one, same, other = ({"a": 1, "b": [1, {"c": 2, "d": 3}]}, {"b": [1, {"d": 3, "c": 2}], "a": 1}, {"a": 2})
    hashes = [sanitising.content_hash(sanitising.body(obj)) for obj in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(text) == 32 for text in hashes)
    assert sanitising.body(one) == b'{"a":1,"b":[1,{"c":2,"d":3}]}'


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, 2**64, object()])
def test_what_cannot_be_written_is_refused_without_its_content(value: Any) -> None:
    """It becomes a dead row with a reason."""
    with pytest.raises(errors.PermanentError) as caught:
        sanitising.body({"a": value})
    assert caught.value.reason == "NotWritable"


def test_a_nesting_without_end_is_refused() -> None:
    """A hostile object ends in a reason, not in the end of the process."""
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(errors.PermanentError, match="nested too deep"):
        sanitising.body({"a": deep})
