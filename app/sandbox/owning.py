"""Sets of fields, as managedFields write them (FieldsV1): which fields an object has, and which of them changed.

A field is a path of steps: `f:name` into a map, `k:{"name":"x"}` to an item of a list that has keys, `v:"x"` to one of
a set. Lists without a list type, and what a schema calls atomic, are one field (sigs.k8s.io/structured-merge-diff).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.sandbox import schemas

Path = tuple[str, ...]

# Nobody owns what only the server writes.
_SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
# Fields of built-in types that Go holds as values: they are there in an empty object too, so nobody adds them.
_ZERO: Mapping[str, Any] = {
    "containers": [],
    "involvedObject": {},
    "jobTemplate": {},
    "metadata": {},
    "names": {},
    "podSelector": {},
    "reportingComponent": "",
    "reportingInstance": "",
    "resources": {},
    "roleRef": {},
    "scaleTargetRef": {},
    "source": {},
    "spec": {},
    "status": {},
    "strategy": {},
    "template": {},
    "updateStrategy": {},
}
# What the server allocates for a Service or a namespace at creation; a headless Service asks for its address itself.
_ALLOCATED: Mapping[str, frozenset[str]] = {
    "V1NamespaceSpec": frozenset({"finalizers"}),
    "V1ServicePort": frozenset({"nodePort"}),
    "V1ServiceSpec": frozenset({"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}),
}
_UNKNOWN = schemas.Schema()


@dataclass(slots=True)
class Changes:
    """The fields that differ between two objects."""

    # Added or changed, and gone.
    changed: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


def differences(
    schema: schemas.Schema | None, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, subresource: str
) -> Changes:
    """What a writer changed. The `status` subresource is about status alone, and the rest of a built-in never is."""
    changes = Changes()
    walker = _Walker(changes, built_in=bool(schema and schema.model), creates=before is None)
    old = before or {}
    for name in after.keys() | old.keys():
        # A built-in's status follows from the rest on the main resource, whatever the writer sent.
        foreign = name != "status" if subresource else walker.built_in and name == "status"
        if foreign or name in {"apiVersion", "kind"}:
            continue
        child = (schema.child(name) if schema else None) or _UNKNOWN
        if name == "metadata":
            _walk_metadata(walker, child, old.get(name) or {}, after.get(name) or {})
        else:
            walker.compare_field(child, (old, after), name, ())
    return changes


def _walk_metadata(
    walker: _Walker, schema: schemas.Schema, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    for name in (after.keys() | before.keys()) - _SERVER_METADATA:
        walker.compare_field(schema.child(name) or _UNKNOWN, (before, after), name, ("f:metadata",))


@dataclass(slots=True)
class _Walker:
    changes: Changes
    built_in: bool
    creates: bool

    def compare_field(
        self, schema: schemas.Schema, maps: tuple[Mapping[str, Any], Mapping[str, Any]], name: str, path: Path
    ) -> None:
        """One field of two maps; `schema` is the field's own."""
        before, after = maps
        here = (*path, f"f:{name}")
        old, new = before.get(name, schemas.MISSING), after.get(name, schemas.MISSING)
        if old is schemas.MISSING and self.built_in:
            if new is None:
                return
            old = _ZERO.get(name, old)
        if new is schemas.MISSING:
            _collect(schema, old, here, self.changes.removed)
        elif old is schemas.MISSING:
            self._added(schema, new, here)
        else:
            self.compare(schema, old, new, here)

    def compare(self, schema: schemas.Schema, old: Any, new: Any, path: Path) -> None:
        if old is new or old == new:
            return
        if isinstance(old, dict) and isinstance(new, dict) and not schema.atomic:
            allocated = _ALLOCATED.get(schema.model, ()) if self.creates else ()
            for name in new.keys() | old.keys():
                if name in allocated and new.get(name) != "None":
                    continue
                self.compare_field(schema.child(name) or _UNKNOWN, (old, new), name, path)
        elif isinstance(old, list) and isinstance(new, list) and schema.list_type != "atomic":
            self._compare_lists(schema, old, new, path)
        else:
            self.changes.changed.add(path)

    def _compare_lists(self, schema: schemas.Schema, old: list[Any], new: list[Any], path: Path) -> None:
        before, after = by_step(schema, old), by_step(schema, new)
        items = schema.items or _UNKNOWN
        for step, value in after.items():
            if step not in before:
                self._added(items, value, (*path, step))
            else:
                self.compare(items, before[step], value, (*path, step))
        for step in before.keys() - after.keys():
            _collect(items, before[step], (*path, step), self.changes.removed)

    def _added(self, schema: schemas.Schema, value: Any, path: Path) -> None:
        found: set[Path] = set()
        _collect(schema, value, path, found)
        if self.creates:
            found = {one for one in found if one[-1] != "f:nodePort"}
        self.changes.changed |= found


