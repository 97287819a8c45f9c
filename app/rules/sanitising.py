"""From a live object to what somebody meant: a deny-list, so that no intent is lost (DESIGN section 7).

What goes: `status`, metadata that the server writes, annotations in which tools keep their own copy of the object,
and per kind (group *and* kind: a Knative Service is no core Service) the fields that the server fills in. Every other
field stays. What became empty because its content went, goes too; what was empty before stays.

`metadata.ownerReferences` goes: it names the owner by a uid that only this cluster in this life knows, and an object
that is applied with a uid that is not there is garbage-collected at once. Finalizers stay: people write them.
A core Secret is refused, whatever a rule says: without encryption it never leaves the watch process (promise P12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import errors

Json = Any
Condition = Callable[[Mapping[str, Json]], bool]

# Written by the API server, of no meaning anywhere else.
SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)

# Copies of the object, and state that tools and controllers keep beside it.
TOOL_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "objectset.rio.cattle.io/applied",
        "kapp.k14s.io/original",
        "kapp.k14s.io/original-diff-md5",
        "banzaicloud.com/last-applied",
        "field.cattle.io/publicEndpoints",
        "deployment.kubernetes.io/revision",
        "deployment.kubernetes.io/revision-history",
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.daemonset.template.generation",
        "autoscaling.alpha.kubernetes.io/conditions",
        "autoscaling.alpha.kubernetes.io/current-metrics",
        "control-plane.alpha.kubernetes.io/leader",
        "endpoints.kubernetes.io/last-change-trigger-time",
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "pv.kubernetes.io/provisioned-by",
        "volume.kubernetes.io/storage-provisioner",
        "volume.beta.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/selected-node",
    }
)

BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
EVERY_ITEM = "*"


def _always(_obj: Mapping[str, Json]) -> bool:
    return True


def _not_headless(obj: Mapping[str, Json]) -> bool:
    # `clusterIP: None` is a decision, an address is an allocation.
    return bool(_at(obj, "spec", "clusterIP") != "None")


def _single_stack(obj: Mapping[str, Json]) -> bool:
    return _at(obj, "spec", "ipFamilyPolicy") in (None, "SingleStack") and _at(obj, "spec", "ipFamilies") in (
        None,
        ["IPv4"],
    )


def _bound_by_controller(obj: Mapping[str, Json]) -> bool:
    return _at(obj, "metadata", "annotations", BOUND_BY_CONTROLLER) is not None


def _selector_is_generated(obj: Mapping[str, Json]) -> bool:
    return _at(obj, "spec", "manualSelector") is not True


def _no_conversion(obj: Mapping[str, Json]) -> bool:
    return bool(_at(obj, "spec", "conversion") == {"strategy": "None"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field that the server fills in: where it stands, and when it is the server's. `*` is every list item."""

    path: tuple[str, ...]
    when: Condition = _always


def _fields(*paths: str, when: Condition = _always) -> tuple[Field, ...]:
    return tuple(Field(tuple(path.split("/")), when) for path in paths)


# A template's metadata carries `creationTimestamp: null`, because the server marshals a struct.
_TEMPLATE = _fields("spec/template/metadata/creationTimestamp")
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io~controller-uid", "batch.kubernetes.io~job-name")

# Group and kind -> the fields that the server fills in. `~` stands for a slash inside a key.
SERVER_FIELDS: Mapping[tuple[str, str], tuple[Field, ...]] = {
    ("", "Namespace"): _fields("spec/finalizers", "metadata/labels/kubernetes.io~metadata.name"),
    ("", "Service"): (
        *_fields("spec/clusterIP", "spec/clusterIPs", when=_not_headless),
        *_fields("spec/ipFamilies", "spec/ipFamilyPolicy", when=_single_stack),
        # Allocated with externalTrafficPolicy Local. A nodePort stays: clients are configured with it.
        *_fields("spec/healthCheckNodePort"),
    ),
    ("", "ServiceAccount"): _fields("secrets"),
    ("", "PersistentVolume"): (
        *_fields("spec/claimRef", when=_bound_by_controller),
        *_fields("spec/claimRef/uid", "spec/claimRef/resourceVersion"),
    ),
    ("", "PersistentVolumeClaim"): _fields("spec/volumeName", when=_bound_by_controller),
    ("", "ReplicationController"): _TEMPLATE,
    ("", "PodTemplate"): _fields("template/metadata/creationTimestamp"),
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): (
        *_TEMPLATE,
        *_fields("spec/volumeClaimTemplates/*/status", "spec/volumeClaimTemplates/*/metadata/creationTimestamp"),
    ),
    ("batch", "Job"): (
        *_TEMPLATE,
        *_fields(
            "spec/selector",
            *(f"metadata/labels/{label}" for label in _JOB_LABELS),
            *(f"spec/template/metadata/labels/{label}" for label in _JOB_LABELS),
            when=_selector_is_generated,
        ),
    ),
    ("batch", "CronJob"): _fields(
        "spec/jobTemplate/metadata/creationTimestamp", "spec/jobTemplate/spec/template/metadata/creationTimestamp"
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): _fields(
        "spec/username", "spec/uid", "spec/groups", "spec/extra"
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _fields("spec/conversion", when=_no_conversion),
}


