"""What controllers write into objects that people made, as the controllers of Kubernetes and its add-ons write it.

There is no controller manager beside the API server of the tests; each write here has the manager, the subresource and
the content that the real one has. None of it is anybody's intent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.contract.client import APPLY, JSON_PATCH, MERGE
from tests.roundtrip import travels
from tests.roundtrip.travels import Kind

KCM = "kube-controller-manager"
CERTIFICATES = "cert-manager-cainjector"
UID = "11111111-2222-3333-4444-555555555555"


_ADMISSION, _APPS, _RBAC = "admissionregistration.k8s.io/v1", "apps/v1", "rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Write:
    """One request of a controller."""

    manager: str
    content: Any
    subresource: str = ""
    kind: str = MERGE
    method: str = "PATCH"


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to one object after a person made it."""

    title: str
    kind: Kind
    name: str
    writes: tuple[Write, ...]


def _metadata(manager: str, **fields: object) -> Write:
    return Write(manager, {"metadata": fields})


def _spec(manager: str, **fields: object) -> Write:
    return Write(manager, {"spec": fields})


def _status(manager: str = KCM, **fields: object) -> Write:
    return Write(manager, {"status": fields}, "status")


def _bundle(pointer: str) -> Write:
    return Write(CERTIFICATES, [{"op": "add", "path": pointer, "value": _BUNDLE}], kind=JSON_PATCH)


def _condition(type_: str) -> Mapping[str, str]:
    now = "2026-11-23T10:00:00Z"
    return {"type": type_, "status": "True", "reason": "Found", "message": "found", "lastTransitionTime": now}


_BOUND = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
_PROVISIONED = {
    "volume.beta.kubernetes.io/storage-provisioner": "csi.example.com",
    "volume.kubernetes.io/storage-provisioner": "csi.example.com",
    "volume.kubernetes.io/selected-node": "node-1",
}
_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "namespace": "garden",
    "uid": UID,
    "resourceVersion": "7",
}
# A certificate that readers accept.
_FENCE = travels.named(Kind(_ADMISSION, "ValidatingWebhookConfiguration"), "fence")
_BUNDLE = _FENCE["webhooks"][0]["clientConfig"]["caBundle"]
_BINDING = {"metadata": {"name": "least"}, "target": {"kind": "Node", "name": "node-1"}}
_AGGREGATED = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "all-gardens"},
    "rules": [{"apiGroups": ["garden.example.com"], "resources": ["beds"], "verbs": ["get"]}],
}

