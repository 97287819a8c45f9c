"""OpenAPI schemas of the built-in types, made from the models of the installed `kubernetes` package.

The package says the names, types, descriptions and required fields of every model. It leaves out what Kubernetes marks
with `x-kubernetes-*`: how lists merge, which maps are one value, which numbers are quantities. Those marks stand here,
read from the OpenAPI documents of Kubernetes 1.36, for the models that the sandbox API server (`app/sandbox`) reaches.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from kubernetes.client import models

# Where a schema refers to another model.
REFERENCE = "#/components/schemas/"

_LIST = re.compile(r"List\[(.+)\]")
_MAP = re.compile(r"Dict\[str, (.+)\]")
_SIMPLE: Mapping[str, Mapping[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": {"x-kubernetes-preserve-unknown-fields": True},
}
_INT_OR_STRING: Mapping[str, Any] = {"format": "int-or-string", "x-kubernetes-int-or-string": True}
_QUANTITY: Mapping[str, Any] = {"format": "quantity", "x-kubernetes-int-or-string": True}

# The models write `object` where the API has IntOrString; these are the fields' names in all models.
_INT_OR_STRING_FIELDS = frozenset({"port", "targetPort", "maxUnavailable", "minAvailable", "maxSurge"})
# The models write `str` where the API has Quantity, which is also read from a number.
_QUANTITY_FIELDS: Mapping[str, frozenset[str]] = {
    "V1EmptyDirVolumeSource": frozenset({"sizeLimit"}),
    "V1LimitRangeItem": frozenset({"default", "defaultRequest", "max", "maxLimitRequestRatio", "min"}),
    "V1PersistentVolumeClaimStatus": frozenset({"allocatedResources", "capacity"}),
    "V1PodSpec": frozenset({"overhead"}),
    "V1ResourceFieldSelector": frozenset({"divisor"}),
    "V1ResourceQuotaSpec": frozenset({"hard"}),
    "V1ResourceQuotaStatus": frozenset({"hard", "used"}),
    "V1ResourceRequirements": frozenset({"limits", "requests"}),
    "V1VolumeResourceRequirements": frozenset({"limits", "requests"}),
    "V2HPAScalingRules": frozenset({"tolerance"}),
    "V2MetricTarget": frozenset({"averageValue", "value"}),
    "V2MetricValueStatus": frozenset({"averageValue", "value"}),
}
# Maps and structs that are owned and replaced as one value.
_ATOMIC_MODELS = frozenset(
    {
        "RbacV1Subject",
        "V1ConfigMapKeySelector",
        "V1FileKeySelector",
        "V1LabelSelector",
        "V1LocalObjectReference",
        "V1NodeSelector",
        "V1NodeSelectorTerm",
        "V1ObjectFieldSelector",
        "V1ObjectReference",
        "V1OwnerReference",
        "V1ResourceFieldSelector",
        "V1RoleRef",
        "V1ScopeSelector",
        "V1SecretKeySelector",
        "V1ServiceBackendPort",
        "V1TypedLocalObjectReference",
    }
)
_ATOMIC_FIELDS = frozenset({("V1PodSpec", "nodeSelector"), ("V1ServiceSpec", "selector")})


def _merged(*keys: str, strategy: str = "merge") -> Mapping[str, Any]:
    """The marks of a list whose items are found by keys, in server-side apply and in a strategic merge alike."""
    return {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "x-kubernetes-patch-merge-key": keys[0],
        "x-kubernetes-patch-strategy": strategy,
    }


_SET: Mapping[str, Any] = {"x-kubernetes-list-type": "set"}
_CONDITIONS: Mapping[str, Mapping[str, Any]] = {"conditions": _merged("type")}
_CONTAINER: Mapping[str, Mapping[str, Any]] = {
    "env": _merged("name"),
    "ports": _merged("containerPort", "protocol"),
    "volumeDevices": _merged("devicePath"),
    "volumeMounts": _merged("mountPath"),
}
_MARKS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "V1Container": _CONTAINER,
    "V1ContainerRestartRuleOnExitCodes": {"values": _SET},
    "V1CustomResourceDefinitionStatus": {
        "conditions": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    },
    "V1DaemonSetStatus": _CONDITIONS,
    "V1DeploymentSpec": {"strategy": {"x-kubernetes-patch-strategy": "retainKeys"}},
    "V1DeploymentStatus": _CONDITIONS,
    "V1EphemeralContainer": _CONTAINER,
    "V1JSONSchemaProps": {"x-kubernetes-validations": _merged("rule")},
    "V1JobStatus": {
        "conditions": {
            "x-kubernetes-list-type": "atomic",
            "x-kubernetes-patch-merge-key": "type",
            "x-kubernetes-patch-strategy": "merge",
        }
    },
    "V1NamespaceStatus": _CONDITIONS,
    "V1ObjectMeta": {
        "finalizers": {**_SET, "x-kubernetes-patch-strategy": "merge"},
        "ownerReferences": _merged("uid"),
    },
    "V1PersistentVolumeClaimStatus": _CONDITIONS,
    "V1PodDisruptionBudgetSpec": {"selector": {"x-kubernetes-patch-strategy": "replace"}},
    "V1PodDisruptionBudgetStatus": _CONDITIONS,
    "V1PodFailurePolicyOnExitCodesRequirement": {"values": _SET},
    "V1PodSpec": {
        "containers": _merged("name"),
        "ephemeralContainers": _merged("name"),
        "hostAliases": _merged("ip"),
        "imagePullSecrets": _merged("name"),
        "initContainers": _merged("name"),
        "resourceClaims": _merged("name", strategy="merge,retainKeys"),
        "schedulingGates": _merged("name"),
        "topologySpreadConstraints": _merged("topologyKey", "whenUnsatisfiable"),
        "volumes": _merged("name", strategy="merge,retainKeys"),
    },
    "V1ResourceRequirements": {
        "claims": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    },
    "V1ServiceAccount": {"secrets": _merged("name")},
    "V1ServiceSpec": {"ports": _merged("port", "protocol")},
    "V1ServiceStatus": _CONDITIONS,
    "V1StatefulSetStatus": _CONDITIONS,
    "V1UncountedTerminatedPods": {"failed": _SET, "succeeded": _SET},
    "V2HorizontalPodAutoscalerStatus": _CONDITIONS,
}
# Defaults that are part of a list's key: an item without them is still found.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "V1ContainerPort": {"protocol": "TCP"},
    "V1ServicePort": {"protocol": "TCP"},
}


@functools.cache
def schema(model: str) -> dict[str, Any]:
    """One model as an OpenAPI v3 schema; other models are `$ref`s below REFERENCE. Not to be changed by the caller.

    `model` is the class name, for example "V1Deployment". Raises AttributeError for a name that the package lacks.
    """
    found = getattr(models, model)
    # A field whose name is a word of Python has another one in the class than in `attribute_map`.
    fields = {field.serialization_alias or name: field for name, field in found.model_fields.items()}
    properties = {}
    required = []
    for attribute, name in found.attribute_map.items():
        field = fields[name]
        properties[name] = _property(model, name, found.openapi_types[attribute]) | {
            "description": field.description or ""
        }
        if field.is_required():
            required.append(name)
    document: dict[str, Any] = {"type": "object", "description": _summary(found), "properties": properties}
    if required:
        document["required"] = required
    if model in _ATOMIC_MODELS:
        document["x-kubernetes-map-type"] = "atomic"
    return document


def _summary(found: Any) -> str:
    """What the package says about a model, without its list of attributes."""
    return str(found.__doc__ or "").partition("Attributes:")[0].strip()


def _property(model: str, name: str, written: str) -> dict[str, Any]:
    document = _type(written)
    if written == "object" and name in _INT_OR_STRING_FIELDS:
        document = dict(_INT_OR_STRING)
    if name in _QUANTITY_FIELDS.get(model, ()):
        document = _quantities(document)
    if (model, name) in _ATOMIC_FIELDS:
        document["x-kubernetes-map-type"] = "atomic"
    if name in _DEFAULTS.get(model, {}):
        document["default"] = _DEFAULTS[model][name]
    document.update(_MARKS.get(model, {}).get(name, {}))
    return document


def _quantities(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same field, of quantities instead of texts."""
    if document["type"] == "object":
        return {"type": "object", "additionalProperties": dict(_QUANTITY)}
    return dict(_QUANTITY)


def _type(written: str) -> dict[str, Any]:
    """A type as the package writes it, for example "Dict[str, List[V1Container]]"."""
    if match := _LIST.fullmatch(written):
        return {"type": "array", "items": _type(match.group(1))}
    if match := _MAP.fullmatch(written):
        return {"type": "object", "additionalProperties": _type(match.group(1))}
    if written in _SIMPLE:
        return dict(_SIMPLE[written])
    # OpenAPI ignores what stands beside a $ref; a description goes there, so the $ref stands one level below.
    return {"allOf": [{"$ref": f"{REFERENCE}{written}"}]}
