"""The types that are served: a table of built-in ones, and those that CustomResourceDefinitions add.

A `Registry` is immutable: whoever stores a CustomResourceDefinition makes a new one. Objects are kept under group and
resource; each served version reads the same objects under its own apiVersion (conversion strategy None).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.sandbox import problems, schemas

STATUS = "status"
SCALE = "scale"

_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CREATE = ("create",)
# A namespace goes one at a time, on the real server as well.
_NO_COLLECTION = tuple(verb for verb in _ALL_VERBS if verb != "deletecollection")


@dataclass(frozen=True, slots=True)
class Kind:
    """One served version of one type."""

    group: str
    version: str
    resource: str
    singular: str
    kind: str
    list_kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL_VERBS
    subresources: frozenset[str] = frozenset()
    # The name of the CustomResourceDefinition; "" for a built-in type.
    definition: str = ""
    # Where `scale` finds the wanted and the actual number, and the selector of the pods, as text; "" if it is not told.
    scale_paths: tuple[str, str, str] = (".spec.replicas", ".status.replicas", "")

    @property
    def api_version(self) -> str:
        """As objects write it: "apps/v1", "v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages write it: "deployments.apps", "configmaps"."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def _built_in(
    api: str,
    resource: str,
    kind: str,
    *,
    namespaced: bool = True,
    short: str = "",
    categories: str = "",
    subresources: str = "",
    verbs: tuple[str, ...] = _ALL_VERBS,
) -> Kind:
    """One row; lists are written with spaces between."""
    group, _, version = api.rpartition("/")
    return Kind(
        group=group,
        version=version,
        resource=resource,
        singular=kind.lower(),
        kind=kind,
        list_kind=f"{kind}List",
        namespaced=namespaced,
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        verbs=verbs,
        subresources=frozenset(subresources.split()),
    )


_RBAC = "rbac.authorization.k8s.io/v1"

