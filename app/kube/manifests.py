"""Manifests: YAML or JSON documents as `reverser apply -f` and `reverser delete -f` send them, and the demo does.

Server-side apply, one request for each object; the cluster's discovery says where a kind stands. Definitions of kinds
and namespaces come first, and a kind that was just defined is waited for. Neighbours: `crds.py` installs our own four.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import yaml

from app import errors, events
from app.kube import client, discovery, documents, paths, problems
from app.rules import types

# The manager in an object's managedFields: a commit then says `by manager/reverser-apply`.
FIELD_MANAGER = "reverser-apply"
DEFAULT_NAMESPACE = "default"
# What other documents may need, in this order; everything else keeps the order of the files.
_FIRST = ("CustomResourceDefinition", "Namespace")
# A kind that was just defined is served after 1 to 3 seconds, and answers 429 for a moment more.
_PATIENCE = 30.0
_POLL = 0.2

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as somebody wrote it. `source` says where: `shop.yaml, line 12`."""

    source: str
    content: Mapping[str, Any]

    @property
    def api_version(self) -> str:
        """`apps/v1`."""
        return str(self.content["apiVersion"])

    @property
    def kind(self) -> str:
        """`Deployment`."""
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.content["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The namespace that the document names, or nothing."""
        return str(self.content["metadata"].get("namespace") or "")

    def __str__(self) -> str:
        """`deployment.apps/web`, as kubectl names an object."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.kind.lower()}{'.' + group if group else ''}/{self.name}"


def read(text: str, *, source: str) -> list[Manifest]:
    """The objects of a YAML stream or a JSON document, Lists taken apart.

    Raises PermanentError that names the source and the line.
    """
    found = []
    for one in read_each(text, source=source):
        if isinstance(one, errors.PermanentError):
            raise one
        found.append(one)
    return found


def read_each(text: str, *, source: str) -> Iterator[Manifest | errors.PermanentError]:
    """As `read`, with the error of each document and each item of a List in its place.

    A stream ends where it is no YAML: nobody knows where its next document begins.
    """
    try:
        for document, place in _documents(text, source):
            yield from _objects(document, place)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        yield errors.PermanentError(f"{source}{line}: this is no YAML: {error.problem}")
    except (yaml.YAMLError, ValueError) as error:
        # A character that YAML does not admit, or a value such as a number that no computer holds.
        yield errors.PermanentError(f"{source}: this is no YAML: {str(error).splitlines()[0]}")


def _documents(text: str, source: str) -> Iterator[tuple[Any, str]]:
    try:
        # JSON may be indented with tabs, which YAML does not admit.
        yield orjson.loads(text), source
    except orjson.JSONDecodeError:
        for document, line in documents.read(text):
            yield document, f"{source}, line {line}"


def _objects(document: Any, place: str) -> Iterator[Manifest | errors.PermanentError]:
    if document is None:
        return
    if isinstance(document, dict) and str(document.get("kind")).endswith("List") and "items" in document:
        items = [] if document["items"] is None else document["items"]
        if not isinstance(items, list):
            yield errors.PermanentError(f"{place}: the items of the {document['kind']} are no list")
            return
        for number, item in enumerate(items, start=1):
            yield _object(item, f"{place}, item {number}")
    else:
        yield _object(document, place)


def _object(document: Any, place: str) -> Manifest | errors.PermanentError:
    if not isinstance(document, dict):
        return errors.PermanentError(
            f"{place}: an object of Kubernetes is expected, with apiVersion, kind and metadata"
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            return errors.PermanentError(f"{place}: the object has no {field}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return errors.PermanentError(f"{place}: the {document['kind']} has no metadata.name")
    return Manifest(place, document)


def in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Definitions of kinds, namespaces, then the rest as it came."""
    return sorted(manifests, key=lambda one: _FIRST.index(one.kind) if one.kind in _FIRST else len(_FIRST))


class Sender:
    """Sends manifests to one cluster. `namespace` is where an object goes that names none.

    `beside` is what is sent together: a kind that it defines may be gone when its objects are deleted.
    """

    def __init__(self, cluster: client.Cluster, *, namespace: str = "", beside: Iterable[Manifest] = ()) -> None:
        self._cluster = cluster
        self._defines = {_defined_kind(one) for one in beside if one.kind == "CustomResourceDefinition"}
        self._namespace = namespace
        self._types: Sequence[types.ResourceType] = ()
        self._defined: set[tuple[str, str]] = set()

    def apply(self, manifest: Manifest) -> str:
        """Make the object as the document says, and say what was done; fields that others set are taken over.

        Raises NotServed where the cluster lacks the kind or the namespace, Forbidden, PermanentError for what the
        cluster refuses, TemporaryError for one that does not answer.
        """
        type_, ref = self._place(manifest)
        _patiently(
            lambda: self._cluster.request(
                "PATCH",
                paths.single(type_, ref),
                query={"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
                body=orjson.dumps(_placed(manifest.content, ref), option=orjson.OPT_NON_STR_KEYS),
                content_type=client.APPLY_PATCH,
            )
        )
        if manifest.kind == "CustomResourceDefinition":
            self._defined.add(_defined_kind(manifest))
            self._types = ()
        return "applied"

    def delete(self, manifest: Manifest) -> str:
        """Delete the object; one that is gone already is no error, nor one that went with its kind.

        Raises as `apply` does: a kind that the cluster never served may be misspelt.
        """
        try:
            type_, ref = self._place(manifest)
        except problems.NotServed:
            if _group_kind(manifest) in self._defines:
                return "is gone already"
            raise
        try:
            self._cluster.request("DELETE", paths.single(type_, ref))
        except problems.NotServed:
            return "is gone already"
        return "deleted"

    def _place(self, manifest: Manifest) -> tuple[types.ResourceType, events.Ref]:
        type_ = self._type(manifest)
        if not type_.namespaced:
            return type_, events.Ref("", manifest.name)
        if self._namespace and manifest.namespace and manifest.namespace != self._namespace:
            raise errors.PermanentError(f"it names namespace {manifest.namespace}, and -n says {self._namespace}")
        return type_, events.Ref(manifest.namespace or self._namespace or DEFAULT_NAMESPACE, manifest.name)

    def _type(self, manifest: Manifest) -> types.ResourceType:
        """Where the kind stands. Raises NotServed; a kind that this sender has just defined is waited for."""
        deadline = time.monotonic() + (_PATIENCE if _group_kind(manifest) in self._defined else 0.0)
        found = _find(self._types, manifest)
        while found is None:
            served = discovery.discover(self._cluster)
            self._types, found = served.types, _find(served.types, manifest)
            if found is None and manifest.api_version.rpartition("/")[0] in served.failed_groups:
                raise errors.TemporaryError(f"the API group of {manifest.api_version} does not answer: try again")
            if found is None and time.monotonic() >= deadline:
                raise problems.NotServed(
                    f"the cluster serves no {manifest.kind} of {manifest.api_version}: check the spelling, or install "
                    "its CustomResourceDefinition first"
                )
            if found is None:
                time.sleep(_POLL)
        return found


def _find(served: Iterable[types.ResourceType], manifest: Manifest) -> types.ResourceType | None:
    wanted = manifest.api_version, manifest.kind
    return next((one for one in served if (one.api_version, one.kind) == wanted and "patch" in one.verbs), None)


def _group_kind(manifest: Manifest) -> tuple[str, str]:
    return manifest.api_version.rpartition("/")[0], manifest.kind


def _defined_kind(definition: Manifest) -> tuple[str, str]:
    spec = definition.content.get("spec") or {}
    return str(spec.get("group")), str((spec.get("names") or {}).get("kind"))


def _placed(content: Mapping[str, Any], ref: events.Ref) -> dict[str, Any]:
    metadata = {**content["metadata"], **({"namespace": ref.namespace} if ref.namespace else {})}
    return {**content, "metadata": metadata}


def _patiently(send: Callable[[], _Answer]) -> _Answer:
    """Try again while the cluster asks for patience, as it does for a kind that is just being installed."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return send()
        except problems.Busy as error:
            if time.monotonic() + error.delay > deadline:
                raise
            time.sleep(error.delay)
