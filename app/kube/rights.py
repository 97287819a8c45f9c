"""What our account may do in the cluster, asked of the cluster itself (SelfSubjectAccessReview): for `reverser doctor`.

A review is answered and kept nowhere: nothing in the cluster changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import errors
from app.kube import client, kinds, problems

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """One verb on one type. An empty `namespace` means all namespaces or cluster scope, an empty `name` any object."""

    group: str
    resource: str
    namespace: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        """`list deployments.apps in namespace shop`, `get secrets shop/git-creds`."""
        call = problems.Call(
            self.verb, "", group=self.group, resource=self.resource, namespace=self.namespace, name=self.name
        )
        return str(call)

    @property
    def target(self) -> tuple[str, str, str, str]:
        """Everything but the verb: rights on one target fit into one rule."""
        return self.group, self.resource, self.namespace, self.name


def of_streams(scopes: Iterable[tuple[str, str, str]]) -> list[Access]:
    """What a watch daemon needs for streams of (group, resource, namespace)."""
    return [
        Access(group, resource, namespace, verb)
        for group, resource, namespace in sorted(set(scopes))
        for verb in ("list", "watch")
    ]


def of_our_kinds() -> list[Access]:
    """What a watch daemon needs for our four kinds."""
    ours = kinds.OUR_TYPES.values()
    return [
        *of_streams((one.group, one.resource, "") for one in ours),
        *(Access(one.group, f"{one.resource}/status", "", "patch") for one in ours),
    ]


def missing(cluster: client.Cluster, wanted: Collection[Access]) -> list[Access]:
    """Those of `wanted` that the cluster refuses us, in order. Raises StalledError, TemporaryError."""
    return [one for one in sorted(set(wanted)) if not _may(cluster, one)]


def rule_for(accesses: Sequence[Access]) -> str:
    """The one RBAC rule that allows some verbs on one target, as it is written in a Role or ClusterRole."""
    group, resource, _, name = accesses[0].target
    names = f', resourceNames: ["{name}"]' if name else ""
    verbs = ", ".join(f'"{one.verb}"' for one in accesses)
    return f'{{apiGroups: ["{group}"], resources: ["{resource}"]{names}, verbs: [{verbs}]}}'


def account(cluster: client.Cluster) -> str:
    """The user name that the cluster knows us by; empty before Kubernetes 1.28, which cannot be asked."""
    try:
        status = _review(cluster, _WHO_AM_I, "SelfSubjectReview", "authentication.k8s.io/v1", {})
    except (problems.NotServed, problems.Forbidden, errors.PermanentError):
        return ""
    return str((status.get("userInfo") or {}).get("username", ""))


def version(cluster: client.Cluster) -> str:
    """The version of the API server, such as `v1.31.2`; empty where it does not say."""
    return str(cluster.get_json("/version").get("gitVersion", ""))


def _may(cluster: client.Cluster, one: Access) -> bool:
    resource, _, subresource = one.resource.partition("/")
    attributes = {
        "group": one.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": one.namespace,
        "verb": one.verb,
        "name": one.name,
    }
    spec = {"resourceAttributes": {field: value for field, value in attributes.items() if value}}
    status = _review(cluster, _REVIEWS, "SelfSubjectAccessReview", "authorization.k8s.io/v1", {"spec": spec})
    return bool(status.get("allowed"))


def _review(cluster: client.Cluster, path: str, kind: str, api_version: str, fields: dict[str, Any]) -> dict[str, Any]:
    body = orjson.dumps({"apiVersion": api_version, "kind": kind, **fields})
    answer = client.decode(cluster.request("POST", path, body=body).data, call=f"create {kind}")
    return dict(answer.get("status") or {})
