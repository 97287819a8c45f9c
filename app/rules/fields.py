"""The table of what the server, its controllers and tools write into objects: data that a reader can check (WIP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.rules import ignoring, ownership

Json = Any
Path = ownership.Path


class Found(NamedTuple):
    """A value that stands where a row points to."""

    obj: Mapping[str, Json]
    path: Path
    value: Json


@dataclass(frozen=True, slots=True)
class When:
    """A condition, in words and in code."""

    text: str
    holds: Callable[[Found], bool]


@dataclass(frozen=True, slots=True)
class Field:
    """One field that is not mirrored: a JSON pointer in which `*` is every item, why, and when (absent: always)."""

    pointer: str
    reason: str
    when: When | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The keys of the pointer."""
        return ignoring.segments(self.pointer)


def _rows(reason: str, *pointers: str, when: When | None = None) -> tuple[Field, ...]:
    return tuple(Field(pointer, reason, when) for pointer in pointers)


def _at(value: Json, *path: str) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


_BOUND = When(
    "a controller bound it",
    lambda found: _at(found.obj, "metadata", "annotations", "pv.kubernetes.io/bound-by-controller") is not None,
)
_NOT_HEADLESS = When("it is not None", lambda found: _at(found.obj, "spec", "clusterIP") != "None")
_SINGLE_STACK = When(
    "single stack",
    lambda found: (
        _at(found.obj, "spec", "ipFamilyPolicy") in (None, "SingleStack")
        and _at(found.obj, "spec", "ipFamilies") in (None, ["IPv4"])
    ),
)
_GENERATED = When("generated", lambda found: _at(found.obj, "spec", "manualSelector") is not True)
_NO_CONVERSION = When("default", lambda found: found.value == {"strategy": "None"})

EVERYWHERE = (
    *_rows("what controllers observed", "/status"),
    *_rows(
        "written by the API server",
        *(
            f"/metadata/{name}"
            for name in (
                "creationTimestamp",
                "deletionGracePeriodSeconds",
                "deletionTimestamp",
                "generation",
                "managedFields",
                "ownerReferences",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    ),
    *_rows(
        "kept by a tool or a controller",
        *(
            f"/metadata/annotations/{name.replace('/', '~1')}"
            for name in (
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
            )
        ),
    ),
)

_TEMPLATE = _rows("written by the API server", "/spec/template/metadata/creationTimestamp")
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io~1controller-uid", "batch.kubernetes.io~1job-name")

BY_KIND: Mapping[tuple[str, str], tuple[Field, ...]] = {
    ("", "Namespace"): _rows("x", "/spec/finalizers", "/metadata/labels/kubernetes.io~1metadata.name"),
    ("", "Service"): (
        *_rows("x", "/spec/clusterIP", "/spec/clusterIPs", when=_NOT_HEADLESS),
        *_rows("x", "/spec/ipFamilies", "/spec/ipFamilyPolicy", when=_SINGLE_STACK),
        *_rows("x", "/spec/healthCheckNodePort"),
    ),
    ("", "ServiceAccount"): _rows("x", "/secrets"),
    ("", "PersistentVolume"): (
        *_rows("x", "/spec/claimRef", when=_BOUND),
        *_rows("x", "/spec/claimRef/uid", "/spec/claimRef/resourceVersion"),
    ),
    ("", "PersistentVolumeClaim"): _rows("x", "/spec/volumeName", when=_BOUND),
    ("", "ReplicationController"): _TEMPLATE,
    ("", "PodTemplate"): _rows("x", "/template/metadata/creationTimestamp"),
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): (
        *_TEMPLATE,
        *_rows("x", "/spec/volumeClaimTemplates/*/status", "/spec/volumeClaimTemplates/*/metadata/creationTimestamp"),
    ),
    ("batch", "Job"): (
        *_TEMPLATE,
        *_rows(
            "x",
            "/spec/selector",
            *(f"/metadata/labels/{label}" for label in _JOB_LABELS),
            *(f"/spec/template/metadata/labels/{label}" for label in _JOB_LABELS),
            when=_GENERATED,
        ),
    ),
    ("batch", "CronJob"): _rows(
        "x",
        "/spec/jobTemplate/metadata/creationTimestamp",
        "/spec/jobTemplate/spec/template/metadata/creationTimestamp",
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): _rows(
        "x", "/spec/username", "/spec/uid", "/spec/groups", "/spec/extra"
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _rows("x", "/spec/conversion", when=_NO_CONVERSION),
}
