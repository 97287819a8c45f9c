"""The table of what the server, its controllers and tools write into objects: rows that a reader can check.

Each row is a place as a JSON pointer in which `*` is every item of a list, why it is not mirrored and, where that
depends, when. A kind is a group *and* a name: a Knative Service is no core Service, and of a kind without rows only
EVERYWHERE goes. `sanitising.py` takes the places out, and asks conditions of live objects alone: in a manifest, all
that stands there was written by somebody. `docs/reference/sanitising.md` shows all rows; a test holds it to them.

`metadata.ownerReferences` goes: it names the owner by a uid that only this cluster in this life knows, and an object
that is applied with a uid that is not there is garbage-collected at once. Finalizers stay, because people write them,
but for those that a controller adds by itself. A `kubectl rollout restart` stays: it is what somebody wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.rules import evidence, ignoring
from app.rules.evidence import When


@dataclass(frozen=True, slots=True)
class Field:
    """One row: the place, why it is not mirrored, and when; without a condition always."""

    pointer: str
    reason: str
    when: When | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The keys of the pointer."""
        return ignoring.segments(self.pointer)


def _rows(reason: str, *pointers: str, when: When | None = None) -> tuple[Field, ...]:
    return tuple(Field(pointer, reason, when) for pointer in pointers)


def _annotations(reason: str, *names: str) -> tuple[Field, ...]:
    return _rows(reason, *(ignoring.pointer(("metadata", "annotations", name)) for name in names))


def _labels(reason: str, *names: str, below: str = "", when: When | None = None) -> tuple[Field, ...]:
    return _rows(reason, *(below + ignoring.pointer(("metadata", "labels", name)) for name in names), when=when)


def _finalizers(reason: str, *names: str) -> tuple[Field, ...]:
    return _rows(reason, "/metadata/finalizers/*", when=evidence.is_one_of(*names))


EVERYWHERE: tuple[Field, ...] = (
    *_rows("what controllers observed", "/status"),
    *_rows(
        "written by the API server",
        "/metadata/creationTimestamp",
        "/metadata/deletionGracePeriodSeconds",
        "/metadata/deletionTimestamp",
        "/metadata/generation",
        "/metadata/managedFields",
        "/metadata/resourceVersion",
        "/metadata/selfLink",
        "/metadata/uid",
    ),
    *_rows("names the owner by a uid of this cluster", "/metadata/ownerReferences"),
    *_finalizers("added for the time of a deletion", "foregroundDeletion", "orphan"),
    *_annotations(
        "a tool's copy of the object",
        "kubectl.kubernetes.io/last-applied-configuration",
        "objectset.rio.cattle.io/applied",
        "kapp.k14s.io/original",
        "kapp.k14s.io/original-diff-md5",
        "banzaicloud.com/last-applied",
        "kopf.zalando.org/last-handled-configuration",
        "metacontroller.k8s.io/last-applied-configuration",
    ),
    *_annotations("state that Rancher keeps", "field.cattle.io/publicEndpoints"),
)

_LEADER = _annotations("the lock of a leader election", "control-plane.alpha.kubernetes.io/leader")
_TRIGGERED = _annotations("written by the endpoints controllers", "endpoints.kubernetes.io/last-change-trigger-time")
_REPLICAS = _rows(
    "a HorizontalPodAutoscaler decides it",
    "/spec/replicas",
    when=evidence.written_alone_by("kube-controller-manager", "scale"),
)


def _template(at: str) -> tuple[Field, ...]:
    # The server marshals a struct: older ones write `creationTimestamp: null`.
    return (
        *_rows("written by the API server", f"{at}/metadata/creationTimestamp"),
        *_rows(
            "the old name of serviceAccountName, filled in from it",
            f"{at}/spec/serviceAccount",
            when=evidence.equals_sibling("serviceAccountName"),
        ),
    )


_WORKLOAD = _template("/spec/template")
_GENERATED_BY_JOB = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)
_JOB = (
    *_rows("generated: it holds the uid of the Job", "/spec/selector", when=evidence.SELECTOR_OF_JOB),
    *_labels("generated for the selector", *_GENERATED_BY_JOB, when=evidence.GENERATED_FOR_JOB),
    *_labels("generated for the selector", *_GENERATED_BY_JOB, below="/spec/template", when=evidence.GENERATED_FOR_JOB),
    *_annotations("written by the Job controller", "batch.kubernetes.io/job-tracking"),
)
_INJECTED = "a controller writes it, which an annotation asks for"
_WEBHOOKS = _rows(_INJECTED, "/webhooks/*/clientConfig/caBundle", when=evidence.CA_INJECTED)
_MOUNTS = tuple(f"/spec/{containers}/*/volumeMounts/*" for containers in ("initContainers", "containers"))
_BINDING = ("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller", "pv.kubernetes.io/migrated-to")
_ATTACHED = _rows("added while a volume is attached", "/metadata/finalizers/*", when=evidence.OF_ATTACHER)

