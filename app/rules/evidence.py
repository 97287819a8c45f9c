"""How to tell what the server or a controller wrote from what somebody meant, where a place alone does not say it.

The conditions of the rows in `fields.py`, each in words, for the reference, and in code. `ownership.py` reads who
manages a field. A condition is asked of live objects, for a place that is there; what an object holds may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.rules import ownership

Json = Any
Path = ownership.Path

# What these own was allocated, computed or copied. Everybody else is somebody who may have chosen it.
CONTROL_PLANE = frozenset(
    {"cloud-controller-manager", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}
)
# The server's name for all that stood in an object before anybody kept track: of these fields nobody knows.
UNTRACKED = "before-first-apply"

# Of a generated name, the server keeps 58 characters of what is before its five random ones.
_GENERATED_PREFIX = 58
_RANDOM = re.compile(r"[a-z0-9]{5}")
_TOKEN_VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")
_TAINTS_OF_STATE = frozenset(
    {
        "node.cloudprovider.kubernetes.io/shutdown",
        "node.cloudprovider.kubernetes.io/uninitialized",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/network-unavailable",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/unschedulable",
    }
)
_DEFAULT_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for state in ("not-ready", "unreachable")
)
_INJECTORS = ("cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret")
_INJECTORS_BY_TRUE = (
    "cert-manager.io/inject-apiserver-ca",
    "service.beta.openshift.io/inject-cabundle",
    "service.alpha.openshift.io/inject-cabundle",
)


class Found(NamedTuple):
    """A value at a place of an object, and who manages what in it."""

    obj: Mapping[str, Json]
    managed: ownership.Managed
    path: Path
    value: Json


@dataclass(frozen=True, slots=True)
class When:
    """A condition: in words that follow "goes when", and in code."""

    text: str
    holds: Callable[[Found], bool]


def is_one_of(*values: str) -> When:
    """By its value."""
    listed = " or ".join(f"`{value}`" for value in values)
    return When(f"it is {listed}", lambda found: isinstance(found.value, str) and found.value in values)


def equals_sibling(name: str) -> When:
    """The same value stands beside it."""
    return When(f"it equals `{name}`", lambda found: bool(_at(found.obj, *found.path[:-1], name) == found.value))


def written_alone_by(manager: str, subresource: str) -> When:
    """One manager owns it, through one subresource."""
    owner = ownership.Owner(manager, subresource)
    return When(
        f"managedFields say that only {manager} owns it, through `{subresource}`",
        lambda found: _is_written(found.obj, owner) and found.managed.owners(found.path) == frozenset({owner}),
    )


def _is_written(obj: Mapping[str, Json], owner: ownership.Owner) -> bool:
    # Asked of every Deployment: this is the cheap question before the dear one.
    entries = obj["metadata"].get("managedFields")
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and entry.get("subresource") == owner.subresource for entry in entries
    )


def _is_allocated(found: Found, *, unknown: bool) -> bool:
    """Whether nobody outside of the control plane owns it; `unknown` where managedFields do not tell."""
    owners = found.managed.owners(found.path)
    if owners is None:
        return unknown
    names = {owner.manager for owner in owners} - CONTROL_PLANE
    return unknown if names == {UNTRACKED} else not names


_NOBODY = "managedFields say that nobody but the control plane owns it"
ALLOCATED = When(f"{_NOBODY}, or say nothing", lambda found: _is_allocated(found, unknown=True))
KNOWN_ALLOCATED = When(_NOBODY, lambda found: _is_allocated(found, unknown=False))
ALLOCATED_IP = When(
    f"it is not `None`, and {_NOBODY}, or say nothing",
    lambda found: found.value != "None" and _is_allocated(found, unknown=True),
)
ALLOCATED_IPS = When(
    f"{_NOBODY}, or say nothing of a Service that is not headless",
    lambda found: _is_allocated(found, unknown=_at(found.obj, "spec", "clusterIP") != "None"),
)
FAMILY_OF_CLUSTER = When(
    f"{_NOBODY}, or say nothing of a Service with one family",
    lambda found: _is_allocated(found, unknown=_is_single_stack(found.obj)),
)


def _is_single_stack(obj: Mapping[str, Json]) -> bool:
    policy, families = _at(obj, "spec", "ipFamilyPolicy"), _at(obj, "spec", "ipFamilies")
    return policy in (None, "SingleStack") and families in (None, ["IPv4"], ["IPv6"])


BOUND_BY_CONTROLLER = When(
    "the annotation `pv.kubernetes.io/bound-by-controller` is there",
    lambda found: _annotation(found.obj, "pv.kubernetes.io/bound-by-controller") is not None,
)
SELECTOR_OF_JOB = When(
    "it selects by the uid of the Job", lambda found: _selects_by_uid(found.value, found.obj["metadata"]["uid"])
)
GENERATED_FOR_JOB = When(
    "`manualSelector` is not set", lambda found: _at(found.obj, "spec", "manualSelector") is not True
)


def _selects_by_uid(selector: Json, uid: str) -> bool:
    return any(
        selector == {"matchLabels": {key: uid}} for key in ("batch.kubernetes.io/controller-uid", "controller-uid")
    )


CA_INJECTED = When(
    "an annotation of cert-manager or OpenShift asks for it",
    lambda found: (
        any(_annotation(found.obj, name) for name in _INJECTORS)
        or any(_annotation(found.obj, name) == "true" for name in _INJECTORS_BY_TRUE)
    ),
)
TRUSTED_CA_INJECTED = When(
    "the label `config.openshift.io/inject-trusted-cabundle` is `true`",
    lambda found: _at(found.obj, "metadata", "labels", "config.openshift.io/inject-trusted-cabundle") == "true",
)
NO_CONVERSION = When("it is only `strategy: None`", lambda found: bool(found.value == {"strategy": "None"}))
DEFAULT_LIST_KIND = When(
    "it is the kind with `List`", lambda found: bool(found.value == f"{_at(found.obj, 'spec', 'names', 'kind')}List")
)
DEFAULT_SINGULAR = When(
    "it is the kind in small letters",
    lambda found: bool(found.value == str(_at(found.obj, "spec", "names", "kind")).lower()),
)
AGGREGATED = When("`aggregationRule` is set", lambda found: bool(found.obj.get("aggregationRule")))
TAINT_OF_STATE = When(
    "its key is one that the node controllers and the API server write",
    lambda found: _is_in(_at(found.value, "key"), _TAINTS_OF_STATE),
)
DEFAULT_TOLERATION = When(
    "it tolerates a node that is not ready or unreachable for 300 s",
    lambda found: found.value in _DEFAULT_TOLERATIONS,
)
TOKEN = When("its name is `kube-api-access-` and five characters", lambda found: _is_named(found.value, _TOKEN_VOLUME))
OF_ATTACHER = When(
    "it begins with `external-attacher/`",
    lambda found: isinstance(found.value, str) and found.value.startswith("external-attacher/"),
)
SECRET_OF_ACCOUNT = When(
    "its name is that of the ServiceAccount, `-token-` or `-dockercfg-`, and five characters",
    lambda found: _is_generated_for(_at(found.value, "name"), found.obj["metadata"]["name"]),
)


def _is_generated_for(name: Json, account: str) -> bool:
    if not isinstance(name, str) or not _RANDOM.fullmatch(name[-5:]):
        return False
    return any(name[:-5] == f"{account}-{what}-"[:_GENERATED_PREFIX] for what in ("token", "dockercfg"))


def _is_named(item: Json, pattern: re.Pattern[str]) -> bool:
    name = _at(item, "name")
    return isinstance(name, str) and pattern.fullmatch(name) is not None


def _is_in(value: Json, values: frozenset[str]) -> bool:
    return isinstance(value, str) and value in values


def _annotation(obj: Mapping[str, Json], name: str) -> Json:
    return _at(obj, "metadata", "annotations", name)


def _at(value: Json, *path: str | int) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
