"""What `*` leaves out is what the cluster makes for itself, and never what somebody changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.events import Identifier
from app.rules import noise

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "watchrule.md"
RBAC = "rbac.authorization.k8s.io"
FLOW = "flowcontrol.apiserver.k8s.io"
ROLES = "the API server makes the default roles and bindings, and repairs them at each start"
DEFAULTS = "the API server keeps its defaults up to date"
LEADER = {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}
BOOTSTRAP: dict[str, Any] = {
    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
}


def _why(group: str, resource: str, name: str, namespace: str = "shop", **obj: Any) -> str | None:
    identifier = Identifier(group, "v1", resource, namespace, name, kind="Any", uid="u")
    return noise.excluded_object(identifier, obj)


@pytest.mark.parametrize(
    ("group", "resource", "said"),
    [
        ("", "pods", "made by controllers from workloads"),
        ("", "events", "a log of the cluster, not intent"),
        ("events.k8s.io", "events", "a log of the cluster, not intent"),
        ("", "endpoints", "computed from Services and Pods"),
        ("", "secrets", "Secrets would be mirrored only encrypted, and there is no encryption yet"),
        ("storage.k8s.io", "csinodes", "each node's kubelet says which volume drivers it runs"),
        ("reports.kyverno.io", "ephemeralreports", "a report that a scanner writes again and again"),
        ("openreports.io", "reports", "a report that a scanner writes again and again"),
        ("cilium.io", "ciliumendpoints", "the network plugin keeps its state there"),
    ],
)
def test_types_that_are_generated_are_left_out_with_a_reason(group: str, resource: str, said: str) -> None:
    """A type is found by group and plural, or by a group that is left out as a whole."""
    assert noise.excluded_type(group, resource) == said


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("", "configmaps"),
        ("", "nodes"),
        ("", "namespaces"),
        ("", "persistentvolumes"),
        ("", "serviceaccounts"),
        ("apps", "replicasets"),
        ("batch", "jobs"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        (FLOW, "flowschemas"),
        ("networking.k8s.io", "servicecidrs"),
        ("cilium.io", "ciliumnetworkpolicies"),
        ("crd.projectcalico.org", "ippools"),
        ("example.com", "pods"),
        ("example.com", "secrets"),
        ("kyverno.io", "clusterpolicies"),
    ],
)
def test_types_that_people_write_are_mirrored(group: str, resource: str) -> None:
    """In doubt a type is mirrored, and a plural of another group is another type."""
    assert noise.excluded_type(group, resource) is None


def test_every_reason_can_be_read_in_a_status() -> None:
    """Each entry has a short reason that is no sentence of its own, because one goes around it."""
    reasons = [*noise.TYPES.values(), *(one.reason for one in noise.OBJECTS), noise.OWNED]
    assert all(10 < len(reason) < 90 and not reason.endswith(".") for reason in reasons)
    assert len(noise.TYPES) == 33
    assert len(noise.OBJECTS) == 17
    assert noise.EDITION == 2


@pytest.mark.parametrize("group", ["apps", "", "example.com"])
def test_what_a_controller_owns_is_left_out_whatever_it_is(group: str) -> None:
    """One owner that is a controller is enough; owners alone are no reason."""
    owners = [{"kind": "X"}, {"kind": "Deployment", "controller": True}]
    assert _why(group, "things", "a", metadata={"ownerReferences": owners}) == noise.OWNED
    for free in (
        {},
        {"ownerReferences": None},
        {"ownerReferences": [{}]},
        {"ownerReferences": [{"controller": False}]},
    ):
        assert _why(group, "things", "a", metadata=free) is None
    assert _why(group, "things", "a") is None
    assert _why(group, "things", "a", metadata=None) is None


@pytest.mark.parametrize(
    ("of", "obj", "said"),
    [
        (("", "configmaps", "kube-root-ca.crt"), {}, "kube-root-ca.crt is written into every namespace by the cluster"),
        (
            ("", "configmaps", "openshift-service-ca.crt"),
            {},
            "openshift-service-ca.crt is written into every namespace by OpenShift",
        ),
        (("", "configmaps", "istio-ca-root-cert"), {}, "istio-ca-root-cert is written into every namespace by Istio"),
        (("", "configmaps", "app"), {}, None),
        (("example.com", "configmaps", "kube-root-ca.crt"), {}, None),
        (("", "services", "kube-root-ca.crt"), {}, None),
        (
            ("", "configmaps", "extension-apiserver-authentication", "kube-system"),
            {},
            "the API server keeps its own state there",
        ),
        (
            ("", "configmaps", "kube-apiserver-legacy-service-account-token-tracking", "kube-system"),
            {},
            "the API server keeps its own state there",
        ),
        (("", "configmaps", "extension-apiserver-authentication"), {}, None),
        (("", "configmaps", "coredns", "kube-system"), {}, None),
        (
            ("", "configmaps", "lock"),
            {"metadata": LEADER},
            "a lock of a leader election, renewed every few seconds",
        ),
        (
            ("", "services", "kubernetes", "default"),
            {},
            "kubernetes in default is kept by the API server, and says where it is",
        ),
        (("", "services", "kubernetes"), {}, None),
        (("", "services", "web", "default"), {}, None),
        (
            ("", "serviceaccounts", "default"),
            {"metadata": {"name": "default", "uid": "u"}, "kind": "ServiceAccount", "apiVersion": "v1"},
            "default is made in every namespace; one that somebody changed is mirrored",
        ),
        (("", "serviceaccounts", "builder"), {"metadata": {}}, None),
        (("", "serviceaccounts", "default"), {"metadata": {"labels": {"a": "b"}}}, None),
        (("", "serviceaccounts", "default"), {"metadata": {"annotations": {"a": "b"}}}, None),
        (("", "serviceaccounts", "default"), {"imagePullSecrets": [{"name": "x"}]}, None),
        (("", "serviceaccounts", "default"), {"automountServiceAccountToken": False}, None),
        (
            ("apiregistration.k8s.io", "apiservices", "v1.apps", ""),
            {"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}},
            "the API server registers its own groups and those of CRDs",
        ),
        (("apiregistration.k8s.io", "apiservices", "v1.apps", ""), {"metadata": {"labels": {"a": "b"}}}, None),
        (
            ("scheduling.k8s.io", "priorityclasses", "system-node-critical", ""),
            {},
            "the API server makes the two of the system at each start",
        ),
        (
            ("scheduling.k8s.io", "priorityclasses", "system-cluster-critical", ""),
            {},
            "the API server makes the two of the system at each start",
        ),
        (("scheduling.k8s.io", "priorityclasses", "system-x", ""), {}, None),
        (
            ("networking.k8s.io", "servicecidrs", "kubernetes", ""),
            {},
            "kubernetes is made from the flags of the API server",
        ),
        (("networking.k8s.io", "servicecidrs", "more", ""), {}, None),
        (("networking.k8s.io", "ingresses", "kubernetes", ""), {}, None),
    ],
)
def test_single_objects_are_left_out_by_what_they_are(of: Any, obj: dict[str, Any], said: str | None) -> None:
    """An object is left out when the cluster made it and nobody changed it; the reason names what it is."""
    assert _why(*of, **obj) == said


TOKEN, DOCKERCFG = {"name": "default-token-x7k2p"}, {"name": "default-dockercfg-b4zq9"}
REGISTRY = {"annotations": {"openshift.io/internal-registry-pull-secret-ref": "default-dockercfg-b4zq9"}}
MADE_IN: dict[str, dict[str, Any]] = {
    "Kubernetes": {},
    "Kubernetes to 1.23": {"secrets": [TOKEN]},
    "OpenShift to 4.10": {"secrets": [TOKEN, DOCKERCFG], "imagePullSecrets": [DOCKERCFG]},
    "OpenShift to 4.15": {"secrets": [DOCKERCFG], "imagePullSecrets": [DOCKERCFG]},
    "OpenShift": {"secrets": [DOCKERCFG], "imagePullSecrets": [DOCKERCFG], "metadata": REGISTRY},
}


def _account(name: str = "default", *, metadata: dict[str, Any] | None = None, **content: Any) -> str | None:
    server = {"uid": "u", "resourceVersion": "7", "creationTimestamp": "2024-01-01T00:00:00Z", "managedFields": []}
    metadata = {"name": name, "namespace": "shop", **server, **(metadata or {})}
    kind = {"apiVersion": "v1", "kind": "ServiceAccount"}
    return _why("", "serviceaccounts", name, **kind, metadata=metadata, **content)


@pytest.mark.parametrize("made", MADE_IN.values(), ids=MADE_IN)
def test_a_default_account_is_left_out_as_each_cluster_makes_it(made: dict[str, Any]) -> None:
    """What the token controller and OpenShift add to it says nothing, and a file of its name alone would be written."""
    assert _account(**made) == "default is made in every namespace; one that somebody changed is mirrored"
    assert _account("robot", **made) is None


@pytest.mark.parametrize(
    "meant",
    [
        {"imagePullSecrets": [DOCKERCFG, {"name": "registry"}]},
        {"secrets": [TOKEN, {"name": "robot-token-x7k2p"}]},
        {"automountServiceAccountToken": False},
        {"metadata": {"annotations": {**REGISTRY["annotations"], "eks.amazonaws.com/role-arn": "arn"}}},
        {"metadata": {"labels": {"team": "shop"}}},
        {"metadata": {"finalizers": ["example.com/keep"]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("made", MADE_IN.values(), ids=MADE_IN)
def test_a_default_account_that_somebody_changed_is_mirrored(made: dict[str, Any], meant: dict[str, Any]) -> None:
    """On whatever cluster, what a person wrote into it is not lost."""
    assert _account(**{**made, **meant}) is None


@pytest.mark.parametrize("odd", [None, "a", 7, [], {}, ["x"], [None], [{"name": 1}]], ids=str)
@pytest.mark.parametrize("part", ["secrets", "imagePullSecrets", "metadata"])
def test_a_default_account_of_any_shape_is_no_reason_to_fail(part: str, odd: Any) -> None:
    """What nobody makes is mirrored, or refused where it is written; the watch goes on."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "uid": "u"}, part: odd}
    assert _why("", "serviceaccounts", "default", **account) is None


