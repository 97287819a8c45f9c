"""An API server in a few lines: what a player asks of one, and what a watch daemon hears of it.

Versions rise with each change, whatever its type, and each change is remembered. Objects have a uid, a generation and
finalizers as they have on a real one. Toys are served while they are defined; what is stored of them goes with them.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.kube import watching
from app.rules import types
from app.sandbox import patching
from tests.chaos.histories import CONFIG_MAPS, TOYS
from tests.system.cluster import JSON, RefusedError, manifest

Object = dict[str, Any]

GROUP = "chaos.example.com"
_VERBS = frozenset({"get", "list", "watch"})
_TYPES = {
    CONFIG_MAPS: types.ResourceType("", "v1", CONFIG_MAPS, "ConfigMap", True, _VERBS, True),
    TOYS: types.ResourceType(GROUP, "v1", TOYS, "Toy", True, _VERBS, True),
}
_PATH = re.compile(
    r"(?:/api/v1|/apis/[^/]+/v1\w*)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/status)?"
)


@dataclass
class Cluster:
    """The server, and everything in it."""

    version: int = 100
    defined: bool = False
    # Resources that a watch daemon may not read at the moment.
    forbidden: set[str] = field(default_factory=set)
    log: dict[str, list[watching.Change]] = field(default_factory=lambda: defaultdict(list))
    # By resource, then by namespace and name.
    _objects: dict[str, dict[tuple[str, str], Object]] = field(default_factory=lambda: defaultdict(dict))
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def strangers_write(self) -> None:
        """Numbers pass that nobody who is watched here was given."""
        self.version += 3

    def restore(self) -> None:
        """It is put back to the last change of what is watched here: numbers after that are given once more."""
        given = [change.resource_version for log in self.log.values() for change in log]
        self.version = max(map(int, given), default=self.version)

    def namespace(self, prefix: str) -> str:
        """A new namespace."""
        return f"{prefix}-{next(self._numbers)}"

    def create(self, resource: str, namespace: str, name: str, **fields: Any) -> Object:
        """Create one object of these top-level fields."""
        return self._create(resource, namespace, manifest(resource, name, **fields))

    def served(self) -> list[types.ResourceType]:
        """The types that rules may select."""
        return [_TYPES[CONFIG_MAPS], *([_TYPES[TOYS]] if self.defined else [])]

    def serves(self, resource: str) -> bool:
        """Whether a type is served."""
        return resource != TOYS or self.defined

    def list(self, resource: str, namespace: str = "") -> list[Object]:
        """The objects of a type, in one namespace or all, as they are now."""
        found = self._objects[resource].items()
        return [copy.deepcopy(one) for (there, _), one in found if namespace in {"", there}]

    def request(self, method: str, path: str, content: Object | None = None, *, kind: str = JSON) -> Object:  # noqa: ARG002
        """One request. Raises RefusedError."""
        found = _PATH.fullmatch(path)
        assert found, path
        resource, namespace, name = found["resource"], found["namespace"] or "", found["name"] or ""
        if resource == "customresourcedefinitions":
            return self._define(method, name)
        if method == "GET" and not name:
            if not self.serves(resource):
                raise RefusedError(f"{resource} is not served", 404)
            return {"items": self.list(resource, namespace)}
        if method == "POST":
            assert content is not None
            return self._create(resource, namespace, copy.deepcopy(content))
        one = self._objects[resource].get((namespace, name))
        if one is None:
            raise RefusedError(f"{resource} {name} not found", 404)
        if method == "DELETE":
            self._delete(resource, one)
        elif method == "PATCH":
            self._change(resource, one, copy.deepcopy(patching.merged(one, content)))
        return copy.deepcopy(one)

    def _define(self, method: str, name: str) -> Object:
        if method == "GET" and not self.defined:
            raise RefusedError(f"{name} not found", 404)
        if method == "DELETE":
            for one in list(self._objects[TOYS].values()):
                one["metadata"].pop("finalizers", None)
                self._delete(TOYS, one)
        self.defined = method != "DELETE"
        return {}

    def _create(self, resource: str, namespace: str, content: Object) -> Object:
        metadata = content["metadata"]
        if resource in _TYPES:
            content = {"apiVersion": _TYPES[resource].api_version, "kind": _TYPES[resource].kind, **content}
        content["metadata"] = {
            **metadata,
            "namespace": namespace,
            "uid": f"uid-{next(self._numbers)}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self._objects[resource][namespace, metadata["name"]] = content
        self._tell(resource, "ADDED", content)
        return copy.deepcopy(content)

    def _change(self, resource: str, one: Object, changed: Object) -> None:
        if changed == one:
            return
        changed["metadata"]["generation"] += changed.get("spec") != one.get("spec")
        one.clear()
        one |= changed
        if one["metadata"].get("deletionTimestamp") and not one["metadata"].get("finalizers"):
            self._remove(resource, one)
        else:
            self._tell(resource, "MODIFIED", one)

    def _delete(self, resource: str, one: Object) -> None:
        if one["metadata"].get("finalizers"):
            one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
            self._tell(resource, "MODIFIED", one)
        else:
            self._remove(resource, one)

    def _remove(self, resource: str, one: Object) -> None:
        del self._objects[resource][one["metadata"]["namespace"], one["metadata"]["name"]]
        self._tell(resource, "DELETED", one)

    def _tell(self, resource: str, kind: watching.Kind, one: Object) -> None:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        self.log[resource].append(watching.Change(kind, copy.deepcopy(one), str(self.version)))
