"""Tables: what `kubectl get` prints (meta.k8s.io/v1 Table). Columns of built-in types stand in `columns.py`.

Columns of custom resources are those of their definition (`additionalPrinterColumns`), each with a JSONPath in the
dialect of Kubernetes: no `$` in front, and names with dots escaped by a backslash.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jsonpath
import orjson

from app.sandbox import columns, kinds, schemas

_NAME = columns.Column("Name", lambda found, _now: found["metadata"]["name"], format="name")
_AGE = columns.Column("Age", columns.age, type="date")
# One step of a path: a name, maybe with escaped characters, or what stands in brackets.
_STEP = re.compile(r"\.((?:\\.|[^.\[\\])+)|(\[[^\]]*\])")


def table(
    registry: kinds.Registry,
    kind: kinds.Kind,
    objects: Sequence[dict[str, Any]],
    *,
    include_object: str,
    list_metadata: dict[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """One row per object. `include_object` is "Metadata" (also for ""), "Object" or "None"; `now` is aware."""
    shown = _columns(registry, kind)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": [_definition(column) for column in shown],
        "rows": [
            {"cells": [column.cell(found, now) for column in shown], "object": _shown(found, include_object)}
            for found in objects
        ],
    }


def _columns(registry: kinds.Registry, kind: kinds.Kind) -> list[columns.Column]:
    if not kind.definition:
        return columns.of(kind.kind)
    written = registry.served_version(kind).get("additionalPrinterColumns")
    if not written:
        return [_NAME, _AGE]
    return [_NAME, *(_custom(one) for one in written)]


def _definition(column: columns.Column) -> dict[str, Any]:
    described = {"Name": "name", "Age": "creationTimestamp", "Created At": "creationTimestamp"}
    description = column.description
    if not description and column.name in described:
        field = schemas.of_model("V1ObjectMeta").fields[described[column.name]]
        description = str(field.document.get("description", ""))
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": description,
        "priority": column.priority,
    }


def _shown(found: dict[str, Any], include_object: str) -> dict[str, Any] | None:
    match include_object:
        case "None":
            return None
        case "Object":
            return found
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}


def _custom(written: Mapping[str, Any]) -> columns.Column:
    path, type_ = written["jsonPath"], written["type"]
    return columns.Column(
        written["name"],
        lambda found, now: _cell(found, path=path, type_=type_, now=now),
        type=type_,
        format=written.get("format", ""),
        priority=written.get("priority", 0),
        description=written.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
    )


def _cell(found: Mapping[str, Any], *, path: str, type_: str, now: datetime) -> Any:
    match = _compiled(path).match(found)
    return None if match is None else _value(match.obj, type_, now)


def _value(value: Any, type_: str, now: datetime) -> Any:
    """A value as a cell of its column's type; None where it is of another type."""
    match type_:
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return columns.since(value, now) if isinstance(value, str) else None
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


@functools.lru_cache(maxsize=512)
def _compiled(path: str) -> jsonpath.JSONPath | jsonpath.CompoundJSONPath:
    """A path of Kubernetes as one of RFC 9535: every name in brackets, so that any character may stand in it."""
    steps = [bracket or f"[{_name(name)}]" for name, bracket in _STEP.findall(path)]
    return jsonpath.compile("$" + "".join(steps))


def _name(written: str) -> str:
    return orjson.dumps(re.sub(r"\\(.)", r"\1", written)).decode()