@pytest.mark.parametrize("resource", ["clusterroles", "clusterrolebindings", "roles", "rolebindings"])
def test_default_roles_are_left_out_until_somebody_touches_them(resource: str) -> None:
    """A default role is mirrored once it is taken from the API server's care, or another manager wrote to it."""

    def why(**metadata: Any) -> str | None:
        return _why(RBAC, resource, "view", "", metadata=metadata)

    def managed(*managers: str) -> list[dict[str, str]]:
        return [{"manager": name} for name in managers]

    assert why(**BOOTSTRAP) == ROLES
    for own in ("kube-apiserver", "clusterrole-aggregation-controller", "k3s"):
        assert why(**BOOTSTRAP, managedFields=managed(own)) == ROLES
    assert (
        why(**BOOTSTRAP, managedFields=managed("kube-apiserver", "clusterrole-aggregation-controller", "k3s")) == ROLES
    )
    assert why(**BOOTSTRAP, managedFields=managed("kube-apiserver", "kubectl-edit")) is None
    assert why(**BOOTSTRAP, managedFields=[{}]) is None
    taken = {"rbac.authorization.kubernetes.io/autoupdate": "false"}
    assert why(labels=BOOTSTRAP["labels"], annotations=taken) is None
    assert why(labels=BOOTSTRAP["labels"]) is None
    assert why(labels={"kubernetes.io/bootstrapping": "mine"}, annotations=BOOTSTRAP["annotations"]) is None
    assert why(annotations=BOOTSTRAP["annotations"]) is None
    assert _why("example.com", resource, "view", "", metadata=BOOTSTRAP) is None


