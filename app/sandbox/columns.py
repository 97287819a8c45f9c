"""The columns of built-in types, as `kubectl get` shows them for a real server (pkg/printers/internalversion).

A column is a function from an object to a cell; the table at the end has one line per type. Priority 1 means: only with
`-o wide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Found = Mapping[str, Any]

_NONE, _UNKNOWN, _UNSET = "<none>", "<unknown>", "<unset>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column and how its cells are made."""

    name: str
    cell: Callable[[Found, datetime], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


def of(kind: str) -> list[Column]:
    """The columns of a built-in type: at least its name and its age."""
    return [_NAME, *_COLUMNS.get(kind, (_AGE,))] if kind != "Event" else [*_COLUMNS[kind]]


def since(text: str, now: datetime) -> str:
    """How long ago a time was, for people: 5s, 3m10s, 4h, 2d3h, 1y (k8s.io/apimachinery, util/duration)."""
    seconds = int((now - datetime.fromisoformat(text).astimezone(UTC)).total_seconds())
    if seconds < 0:
        return "0s" if seconds >= -1 else "<invalid>"
    for below, unit, part, finest in _SPANS:
        if seconds < below:
            whole, rest = divmod(seconds, _SECONDS[unit])
            small = rest // _SECONDS[part] if part else 0
            return f"{whole}{unit}{small}{part}" if small >= finest and part else f"{whole}{unit}"
    return f"{seconds // _SECONDS['y']}y"


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
# Below this many seconds: in this unit, with this smaller unit behind it where there is any of it.
_SPANS: Sequence[tuple[int, str, str, int]] = (
    (2 * 60, "s", "", 1),
    (10 * 60, "m", "s", 1),
    (3 * 3600, "m", "", 1),
    (8 * 3600, "h", "m", 1),
    (48 * 3600, "h", "", 1),
    (8 * 86400, "d", "h", 1),
    (2 * 365 * 86400, "d", "", 1),
    (8 * 365 * 86400, "y", "d", 1),
)


def age(found: Found, now: datetime) -> str:
    """How old an object is."""
    created = found["metadata"].get("creationTimestamp")
    return since(created, now) if created else _UNKNOWN


def _at(*path: str, default: Any = "") -> Callable[[Found, datetime], Any]:
    """The cell of a field."""

    def cell(found: Found, _now: datetime) -> Any:
        value: Any = found
        for name in path:
            value = (value or {}).get(name)
        return default if value is None else value

    return cell


def _time_at(*path: str, default: str = _NONE) -> Callable[[Found, datetime], Any]:
    field = _at(*path)
    return lambda found, now: since(field(found, now), now) if field(found, now) else default


def _labels(selector: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((selector or {}).items())) or _NONE


def _selector(selector: Mapping[str, Any] | None) -> str:
    """A label selector as the command line takes it."""
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for one in (selector or {}).get("matchExpressions") or ():
        words = {"In": "in", "NotIn": "notin"}.get(one["operator"])
        values = ",".join(sorted(one.get("values") or ()))
        absent = "!" if one["operator"] == "DoesNotExist" else ""
        terms.append(f"{one['key']} {words} ({values})" if words else f"{absent}{one['key']}")
    return ",".join(terms) or _NONE


def _selector_at(*path: str) -> Callable[[Found, datetime], str]:
    field = _at(*path, default=None)
    return lambda found, now: _selector(field(found, now))


def _containers(key: str, *path: str) -> Callable[[Found, datetime], str]:
    """A field of all containers of a pod template, with commas between."""
    field = _at(*path, "spec", "containers", default=())
    return lambda found, now: ",".join(one.get(key) or "" for one in field(found, now))


def _data(found: Found, _now: datetime) -> int:
    return len(found.get("data") or ()) + len(found.get("binaryData") or ())


def _external(found: Found, _now: datetime) -> str:
    spec = found.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName"))
    shown = ",".join(spec.get("externalIPs") or ())
    ingress = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    shown = ",".join(filter(None, (*(one.get("ip") or one.get("hostname") for one in ingress), shown)))
    return shown or ("<pending>" if spec.get("type") == "LoadBalancer" else _NONE)


def _ports(found: Found, _now: datetime) -> str:
    ports = []
    for one in (found.get("spec") or {}).get("ports") or ():
        outside = f":{one['nodePort']}" if one.get("nodePort") else ""
        ports.append(f"{one.get('port')}{outside}/{one.get('protocol')}")
    return ",".join(ports) or _NONE


def _limits(key: str) -> Callable[[Found, datetime], str]:
    """What is used of what a ResourceQuota allows; limits stand in a column of their own."""

    def cell(found: Found, _now: datetime) -> str:
        status = found.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        names = [name for name in sorted(hard) if name.startswith("limits.") == (key == "limits")]
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _claim(cell: Callable[[Found], Any]) -> Callable[[Found, datetime], Any]:
    """A cell that is empty until the claim has a volume."""
    return lambda found, _now: cell(found) if (found.get("spec") or {}).get("volumeName") else ""


def _capacity(found: Found) -> str:
    return str(((found.get("status") or {}).get("capacity") or {}).get("storage", ""))


def _access(found: Found) -> str:
    return ",".join(_MODES.get(one, one) for one in (found.get("status") or {}).get("accessModes") or ())


def _ready(found: Found, _now: datetime) -> str:
    ready, wanted = (found.get("status") or {}).get("readyReplicas", 0), (found.get("spec") or {}).get("replicas", 0)
    return f"{ready}/{wanted}"


def _job_status(found: Found, _now: datetime) -> str:
    conditions = {one["type"] for one in (found.get("status") or {}).get("conditions") or () if one["status"] == "True"}
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if condition in conditions:
            return shown
    return "Terminating" if found["metadata"].get("deletionTimestamp") else "Running"


def _job_completions(found: Found, _now: datetime) -> str:
    spec, status = found.get("spec") or {}, found.get("status") or {}
    if spec.get("completions") is not None:
        return f"{status.get('succeeded', 0)}/{spec['completions']}"
    parallel = spec.get("parallelism", 0)
    return f"{status.get('succeeded', 0)}/1" + (f" of {parallel}" if parallel > 1 else "")


def _job_duration(found: Found, now: datetime) -> str:
    status = found.get("status") or {}
    if not status.get("startTime"):
        return ""
    end = datetime.fromisoformat(status["completionTime"]) if status.get("completionTime") else now
    return since(status["startTime"], end.astimezone(UTC))


def _hosts(found: Found, _now: datetime) -> str:
    hosts = [one["host"] for one in (found.get("spec") or {}).get("rules") or () if one.get("host")]
    shown = ",".join(hosts[:3]) or "*"
    return f"{shown} + {len(hosts) - 3} more..." if len(hosts) > len(hosts[:3]) else shown


def _ingress_address(found: Found, _now: datetime) -> str:
    ingress = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(one.get("ip") or one.get("hostname") or "" for one in ingress)


def _ingress_ports(found: Found, _now: datetime) -> str:
    return "80, 443" if (found.get("spec") or {}).get("tls") else "80"


def _targets(found: Found, _now: datetime) -> str:
    """What an autoscaler looks at; without metrics, the present value is unknown."""
    shown = []
    for metric in (found.get("spec") or {}).get("metrics") or ():
        kind = metric.get("type") or ""
        source = metric.get(kind[:1].lower() + kind[1:]) or {}
        target = source.get("target") or {}
        wanted = f"{target['averageUtilization']}%" if "averageUtilization" in target else target.get("averageValue")
        name = f"{source['name']}: " if source.get("name") else ""
        shown.append(f"{name}{_UNKNOWN}/{wanted or target.get('value') or '<auto>'}")
    return ", ".join(shown) or _NONE


def _reference(found: Found, _now: datetime) -> str:
    target = (found.get("spec") or {}).get("scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


def _role(found: Found, _now: datetime) -> str:
    role = found.get("roleRef") or {}
    return f"{role.get('kind')}/{role.get('name')}"


def _subjects(kind: str) -> Callable[[Found, datetime], str]:
    def cell(found: Found, _now: datetime) -> str:
        of_kind = [one for one in found.get("subjects") or () if one.get("kind") == kind]
        return ", ".join(
            f"{one['namespace']}/{one.get('name')}" if one.get("namespace") else str(one.get("name")) for one in of_kind
        )

    return cell


def _event_object(found: Found, _now: datetime) -> str:
    target = found.get("involvedObject") or {}
    return f"{target.get('kind', '').lower()}/{target.get('name', '')}"


def _event_source(found: Found, _now: datetime) -> str:
    source = found.get("source") or {}
    name = source.get("component") or found.get("reportingComponent") or ""
    return f"{name}, {source['host']}" if source.get("host") else name


def _event_time(field: str) -> Callable[[Found, datetime], str]:
    def cell(found: Found, now: datetime) -> str:
        time = found.get(field) or found.get("eventTime")
        return since(time, now) if time else _UNKNOWN

    return cell


def _suspended(found: Found, _now: datetime) -> str:
    return str((found.get("spec") or {}).get("suspend", _UNSET))


def _active(found: Found, _now: datetime) -> int:
    return len((found.get("status") or {}).get("active") or ())


def _bound(field: str) -> Callable[[Found, datetime], str]:
    """A side of a PodDisruptionBudget as text."""
    value = _at("spec", field, default="N/A")
    return lambda found, now: str(value(found, now))


def _wide(name: str, cell: Callable[[Found, datetime], Any]) -> Column:
    return Column(name, cell, priority=1)


def _workload(*path: str, selector: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """The wide columns of what makes pods."""
    columns = [_wide("Containers", _containers("name", *path)), _wide("Images", _containers("image", *path))]
    return (*columns, *([_wide("Selector", _selector_at(*selector))] if selector else []))


_NAME = Column("Name", _at("metadata", "name"), format="name")
_AGE = Column("Age", age)
_CREATED = Column("Created At", _at("metadata", "creationTimestamp"), type="date")
_TEMPLATE = ("spec", "template")
_BINDING = (
    Column("Role", _role),
    _AGE,
    _wide("Users", _subjects("User")),
    _wide("Groups", _subjects("Group")),
    _wide("ServiceAccounts", _subjects("ServiceAccount")),
)

_COLUMNS: Mapping[str, Sequence[Column]] = {
    "ClusterRole": (_CREATED,),
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": (Column("Data", _data), _AGE),
    "CronJob": (
        Column("Schedule", _at("spec", "schedule")),
        Column("Timezone", _at("spec", "timeZone", default=_NONE)),
        Column("Suspend", _suspended, type="boolean"),
        Column("Active", _active, type="integer"),
        Column("Last Schedule", _time_at("status", "lastScheduleTime")),
        _AGE,
        *_workload("spec", "jobTemplate", *_TEMPLATE, selector=("spec", "jobTemplate", "spec", "selector")),
    ),
    "CustomResourceDefinition": (_CREATED,),
    "DaemonSet": (
        Column("Desired", _at("status", "desiredNumberScheduled", default=0), type="integer"),
        Column("Current", _at("status", "currentNumberScheduled", default=0), type="integer"),
        Column("Ready", _at("status", "numberReady", default=0), type="integer"),
        Column("Up-to-date", _at("status", "updatedNumberScheduled", default=0), type="integer"),
        Column("Available", _at("status", "numberAvailable", default=0), type="integer"),
        Column("Node Selector", lambda found, now: _labels(_at(*_TEMPLATE, "spec", "nodeSelector")(found, now) or {})),
        _AGE,
        *_workload(*_TEMPLATE, selector=("spec", "selector")),
    ),
    "Deployment": (
        Column("Ready", _ready),
        Column("Up-to-date", _at("status", "updatedReplicas", default=0)),
        Column("Available", _at("status", "availableReplicas", default=0)),
        _AGE,
        *_workload(*_TEMPLATE, selector=("spec", "selector")),
    ),
    "Event": (
        Column("Last Seen", _event_time("lastTimestamp")),
        Column("Type", _at("type")),
        Column("Reason", _at("reason")),
        Column("Object", _event_object),
        _wide("Subobject", _at("involvedObject", "fieldPath")),
        _wide("Source", _event_source),
        Column("Message", lambda found, now: str(_at("message")(found, now)).strip()),
        _wide("First Seen", _event_time("firstTimestamp")),
        _wide("Count", lambda found, _now: found.get("count") or 1),
        Column("Name", _at("metadata", "name"), format="name", priority=1),
    ),
    "HorizontalPodAutoscaler": (
        Column("Reference", _reference),
        Column("Targets", _targets),
        Column("MinPods", lambda found, now: str(_at("spec", "minReplicas", default=_UNSET)(found, now))),
        Column("MaxPods", _at("spec", "maxReplicas", default=0)),
        Column("Replicas", _at("status", "currentReplicas", default=0)),
        _AGE,
    ),
    "Ingress": (
        Column("Class", _at("spec", "ingressClassName", default=_NONE)),
        Column("Hosts", _hosts),
        Column("Address", _ingress_address),
        Column("Ports", _ingress_ports),
        _AGE,
    ),
    "Job": (
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        _AGE,
        *_workload(*_TEMPLATE, selector=("spec", "selector")),
    ),
    "Lease": (Column("Holder", _at("spec", "holderIdentity")), _AGE),
    "LimitRange": (_CREATED,),
    "Namespace": (Column("Status", _at("status", "phase")), _AGE),
    "NetworkPolicy": (Column("Pod-Selector", _selector_at("spec", "podSelector")), _AGE),
    "PersistentVolumeClaim": (
        Column(
            "Status", lambda found, now: "Terminating" if _is_leaving(found) else _at("status", "phase")(found, now)
        ),
        Column("Volume", _at("spec", "volumeName")),
        Column("Capacity", _claim(_capacity)),
        Column("Access Modes", _claim(_access)),
        Column("StorageClass", _at("spec", "storageClassName")),
        Column("VolumeAttributesClass", _at("spec", "volumeAttributesClassName", default=_UNSET)),
        _AGE,
        _wide("VolumeMode", _at("spec", "volumeMode", default=_UNSET)),
    ),
    "PodDisruptionBudget": (
        Column("Min Available", _bound("minAvailable")),
        Column("Max Unavailable", _bound("maxUnavailable")),
        Column("Allowed Disruptions", _at("status", "disruptionsAllowed", default=0), type="integer"),
        _AGE,
    ),
    "ResourceQuota": (Column("Request", _limits("requests")), Column("Limit", _limits("limits")), _AGE),
    "Role": (_CREATED,),
    "RoleBinding": _BINDING,
    "Secret": (Column("Type", _at("type")), Column("Data", _data), _AGE),
    "Service": (
        Column("Type", _at("spec", "type")),
        Column("Cluster-IP", _at("spec", "clusterIP", default=_NONE)),
        Column("External-IP", _external),
        Column("Port(s)", _ports),
        _AGE,
        _wide("Selector", lambda found, now: _labels(_at("spec", "selector")(found, now) or {})),
    ),
    "StatefulSet": (Column("Ready", _ready), _AGE, *_workload(*_TEMPLATE)),
}


def _is_leaving(found: Found) -> bool:
    return "deletionTimestamp" in found["metadata"]
