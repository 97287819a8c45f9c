"""Objects as an API server gives them, and the cases of the table of fields: what goes of each."""

from __future__ import annotations

from typing import Any

from app.rules import evidence

CM = "ConfigMap"
RBAC, ADMISSION, CRD = "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io"


def live(of: str, *, metadata: dict[str, Any] | None = None, **content: Any) -> dict[str, Any]:
    """An object of `group/Kind` as a server gives it, of which only the uid is the server's."""
    group, _, kind = of.rpartition("/")
    api_version = f"{group}/v1" if group else "v1"
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "a", "uid": "u", **(metadata or {})},
        **content,
    }


def managed(*sets: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """Metadata with field managers: their names, subresources and sets."""
    return {
        "managedFields": [
            {
                "manager": name,
                "subresource": sub,
                "operation": "Update",
                "fieldsType": "FieldsV1",
                "fieldsV1": fields_v1,
            }
            for name, sub, fields_v1 in sets
        ]
    }


def owned(*path: str, by: str = "kubectl", through: str = "") -> dict[str, Any]:
    """Metadata in which one manager owns one field."""
    tree: dict[str, Any] = {}
    for key in reversed(path):
        tree = {key: tree}
    return managed((by, through, tree))


NOBODY = owned("f:spec", "f:type")
AUTO = {"annotations": {"cert-manager.io/inject-ca-from": "ns/cert"}}
ALL_JOB_LABELS = {
    "batch.kubernetes.io/controller-uid": "u",
    "batch.kubernetes.io/job-name": "a",
    "controller-uid": "u",
    "job-name": "a",
    "mine": "x",
}
TOLERATION = {
    "key": "node.kubernetes.io/not-ready",
    "operator": "Exists",
    "effect": "NoExecute",
    "tolerationSeconds": 300,
}
PORTS = [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 81, "protocol": "TCP", "nodePort": 30081}]
KEY_80 = 'k:{"port":80,"protocol":"TCP"}'


ACCOUNTS = {"spec": {"serviceAccount": "s", "serviceAccountName": "s"}}


def nested(place: str, value: Any) -> dict[str, Any]:
    """The value below the keys of a place."""
    for key in reversed(place.split("/")):
        value = {key: value}
    return dict(value)