@pytest.mark.parametrize("resource", ["flowschemas", "prioritylevelconfigurations"])
def test_flow_control_is_left_out_as_long_as_the_server_keeps_it(resource: str) -> None:
    """Flow control that people write, or took over, is mirrored."""
    key = "apf.kubernetes.io/autoupdate-spec"
    assert _why(FLOW, resource, "global-default", "", metadata={"annotations": {key: "true"}}) == DEFAULTS
    assert _why(FLOW, resource, "global-default", "", metadata={"annotations": {key: "false"}}) is None
    assert _why(FLOW, resource, "ours", "", metadata={}) is None


def test_requests_of_kubelets_are_left_out_and_those_of_people_are_not() -> None:
    """The signer says who asks for a certificate."""

    def why(spec: Any) -> str | None:
        return _why("certificates.k8s.io", "certificatesigningrequests", "csr-1", "", spec=spec)

    said = "kubelets ask for their own certificates, and the requests are gone within a day"
    assert why({"signerName": "kubernetes.io/kube-apiserver-client-kubelet"}) == said
    assert why({"signerName": "kubernetes.io/kubelet-serving"}) == said
    assert why({"signerName": "kubernetes.io/kube-apiserver-client"}) is None
    assert why({}) is None
    assert why(None) is None


def test_reasons_of_a_type_are_given_once() -> None:
    """What a status says of a type that is left out object by object."""
    assert len(noise.object_reasons("", "configmaps")) == 5
    assert noise.object_reasons(RBAC, "roles") == (ROLES,)
    assert noise.object_reasons("apps", "deployments") == ()


