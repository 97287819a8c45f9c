"""OpenAPI v3 documents: what `kubectl explain` shows, and by which `kubectl apply` knows how lists merge.

One document per group and version, below /openapi/v3. Each type has a schema, and a path with the operations that
kubectl looks for: whether a patch takes `fieldValidation`, and which kinds of patch there are. Not all are listed.
/openapi/v2 is a document without types: kubectl looks there for a type that v3 does not have, and then says so.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.kube import schemas as built_in
from app.sandbox import decoding, discovering, kinds, patching, problems

# The document of /openapi/v2 in the form in which kubectl asks for it, and what that is called.
V2_MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2_BYTES = b"\n\x032.0\x12\x12\n\nKubernetes\x12\x041.36B\x00"
V2_JSON = {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "1.36"}, "paths": {}}
_KIND = "x-kubernetes-group-version-kind"
_METADATA_MODEL = "V1ObjectMeta"
_METADATA_TEXT = (
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
# Types that are no struct in Go have a name of their own there, and `kubectl explain` shows it.
_NAMED: Mapping[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "description": "A number or a text, for example a port or the name of one.",
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "description": "A number with a unit, such as 100m or 1.5Gi.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {
        "description": "A set of fields, in a form like that of the object: who manages an object owns some of them.",
        "type": "object",
    },
}
_INT_OR_STRING, _QUANTITY, _FIELDS = _NAMED
_VERSION = re.compile(r"V(\d+(?:[a-z]+\d+)?)")


def index(registry: kinds.Registry) -> dict[str, Any]:
    """The answer to /openapi/v3: where each document is, with a hash, so that clients keep what they have."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(registry, members)}"}
            for path, members in _documents(registry).items()
        }
    }


def _documents(registry: kinds.Registry) -> dict[str, list[kinds.Kind]]:
    """The types of each document, by its path."""
    found: dict[str, list[kinds.Kind]] = {}
    for kind in registry.kinds:
        found.setdefault(_root(kind), []).append(kind)
    return found


def _root(kind: kinds.Kind) -> str:
    return f"{'apis' if kind.group else 'api'}/{kind.api_version}"


def _hash(registry: kinds.Registry, members: list[kinds.Kind]) -> str:
    """Of what makes the document: the types, and the schemas of custom ones."""
    digest = hashlib.sha256(orjson.dumps(discovering.version()))
    for kind in members:
        schema = registry.schema(kind) if kind.definition else None
        digest.update(f"{kind}".encode() + (orjson.dumps(schema.document) if schema else b""))
    return digest.hexdigest().upper()


def document(registry: kinds.Registry, group: str, version: str) -> dict[str, Any]:
    """The document of one group and version. Raises Refused (404)."""
    members = [kind for kind in registry.kinds if (kind.group, kind.version) == (group, version)]
    if not members:
        raise problems.not_served()
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for kind in members:
        components |= _schemas(registry, kind)
        paths |= _paths(kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": discovering.version()["gitVersion"]},
        "paths": paths,
        "components": {"schemas": components},
    }


def _schemas(registry: kinds.Registry, kind: kinds.Kind) -> dict[str, Any]:
    """The schema of a type and of all that it refers to."""
    if not kind.definition:
        model = kinds.model_of(kind)
        found = dict(_reached(model))
        return found | {_name(model): {**found[_name(model)], _KIND: [_identity(kind)]}}
    schema = registry.schema(kind)
    root = dict(schema.document) if schema else {}
    metadata = {"description": _METADATA_TEXT, "allOf": [_reference(_METADATA_MODEL)]}
    heads = built_in.schema("V1ConfigMap")["properties"]
    known = {name: heads[name] for name in ("apiVersion", "kind")} | {"metadata": metadata}
    root |= {"type": "object", "properties": {**(root.get("properties") or {}), **known}, _KIND: [_identity(kind)]}
    reversed_group = ".".join(reversed(kind.group.split(".")))
    return {f"{reversed_group}.{kind.version}.{kind.kind}": root, **_reached(_METADATA_MODEL)}


def _identity(kind: kinds.Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


@functools.cache
def _reached(model: str) -> Mapping[str, Any]:
    """The schemas of a built-in model and of every model below it, by the names that documents give them."""
    found: dict[str, Any] = dict(_NAMED)
    pending = [model]
    while pending:
        name = pending.pop()
        if _name(name) not in found:
            document = built_in.schema(name)
            found[_name(name)] = _written(document)
            pending += _references(document)
    return found


def _references(document: Any) -> Iterator[str]:
    """The models that a schema refers to. A property may itself be called `$ref`: then it is no text."""
    if isinstance(document, Mapping):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"].removeprefix(built_in.REFERENCE)
        for value in document.values():
            yield from _references(value)
    elif isinstance(document, list):
        for value in document:
            yield from _references(value)


def _written(document: Any) -> Any:
    """A schema with the names of documents in its references."""
    if isinstance(document, list):
        return [_written(one) for one in document]
    if not isinstance(document, Mapping):
        return document
    if isinstance(document.get("$ref"), str):
        return _reference(document["$ref"].removeprefix(built_in.REFERENCE))
    if document.get("x-kubernetes-int-or-string") is True:
        name = _QUANTITY if document.get("format") == "quantity" else _INT_OR_STRING
        described = {"description": document["description"]} if "description" in document else {}
        return {**described, "allOf": [{"$ref": f"{built_in.REFERENCE}{name}"}]}
    if document.get("x-kubernetes-preserve-unknown-fields") is True:
        return {"type": "object", "description": document.get("description", "")}
    return {key: _field(key, value) for key, value in document.items()}


def _field(name: str, document: Any) -> Any:
    """One part of a schema; the one type that is a struct in Go, and has no model in the package, by its name."""
    if name == "fieldsV1" and isinstance(document, Mapping):
        return {"description": document.get("description", ""), "allOf": [{"$ref": f"{built_in.REFERENCE}{_FIELDS}"}]}
    return _written(document)


def _reference(model: str) -> dict[str, str]:
    return {"$ref": f"{built_in.REFERENCE}{_name(model)}"}


def _name(model: str) -> str:
    """The name of a model in documents; people see what stands behind its last dot."""
    version = _VERSION.search(model)
    return f"io.k8s.v{version.group(1)}.{decoding.go_name(model)}" if version else f"io.k8s.{model}"


def _paths(kind: kinds.Kind) -> dict[str, Any]:
    """The collection and the object of a type, with what can be done there."""
    base = f"/{_root(kind)}{'/namespaces/{namespace}' if kind.namespaced else ''}/{kind.resource}"
    collection = {"list": "get", "create": "post"}
    single = {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}
    found = {base: _operations(kind, collection)}
    if "get" in kind.verbs:
        found[f"{base}/{{name}}"] = _operations(kind, single)
    return found


def _operations(kind: kinds.Kind, methods: Mapping[str, str]) -> dict[str, Any]:
    return {method: _operation(kind, verb) for verb, method in methods.items() if verb in kind.verbs}


def _operation(kind: kinds.Kind, verb: str) -> dict[str, Any]:
    names = {"create": _WRITES, "update": _WRITES, "patch": (*_WRITES, "force")}.get(verb, ())
    found: dict[str, Any] = {
        "operationId": f"{verb}{kind.group.title().replace('.', '')}{kind.version.title()}{kind.kind}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": verb,
        _KIND: _identity(kind),
    }
    if verb == "patch":
        found["requestBody"] = {"content": {one: {"schema": {"type": "object"}} for one in patching.accepted(kind)}}
    return found


_WRITES = ("dryRun", "fieldManager", "fieldValidation")
