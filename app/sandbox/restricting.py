"""What built-in types refuse beyond the types of their fields: missing and impossible values, fields that never change.

Tables by model, walked along the schema, for what people get wrong most; not all of pkg/apis/*/validation. An object
that is accepted here and refused by a real cluster is possible, the other way round is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.sandbox import kinds, naming, problems, schemas

_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "V1Container": ("name", "image"),
    "V1ContainerPort": ("containerPort",),
    "V1CronJobSpec": ("schedule",),
    "V1DeploymentSpec": ("selector",),
    "V1EnvVar": ("name",),
    "V1PodSpec": ("containers",),
    "V1StatefulSetSpec": ("selector",),
    "V1Volume": ("name",),
    "V1VolumeMount": ("name", "mountPath"),
    "V2CrossVersionObjectReference": ("kind", "name"),
}
# Fields that Go holds as values, so that they are checked when nobody wrote them.
_ALWAYS = frozenset({"jobTemplate", "scaleTargetRef", "spec", "template"})
_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "V1Container": {"imagePullPolicy": ("Always", "IfNotPresent", "Never")},
    "V1ContainerPort": {"protocol": ("SCTP", "TCP", "UDP")},
    "V1CronJobSpec": {"concurrencyPolicy": ("Allow", "Forbid", "Replace")},
    "V1DeploymentStrategy": {"type": ("Recreate", "RollingUpdate")},
    "V1PodSpec": {"restartPolicy": ("Always", "OnFailure", "Never")},
    "V1ServicePort": {"protocol": ("SCTP", "TCP", "UDP")},
    "V1ServiceSpec": {"type": ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")},
}
_PORTS: Mapping[str, tuple[str, ...]] = {"V1ContainerPort": ("containerPort",), "V1ServicePort": ("port", "targetPort")}
_COUNTS: Mapping[str, tuple[str, ...]] = {
    "V1DeploymentSpec": ("replicas", "minReadySeconds", "revisionHistoryLimit"),
    "V1JobSpec": ("parallelism", "completions", "backoffLimit"),
    "V1StatefulSetSpec": ("replicas", "minReadySeconds"),
}
_LABELS: Mapping[str, tuple[str, ...]] = {"V1Container": ("name",), "V1Volume": ("name",)}
_WORKLOADS = frozenset({"V1DaemonSetSpec", "V1DeploymentSpec", "V1StatefulSetSpec"})
_LARGEST_PORT = 65535
# Bytes of a ConfigMap or a Secret.
_LARGEST_DATA = 1024 * 1024

_IMMUTABLE: Mapping[str, tuple[str, ...]] = {
    "CustomResourceDefinition": ("spec.group", "spec.scope", "spec.names.plural", "spec.names.kind"),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "Job": ("spec.completions", "spec.selector", "spec.template", "spec.completionMode"),
    "Secret": ("type",),
}
_STATEFUL_CHANGES = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_CLAIM_CHANGES = ("resources", "volumeAttributesClassName", "volumeName", "storageClassName")


def check(kind: kinds.Kind, schema: schemas.Schema, found: Mapping[str, Any]) -> list[problems.Cause]:
    """What is wrong with an object of a built-in type, metadata included."""
    causes = problems.Causes()
    naming.check_metadata(kind, found["metadata"], causes)
    if kind.kind not in _PLAIN:
        _walk(schema, found, "", causes)
    if special := _SPECIAL.get(kind.kind):
        special(found, causes)
    return causes.found


def check_change(kind: kinds.Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[problems.Cause]:
    """What may not become of the stored object."""
    causes = problems.Causes()
    for path in _IMMUTABLE.get(kind.kind, ()):
        before, after = _at(old, path), _at(new, path)
        # A Job's selector is there after creation only, see `defaulting`.
        if before != after:
            causes.wrong(path, after, "field is immutable")
    if special := _CHANGES.get(kind.kind):
        special(old, new, causes)
    return causes.found


def _at(found: Mapping[str, Any], path: str) -> Any:
    value: Any = found
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


# Types of which no field is in the tables above; what else they refuse stands in `_SPECIAL`.
_PLAIN = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CustomResourceDefinition",
        "Event",
        "Lease",
        "LimitRange",
        "Namespace",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "Secret",
        "ServiceAccount",
    }
)


def _walk(schema: schemas.Schema, value: Any, path: str, causes: problems.Causes) -> None:
    """Check one value, and all below it, in the order of the schema."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if schema.items:
                _walk(schema.items, item, f"{path}[{index}]", causes)
    if not isinstance(value, dict) or not schema.fields:
        return
    _check_struct(schema.model, value, path, causes)
    for name, child in schema.fields.items():
        below = value.get(name, {} if name in _ALWAYS and name in schema.required else None)
        if below is not None and (child.fields or child.items):
            _walk(child, below, f"{path}.{name}" if path else name, causes)