def test_reasons_of_another_namespace_are_not_given() -> None:
    """What stands in one namespace alone is no news to a rule of another one."""
    everywhere, state = noise.object_reasons("", "configmaps"), "the API server keeps its own state there"
    assert noise.object_reasons("", "configmaps", namespace="kube-system") == everywhere
    assert noise.object_reasons("", "configmaps", namespace="shop") == tuple(one for one in everywhere if one != state)
    assert noise.object_reasons("", "services", namespace="shop") == ()
    assert noise.object_reasons("", "services", namespace="default") == noise.object_reasons("", "services")


def test_the_reference_has_every_line_of_the_tables() -> None:
    """Whoever wonders why an object is not mirrored finds its type and the reason in one row of the reference."""
    rows = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| ")]
    for group, resource, reason in (
        *((*key, reason) for key, reason in noise.TYPES.items()),
        *((one.group, one.resource, one.reason) for one in noise.OBJECTS),
        ("", "every type", noise.OWNED),
    ):
        name = f"all of `{group}`" if resource == noise.ANY else f"{resource}.{group}" if group else resource
        assert any(name in row and reason in row for row in rows), (name, reason)


@pytest.mark.parametrize(
    "odd", ["a", 7, True, ["x"], [7, None], {"x": []}, [{"manager": ["x"]}, {"controller": 0}]], ids=str
)
@pytest.mark.parametrize("part", ["ownerReferences", "managedFields", "labels", "annotations"])
def test_metadata_of_any_shape_is_read(part: str, odd: Any) -> None:
    """A stranger's API server may send anything: it is no reason to fail, and none to leave an object out."""
    for group, resource in (("", "configmaps"), (RBAC, "clusterroles"), ("apiregistration.k8s.io", "apiservices")):
        assert _why(group, resource, "a", metadata={part: odd}) is None
        assert _why(group, resource, "a", metadata=odd) is None


def test_a_manager_of_no_shape_is_somebody() -> None:
    """Who touched a default role cannot be told then: the role is mirrored."""
    metadata = {**BOOTSTRAP, "managedFields": [{"manager": ["kube-apiserver"]}]}
    assert _why(RBAC, "clusterroles", "view", metadata=metadata) is None
