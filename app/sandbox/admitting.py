"""From a decoded body to the object that is stored: all that depends on the type and on nothing else.

Shape, unknown fields, defaults, what a subresource may change, validation, fields that never change, generation. The
engine (`objects.py`) does what depends on the store: uid, resourceVersion, times, finalizers, managedFields. Rules in
CEL (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.sandbox import decoding, defaulting, defining, kinds, naming, problems, restricting, schemas, validating

_STRICT, _WARN = "Strict", "Warn"
FIELD_VALIDATIONS = ("", "Ignore", _STRICT, _WARN)

# Types whose metadata.generation counts the changes of their spec, as on the real server.
_GENERATIONS = frozenset(
    {
        "CronJob",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "StatefulSet",
    }
)
_SCALE_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may be stored, and what the client is told beside (as `Warning` headers)."""

    object: dict[str, Any]
    warnings: tuple[str, ...]


def admit(
    registry: kinds.Registry,
    kind: kinds.Kind,
    new: dict[str, Any],
    *,
    old: dict[str, Any] | None,
    subresource: str,
    field_validation: str,
) -> Admitted:
    """The object to store. `old` is the stored one, None at creation. Raises Refused (400, 422).

    `subresource` is "" or "status". The result shares parts with `new` and `old`: treat all three as frozen.
    """
    schema = registry.schema(kind)
    assert schema is not None, f"{kind.qualified} is not of this registry"
    decoded, unknown = decode(kind, schema, new)
    if unknown and field_validation == _STRICT:
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise problems.bad_request(f"{_unreadable(kind)}: strict decoding error: {listed}")
    merged = _merged(kind, decoded, old=old, subresource=subresource)
    if not kind.definition:
        defaulting.complete(kind.kind, merged, old)
    causes = _causes(kind, schema, merged, old=old, subresource=subresource)
    if causes:
        raise problems.invalid(kind, merged["metadata"].get("name", ""), causes)
    if kind == kinds.DEFINITIONS and not subresource:
        merged = defining.with_status(registry, merged, old)
    warned = field_validation in {"", _WARN}
    return Admitted(
        object=_generated(kind, merged, old), warnings=tuple(f'unknown field "{path}"' for path in unknown if warned)
    )


def decode(kind: kinds.Kind, schema: schemas.Schema, found: Any) -> tuple[dict[str, Any], list[str]]:
    """The body as an object of its type, and the paths of unknown fields. Raises Refused (400, 422)."""
    _check_shape(kind, found)
    decoder = decoding.Decoder(strict=not kind.definition)
    try:
        decoded = decoder.read(schema, found)
    except decoding.DecodingError as error:
        raise problems.bad_request(f"{_unreadable(kind)}: {error}") from error
    return _ordered(kind, decoded), decoder.unknown


def _unreadable(kind: kinds.Kind) -> str:
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'


def _ordered(kind: kinds.Kind, decoded: dict[str, Any]) -> dict[str, Any]:
    """Kind, apiVersion and metadata first, as people read objects; the rest as it was written."""
    head = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": decoded.get("metadata") or {}}
    return head | {key: value for key, value in decoded.items() if key not in head}


def _check_shape(kind: kinds.Kind, found: Any) -> None:
    if not isinstance(found, dict):
        text = f"couldn't get version/kind; json parse error: json: cannot unmarshal {type(found).__name__}"
        raise problems.bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): {text}")
    if kind.definition:
        _check_custom_shape(kind, found)
        return
    wrote, version = found.get("kind") or kind.kind, found.get("apiVersion") or kind.api_version
    if wrote != kind.kind:
        label = str(version).rpartition("/")[2]
        raise problems.bad_request(
            f'{wrote} in version "{label}" cannot be handled as a {kind.kind}: converting ({label}.{wrote}) to '
            f"({kind.group or 'core'}.{kind.kind}): unknown conversion"
        )
    if version != kind.api_version:
        raise problems.bad_request(
            f'{kind.kind} in version "{str(version).rpartition("/")[2]}" cannot be handled as a {kind.kind}: no kind '
            f'"{kind.kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
        )