def service(metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A core Service."""
    return live("Service", metadata=metadata or {}, spec=spec)


# What goes of which object; an empty list is the case in which all of it stays.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "finalizers of a deletion go": (
        live("x.io/Order", metadata={"finalizers": ["orphan", "mine", "foregroundDeletion"]}),
        ["/metadata/finalizers/0", "/metadata/finalizers/2"],
    ),
    "finalizers of people stay": (live("x.io/Order", metadata={"finalizers": ["x.io/a", 5, None, ["orphan"]]}), []),
    "a restart stays": (
        live(
            "apps/Deployment",
            spec={"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026"}}}},
        ),
        [],
    ),
    "revision of a foreign kind stays": (
        live("x.io/Deployment", metadata={"annotations": {"deployment.kubernetes.io/revision": "1"}}),
        [],
    ),
    "revision": (
        live("apps/Deployment", metadata={"annotations": {"deployment.kubernetes.io/revision": "1"}}),
        ["/metadata/annotations/deployment.kubernetes.io~1revision"],
    ),
    # Services
    "allocated, nothing known": (
        service(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"], healthCheckNodePort=3, ports=PORTS),
        ["/spec/clusterIP", "/spec/clusterIPs", "/spec/healthCheckNodePort"],
    ),
    "allocated, known": (
        service(NOBODY, clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"], healthCheckNodePort=3, ports=PORTS),
        [
            "/spec/clusterIP",
            "/spec/clusterIPs",
            "/spec/healthCheckNodePort",
            "/spec/ports/0/nodePort",
            "/spec/ports/1/nodePort",
        ],
    ),
    "chosen": (
        service(
            owned("f:spec", "f:clusterIP"),
            clusterIP="10.0.0.1",
            clusterIPs=["10.0.0.1"],
        ),
        ["/spec/clusterIPs"],
    ),
    "chosen by the control plane": (
        service(owned("f:spec", "f:clusterIP", by="kube-apiserver"), clusterIP="10.0.0.1"),
        ["/spec/clusterIP"],
    ),
    "owned by all that was before": (
        service(owned("f:spec", by=evidence.UNTRACKED), clusterIP="10.0.0.1", ports=PORTS),
        ["/spec/clusterIP"],
    ),
    "owned by all that was before, and by somebody": (
        service(
            managed((evidence.UNTRACKED, "", {"f:spec": {}}), ("kubectl", "", {"f:spec": {"f:clusterIP": {}}})),
            clusterIP="10.0.0.1",
        ),
        [],
    ),
    "all addresses chosen": (service(owned("f:spec", "f:clusterIPs"), clusterIPs=["10.0.0.1"]), []),
    "health check port chosen": (service(owned("f:spec", "f:healthCheckNodePort"), healthCheckNodePort=3), []),
    "one node port chosen": (
        service(owned("f:spec", "f:ports", KEY_80, "f:nodePort"), ports=PORTS),
        ["/spec/ports/1/nodePort"],
    ),
    "headless, nothing known": (service(clusterIP="None", clusterIPs=["None"]), []),
    "headless, known": (
        service(owned("f:spec", "f:clusterIP"), clusterIP="None", clusterIPs=["None"]),
        ["/spec/clusterIPs"],
    ),
    "headless is a decision": (service(NOBODY, clusterIP="None"), []),
    "one family": (
        service(ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack"),
        ["/spec/ipFamilies", "/spec/ipFamilyPolicy"],
    ),
    "the other family": (service(ipFamilies=["IPv6"]), ["/spec/ipFamilies"]),
    "a policy alone": (service(ipFamilyPolicy="SingleStack"), ["/spec/ipFamilyPolicy"]),
    "two families": (service(ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="SingleStack"), []),
    "a policy of two": (service(ipFamilies=["IPv4"], ipFamilyPolicy="PreferDualStack"), []),
    "two families that nobody chose": (
        service(NOBODY, ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack"),
        ["/spec/ipFamilies", "/spec/ipFamilyPolicy"],
    ),
    "a family that somebody chose": (service(owned("f:spec", "f:ipFamilies"), ipFamilies=["IPv6"]), []),
    "a policy that somebody chose": (service(owned("f:spec", "f:ipFamilyPolicy"), ipFamilyPolicy="SingleStack"), []),
    "load balancer": (
        service({"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}),
        ["/metadata/finalizers/0"],
    ),
    "Knative": (
        live("serving.knative.dev/Service", metadata=NOBODY, spec={"clusterIP": "x", "ports": PORTS}),
        [],
    ),
    "odd shapes": (live("Service", spec="text"), []),
    "ports of an odd shape": (service(NOBODY, ports={"a": 1}, clusterIP=None), ["/spec/clusterIP"]),
    # Volumes
    "volume that a controller bound": (
        live(
            "PersistentVolume",
            metadata={"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            spec={"claimRef": {"name": "c", "uid": "u"}, "capacity": {}},
        ),
        ["/metadata/annotations/pv.kubernetes.io~1bound-by-controller", "/spec/claimRef"],
    ),
    "volume for one claim": (
        live(
            "PersistentVolume",
            spec={"claimRef": {"apiVersion": "v1", "kind": "K", "name": "c", "uid": "u", "resourceVersion": "1"}},
        ),
        ["/spec/claimRef/uid", "/spec/claimRef/resourceVersion"],
    ),
    "volume for one claim, known": (
        live(
            "PersistentVolume",
            metadata=managed(
                ("kubectl", "", {"f:spec": {"f:claimRef": {"f:name": {}}}}),
                ("kube-controller-manager", "", {"f:spec": {"f:claimRef": {"f:apiVersion": {}}}}),
            ),
            spec={"claimRef": {"apiVersion": "v1", "kind": "K", "name": "c"}},
        ),
        ["/spec/claimRef/apiVersion", "/spec/claimRef/kind"],
    ),
    "volume for one claim, chosen": (
        live(
            "PersistentVolume",
            metadata=managed(("kubectl", "", {"f:spec": {"f:claimRef": {"f:kind": {}, "f:apiVersion": {}}}})),
            spec={"claimRef": {"apiVersion": "v1", "kind": "K", "name": "c"}},
        ),
        [],
    ),
    "finalizers of a volume": (
        live(
            "PersistentVolume",
            metadata={
                "finalizers": [
                    "kubernetes.io/pv-protection",
                    "external-provisioner.volume.kubernetes.io/finalizer",
                    "kubernetes.io/pv-controller",
                    "external-attacher/ebs-csi",
                    "my-external-attacher/x",
                    "kubernetes.io/pvc-protection",
                    7,
                ]
            },
        ),
        [f"/metadata/finalizers/{index}" for index in range(4)],
    ),
    "claim that a controller bound": (
        live(
            "PersistentVolumeClaim",
            metadata={
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
                "finalizers": ["kubernetes.io/pvc-protection"],
            },
            spec={"volumeName": "pv-1", "accessModes": []},
        ),
        [
            "/metadata/annotations/pv.kubernetes.io~1bound-by-controller",
            "/metadata/finalizers/0",
            "/spec/volumeName",
        ],
    ),
    "claim of one volume": (live("PersistentVolumeClaim", spec={"volumeName": "pv-1"}), []),
    # Namespaces and nodes
    "namespace": (
        live(
            "Namespace",
            metadata={"labels": {"kubernetes.io/metadata.name": "a", "b": "c"}},
            spec={"finalizers": ["kubernetes", "mine"]},
        ),
        ["/metadata/labels/kubernetes.io~1metadata.name", "/spec/finalizers/0"],
    ),
    "node": (
        live("Node", spec={"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "unschedulable": True}),
        ["/spec/podCIDR", "/spec/podCIDRs"],
    ),
    "node of a chosen range": (
        live("Node", metadata=owned("f:spec", "f:podCIDR"), spec={"podCIDR": "10.0.0.0/24"}),
        [],
    ),
    "taints": (
        live(
            "Node",
            spec={
                "taints": [
                    {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
                    {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
                    {"key": ["node.kubernetes.io/not-ready"]},
                    "node.kubernetes.io/not-ready",
                    {"key": "mine"},
                ]
            },
        ),
        ["/spec/taints/0"],
    ),
    # Jobs
    "job": (
        live(
            "batch/Job",
            metadata={"labels": ALL_JOB_LABELS, "annotations": {"batch.kubernetes.io/job-tracking": ""}},
            spec={
                "suspend": True,
                "manualSelector": False,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": ALL_JOB_LABELS}},
            },
        ),
        [
            *(f"/metadata/labels/{name.replace('/', '~1')}" for name in ALL_JOB_LABELS if name != "mine"),
            "/metadata/annotations/batch.kubernetes.io~1job-tracking",
            "/spec/selector",
            *(f"/spec/template/metadata/labels/{name.replace('/', '~1')}" for name in ALL_JOB_LABELS if name != "mine"),
        ],
    ),
    "job of an old server": (
        live("batch/Job", spec={"selector": {"matchLabels": {"controller-uid": "u"}}}),
        ["/spec/selector"],
    ),
    "job with a selector of its own": (
        live(
            "batch/Job",
            metadata={"labels": ALL_JOB_LABELS},
            spec={"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}},
        ),
        [],
    ),
    "job that selects more": (
        live("batch/Job", spec={"selector": {"matchLabels": {"controller-uid": "u", "a": "b"}}}),
        [],
    ),
    # Pods
    "pod": (
        live(
            "Pod",
            metadata={"finalizers": ["batch.kubernetes.io/job-tracking"]},
            spec={
                "nodeName": "n",
                "priority": 0,
                "preemptionPolicy": "Never",
                "serviceAccount": "s",
                "serviceAccountName": "s",
                "tolerations": [
                    {"key": "mine"},
                    TOLERATION,
                    {**TOLERATION, "key": "node.kubernetes.io/unreachable"},
                    {**TOLERATION, "tolerationSeconds": 30},
                ],
                "volumes": [{"name": "kube-api-access-x1y2z"}, {"name": "kube-api-access-x1y2"}, {"name": 1}, 2],
                "containers": [{"volumeMounts": [{"name": "kube-api-access-x1y2z"}, {"name": "data"}]}],
                "initContainers": [{"volumeMounts": [{"name": "kube-api-access-x1y2z"}]}],
            },
        ),
        [
            "/metadata/finalizers/0",
            "/spec/nodeName",
            "/spec/priority",
            "/spec/serviceAccount",
            "/spec/tolerations/1",
            "/spec/tolerations/2",
            "/spec/volumes/0",
            "/spec/containers/0/volumeMounts/0",
            "/spec/initContainers/0/volumeMounts/0",
        ],
    ),
    "pod, known": (
        live("Pod", metadata=NOBODY, spec={"nodeName": "n", "preemptionPolicy": "Never", "overhead": {"cpu": "1"}}),
        ["/spec/nodeName", "/spec/preemptionPolicy", "/spec/overhead"],
    ),
    "pod with its own overhead": (
        live("Pod", metadata=owned("f:spec", "f:overhead"), spec={"overhead": {"cpu": "1"}}),
        [],
    ),
    "pod with an overhead of nobody knows whom": (live("Pod", spec={"overhead": {"cpu": "1"}}), []),
    "pod on a chosen node": (live("Pod", metadata=owned("f:spec", "f:nodeName"), spec={"nodeName": "n"}), []),
    "pod of two accounts": (live("Pod", spec={"serviceAccount": "s", "serviceAccountName": "t"}), []),
    **{
        f"account of a {of}": (live(of, **nested(at, ACCOUNTS)), [f"/{at}/spec/serviceAccount"])
        for of, at in (
            ("PodTemplate", "template"),
            ("ReplicationController", "spec/template"),
            ("apps/DaemonSet", "spec/template"),
            ("apps/Deployment", "spec/template"),
            ("apps/ReplicaSet", "spec/template"),
            ("apps/StatefulSet", "spec/template"),
            ("batch/CronJob", "spec/jobTemplate/spec/template"),
            ("batch/Job", "spec/template"),
        )
    },
    # Replicas
    **{
        f"replicas of a {of}, {name}": (live(of, metadata=metadata, spec={"replicas": 3}), expected)
        for of in ("ReplicationController", "apps/Deployment", "apps/ReplicaSet", "apps/StatefulSet")
        for name, metadata, expected in (
            (
                "scaled",
                owned("f:spec", "f:replicas", by="kube-controller-manager", through="scale"),
                ["/spec/replicas"],
            ),
            ("scaled by a person", owned("f:spec", "f:replicas", by="kubectl", through="scale"), []),
            ("written by a controller", owned("f:spec", "f:replicas", by="kube-controller-manager"), []),
            (
                "scaled and applied",
                managed(
                    ("kube-controller-manager", "scale", {"f:spec": {"f:replicas": {}}}),
                    ("argocd", "", {"f:spec": {"f:replicas": {}}}),
                ),
                [],
            ),
            ("of which nothing is known", {}, []),
            ("with managers of an odd shape", {"managedFields": ["scale", {"subresource": "scale", "manager": 1}]}, []),
            ("with managers of no shape", {"managedFields": "scale"}, []),
        )
    },
    "replicas of a foreign kind": (
        live(
            "x.io/Deployment",
            metadata=owned("f:spec", "f:replicas", by="kube-controller-manager", through="scale"),
            spec={"replicas": 3},
        ),
        [],
    ),
    # Authorities
    **{
        f"authority, {name}, {of}": (live(of, metadata=metadata, **content), [place] if goes else [])
        for of, content, place in (
            (
                f"{ADMISSION}/ValidatingWebhookConfiguration",
                {"webhooks": [{"clientConfig": {"caBundle": "x", "url": "y"}}]},
                "/webhooks/0/clientConfig/caBundle",
            ),
            (
                f"{ADMISSION}/MutatingWebhookConfiguration",
                {"webhooks": [{"clientConfig": {"caBundle": "x", "url": "y"}}]},
                "/webhooks/0/clientConfig/caBundle",
            ),
            (
                f"{CRD}/CustomResourceDefinition",
                {"spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "x"}}}}},
                "/spec/conversion/webhook/clientConfig/caBundle",
            ),
            ("apiregistration.k8s.io/APIService", {"spec": {"caBundle": "x"}}, "/spec/caBundle"),
            (CM, {"data": {"service-ca.crt": "x", "other": "y"}}, "/data/service-ca.crt"),
        )
        for name, metadata, goes in (
            ("cert-manager", AUTO, True),
            ("cert-manager from a Secret", {"annotations": {"cert-manager.io/inject-ca-from-secret": "n/s"}}, True),
            ("that of the API server", {"annotations": {"cert-manager.io/inject-apiserver-ca": "true"}}, True),
            ("not that of the API server", {"annotations": {"cert-manager.io/inject-apiserver-ca": "false"}}, False),
            ("OpenShift", {"annotations": {"service.beta.openshift.io/inject-cabundle": "true"}}, True),
            ("old OpenShift", {"annotations": {"service.alpha.openshift.io/inject-cabundle": "true"}}, True),
            ("not OpenShift", {"annotations": {"service.beta.openshift.io/inject-cabundle": ""}}, False),
            ("an empty wish", {"annotations": {"cert-manager.io/inject-ca-from": ""}}, False),
            ("nobody", {}, False),
        )
    },
    "trusted authorities": (
        live(
            CM,
            metadata={"labels": {"config.openshift.io/inject-trusted-cabundle": "true"}},
            data={"ca-bundle.crt": "x", "service-ca.crt": "y"},
        ),
        ["/data/ca-bundle.crt"],
    ),
    "authorities that nobody injects": (
        live(
            CM,
            metadata={"labels": {"config.openshift.io/inject-trusted-cabundle": "false"}},
            data={"ca-bundle.crt": "x"},
        ),
        [],
    ),
    # Definitions
    "definition": (
        live(
            f"{CRD}/CustomResourceDefinition",
            spec={
                "conversion": {"strategy": "None"},
                "names": {"kind": "Order", "plural": "orders", "listKind": "OrderList", "singular": "order"},
            },
        ),
        ["/spec/conversion", "/spec/names/listKind", "/spec/names/singular"],
    ),
    "definition with names of its own": (
        live(
            f"{CRD}/CustomResourceDefinition",
            spec={
                "conversion": {"strategy": "Webhook"},
                "names": {"kind": "Order", "plural": "orders", "listKind": "Orders", "singular": "anorder"},
            },
        ),
        [],
    ),
    # Accounts
    "account": (
        live(
            "ServiceAccount",
            secrets=[{"name": "a-token-x1y2z"}, {"name": "a-dockercfg-x1y2z"}, {"name": "mine"}],
            imagePullSecrets=[{"name": "pull"}, {"name": "a-dockercfg-x1y2z"}],
        ),
        ["/secrets/0", "/secrets/1", "/imagePullSecrets/1"],
    ),
    "account with secrets of its own": (
        live(
            "ServiceAccount",
            secrets=[
                {"name": "b-token-x1y2z"},
                {"name": "a-token-X1Y2Z"},
                {"name": "a-token-x1y2"},
                {"name": "a-other-x1y2z"},
                {"name": 5},
                "a-token-x1y2z",
            ],
        ),
        [],
    ),
    "account with a long name": (
        live("ServiceAccount", metadata={"name": "n" * 60}, secrets=[{"name": "n" * 58 + "x1y2z"}]),
        ["/secrets/0"],
    ),
    # The rest
    "requests": (
        live(
            "certificates.k8s.io/CertificateSigningRequest",
            spec={"username": "u", "uid": "1", "groups": ["g"], "extra": {"a": ["b"]}, "request": "x"},
        ),
        ["/spec/username", "/spec/uid", "/spec/groups", "/spec/extra"],
    ),
    "gathered roles": (live(f"{RBAC}/ClusterRole", aggregationRule={"a": 1}, rules=[{"b": 1}]), ["/rules"]),
    "roles": (live(f"{RBAC}/ClusterRole", rules=[{"b": 1}]), []),
    "storage class": (live("storage.k8s.io/StorageClass", parameters={"type": "gp3"}), []),
    "claim of a device": (
        live("resource.k8s.io/ResourceClaim", metadata={"finalizers": ["resource.kubernetes.io/delete-protection"]}),
        ["/metadata/finalizers/0"],
    ),
    **{
        f"finalizer of a {of}": (live(of, metadata={"finalizers": [finalizer, "mine"]}), ["/metadata/finalizers/0"])
        for of, finalizer in (
            ("networking.k8s.io/ServiceCIDR", "networking.k8s.io/service-cidr-finalizer"),
            ("storage.k8s.io/VolumeAttachment", "external-attacher/csi-example-com"),
            ("storage.k8s.io/VolumeAttributesClass", "kubernetes.io/vac-protection"),
        )
    },
    "stateful set": (
        live(
            "apps/StatefulSet",
            spec={
                "template": {"metadata": {"creationTimestamp": None}},
                "volumeClaimTemplates": [{"metadata": {"creationTimestamp": None}, "status": {}}, "odd"],
            },
        ),
        [
            "/spec/template/metadata/creationTimestamp",
            "/spec/volumeClaimTemplates/0/metadata/creationTimestamp",
            "/spec/volumeClaimTemplates/0/status",
        ],
    ),
}
