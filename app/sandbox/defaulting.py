"""What the server fills into built-in types: fixed defaults as tables, and the few that are computed.

As in k8s.io/kubernetes, pkg/apis/*/defaults.go and the strategies of the registries, for the types of `kinds.py`.
Nothing allocates here: a Service's address and port follow from its name, so that no state is needed. Two Services may
get the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

# Keys of these tables: "[]" goes into every item of a list, a "?" at the end only into what is there.
_Table = Mapping[str, Any]

_PROBE: _Table = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
    "httpGet?": {"path": "/", "scheme": "HTTP"},
    "grpc?": {"service": ""},
}
_HANDLER: _Table = {"httpGet?": {"path": "/", "scheme": "HTTP"}}
_CONTAINERS: _Table = {
    "[]": {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "ports?": {"[]": {"protocol": "TCP"}},
        "env?": {"[]": {"valueFrom?": {"fieldRef?": {"apiVersion": "v1"}}}},
        "livenessProbe?": _PROBE,
        "readinessProbe?": _PROBE,
        "startupProbe?": _PROBE,
        "lifecycle?": {"preStop?": _HANDLER, "postStart?": _HANDLER},
    }
}
_MODE: _Table = {"defaultMode": 0o644}
_POD: _Table = {
    "metadata": {},
    "spec": {
        "containers?": _CONTAINERS,
        "initContainers?": _CONTAINERS,
        "volumes?": {
            "[]": {
                "configMap?": _MODE,
                "secret?": _MODE,
                "downwardAPI?": _MODE,
                "projected?": _MODE,
                "hostPath?": {"type": ""},
            }
        },
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    },
}
# A Job says itself what happens to a pod that ends.
_JOB_POD: _Table = {**_POD, "spec": {key: value for key, value in _POD["spec"].items() if key != "restartPolicy"}}
_CLAIM: _Table = {"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}

_TABLES: Mapping[str, _Table] = {
    "ClusterRoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io"}},
    "CronJob": {
        "spec": {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {}, "spec": {"template": _JOB_POD}},
        },
        "status": {},
    },
    "CustomResourceDefinition": {"spec": {"conversion": {"strategy": "None"}}},
    "DaemonSet": {
        "spec": {"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate"}, "template": _POD},
        "status": {
            "currentNumberScheduled": 0,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 0,
            "numberReady": 0,
        },
    },
    "Deployment": {
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate"},
            "template": _POD,
        },
        "status": {},
    },
    "Event": {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
    | {"reportingComponent": "", "reportingInstance": ""},
    "HorizontalPodAutoscaler": {
        "spec": {
            "minReplicas": 1,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
        "status": {"desiredReplicas": 0, "currentMetrics": None},
    },
    "Ingress": {"status": {"loadBalancer": {}}},
    "Job": {
        "spec": {
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
            "manualSelector": False,
            "podReplacementPolicy": "TerminatingOrFailed",
            "suspend": False,
            "template": _JOB_POD,
        },
        "status": {},
    },
    "Lease": {"spec": {}},
    "LimitRange": {"spec": {"limits": None}},
    "Namespace": {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
    "NetworkPolicy": {
        "spec": {
            "podSelector": {},
            "ingress?": {"[]": {"ports?": {"[]": {"protocol": "TCP"}}}},
            "egress?": {"[]": {"ports?": {"[]": {"protocol": "TCP"}}}},
        }
    },
    "PersistentVolumeClaim": _CLAIM,
    "PodDisruptionBudget": {
        "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    },
    "ResourceQuota": {"spec": {}, "status": {}},
    "Role": {"rules": None},
    "ClusterRole": {"rules": None},
    "RoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io"}},
    "Secret": {"type": "Opaque"},
    "Service": {"spec": {"type": "ClusterIP", "sessionAffinity": "None"}, "status": {"loadBalancer": {}}},
    "StatefulSet": {
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "podManagementPolicy": "OrderedReady",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": _POD,
            "volumeClaimTemplates?": {"[]": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **_CLAIM}},
        },
        "status": {"replicas": 0, "availableReplicas": 0},
    },
}


def complete(kind: str, found: dict[str, Any], old: Mapping[str, Any] | None) -> None:
    """Fill in what is missing, in place. `old` is the stored object, whose address and ports are kept."""
    if table := _TABLES.get(kind):
        _fill(found, table)
    if compute := _COMPUTED.get(kind):
        compute(found, old or {})


def _fill(target: dict[str, Any], table: _Table) -> None:
    for key, value in table.items():
        name = key.removesuffix("?")
        there = target.get(name)
        if not isinstance(value, dict):
            target.setdefault(name, [*value] if isinstance(value, list) else value)
        elif "[]" in value:
            for item in there or ():
                _fill(item, value["[]"])
        elif there is not None or name == key:
            target[name] = there if there is not None else {}
            _fill(target[name], value)


def _pod_of(found: dict[str, Any]) -> dict[str, Any]:
    """The pod template of a workload, wherever it stands."""
    spec = found["spec"]
    template: dict[str, Any] = (spec.get("jobTemplate") or {"spec": spec})["spec"]["template"]
    return template


def _complete_images(found: dict[str, Any]) -> None:
    """An image that may change under its name is fetched each time."""
    spec = _pod_of(found)["spec"]
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        image = container.get("image") or ""
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        moves = "@" not in image and tag in {"", "latest"}
        container.setdefault("imagePullPolicy", "Always" if moves else "IfNotPresent")


def _deployment(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    _complete_images(found)
    _rolling(found["spec"]["strategy"], {"maxUnavailable": "25%", "maxSurge": "25%"})


def _stateful_set(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    _complete_images(found)
    _rolling(found["spec"]["updateStrategy"], {"partition": 0})


def _daemon_set(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    _complete_images(found)
    _rolling(found["spec"]["updateStrategy"], {"maxUnavailable": 1, "maxSurge": 0})


def _rolling(strategy: dict[str, Any], defaults: _Table) -> None:
    if strategy["type"] == "RollingUpdate":
        _fill(strategy, {"rollingUpdate": defaults})


def _job(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    """A Job's selector holds its uid on the real server; without a Job controller nothing selects by it here."""
    _complete_images(found)
    spec = found["spec"]
    spec.setdefault("parallelism", 1)
    if spec["parallelism"] == 1:
        spec.setdefault("completions", 1)