def _check_custom_shape(kind: kinds.Kind, found: dict[str, Any]) -> None:
    if not found.get("kind"):
        text = orjson.dumps(found).decode()
        raise problems.bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing in '{text}'"
        )
    if found.get("apiVersion") != kind.api_version:
        raise problems.bad_request(
            f"the API version in the data ({found.get('apiVersion') or ''}) does not match the expected API version "
            f"({kind.api_version})"
        )
    if found["kind"] != kind.kind:
        causes = problems.Causes()
        causes.wrong("kind", found["kind"], f"must be {kind.kind}")
        name = (found.get("metadata") or {}).get("name") or ""
        raise problems.invalid(_Claimed(kind, str(found["kind"])), name, causes.found)


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A type under the name that a body gives it: the real server repeats that name."""

    real: kinds.Kind
    kind: str

    @property
    def group(self) -> str:
        return self.real.group

    @property
    def resource(self) -> str:
        return self.real.resource

    @property
    def qualified(self) -> str:
        return self.real.qualified


def _merged(
    kind: kinds.Kind, decoded: dict[str, Any], *, old: dict[str, Any] | None, subresource: str
) -> dict[str, Any]:
    """What this request may change, on top of what it may not."""
    if subresource == kinds.STATUS and old is not None:
        kept = {key: value for key, value in old.items() if key != "status"} | {
            key: decoded[key] for key in ("kind", "apiVersion")
        }
        # An apply brings the notes of who owns what, also when it is about the status.
        metadata = {key: value for key, value in old["metadata"].items() if key != "managedFields"}
        noted = decoded["metadata"].get("managedFields")
        kept["metadata"] = metadata | ({"managedFields": noted} if noted else {})
        return kept | ({"status": decoded["status"]} if "status" in decoded else {})
    if kinds.STATUS not in kind.subresources:
        return decoded
    kept = {key: value for key, value in decoded.items() if key != "status"}
    return kept | ({"status": old["status"]} if old and "status" in old else {})


def _causes(
    kind: kinds.Kind,
    schema: schemas.Schema,
    merged: dict[str, Any],
    *,
    old: dict[str, Any] | None,
    subresource: str,
) -> list[problems.Cause]:
    if kind.definition:
        return _custom_causes(kind, schema, merged, subresource=subresource)
    if subresource:
        return []
    causes = [*restricting.check(kind, schema, merged)]
    if kind == kinds.DEFINITIONS:
        causes += defining.check(merged)
    if old is not None:
        causes += restricting.check_change(kind, old, merged)
    return causes


def _custom_causes(
    kind: kinds.Kind, schema: schemas.Schema, merged: dict[str, Any], *, subresource: str
) -> list[problems.Cause]:
    if subresource == kinds.STATUS:
        status = schema.fields.get("status")
        return validating.check(status, merged["status"], path="status") if status and "status" in merged else []
    causes = problems.Causes()
    naming.check_metadata(kind, merged["metadata"], causes)
    return causes.found + validating.check(schema, merged)


def _generated(kind: kinds.Kind, merged: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """The generation: 1 at creation, one more with each change of what is wanted."""
    metadata = {key: value for key, value in merged["metadata"].items() if key != "generation"}
    if kind.definition or kind.kind in _GENERATIONS:
        metadata["generation"] = _generation(kind, merged, old)
        if kind.kind == "DaemonSet" and not kind.definition:
            metadata["annotations"] = {
                **(metadata.get("annotations") or {}),
                _TEMPLATE_GENERATION: str(metadata["generation"]),
            }
    return merged | {"metadata": metadata}


def _generation(kind: kinds.Kind, merged: Mapping[str, Any], old: Mapping[str, Any] | None) -> int:
    if old is None:
        return 1
    before = int(old["metadata"].get("generation") or 1)
    ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if kinds.STATUS in kind.subresources else set())
    changed = any(merged.get(key) != old.get(key) for key in merged.keys() | old.keys() if key not in ignored)
    return before + 1 if changed else before


def scale_of(kind: kinds.Kind, found: Mapping[str, Any]) -> dict[str, Any]:
    """The `scale` subresource of an object (autoscaling/v1)."""
    wanted, actual, selector = (_at(found, path) for path in kind.scale_paths)
    metadata = {key: found["metadata"][key] for key in _SCALE_METADATA if key in found["metadata"]}
    if not kind.definition:
        selector = _selector_text((found.get("spec") or {}).get("selector") or {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": wanted} if wanted else {},
        "status": {"replicas": actual or 0} | ({"selector": selector} if selector else {}),
    }


def _at(found: Any, path: str) -> Any:
    """The value at a path such as ".spec.replicas"; None where there is none."""
    for name in path.split(".")[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    return found if path else None


def _with(found: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with another value at a path."""
    below = _with(found.get(path[0]) or {}, path[1:], value) if path[1:] else value
    return found | {path[0]: below}


def _selector_text(selector: Mapping[str, Any]) -> str:
    """A label selector in the form of the command line."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        values = ",".join(sorted(one.get("values") or ()))
        terms.append(
            {
                "In": f"{one['key']} in ({values})",
                "NotIn": f"{one['key']} notin ({values})",
                "Exists": one["key"],
                "DoesNotExist": f"!{one['key']}",
            }[one["operator"]]
        )
    return ",".join(terms)


def scaled(kind: kinds.Kind, found: dict[str, Any], scale: dict[str, Any]) -> dict[str, Any]:
    """The object with the number of replicas of a written `Scale`. Raises Refused (422)."""
    spec = scale.get("spec") or {}
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else spec
    if type(replicas) is not int:
        raise problems.bad_request(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
            f"{orjson.dumps(replicas).decode()} into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0:
        causes = problems.Causes()
        causes.wrong("spec.replicas", replicas, "must be greater than or equal to 0")
        raise problems.invalid(_SCALE, found["metadata"]["name"], causes.found)
    metadata = found["metadata"]
    if (scale.get("metadata") or {}).get("resourceVersion"):
        metadata = metadata | {"resourceVersion": scale["metadata"]["resourceVersion"]}
    return _with(found | {"metadata": metadata}, kind.scale_paths[0].split(".")[1:], replicas)


_SCALE = kinds.Kind(
    group="autoscaling",
    version="v1",
    resource="scales",
    singular="scale",
    kind="Scale",
    list_kind="ScaleList",
    namespaced=True,
)