def _check_struct(model: str, value: Mapping[str, Any], path: str, causes: problems.Causes) -> None:
    for name in _REQUIRED.get(model, ()):
        if value.get(name) in (None, "", []):
            causes.required(f"{path}.{name}")
    for name in _LABELS.get(model, ()):
        if value.get(name) and not naming.is_label(value[name]):
            causes.wrong(f"{path}.{name}", value[name], naming.label_error())
    _check_numbers(model, value, path, causes)
    for name, supported in _VALUES.get(model, {}).items():
        if value.get(name) not in (None, *supported):
            causes.unsupported(f"{path}.{name}", value[name], supported)
    if model in _WORKLOADS:
        _check_selector(value, causes)


def _check_numbers(model: str, value: Mapping[str, Any], path: str, causes: problems.Causes) -> None:
    for name in _PORTS.get(model, ()):
        number = value.get(name, 0 if model == "V1ServicePort" else None)
        if isinstance(number, int) and not 0 < number <= _LARGEST_PORT:
            causes.wrong(f"{path}.{name}", number, f"must be between 1 and {_LARGEST_PORT}, inclusive")
    for name in _COUNTS.get(model, ()):
        if value.get(name, 0) < 0:
            causes.wrong(f"{path}.{name}", value[name], "must be greater than or equal to 0")


def _data(found: Mapping[str, Any], causes: problems.Causes) -> None:
    naming.check_data_keys(found, causes)
    # Bytes are counted as they are, not in base64, which a ConfigMap has in one field and a Secret in the other.
    encoded = found.get("kind") == "Secret"
    size = sum(_bytes_of(value, encoded=encoded) for value in (found.get("data") or {}).values())
    size += sum(_bytes_of(value, encoded=True) for value in (found.get("binaryData") or {}).values())
    if size > _LARGEST_DATA:
        causes.too_long("data" if encoded else "[]", _LARGEST_DATA)


def _bytes_of(value: str, *, encoded: bool) -> int:
    return len(value) * 3 // 4 - value[-2:].count("=") if encoded else len(value.encode())


def _check_selector(spec: Mapping[str, Any], causes: problems.Causes) -> None:
    """The pods of a workload must be those that it selects."""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    selects = bool(spec.get("selector")) and all((labels or {}).get(key) == value for key, value in wanted.items())
    if not selects:
        causes.wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _job(found: Mapping[str, Any], causes: problems.Causes) -> None:
    _ending_pod(found.get("spec") or {}, "spec", causes)


def _cron_job(found: Mapping[str, Any], causes: problems.Causes) -> None:
    template = (found.get("spec") or {}).get("jobTemplate") or {}
    _ending_pod(template.get("spec") or {}, "spec.jobTemplate.spec", causes)


def _ending_pod(spec: Mapping[str, Any], path: str, causes: problems.Causes) -> None:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    field = f"{path}.template.spec.restartPolicy"
    if not policy:
        causes.required(field, 'valid values: "OnFailure", "Never"')
    elif policy == "Always":
        causes.unsupported(field, policy, ("OnFailure", "Never"))


def _service(found: Mapping[str, Any], causes: problems.Causes) -> None:
    spec = found.get("spec") or {}
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.required("spec.ports")
    seen = set()
    for index, port in enumerate(ports):
        key = (port.get("port"), port.get("protocol"))
        if len(ports) > 1 and not port.get("name"):
            causes.required(f"spec.ports[{index}].name")
        if key in seen:
            causes.duplicate(f"spec.ports[{index}]", port)
        seen.add(key)


def _claim(found: Mapping[str, Any], causes: problems.Causes) -> None:
    spec = found.get("spec") or {}
    if not spec.get("accessModes"):
        causes.required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        causes.required("spec.resources[storage]")