STORIES = (
    Story(
        "the deployment controller counts revisions",
        Kind(_APPS, "Deployment"),
        "web",
        (
            _metadata(KCM, annotations={"deployment.kubernetes.io/revision": "4"}),
            _status(observedGeneration=1, replicas=3, updatedReplicas=3),
        ),
    ),
    Story(
        "the daemon set controller reports",
        Kind(_APPS, "DaemonSet"),
        "moles",
        (_status(currentNumberScheduled=1, desiredNumberScheduled=1, numberMisscheduled=0, numberReady=1),),
    ),
    Story("the stateful set controller reports", Kind(_APPS, "StatefulSet"), "vines", (_status(replicas=2),)),
    Story(
        "the job controller starts a job",
        Kind("batch/v1", "Job"),
        "least",
        (
            _metadata(KCM, annotations={"batch.kubernetes.io/job-tracking": ""}),
            _status(active=1, startTime="2026-11-23T10:00:00Z"),
        ),
    ),
    Story(
        "the autoscaler reports",
        Kind("autoscaling/v2", "HorizontalPodAutoscaler"),
        "web",
        (_status(currentReplicas=3, desiredReplicas=5, conditions=[_condition("AbleToScale")]),),
    ),
    Story(
        "a claim is provisioned and bound",
        Kind("v1", "PersistentVolumeClaim"),
        "water",
        (
            _metadata("kube-scheduler", annotations={"volume.kubernetes.io/selected-node": "node-1"}),
            _metadata(KCM, annotations=_PROVISIONED),
            Write(KCM, {"metadata": {"annotations": _BOUND}, "spec": {"volumeName": f"pvc-{UID}"}}),
            _metadata("csi-resizer", annotations={"volume.kubernetes.io/storage-resizer": "csi.example.com"}),
            _status(phase="Bound", accessModes=["ReadWriteOnce"], capacity={"storage": "8Gi"}),
        ),
    ),
    Story(
        "a claim that names its volume is bound",
        Kind("v1", "PersistentVolumeClaim"),
        "water-fixed",
        (_metadata(KCM, annotations={"pv.kubernetes.io/bind-completed": "yes"}), _status(phase="Bound")),
    ),
    Story(
        "a volume is bound",
        Kind("v1", "PersistentVolume"),
        "tank-nfs",
        (
            _metadata(KCM, annotations={"pv.kubernetes.io/bound-by-controller": "yes"}),
            _spec(KCM, claimRef={**_CLAIM, "name": "water"}),
            _status(phase="Bound"),
        ),
    ),
    Story(
        "a volume that names its claim is bound and attached",
        Kind("v1", "PersistentVolume"),
        "tank-csi",
        (
            _spec(KCM, claimRef={**_CLAIM, "name": "water-fixed"}),
            _metadata("csi-attacher", finalizers=["kubernetes.io/pv-protection", "external-attacher/csi-example-com"]),
            _status(phase="Bound"),
        ),
    ),
    Story(
        "an account gets a token",
        Kind("v1", "ServiceAccount"),
        "gardener",
        (Write(KCM, {"secrets": [{"name": "vault"}, {"name": "gardener-token-x7x2p"}]}),),
    ),
    Story(
        "a load balancer is made",
        Kind("v1", "Service"),
        "balanced-check-chosen",
        (
            _metadata("cloud-controller-manager", finalizers=["service.kubernetes.io/load-balancer-cleanup"]),
            _status("cloud-controller-manager", loadBalancer={"ingress": [{"ip": "198.51.100.9"}]}),
        ),
    ),
    Story(
        "an ingress is served",
        Kind("networking.k8s.io/v1", "Ingress"),
        "web",
        (_status("nginx-ingress-controller", loadBalancer={"ingress": [{"hostname": "lb.example.com"}]}),),
    ),
    Story(
        "a certificate authority is injected into a mutating webhook",
        Kind(_ADMISSION, "MutatingWebhookConfiguration"),
        "sprinkler",
        (_bundle("/webhooks/0/clientConfig/caBundle"),),
    ),
    Story(
        "a certificate authority is injected into a validating webhook",
        Kind(_ADMISSION, "ValidatingWebhookConfiguration"),
        "gate",
        (_bundle("/webhooks/0/clientConfig/caBundle"),),
    ),
    Story(
        "a certificate authority is injected into a definition",
        Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        "pots.shed.example.com",
        (_bundle("/spec/conversion/webhook/clientConfig/caBundle"),),
    ),
    Story(
        "a certificate authority is injected into an API service",
        Kind("apiregistration.k8s.io/v1", "APIService"),
        "v1.mulch.example.com",
        (_bundle("/spec/caBundle"),),
    ),
    Story(
        "roles are aggregated",
        Kind(_RBAC, "ClusterRole"),
        "all-gardens",
        (Write("clusterrole-aggregation-controller", _AGGREGATED, kind=APPLY),),
    ),
    Story(
        "a pod is bound to a node",
        Kind("v1", "Pod"),
        "least",
        (
            Write("kube-scheduler", _BINDING, "binding", method="POST"),
            _status("kubelet", phase="Running", podIP="10.244.1.5"),
        ),
    ),
    Story(
        "a disruption budget is counted",
        Kind("policy/v1", "PodDisruptionBudget"),
        "web",
        (_status(currentHealthy=3, desiredHealthy=2, disruptionsAllowed=1, expectedPods=3),),
    ),
    Story(
        "a node comes up and is lost",
        Kind("v1", "Node"),
        "node-1",
        (
            _metadata("kubelet", annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"}),
            _metadata("csi-node-driver", annotations={"csi.volume.kubernetes.io/nodeid": '{"csi.example.com":"0123"}'}),
            _metadata(KCM, annotations={"node.alpha.kubernetes.io/ttl": "0"}),
            Write(
                KCM,
                [
                    {"op": "add", "path": "/spec/taints/-", "value": {"key": key, "effect": effect}}
                    for key, effect in (
                        ("node.kubernetes.io/unreachable", "NoSchedule"),
                        ("node.kubernetes.io/unreachable", "NoExecute"),
                    )
                ],
                kind=JSON_PATCH,
            ),
        ),
    ),
    Story(
        "a volume is attached",
        Kind("storage.k8s.io/v1", "VolumeAttachment"),
        "csi-0123",
        (
            _metadata("csi-attacher", annotations={"csi.alpha.kubernetes.io/node-id": "0123"}),
            _metadata("csi-attacher", finalizers=["external-attacher/csi-example-com"]),
            _status("csi-attacher", attached=True),
        ),
    ),
    Story(
        "a device is reserved",
        Kind("resource.k8s.io/v1", "ResourceClaim"),
        "gpu-claim",
        (_metadata("kube-scheduler", finalizers=["resource.kubernetes.io/delete-protection"]),),
    ),
    Story(
        "a range of addresses is taken into use",
        Kind("networking.k8s.io/v1", "ServiceCIDR"),
        "more-addresses",
        (
            _metadata(KCM, finalizers=["networking.k8s.io/service-cidr-finalizer"]),
            _status(conditions=[_condition("Ready")]),
        ),
    ),
    Story(
        "a request for a certificate is approved",
        Kind("certificates.k8s.io/v1", "CertificateSigningRequest"),
        "gardener-1",
        (Write("kubectl", {"status": {"conditions": [_condition("Approved")]}}, "approval"),),
    ),
    Story(
        "endpoints are stamped",
        Kind("v1", "Endpoints"),
        "old-shed",
        (_metadata(KCM, annotations={"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-23T10:00:00Z"}),),
    ),
)


def scaling(manager: str) -> Story:
    """An autoscaler of this name scales a Deployment, again and again."""
    writes = tuple(Write(manager, {"spec": {"replicas": number}}, "scale") for number in (5, 7, 9))
    return Story(f"{manager} scales", Kind(_APPS, "Deployment"), "web", writes)
