"""What `*` leaves out: types and single objects that the cluster makes for itself, each with its reason.

The measure is intent: something stands here only if leaving it out loses nothing that a person wrote; in doubt it is
mirrored. Where people do change what the cluster made (the `default` ServiceAccount, a default ClusterRole), only what
is untouched is left out; `sanitising.py` knows what the cluster added to it later. `matching.py` asks for types,
`selecting.py` for objects; docs/reference/watchrule.md shows both tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.events import Identifier
from app.rules import sanitising

# Raised with each change of what is left out object by object: what was mirrored before is then kept, because it is
# our table that changed and not the cluster.
EDITION = 2

ANY = "*"
_NETWORK_STATE = "the network plugin keeps its state there"
_FROM_SERVICES = "computed from Services and Pods"
_REPORT = "a report that a scanner writes again and again"

# Types by group and plural; a group alone stands for all of its types. Naming a type in a rule includes it.
TYPES: Mapping[tuple[str, str], str] = {
    ("", "pods"): "made by controllers from workloads",
    ("", "events"): "a log of the cluster, not intent",
    ("events.k8s.io", "events"): "a log of the cluster, not intent",
    ("", "endpoints"): _FROM_SERVICES,
    ("discovery.k8s.io", "endpointslices"): _FROM_SERVICES,
    ("coordination.k8s.io", "leases"): "heartbeats, renewed every few seconds",
    ("coordination.k8s.io", "leasecandidates"): "heartbeats, renewed every few seconds",
    ("apps", "controllerrevisions"): "history that controllers keep",
    ("", "secrets"): "Secrets would be mirrored only encrypted, and there is no encryption yet",
    ("storage.k8s.io", "csinodes"): "each node's kubelet says which volume drivers it runs",
    ("storage.k8s.io", "csistoragecapacities"): "volume drivers say how much space is left",
    ("storage.k8s.io", "volumeattachments"): "made from volumes and the Pods that use them",
    ("resource.k8s.io", "resourceslices"): "device drivers say what a node has",
    ("networking.k8s.io", "ipaddresses"): "allocated by the API server for Services",
    ("internal.apiserver.k8s.io", "storageversions"): "kept by the API servers about themselves",
    ("certificates.k8s.io", "podcertificaterequests"): "made by kubelets for Pods, and gone within a day",
    ("wgpolicyk8s.io", "policyreports"): _REPORT,
    ("wgpolicyk8s.io", "clusterpolicyreports"): _REPORT,
    ("openreports.io", ANY): _REPORT,
    ("reports.kyverno.io", ANY): _REPORT,
    ("aquasecurity.github.io", "vulnerabilityreports"): _REPORT,
    ("aquasecurity.github.io", "configauditreports"): _REPORT,
    ("aquasecurity.github.io", "exposedsecretreports"): _REPORT,
    ("aquasecurity.github.io", "rbacassessmentreports"): _REPORT,
    ("aquasecurity.github.io", "clusterrbacassessmentreports"): _REPORT,
    ("aquasecurity.github.io", "infraassessmentreports"): _REPORT,
    ("aquasecurity.github.io", "sbomreports"): _REPORT,
    ("cilium.io", "ciliumendpoints"): _NETWORK_STATE,
    ("cilium.io", "ciliumendpointslices"): _NETWORK_STATE,
    ("cilium.io", "ciliumidentities"): _NETWORK_STATE,
    ("crd.projectcalico.org", "blockaffinities"): _NETWORK_STATE,
    ("crd.projectcalico.org", "ipamblocks"): _NETWORK_STATE,
    ("crd.projectcalico.org", "ipamhandles"): _NETWORK_STATE,
}

# Any object with a controller among its owners, whatever its type.
OWNED = "a controller owns it, and makes it from its owner"

_Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Generated:
    """Single objects of one type that nobody wrote, all in `namespace` where it says one.

    `holds` says whether an object is one of them.
    """

    group: str
    resource: str
    reason: str
    holds: Callable[[Identifier, _Object], bool]
    namespace: str = ""


def _named(*names: str) -> Callable[[Identifier, _Object], bool]:
    return lambda identifier, _: identifier.name in names


def _has(part: str, key: str, *values: str) -> Callable[[Identifier, _Object], bool]:
    """Whether a label or annotation is there, with one of these values where some are given."""

    def holds(_: Identifier, obj: _Object) -> bool:
        found = mapping(obj, part).get(key)
        return found in values if values else found is not None

    return holds


def _is_bare_account(identifier: Identifier, obj: _Object) -> bool:
    """The `default` ServiceAccount as clusters make it: beside its name, at most what names generated Secrets."""
    # Asked of every ServiceAccount: the name is the cheap question.
    return identifier.name == "default" and sanitising.is_bare(obj)


# Who makes and aggregates the default roles; anybody else among the managers has changed one.
_ROLE_MAKERS = frozenset({"kube-apiserver", "clusterrole-aggregation-controller", "k3s"})


def _is_default_role(_: Identifier, obj: _Object) -> bool:
    """A default role or binding that the API server repairs by itself, and that nobody else has touched."""
    return (
        mapping(obj, "labels").get("kubernetes.io/bootstrapping") == "rbac-defaults"
        and mapping(obj, "annotations").get("rbac.authorization.kubernetes.io/autoupdate") == "true"
        and _managers(obj) <= _ROLE_MAKERS
    )


def _is_request_of_a_kubelet(_: Identifier, obj: _Object) -> bool:
    spec = obj.get("spec")
    signer = spec.get("signerName") if isinstance(spec, Mapping) else None
    return signer in ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving")


_ROLES = "the API server makes the default roles and bindings, and repairs them at each start"
_LOCK = "a lock of a leader election, renewed every few seconds"
_LEADER = _has("annotations", "control-plane.alpha.kubernetes.io/leader")

OBJECTS: tuple[Generated, ...] = (
    Generated("", "configmaps", "kube-root-ca.crt is written into every namespace by the cluster",
              _named("kube-root-ca.crt")),
    Generated("", "configmaps", "openshift-service-ca.crt is written into every namespace by OpenShift",
              _named("openshift-service-ca.crt")),
    Generated("", "configmaps", "istio-ca-root-cert is written into every namespace by Istio",
              _named("istio-ca-root-cert")),
    Generated("", "configmaps", "the API server keeps its own state there",
              _named("extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"),
              namespace="kube-system"),
    Generated("", "configmaps", _LOCK, _LEADER),
    Generated("", "serviceaccounts", "default is made in every namespace; one that somebody changed is mirrored",
              _is_bare_account),
    Generated("", "services", "kubernetes in default is kept by the API server, and says where it is",
              _named("kubernetes"), namespace="default"),
    Generated("rbac.authorization.k8s.io", "clusterroles", _ROLES, _is_default_role),
    Generated("rbac.authorization.k8s.io", "clusterrolebindings", _ROLES, _is_default_role),
    Generated("rbac.authorization.k8s.io", "roles", _ROLES, _is_default_role),
    Generated("rbac.authorization.k8s.io", "rolebindings", _ROLES, _is_default_role),
    Generated("apiregistration.k8s.io", "apiservices", "the API server registers its own groups and those of CRDs",
              _has("labels", "kube-aggregator.kubernetes.io/automanaged")),
    Generated("flowcontrol.apiserver.k8s.io", "flowschemas", "the API server keeps its defaults up to date",
              _has("annotations", "apf.kubernetes.io/autoupdate-spec", "true")),
    Generated("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations",
              "the API server keeps its defaults up to date",
              _has("annotations", "apf.kubernetes.io/autoupdate-spec", "true")),
    Generated("scheduling.k8s.io", "priorityclasses", "the API server makes the two of the system at each start",
              _named("system-cluster-critical", "system-node-critical")),
    Generated("networking.k8s.io", "servicecidrs", "kubernetes is made from the flags of the API server",
              _named("kubernetes")),
    Generated("certificates.k8s.io", "certificatesigningrequests",
              "kubelets ask for their own certificates, and the requests are gone within a day",
              _is_request_of_a_kubelet),
)  # fmt: skip

_BY_TYPE: Mapping[tuple[str, str], tuple[Generated, ...]] = {
    key: tuple(one for one in OBJECTS if (one.group, one.resource) == key)
    for key in {(one.group, one.resource) for one in OBJECTS}
}


def excluded_type(group: str, resource: str) -> str | None:
    """Why `*` leaves a whole type out, or None."""
    return TYPES.get((group, resource)) or TYPES.get((group, ANY))


def excluded_object(identifier: Identifier, obj: _Object) -> str | None:
    """Why `*` leaves this one object out, or None. `obj` is as the API delivered it, with its ownerReferences."""
    if _is_owned(obj):
        return OWNED
    generated = _BY_TYPE.get((identifier.group, identifier.resource), ())
    there = (one for one in generated if one.namespace in ("", identifier.namespace))
    return next((one.reason for one in there if one.holds(identifier, obj)), None)


def object_reasons(group: str, resource: str, *, namespace: str = "") -> tuple[str, ...]:
    """Why single objects of a type are left out, beside those that a controller owns; each reason once.

    An empty `namespace` means all of them.
    """
    generated = _BY_TYPE.get((group, resource), ())
    there = (one for one in generated if not namespace or one.namespace in ("", namespace))
    return tuple(dict.fromkeys(one.reason for one in there))


def mapping(obj: _Object, part: str) -> Mapping[str, Any]:
    """Labels or annotations; nothing where a stranger's API server sends another shape."""
    found = _metadata(obj, part)
    return found if isinstance(found, Mapping) else {}


def _mappings(obj: _Object, part: str) -> list[Mapping[str, Any]]:
    """The owners or the managers; those of another shape are left out."""
    found = _metadata(obj, part)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _metadata(obj: _Object, part: str) -> Any:
    metadata = obj.get("metadata")
    return metadata.get(part) if isinstance(metadata, Mapping) else None


def _is_owned(obj: _Object) -> bool:
    return any(owner.get("controller") for owner in _mappings(obj, "ownerReferences"))


def _managers(obj: _Object) -> frozenset[str]:
    return frozenset(str(entry.get("manager")) for entry in _mappings(obj, "managedFields"))