def _role(found: Mapping[str, Any], causes: problems.Causes) -> None:
    for index, rule in enumerate(found.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            causes.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            causes.required(f"{path}.resources", "resource rules must supply at least one resource")


def _binding(found: Mapping[str, Any], causes: problems.Causes) -> None:
    supported = ("Role", "ClusterRole") if "namespace" in found["metadata"] else ("ClusterRole",)
    kind = (found.get("roleRef") or {}).get("kind") or ""
    if kind not in supported:
        causes.unsupported("roleRef.kind", kind, supported)
    if not (found.get("roleRef") or {}).get("name"):
        causes.required("roleRef.name")


def _ingress(found: Mapping[str, Any], causes: problems.Causes) -> None:
    spec = found.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        causes.wrong("spec", None, "either `defaultBackend` or `rules` must be specified")
    for index, rule in enumerate(spec.get("rules") or ()):
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            if not path.get("pathType"):
                causes.required(f"spec.rules[{index}].http.paths[{number}].pathType", "pathType must be specified")


def _autoscaler(found: Mapping[str, Any], causes: problems.Causes) -> None:
    spec = found.get("spec") or {}
    if not spec.get("maxReplicas"):
        causes.required("spec.maxReplicas", "must be set and greater than 0")
    if spec.get("maxReplicas", 0) < spec.get("minReplicas", 1):
        text = "must be greater than or equal to `minReplicas`"
        causes.wrong("spec.maxReplicas", spec.get("maxReplicas", 0), text)


def _event(found: Mapping[str, Any], causes: problems.Causes) -> None:
    namespace = (found.get("involvedObject") or {}).get("namespace", "")
    if (namespace or "default") != found["metadata"].get("namespace"):
        causes.wrong("involvedObject.namespace", namespace, "does not match event.namespace")


_SPECIAL: Mapping[str, Callable[[Mapping[str, Any], problems.Causes], None]] = {
    "ClusterRole": _role,
    "ClusterRoleBinding": _binding,
    "ConfigMap": _data,
    "CronJob": _cron_job,
    "Event": _event,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Role": _role,
    "RoleBinding": _binding,
    "Secret": _data,
    "Service": _service,
}


def _frozen_data(old: Mapping[str, Any], new: Mapping[str, Any], causes: problems.Causes) -> None:
    """A ConfigMap or Secret that says it is immutable."""
    if not old.get("immutable"):
        return
    for field in ("immutable", "data", "binaryData"):
        if old.get(field) != new.get(field):
            causes.forbidden(field, "field is immutable when `immutable` is set")


def _frozen_role(old: Mapping[str, Any], new: Mapping[str, Any], causes: problems.Causes) -> None:
    if old.get("roleRef") != new.get("roleRef"):
        causes.wrong("roleRef", new.get("roleRef"), "cannot change roleRef")


def _frozen_set(old: Mapping[str, Any], new: Mapping[str, Any], causes: problems.Causes) -> None:
    if _without(old, _STATEFUL_CHANGES) != _without(new, _STATEFUL_CHANGES):
        names = [f"'{name}'" for name in _STATEFUL_CHANGES]
        text = (
            f"updates to statefulset spec for fields other than {', '.join(names[:-1])} and {names[-1]} are forbidden"
        )
        causes.forbidden("spec", text)


def _frozen_claim(old: Mapping[str, Any], new: Mapping[str, Any], causes: problems.Causes) -> None:
    """Names of a class and a volume may be set once."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    moved = any(before.get(name) and before.get(name) != after.get(name) for name in ("storageClassName", "volumeName"))
    if moved or _without(old, _CLAIM_CHANGES) != _without(new, _CLAIM_CHANGES):
        causes.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


def _frozen_address(old: Mapping[str, Any], new: Mapping[str, Any], causes: problems.Causes) -> None:
    before, after = (old.get("spec") or {}).get("clusterIP"), (new.get("spec") or {}).get("clusterIP")
    if before and after and before != after:
        causes.wrong("spec.clusterIPs[0]", [after], "may not change once set")


def _without(found: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in (found.get("spec") or {}).items() if key not in names}


_CHANGES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], problems.Causes], None]] = {
    "ClusterRoleBinding": _frozen_role,
    "ConfigMap": _frozen_data,
    "PersistentVolumeClaim": _frozen_claim,
    "RoleBinding": _frozen_role,
    "Secret": _frozen_data,
    "Service": _frozen_address,
    "StatefulSet": _frozen_set,
}