def sanitise(obj: Mapping[str, Json]) -> dict[str, Json]:
    """A copy without what only the server or a tool means. The input is not changed; parts of it are shared.

    Raises PermanentError for what is no object, and PermanentError(EncryptionRequired) for a core Secret.
    """
    metadata, kind, group = obj.get("metadata"), obj.get("kind"), _group_of(obj)
    if not isinstance(metadata, Mapping) or not kind:
        raise errors.PermanentError("an object without kind and metadata cannot be mirrored", reason="InvalidObject")
    if kind == "Secret" and not group:
        raise errors.PermanentError(
            "a Secret is mirrored only encrypted, and no encryption is configured", reason="EncryptionRequired"
        )
    clean = {key: value for key, value in obj.items() if key != "status"}
    clean["metadata"] = _metadata(metadata)
    # Conditions look at the object as it was: annotations that they ask for are gone from the copy.
    for field in SERVER_FIELDS.get((group, kind), ()):
        if field.when(obj):
            clean = _without(clean, field.path)
    return clean


def body(sanitised: Mapping[str, Json]) -> bytes:
    """The bytes that the ledger keeps and that are hashed: JSON, keys sorted.

    Raises PermanentError(NotWritable) for what JSON in UTF-8 cannot hold; the message says nothing of the content.
    """
    try:
        return orjson.dumps(sanitised, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise errors.PermanentError(
            "the object holds text that is no Unicode, or is nested too deep: it cannot be written",
            reason="NotWritable",
        ) from error


def content_hash(body: bytes) -> str:
    """32 hexadecimal digits; equal for equal bodies."""
    return hashlib.sha256(body).hexdigest()[:32]


def _group_of(obj: Mapping[str, Json]) -> str:
    api_version = obj.get("apiVersion")
    if not isinstance(api_version, str) or not api_version:
        raise errors.PermanentError("an object without apiVersion cannot be mirrored", reason="InvalidObject")
    group, slash, _ = api_version.partition("/")
    return group if slash else ""


def _metadata(metadata: Mapping[str, Json]) -> dict[str, Json]:
    clean = {key: value for key, value in metadata.items() if key not in SERVER_METADATA}
    annotations = clean.get("annotations")
    if annotations and not TOOL_ANNOTATIONS.isdisjoint(annotations):
        clean["annotations"] = {key: value for key, value in annotations.items() if key not in TOOL_ANNOTATIONS}
    # The server drops empty maps and lists here, or keeps them, depending on who wrote them.
    for key in ("annotations", "labels", "finalizers"):
        if key in clean and not clean[key]:
            del clean[key]
    return clean


def _without(value: Mapping[str, Json], path: Sequence[str]) -> dict[str, Json]:
    """A copy of `value` without what stands at `path`, nor what got empty by that; the same when nothing does."""
    key, rest = path[0].replace("~", "/"), path[1:]
    if key not in value:
        return dict(value)
    if not rest:
        return {name: child for name, child in value.items() if name != key}
    child = value[key]
    changed = _without_in(child, rest)
    if child and not changed:
        return {name: other for name, other in value.items() if name != key}
    return {**value, key: changed}


def _without_in(child: Json, path: Sequence[str]) -> Json:
    if isinstance(child, Mapping):
        return _without(child, path)
    if isinstance(child, list) and path[0] == EVERY_ITEM:
        return [_without_in(item, path[1:]) for item in child]
    return child


def _at(value: Json, *path: str) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
