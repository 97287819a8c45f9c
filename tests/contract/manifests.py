"""The types that the contract is about, their paths, and small objects of each of them."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from typing import Any

from tests.contract.client import Client, Object
from tests.waiting import wait_until

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Type:
    """One served type: where its objects are found."""

    api_version: str
    resource: str
    kind: str
    namespaced: bool = True

    @property
    def qualified(self) -> str:
        """`configmaps`, `deployments.apps`: as messages name it."""
        group, _, _ = self.api_version.rpartition("/")
        return f"{self.resource}.{group}" if group else self.resource

    @property
    def root(self) -> str:
        """The path of its API group and version."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"

    def all(self, place: str = "") -> str:
        """The path of its objects in a namespace; of all of them without one, or when the type is of cluster scope."""
        scope = f"/namespaces/{place}" if place and self.namespaced else ""
        return f"{self.root}{scope}/{self.resource}"

    def one(self, place: str, name: str) -> str:
        """The path of one object."""
        return f"{self.all(place)}/{name}"

    def new(self, name: str, /, **fields: Any) -> Object:
        """A manifest; `metadata` adds to the name, the rest are top-level fields."""
        metadata = {"name": name, **fields.pop("metadata", {})}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **fields}


RBAC = "rbac.authorization.k8s.io"
CONFIG_MAPS = Type("v1", "configmaps", "ConfigMap")
SECRETS = Type("v1", "secrets", "Secret")
SERVICES = Type("v1", "services", "Service")
NAMESPACES = Type("v1", "namespaces", "Namespace", namespaced=False)
DEPLOYMENTS = Type("apps/v1", "deployments", "Deployment")
STATEFUL_SETS = Type("apps/v1", "statefulsets", "StatefulSet")
ROLES = Type(f"{RBAC}/v1", "roles", "Role")
ROLE_BINDINGS = Type(f"{RBAC}/v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Type(f"{RBAC}/v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Type(f"{RBAC}/v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
DEFINITIONS = Type("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
WIDGETS = Type("contract.example.com/v1", "widgets", "Widget")
OLD_WIDGETS = Type("contract.example.com/v1beta1", "widgets", "Widget")


def unique(prefix: str) -> str:
    """A name that nothing else on the server has: objects of cluster scope are shared by all tests."""
    return f"{prefix}-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


def namespace(client: Client) -> str:
    """A new namespace."""
    name = unique("contract")
    client.create(NAMESPACES.all(), NAMESPACES.new(name))
    return name


def config_map(client: Client, place: str, name: str, /, **fields: Any) -> Object:
    """A new ConfigMap; `labels` go into its metadata."""
    metadata = {"labels": fields.pop("labels")} if "labels" in fields else {}
    return client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new(name, metadata=metadata, **fields))


def pod_template(*containers: Object) -> Object:
    """What Deployments and StatefulSets have in common."""
    labels = {"app": "web"}
    found = list(containers) or [{"name": "web", "image": "nginx:1.27"}]
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": found}},
    }


def deployment(client: Client, place: str, name: str, *containers: Object, **spec: Any) -> Object:
    """A new Deployment."""
    manifest = DEPLOYMENTS.new(name, spec={**pod_template(*containers), **spec})
    return client.create(DEPLOYMENTS.all(place), manifest)


def widget(client: Client, place: str, name: str, /, **spec: Any) -> Object:
    """A new object of the contract's own type."""
    return client.create(WIDGETS.all(place), WIDGETS.new(name, spec={"size": "small", **spec}))


def samples() -> list[tuple[Type, Object]]:
    """One small object of each built-in type, without a name; what a user would write."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    subject = {"kind": "User", "name": "alice", "apiGroup": RBAC}
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    ports = [{"port": 80}]
    return [
        (CONFIG_MAPS, {"data": {"key": "value"}, "binaryData": {"bytes": "AAEC"}}),
        (SECRETS, {"data": {"password": "c2VjcmV0"}}),
        (SERVICES, {"spec": {"selector": {"app": "web"}, "ports": ports}}),
        (DEPLOYMENTS, {"spec": pod_template()}),
        (STATEFUL_SETS, {"spec": {"serviceName": "web", **pod_template()}}),
        (ROLES, {"rules": [rule]}),
        (ROLE_BINDINGS, {"roleRef": reference, "subjects": [subject]}),
        (CLUSTER_ROLES, {"rules": [rule]}),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": reference, "subjects": [subject]}),
        (NAMESPACES, {}),
    ]


def more_samples() -> list[tuple[Type, Object]]:
    """The same for built-in types that a cluster to be mirrored has, and that nothing else here is about."""
    template = pod_template()
    once = {"metadata": {"labels": {"app": "once"}}, "spec": {**template["template"]["spec"], "restartPolicy": "Never"}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    policy = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [{"port": 80}]}]}
    limits = {"limits": [{"type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"memory": "512Mi"}}]}
    return [
        (Type("v1", "serviceaccounts", "ServiceAccount"), {}),
        (Type("v1", "limitranges", "LimitRange"), {"spec": limits}),
        (Type("v1", "resourcequotas", "ResourceQuota"), {"spec": {"hard": {"pods": "10"}}}),
        (Type("v1", "persistentvolumeclaims", "PersistentVolumeClaim"), {"spec": claim}),
        (Type("apps/v1", "daemonsets", "DaemonSet"), {"spec": template}),
        (
            Type("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            {"spec": {"scaleTargetRef": target, "maxReplicas": 3}},
        ),
        (Type("batch/v1", "jobs", "Job"), {"spec": {"template": once}}),
        (
            Type("batch/v1", "cronjobs", "CronJob"),
            {"spec": {"schedule": "0 1 * * *", "jobTemplate": {"spec": {"template": once}}}},
        ),
        (
            Type("networking.k8s.io/v1", "ingresses", "Ingress"),
            {"spec": {"rules": [{"host": "web.example.com", "http": {"paths": [path]}}]}},
        ),
        (Type("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"), {"spec": policy}),
        (
            Type("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
            {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
        ),
        (Type("coordination.k8s.io/v1", "leases", "Lease"), {"spec": {"holderIdentity": "alice"}}),
    ]


def definition(group: str, **fields: Any) -> Object:
    """A CustomResourceDefinition `things.<group>` with one version; `fields` change the version."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **fields}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    return DEFINITIONS.new(f"things.{group}", spec=spec)


def things(group: str, version: str = "v1") -> Type:
    """The type of such a definition."""
    return Type(f"{group}/{version}", "things", "Thing")


def new_group() -> str:
    """An API group that no other test has."""
    return f"{unique('g')}.example.com"


def define(client: Client, manifest: Object) -> Object:
    """Create a definition and wait until its type is served; the definition as it stands then."""
    client.create(DEFINITIONS.all(), manifest)
    spec = manifest["spec"]
    for version in spec["versions"]:
        if version["served"]:
            path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
            wait_until(lambda path=path: client.call("GET", path).code == 200, timeout=30, what=path)  # type: ignore[misc]
    return client.get(DEFINITIONS.one("", manifest["metadata"]["name"]))


_SPEC = {
    "type": "object",
    "description": "What the widget should be.",
    "required": ["size"],
    "properties": {
        "size": {"type": "string", "enum": ["small", "large"], "description": "How big it is."},
        "colour": {"type": "string", "default": "blue", "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "replicas": {"type": "integer", "format": "int32", "default": 1},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 3},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "weight": {"type": "integer", "default": 5},
                    "note": {"type": "string"},
                },
            },
        },
        "options": {"type": "object", "additionalProperties": {"type": "string"}},
        "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
    },
}

_STATUS = {
    "type": "object",
    "properties": {
        "phase": {"type": "string"},
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "conditions": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
            },
        },
    },
}

_COLUMNS = [
    {"name": "Size", "type": "string", "jsonPath": ".spec.size", "description": "How big it is."},
    {"name": "Count", "type": "integer", "jsonPath": ".spec.count"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def widgets() -> Object:
    """The definition of the contract's own type: two versions, a status, a scale, columns, and a rule of each kind."""
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": _SPEC, "status": _STATUS}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = {
        "served": True,
        "schema": {"openAPIV3Schema": {**schema, "description": "Something to try things on."}},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": _COLUMNS,
    }
    names = {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
        "shortNames": ["wd"],
        "categories": ["contract"],
    }
    versions = [{"name": "v1", "storage": True, **version}, {"name": "v1beta1", "storage": False, **version}]
    spec = {"group": "contract.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return DEFINITIONS.new("widgets.contract.example.com", spec=spec)
