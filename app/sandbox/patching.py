"""What a patch makes of an object: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

Strategic merge is known for built-in types alone, as on the real server; lists merge by the keys that the schema names,
with the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList` and `$setElementOrder` that kubectl writes.
Server-side apply is no patch of an object but a claim on fields: `managing.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
import jsonpointer
import orjson

from app.sandbox import admitting, kinds, problems, schemas

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# As the real server (k8s.io/apiserver, handlers/patch.go): more operations are an attack, not a change.
_MOST_OPERATIONS = 10_000

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE_FROM = "$setElementOrder", "$deleteFromPrimitiveList"


def accepted(kind: kinds.Kind) -> tuple[str, ...]:
    """The content types of patches of this type."""
    strategic = () if kind.definition else (STRATEGIC_PATCH,)
    return (JSON_PATCH, MERGE_PATCH, *strategic, APPLY_PATCH)


def patched(
    registry: kinds.Registry, kind: kinds.Kind, current: dict[str, Any], *, body: bytes, content_type: str
) -> dict[str, Any]:
    """The object after the patch, not yet admitted; `current` is left as it is. Raises Refused (400, 415, 422)."""
    schema = registry.schema(kind)
    match content_type:
        case "application/json-patch+json":
            found = _json_patched(current, body)
        case "application/merge-patch+json":
            found = merged(current, _mapping(body, "error decoding patch: "))
        case "application/strategic-merge-patch+json" if schema and not kind.definition:
            found = strategically_merged(schema, current, _mapping(body, ""))
        case _:
            raise problems.unsupported_media_type(accepted(kind))
    if schema and current.get("kind") == kind.kind:
        _check(kind, schema, found)
    return found


def _check(kind: kinds.Kind, schema: schemas.Schema, found: dict[str, Any]) -> None:
    """The same complaint that admission has against a body is one against the patch here, with another code."""
    try:
        admitting.decode(kind, schema, found)
    except problems.Refused as refused:
        if refused.code != problems.BAD_REQUEST:
            raise
        reason = str(refused).partition(f"cannot be handled as a {kind.kind}: ")[2] or str(refused)
        raise problems.invalid_patch(orjson.dumps(found).decode(), reason) from refused


def _read(body: bytes, prefix: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = "unexpected end of JSON input" if error.pos >= len(error.doc) else f"invalid JSON: {error}"
        raise problems.bad_request(f"{prefix}{text}") from error


def _mapping(body: bytes, prefix: str) -> dict[str, Any]:
    patch = _read(body, prefix)
    if not isinstance(patch, dict):
        text = f"json: cannot unmarshal {_go_name(patch)} into Go value of type map[string]interface {{}}"
        raise problems.bad_request(f"{prefix}{text}")
    return patch


def _go_name(value: Any) -> str:
    return {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "null")


def _json_patched(current: dict[str, Any], body: bytes) -> dict[str, Any]:
    operations = _read(body, "error decoding patch: ")
    if not isinstance(operations, list):
        found = "object" if isinstance(operations, dict) else _go_name(operations)
        text = f"json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        raise problems.bad_request(f"error decoding patch: {text}")
    if len(operations) > _MOST_OPERATIONS:
        raise problems.too_large(f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}")
    try:
        found = jsonpatch.JsonPatch(operations).apply(current)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, ValueError) as error:
        # The real server says no more than this, whatever was wrong.
        raise problems.rejected() from error
    if not isinstance(found, dict):
        raise problems.rejected()
    return found


def merged(current: Any, patch: Any) -> Any:
    """RFC 7386: maps merge, `null` removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategically_merged(schema: schemas.Schema, current: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Like a merge patch, but lists with a merge key are merged item by item. Raises Refused (400)."""
    return _merge_map(schema, copy.deepcopy(current), patch)


def _merge_map(schema: schemas.Schema | None, current: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    match patch.get(_DIRECTIVE):
        case "replace":
            return {key: value for key, value in patch.items() if key != _DIRECTIVE}
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise problems.bad_request(f"unknown patch type: {other} in map: {_go_map(patch)}")
    retained = patch.get(_RETAIN)
    if retained is not None:
        current = {key: value for key, value in current.items() if key in retained}
    for key, value in patch.items():
        if not key.startswith("$"):
            _merge_field(schema.child(key) if schema else None, current, key, value=value)
    return current | _finished_lists(schema, current, patch)


def _merge_field(schema: schemas.Schema | None, current: dict[str, Any], key: str, *, value: Any) -> None:
    if value is None:
        current.pop(key, None)
    elif isinstance(value, dict):
        replaced = schema is not None and "replace" in schema.strategies
        before = {} if replaced else current.get(key)
        current[key] = _merge_map(schema, before if isinstance(before, dict) else {}, value)
    elif isinstance(value, list) and schema is not None and "merge" in schema.strategies:
        before = current.get(key)
        current[key] = _merge_list(schema, before if isinstance(before, list) else [], value)
    else:
        current[key] = _plain(value)


def _plain(value: Any) -> Any:
    """A value without directives, for what is added as a whole."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if not key.startswith("$") and one is not None}
    if isinstance(value, list):
        return [_plain(one) for one in value if not (isinstance(one, dict) and _DIRECTIVE in one)]
    return value


def _merge_list(schema: schemas.Schema, current: list[Any], patch: list[Any]) -> list[Any]:
    key = schema.merge_key
    if any(isinstance(one, dict) and one.get(_DIRECTIVE) == "replace" for one in patch):
        return [_plain(one) for one in patch if _DIRECTIVE not in one]
    found = {_identity(one, key): one for one in current}
    before = [*found]
    for item in patch:
        if key and (not isinstance(item, dict) or key not in item):
            raise problems.bad_request(f"map: {_go_map(item)} does not contain declared merge key: {key}")
        name = _identity(item, key)
        if isinstance(item, dict) and item.get(_DIRECTIVE) == "delete":
            found.pop(name, None)
        elif isinstance(item, dict):
            found[name] = _merge_map(schema.items, found.get(name, {}), item)
        else:
            found[name] = item
    return _arranged(found, [_identity(one, key) for one in patch], before)


def _finished_lists(
    schema: schemas.Schema | None, current: Mapping[str, Any], patch: Mapping[str, Any]
) -> dict[str, Any]:
    """The lists for which directives stand beside them: what to drop, and in which order the items stand."""
    finished: dict[str, Any] = {}
    for directive in sorted(patch):
        prefix, slash, name = directive.partition("/")
        if not slash or not isinstance(current.get(name), list):
            continue
        items, values = finished.get(name, current[name]), patch[directive]
        if prefix == _DELETE_FROM:
            finished[name] = [one for one in items if one not in values]
        elif prefix == _ORDER:
            child = schema.child(name) if schema else None
            key = child.merge_key if child else ""
            found = {_identity(one, key): one for one in items}
            finished[name] = _arranged(found, [_identity(one, key) for one in values], [*found])
    return finished


def _arranged(found: Mapping[str, Any], order: Sequence[str], before: Sequence[str]) -> list[Any]:
    """The items that the patch names, in its order; the others between them as they stood before.

    As `normalizeElementOrder` in k8s.io/apimachinery: what is new comes as early as its neighbours in the patch allow.
    """
    named = [one for one in dict.fromkeys(order) if one in found]
    others = [one for one in before if one in found and one not in named]
    arranged = []
    for name in named:
        while others and name in before and before.index(others[0]) < before.index(name):
            arranged.append(others.pop(0))
        arranged.append(name)
    return [found[name] for name in [*arranged, *others]]


def _identity(item: Any, key: str) -> str:
    """What makes two items the same: the value of the merge key, else the whole item."""
    return orjson.dumps(item.get(key) if key and isinstance(item, dict) else item, option=orjson.OPT_SORT_KEYS).decode()


def _go_map(value: Any) -> str:
    """A map as Go prints it."""
    if not isinstance(value, dict):
        return str(value)
    return f"map[{' '.join(f'{key}:{_go_map(one)}' for key, one in sorted(value.items()))}]"