# In the order in which the real server lists groups and resources.
BUILT_IN: tuple[Kind, ...] = (
    _built_in("v1", "configmaps", "ConfigMap", short="cm"),
    _built_in("v1", "events", "Event", short="ev"),
    _built_in("v1", "limitranges", "LimitRange", short="limits"),
    _built_in(
        "v1", "namespaces", "Namespace", namespaced=False, short="ns", subresources="status", verbs=_NO_COLLECTION
    ),
    _built_in("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", subresources="status"),
    _built_in("v1", "resourcequotas", "ResourceQuota", short="quota", subresources="status"),
    _built_in("v1", "secrets", "Secret"),
    _built_in("v1", "serviceaccounts", "ServiceAccount", short="sa"),
    _built_in("v1", "services", "Service", short="svc", categories="all", subresources="status"),
    _built_in("apps/v1", "daemonsets", "DaemonSet", short="ds", categories="all", subresources="status"),
    _built_in("apps/v1", "deployments", "Deployment", short="deploy", categories="all", subresources="scale status"),
    _built_in("apps/v1", "statefulsets", "StatefulSet", short="sts", categories="all", subresources="scale status"),
    _built_in("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=_CREATE),
    _built_in(
        "authorization.k8s.io/v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        namespaced=False,
        verbs=_CREATE,
    ),
    _built_in(
        "authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, verbs=_CREATE
    ),
    _built_in(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short="hpa",
        categories="all",
        subresources="status",
    ),
    _built_in("batch/v1", "cronjobs", "CronJob", short="cj", categories="all", subresources="status"),
    _built_in("batch/v1", "jobs", "Job", categories="all", subresources="status"),
    _built_in("networking.k8s.io/v1", "ingresses", "Ingress", short="ing", subresources="status"),
    _built_in("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short="netpol"),
    _built_in("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", subresources="status"),
    _built_in(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _built_in(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _built_in(_RBAC, "rolebindings", "RoleBinding"),
    _built_in(_RBAC, "roles", "Role"),
    _built_in(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short="crd crds",
        categories="api-extensions",
        subresources="status",
    ),
    _built_in("coordination.k8s.io/v1", "leases", "Lease"),
)
DEFINITIONS = next(kind for kind in BUILT_IN if kind.kind == "CustomResourceDefinition")
NAMESPACES = next(kind for kind in BUILT_IN if kind.kind == "Namespace")
# The one built-in model that is not named after its version and kind.
_MODELS = {("", "Event"): "CoreV1Event"}


class Registry:
    """Every served version of every type, core first, then the groups in the server's order."""

    def __init__(self, custom: Mapping[Kind, schemas.Schema], documents: Mapping[str, dict[str, Any]]) -> None:
        self.kinds: tuple[Kind, ...] = (*BUILT_IN, *custom)
        self._found = {(kind.group, kind.version, kind.resource): kind for kind in self.kinds}
        self._custom = custom
        self._documents = documents

    @classmethod
    def of(cls, definitions: Iterable[dict[str, Any]]) -> Registry:
        """The built-in types and those of the CustomResourceDefinitions that are established."""
        custom: dict[Kind, schemas.Schema] = {}
        documents: dict[str, dict[str, Any]] = {}
        for definition in sorted(definitions, key=_order):
            if established(definition):
                custom |= dict(_served(definition))
                documents[definition["metadata"]["name"]] = definition
        return cls(custom, documents)

    def find(self, group: str, version: str, resource: str) -> Kind:
        """The type of a path. Raises Refused (404)."""
        found = self._found.get((group, version, resource))
        if not found:
            raise problems.not_served()
        return found

    def schema(self, kind: Kind) -> schemas.Schema | None:
        """What objects of this type look like; None only for a type that this registry does not hold."""
        if kind.definition:
            return self._custom.get(kind)
        return schemas.of_model(model_of(kind))

    def served_version(self, kind: Kind) -> dict[str, Any]:
        """What the CustomResourceDefinition says about this version: columns, subresources; {} for a built-in type."""
        versions = self._documents.get(kind.definition, {}).get("spec", {}).get("versions", ())
        return next((one for one in versions if one["name"] == kind.version), {})


def model_of(kind: Kind) -> str:
    """The name of a built-in type's model in `app/kube/schemas.py`."""
    return _MODELS.get((kind.group, kind.kind)) or f"{kind.version.upper()}{kind.kind}"


def established(definition: Mapping[str, Any]) -> bool:
    """Whether the types of a CustomResourceDefinition are to be served."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def _order(definition: Mapping[str, Any]) -> tuple[str, str]:
    return definition["spec"]["group"], definition["spec"]["names"]["plural"]


def _served(definition: Mapping[str, Any]) -> Iterator[tuple[Kind, schemas.Schema]]:
    """The served versions of one CustomResourceDefinition, the most preferred first."""
    spec = definition["spec"]
    for version in sorted(spec["versions"], key=lambda one: version_rank(one["name"])):
        if version["served"]:
            document = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
            yield _custom(definition, version), schemas.of_definition(text)


def _custom(definition: Mapping[str, Any], version: Mapping[str, Any]) -> Kind:
    spec, names = definition["spec"], definition["spec"]["names"]
    return Kind(
        group=spec["group"],
        version=version["name"],
        resource=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        kind=names["kind"],
        list_kind=names.get("listKind") or f"{names['kind']}List",
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        # The order in which the real server writes them for custom resources.
        verbs=("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"),
        subresources=frozenset(version.get("subresources") or ()),
        definition=definition["metadata"]["name"],
        scale_paths=_scale_paths(version),
    )


def _scale_paths(version: Mapping[str, Any]) -> tuple[str, str, str]:
    scale = (version.get("subresources") or {}).get("scale") or {}
    return (
        scale.get("specReplicasPath", ".spec.replicas"),
        scale.get("statusReplicasPath", ".status.replicas"),
        scale.get("labelSelectorPath", ""),
    )


def version_rank(name: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v2beta1, v1alpha3, then other names by alphabet."""
    head, major, stage, minor = _parts(name)
    if not head:
        return 3, 0, 0, name
    return {"": 0, "beta": 1, "alpha": 2}[stage], -major, -minor, ""


def _parts(name: str) -> tuple[bool, int, str, int]:
    """A version such as v1beta2 as (it is one, 1, "beta", 2)."""
    for stage in ("alpha", "beta"):
        major, found, minor = name.partition(stage)
        if found and major[:1] == "v" and major[1:].isdigit() and minor.isdigit():
            return True, int(major[1:]), stage, int(minor)
    return name[:1] == "v" and name[1:].isdigit(), int(name[1:]) if name[1:].isdigit() else 0, "", 0