def _cron_job(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    _complete_images(found)


def _secret(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    """`stringData` is written and never read."""
    written = found.pop("stringData", None) or {}
    if written:
        data = found.setdefault("data", {})
        data.update({key: base64.b64encode(value.encode()).decode() for key, value in written.items()})


def _namespace(found: dict[str, Any], old: Mapping[str, Any]) -> None:
    """The name as a label, for selectors; finalizers belong to another subresource."""
    labels = found["metadata"].get("labels") or {}
    found["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": found["metadata"].get("name", "")}
    found["spec"] = old.get("spec") or {"finalizers": ["kubernetes"]}


def _claim(found: dict[str, Any], old: Mapping[str, Any]) -> None:
    """A claim in use is not removed: without a controller nobody lifts this, so the finalizer is left out here."""
    if old.get("spec", {}).get("volumeName"):
        found["spec"].setdefault("volumeName", old["spec"]["volumeName"])


def _limit_range(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    """What a container may use at most is also what it asks for, where nothing else is said."""
    for limit in found.get("spec", {}).get("limits") or ():
        if limit.get("type") == "Container":
            for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):
                if limit.get(source):
                    limit[target] = {**limit[source], **limit.get(target, {})}


def _network_policy(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    egress = ["Egress"] if found["spec"].get("egress") else []
    found["spec"].setdefault("policyTypes", ["Ingress", *egress])


def _role_binding(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    for subject in found.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _definition(found: dict[str, Any], _old: Mapping[str, Any]) -> None:
    names = found["spec"].setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")


def _service(found: dict[str, Any], old: Mapping[str, Any]) -> None:
    spec, kept = found["spec"], old.get("spec") or {}
    for port in spec.get("ports") or ():
        if port.get("port"):
            port.setdefault("targetPort", port["port"])
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    metadata = found["metadata"]
    name = f"{metadata.get('namespace')}/{metadata.get('name')}"
    spec["clusterIP"] = spec.get("clusterIP") or kept.get("clusterIP") or _address(name)
    spec["clusterIPs"] = spec.get("clusterIPs") or [spec["clusterIP"]]
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        _expose(spec, kept, name)


def _expose(spec: dict[str, Any], kept: Mapping[str, Any], name: str) -> None:
    """The ports of a Service that is seen from outside."""
    spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    before = {one.get("port"): one.get("nodePort") for one in kept.get("ports") or ()}
    for port in spec.get("ports") or ():
        number = port.get("port")
        port["nodePort"] = port.get("nodePort") or before.get(number) or 30000 + _hash(f"{name}:{number}") % 2768


def _address(name: str) -> str:
    """An address of 10.96.0.0/16 that follows from the name; neither the first nor the last of its last byte."""
    number = _hash(name)
    return f"10.96.{number % 256}.{1 + number // 256 % 254}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


_COMPUTED: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "ClusterRoleBinding": _role_binding,
    "CronJob": _cron_job,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "LimitRange": _limit_range,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "PersistentVolumeClaim": _claim,
    "RoleBinding": _role_binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
}