# Group and kind -> what goes besides EVERYWHERE.
BY_KIND: Mapping[tuple[str, str], tuple[Field, ...]] = {
    ("", "ConfigMap"): (
        *_LEADER,
        *_rows(_INJECTED, "/data/service-ca.crt", when=evidence.CA_INJECTED),
        *_rows(_INJECTED, "/data/ca-bundle.crt", when=evidence.TRUSTED_CA_INJECTED),
    ),
    ("", "Endpoints"): (*_LEADER, *_TRIGGERED),
    ("", "Namespace"): (
        *_rows("added by the API server", "/spec/finalizers/*", when=evidence.is_one_of("kubernetes")),
        *_labels("the name once more", "kubernetes.io/metadata.name"),
    ),
    ("", "Node"): (
        *_rows("allocated to the node", "/spec/podCIDR", "/spec/podCIDRs", when=evidence.ALLOCATED),
        *_rows("the state of the node, written by controllers", "/spec/taints/*", when=evidence.TAINT_OF_STATE),
        *_annotations(
            "the state of the node, written by controllers",
            "csi.volume.kubernetes.io/nodeid",
            "node.alpha.kubernetes.io/ttl",
            "volumes.kubernetes.io/controller-managed-attach-detach",
        ),
    ),
    ("", "PersistentVolume"): (
        *_rows("a controller bound the volume", "/spec/claimRef", when=evidence.BOUND_BY_CONTROLLER),
        *_rows("of this claim in this cluster", "/spec/claimRef/uid", "/spec/claimRef/resourceVersion"),
        *_rows(
            "filled in when the claim is bound",
            "/spec/claimRef/apiVersion",
            "/spec/claimRef/kind",
            when=evidence.KNOWN_ALLOCATED,
        ),
        *_annotations("written when the claim is bound", *_BINDING, "pv.kubernetes.io/provisioned-by"),
        *_finalizers("added to every volume", "kubernetes.io/pv-protection"),
        *_finalizers(
            "added by the provisioner",
            "external-provisioner.volume.kubernetes.io/finalizer",
            "kubernetes.io/pv-controller",
        ),
        *_ATTACHED,
    ),
    ("", "PersistentVolumeClaim"): (
        *_rows("a controller bound the claim", "/spec/volumeName", when=evidence.BOUND_BY_CONTROLLER),
        *_annotations(
            "written when the claim is bound",
            *_BINDING,
            "volume.beta.kubernetes.io/storage-provisioner",
            "volume.kubernetes.io/selected-node",
            "volume.kubernetes.io/storage-provisioner",
            "volume.kubernetes.io/storage-resizer",
        ),
        *_finalizers("added to every claim", "kubernetes.io/pvc-protection"),
    ),
    ("", "Pod"): (
        *_rows("chosen by the scheduler", "/spec/nodeName", when=evidence.ALLOCATED),
        *_rows("computed from priorityClassName", "/spec/priority"),
        *_rows("computed from priorityClassName", "/spec/preemptionPolicy", when=evidence.KNOWN_ALLOCATED),
        *_rows("computed from runtimeClassName", "/spec/overhead", when=evidence.KNOWN_ALLOCATED),
        *_rows("for debugging a running pod: nothing that is applied may have it", "/spec/ephemeralContainers"),
        *_rows("added by the API server", "/spec/tolerations/*", when=evidence.DEFAULT_TOLERATION),
        *_rows("the token of the ServiceAccount, mounted by the API server", "/spec/volumes/*", when=evidence.TOKEN),
        *_rows("the token of the ServiceAccount, mounted by the API server", *_MOUNTS, when=evidence.TOKEN),
        *_template("")[1:],
        *_finalizers("added by the Job controller", "batch.kubernetes.io/job-tracking"),
    ),
    ("", "PodTemplate"): _template("/template"),
    ("", "ReplicationController"): (*_WORKLOAD, *_REPLICAS),
    ("", "Service"): (
        *_rows("allocated", "/spec/clusterIP", when=evidence.ALLOCATED_IP),
        *_rows("allocated", "/spec/clusterIPs", when=evidence.ALLOCATED_IPS),
        *_rows("follows the cluster", "/spec/ipFamilies", "/spec/ipFamilyPolicy", when=evidence.FAMILY_OF_CLUSTER),
        *_rows("allocated", "/spec/healthCheckNodePort", when=evidence.ALLOCATED),
        *_rows("allocated", "/spec/ports/*/nodePort", when=evidence.KNOWN_ALLOCATED),
        *_annotations("written by a cloud's controller", "cloud.google.com/neg-status"),
        *_finalizers("added by the service controller", "service.kubernetes.io/load-balancer-cleanup"),
    ),
    ("", "ServiceAccount"): (
        *_rows("a generated Secret", "/secrets/*", "/imagePullSecrets/*", when=evidence.SECRET_OF_ACCOUNT),
        *_annotations("names a generated Secret", "openshift.io/internal-registry-pull-secret-ref"),
    ),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _WEBHOOKS,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _WEBHOOKS,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        *_rows("the default", "/spec/conversion", when=evidence.NO_CONVERSION),
        *_rows("the default for the kind", "/spec/names/listKind", when=evidence.DEFAULT_LIST_KIND),
        *_rows("the default for the kind", "/spec/names/singular", when=evidence.DEFAULT_SINGULAR),
        *_rows(_INJECTED, "/spec/conversion/webhook/clientConfig/caBundle", when=evidence.CA_INJECTED),
    ),
    ("apiregistration.k8s.io", "APIService"): _rows(_INJECTED, "/spec/caBundle", when=evidence.CA_INJECTED),
    ("apps", "DaemonSet"): (
        *_WORKLOAD,
        *_annotations("written by the API server", "deprecated.daemonset.template.generation"),
    ),
    ("apps", "Deployment"): (
        *_WORKLOAD,
        *_REPLICAS,
        *_annotations("written by the Deployment controller", "deployment.kubernetes.io/revision"),
    ),
    ("apps", "ReplicaSet"): (
        *_WORKLOAD,
        *_REPLICAS,
        *_annotations(
            "written by the Deployment controller",
            "deployment.kubernetes.io/desired-replicas",
            "deployment.kubernetes.io/max-replicas",
            "deployment.kubernetes.io/revision",
            "deployment.kubernetes.io/revision-history",
        ),
    ),
    ("apps", "StatefulSet"): (
        *_WORKLOAD,
        *_REPLICAS,
        *_rows("what controllers observed", "/spec/volumeClaimTemplates/*/status"),
        *_rows("written by the API server", "/spec/volumeClaimTemplates/*/metadata/creationTimestamp"),
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): _annotations(
        "the status, as autoscaling/v1 shows it",
        "autoscaling.alpha.kubernetes.io/conditions",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    ),
    ("batch", "CronJob"): (
        *_rows("written by the API server", "/spec/jobTemplate/metadata/creationTimestamp"),
        *_template("/spec/jobTemplate/spec/template"),
    ),
    ("batch", "Job"): (*_WORKLOAD, *_JOB),
    ("certificates.k8s.io", "CertificateSigningRequest"): _rows(
        "who sent the request, written by the API server",
        "/spec/extra",
        "/spec/groups",
        "/spec/uid",
        "/spec/username",
    ),
    ("discovery.k8s.io", "EndpointSlice"): _TRIGGERED,
    ("networking.k8s.io", "Ingress"): _annotations("written by a cloud's controller", "ingress.kubernetes.io/backends"),
    ("networking.k8s.io", "ServiceCIDR"): _finalizers(
        "added to every range", "networking.k8s.io/service-cidr-finalizer"
    ),
    ("rbac.authorization.k8s.io", "ClusterRole"): _rows(
        "gathered from other roles", "/rules", when=evidence.AGGREGATED
    ),
    ("resource.k8s.io", "ResourceClaim"): _finalizers(
        "added while the claim is in use", "resource.kubernetes.io/delete-protection"
    ),
    ("storage.k8s.io", "VolumeAttachment"): (
        *_ATTACHED,
        *_annotations("written by the attacher", "csi.alpha.kubernetes.io/node-id"),
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): _finalizers("added to every class", "kubernetes.io/vac-protection"),
}
