"""Which plural and scope a kind has, without a cluster to ask: the built-in ones, and those that a manifest defines.

Of any other kind they are guessed, plurals as kubectl does, and whoever asks is told so. Neighbours: `naming.py` reads
what people type, `rendering.py` needs a path for a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.kube import kinds, manifests
from app.rules import types

_VERBS = frozenset({"get", "list", "watch"})

# Group -> kinds, with their short names after slashes. Their plurals follow from the rule in `_plural`.
_NAMESPACED = {
    "": "ConfigMap/cm Endpoints/ep Event/ev LimitRange/limits PersistentVolumeClaim/pvc Pod/po PodTemplate "
    "ReplicationController/rc ResourceQuota/quota Secret Service/svc ServiceAccount/sa",
    "apps": "ControllerRevision DaemonSet/ds Deployment/deploy ReplicaSet/rs StatefulSet/sts",
    "autoscaling": "HorizontalPodAutoscaler/hpa",
    "batch": "CronJob/cj Job",
    "coordination.k8s.io": "Lease LeaseCandidate",
    "discovery.k8s.io": "EndpointSlice",
    "events.k8s.io": "Event/ev",
    "extensions": "Ingress/ing",
    "networking.k8s.io": "Ingress/ing NetworkPolicy/netpol",
    "policy": "PodDisruptionBudget/pdb",
    "rbac.authorization.k8s.io": "Role RoleBinding",
    "resource.k8s.io": "ResourceClaim ResourceClaimTemplate",
    "storage.k8s.io": "CSIStorageCapacity",
}
_CLUSTER = {
    "": "Namespace/ns Node/no PersistentVolume/pv",
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding "
    "MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "ValidatingWebhookConfiguration",
    "apiextensions.k8s.io": "CustomResourceDefinition/crd/crds",
    "apiregistration.k8s.io": "APIService",
    "certificates.k8s.io": "CertificateSigningRequest/csr",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "networking.k8s.io": "IPAddress/ip IngressClass ServiceCIDR",
    "node.k8s.io": "RuntimeClass",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
    "resource.k8s.io": "DeviceClass DeviceTaintRule ResourceSlice",
    "scheduling.k8s.io": "PriorityClass/pc",
    "storage.k8s.io": "CSIDriver CSINode StorageClass/sc VolumeAttachment VolumeAttributesClass/vac",
}


def _built_in() -> Iterator[tuple[tuple[str, str], tuple[str, bool, frozenset[str]]]]:
    for table, namespaced in ((_NAMESPACED, True), (_CLUSTER, False)):
        for group, words in table.items():
            for kind, *short in (word.split("/") for word in words.split()):
                yield (group, kind), (_plural(kind), namespaced, frozenset({kind.lower(), *short}))


def _plural(kind: str) -> str:
    """The plural that a kind most likely has: the rule of kubectl, with the English exceptions that people follow."""
    word = kind.lower()
    if word.endswith("endpoints"):
        return word
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return f"{word[:-1]}ies"
    return f"{word}s"


# (group, kind) -> plural, whether it is namespaced, and what people call it beside that.
BUILT_IN: Mapping[tuple[str, str], tuple[str, bool, frozenset[str]]] = dict(_built_in())
_OURS = {(one.group, one.kind): one for one in kinds.OUR_TYPES.values()}


class Kinds:
    """What is known of kinds without a cluster; `guessed` collects what had to be guessed, for a word about it."""

    def __init__(self, beside: Iterable[manifests.Manifest] = ()) -> None:
        """`beside` is what is read together: it may define kinds."""
        self.guessed: dict[str, types.ResourceType] = {}
        self._defined = dict(_definition(one.content) for one in beside if one.kind == "CustomResourceDefinition")

    def type_of(self, manifest: manifests.Manifest) -> types.ResourceType:
        """The type of a manifest's object."""
        group, _, version = manifest.api_version.rpartition("/")
        if (group, manifest.kind) in self._defined:
            plural, namespaced = self._defined[group, manifest.kind]
        elif (group, manifest.kind) in _OURS:
            return _OURS[group, manifest.kind]
        elif (group, manifest.kind) in BUILT_IN:
            plural, namespaced, _ = BUILT_IN[group, manifest.kind]
        else:
            plural, namespaced = _plural(manifest.kind), bool(manifest.namespace) or not _sounds_cluster(manifest.kind)
            self.guessed[f"{manifest.kind} of {manifest.api_version}"] = make_type(
                group=group, version=version, resource=plural, kind=manifest.kind, namespaced=namespaced
            )
        return make_type(group=group, version=version, resource=plural, kind=manifest.kind, namespaced=namespaced)


def make_type(*, group: str, version: str, resource: str, kind: str, namespaced: bool) -> types.ResourceType:
    """A type as discovery would give it."""
    return types.ResourceType(
        group=group,
        version=version,
        resource=resource,
        kind=kind,
        namespaced=namespaced,
        verbs=_VERBS,
        preferred=True,
    )


def _sounds_cluster(kind: str) -> bool:
    """`ClusterIssuer`, `GatewayClass`: names that people give to kinds without a namespace. `Cluster` has one."""
    return (kind.startswith("Cluster") and kind[7:8].isupper()) or (kind.endswith("Class") and kind != "Class")


def _definition(content: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, bool]]:
    """(group, kind) -> plural and scope, as far as the definition says them; the server would refuse it otherwise."""
    spec = content.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    names = spec.get("names")
    names = names if isinstance(names, Mapping) else {}
    kind = str(names.get("kind", ""))
    return (str(spec.get("group", "")), kind), (
        str(names.get("plural") or _plural(kind)),
        spec.get("scope") != "Cluster",
    )