def _collect(schema: schemas.Schema, value: Any, path: Path, into: set[Path]) -> None:
    """A value and everything in it."""
    into.add(path)
    for child, one, step in _children(schema, value):
        _collect(child, one, (*path, step), into)


def leaves(schema: schemas.Schema | None, found: Mapping[str, Any]) -> set[Path]:
    """The fields that an applied configuration claims: values and items of lists, but no maps that hold others."""
    into: set[Path] = set()
    for child, value, step in _children(schema or _UNKNOWN, found):
        name = step.removeprefix("f:")
        if name == "metadata" and isinstance(value, dict):
            kept = {key: one for key, one in value.items() if key not in _SERVER_METADATA}
            if kept:
                _leaves(child, kept, (step,), into)
        elif name not in {"apiVersion", "kind"}:
            _leaves(child, value, (step,), into)
    return into


def _leaves(schema: schemas.Schema, value: Any, path: Path, into: set[Path]) -> None:
    below = list(_children(schema, value))
    if not below or not path[-1].startswith("f:"):
        into.add(path)
    for child, one, step in below:
        _leaves(child, one, (*path, step), into)


def _children(schema: schemas.Schema, value: Any) -> Iterator[tuple[schemas.Schema, Any, str]]:
    if isinstance(value, dict) and not schema.atomic:
        for name, one in value.items():
            yield schema.child(name) or _UNKNOWN, one, f"f:{name}"
    elif isinstance(value, list) and schema.list_type != "atomic":
        for step, one in by_step(schema, value).items():
            yield schema.items or _UNKNOWN, one, step


def by_step(schema: schemas.Schema, items: list[Any]) -> dict[str, Any]:
    """The items of a list by what makes each of them the same; the first of two that are."""
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(step_of(schema, item), item)
    return found


def step_of(schema: schemas.Schema, item: Any) -> str:
    """How an item of a list map or a set is named."""
    if schema.list_type != "map" or not isinstance(item, dict):
        return f"v:{_json(item)}"
    fields = schema.items.fields if schema.items else {}
    keys = {}
    for name in schema.keys:
        default = fields[name].default if name in fields else None
        value = item.get(name, None if default is schemas.MISSING else default)
        if value is not None:
            keys[name] = value
    return f"k:{_json(keys)}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read(fields: Mapping[str, Any]) -> set[Path]:
    """The paths of a FieldsV1 document."""
    found: set[Path] = set()
    _read(fields, (), found)
    return found


def _read(fields: Mapping[str, Any], path: Path, into: set[Path]) -> None:
    for step, below in fields.items():
        if step == ".":
            into.add(path)
        elif below:
            _read(below, (*path, step), into)
        else:
            into.add((*path, step))


def write(paths: set[Path]) -> dict[str, Any]:
    """The FieldsV1 document of some paths; a map that is owned itself and holds owned fields says so with a dot."""
    document: dict[str, Any] = {}
    for path in sorted(paths):
        at, parent = document, None
        for index, step in enumerate(path):
            if not at and parent is not None and path[:index] in paths:
                at["."] = {}
            at, parent = at.setdefault(step, {}), at
    return document


def shown(path: Path) -> str:
    """A path as a message about a conflict writes it: .spec.containers[name="x"].image."""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = ",".join(f"{name}={_json(value)}" for name, value in json.loads(rest).items())
            text += f"[{keys}]"
        else:
            text += f"[={rest}]"
    return text
