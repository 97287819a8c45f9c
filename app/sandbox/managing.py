"""metadata.managedFields: who owns which field, and server-side apply, which lives on it.

Semantics of Kubernetes 1.36 (KEP-555, structured-merge-diff): an update owns what it changes and takes it from others;
an apply owns what it lists, must not change what others own unless it forces, and drops what it no longer lists and
nobody else owns. Sets of fields are `owning.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.sandbox import decoding, kinds, owning, problems, schemas

_UPDATE, _APPLY = "Update", "Apply"


def updated(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    *,
    manager: str,
    api_version: str,
    subresource: str,
    now: str,
    schema: schemas.Schema | None = None,
) -> list[dict[str, Any]]:
    """The managedFields after a create, update or patch. `now` is RFC 3339.

    `schema` (`Registry.schema`) says which lists have keys. Without it a built-in type is looked up, and the lists of a
    custom one count as one field each.
    """
    entries = _entries(before)
    if before is not None and not entries:
        # Nobody keeps track of an object whose notes were cleared, or never were any, until it is applied.
        return []
    # A scale is a change of the object by another path.
    within = "" if subresource == kinds.SCALE else subresource
    changes = owning.differences(schema or _known(after), before, after, subresource=within)
    if not changes.changed and not changes.removed:
        return entries
    mine = {"manager": manager, "operation": _UPDATE, "apiVersion": api_version}
    if subresource:
        mine["subresource"] = subresource
    kept, owned = [], set(changes.changed)
    for entry in entries:
        if _identity(entry) == _identity(mine):
            owned |= owning.read(entry["fieldsV1"]) - changes.removed
        elif left := _without(entry, changes.changed | changes.removed):
            kept.append(left)
    return _sorted([*kept, _entry(mine, owned, now)] if owned else kept)


def _known(found: Mapping[str, Any]) -> schemas.Schema | None:
    kind = _BUILT_IN.get((found.get("apiVersion", ""), found.get("kind", "")))
    return schemas.of_model(kinds.model_of(kind)) if kind else None


_BUILT_IN = {(kind.api_version, kind.kind): kind for kind in kinds.BUILT_IN}


def _entries(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return list(((found or {}).get("metadata") or {}).get("managedFields") or ())


def _identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry.get(key, "") for key in ("manager", "operation", "apiVersion", "subresource"))


def _entry(head: Mapping[str, str], owned: set[owning.Path], now: str) -> dict[str, Any]:
    """An entry with its fields in the order in which the real server writes them."""
    entry: dict[str, Any] = {key: head[key] for key in ("manager", "operation", "apiVersion")}
    # The real server notes no time of a scale.
    entry |= {"time": now} if head.get("subresource") != kinds.SCALE else {}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": owning.write(owned)}
    return entry | ({"subresource": head["subresource"]} if head.get("subresource") else {})


def _without(entry: dict[str, Any], taken: set[owning.Path]) -> dict[str, Any] | None:
    """Another writer's entry without some fields: the same one where it had none of them, None when nothing is left."""
    owned = owning.read(entry["fieldsV1"])
    if owned.isdisjoint(taken):
        return entry
    left = owned - taken
    return {**entry, "fieldsV1": owning.write(left)} if left else None


def _sorted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Applies before updates, then by time."""
    return sorted(entries, key=lambda one: (one["operation"], one.get("time", ""), one["manager"]))


def applied(
    registry: kinds.Registry,
    kind: kinds.Kind,
    before: dict[str, Any] | None,
    config: dict[str, Any],
    *,
    manager: str,
    force: bool,
    now: str,
    subresource: str = "",
) -> dict[str, Any]:
    """The object after a server-side apply, with managedFields, not yet admitted. Raises Refused (400, 409, 500)."""
    _check_type(kind, config)
    schema = registry.schema(kind) or schemas.Schema()
    config = _typed(kind, schema, config)
    claimed = {path for path in owning.leaves(schema, config) if _may_claim(kind, path, subresource)}
    mine = {"manager": manager, "operation": _APPLY, "apiVersion": kind.api_version, "subresource": subresource}
    entries = _entries(before)
    others = [entry for entry in entries if _identity(entry) != _identity(mine)]
    previous = [owning.read(entry["fieldsV1"]) for entry in entries if _identity(entry) == _identity(mine)]
    merged = _merged(schema, before or {}, config)
    others = _settled(schema, before, merged, others=others, force=force, subresource=subresource)
    kept = claimed.union(*(owning.read(entry["fieldsV1"]) for entry in others))
    merged = _pruned(schema, merged, gone=set().union(*previous) - kept, kept=kept)
    unchanged = before is not None and previous == [claimed] and _content(merged) == _content(before)
    fields = entries if unchanged else _sorted([*others, *([_entry(mine, claimed, now)] if claimed else [])])
    metadata = {key: value for key, value in (merged.get("metadata") or {}).items() if key != "managedFields"}
    return {**merged, "metadata": {**metadata, **({"managedFields": fields} if fields else {})}}


def _check_type(kind: kinds.Kind, config: Mapping[str, Any]) -> None:
    """Nobody applies without saying what it is. Raises Refused (400)."""
    said = (str(config.get("apiVersion") or ""), str(config.get("kind") or ""))
    if said != (kind.api_version, kind.kind):
        version = said[0] if "/" in said[0] else f"/{said[0]}"
        raise problems.bad_request(f"invalid object type: {version}, Kind={said[1]}")


def _typed(kind: kinds.Kind, schema: schemas.Schema, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as its type reads it. What is not in the schema cannot be owned, so it is refused."""
    metadata = config.get("metadata") or {}
    if metadata.get("managedFields"):
        raise problems.bad_request("metadata.managedFields must be nil")
    decoder = decoding.Decoder(strict=not kind.definition, defaults=False)
    where = f"failed to create typed patch object ({metadata.get('namespace', '')}/{metadata.get('name', '')}; "
    where += f"{kind.group}/{kind.version}, Kind={kind.kind}): "
    try:
        typed: dict[str, Any] = decoder.read(schema, config)
    except decoding.DecodingError as error:
        raise problems.untyped(f"{where}{error}") from error
    if decoder.unknown:
        raise problems.untyped(f"{where}.{decoder.unknown[0]}: field not declared in schema")
    return typed


def _may_claim(kind: kinds.Kind, path: owning.Path, subresource: str) -> bool:
    """Status belongs to its subresource, and nothing else does."""
    if subresource == kinds.STATUS:
        return path[0] == "f:status"
    return path[0] != "f:status" or kinds.STATUS not in kind.subresources


def _content(found: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {**found, "metadata": metadata}


def _settled(
    schema: schemas.Schema,
    before: dict[str, Any] | None,
    merged: dict[str, Any],
    *,
    others: list[dict[str, Any]],
    force: bool,
    subresource: str,
) -> list[dict[str, Any]]:
    """The entries of the others: refused where they own what this apply changes, or forced to let go of it."""
    changed = owning.differences(schema, before, merged, subresource=subresource).changed
    causes = [
        problems.Cause("FieldManagerConflict", f"conflict with {_name(entry)}", owning.shown(path))
        for entry in others
        for path in sorted(owning.read(entry["fieldsV1"]) & changed)
    ]
    if causes and not force:
        raise problems.apply_conflict(causes)
    return [left for entry in others if (left := _without(entry, changed))]


def _name(entry: Mapping[str, Any]) -> str:
    name = problems.quoted(entry["manager"])
    if entry.get("subresource"):
        name += f" with subresource {problems.quoted(entry['subresource'])}"
    return f"{name} using {entry['apiVersion']}" if entry["operation"] == _UPDATE else name


def _merged(schema: schemas.Schema | None, live: Any, config: Any) -> Any:
    """The configuration on top of the object: maps and lists with keys merge, all else is replaced."""
    if isinstance(live, dict) and isinstance(config, dict) and not (schema and schema.atomic):
        result = dict(live)
        for name, value in config.items():
            child = schema.child(name) if schema else None
            result[name] = _merged(child, live[name], value) if name in live else value
        return result
    if isinstance(live, list) and isinstance(config, list) and schema and schema.list_type != "atomic":
        there, wanted = owning.by_step(schema, live), owning.by_step(schema, config)
        return [
            _merged(schema.items, there[step], wanted[step])
            if step in there and step in wanted
            else wanted.get(step, there.get(step))
            for step in _ordered(list(there), list(wanted))
        ]
    return config


def _ordered(there: list[str], wanted: list[str]) -> list[str]:
    """Both orders in one, as structured-merge-diff has it: what both have goes by the order that was applied."""
    shared = [step for step in wanted if step in there]
    result: list[str] = []
    left, right = list(there), list(wanted)
    while left or right:
        if left and left[0] in result:
            left.pop(0)
        elif left and left[0] not in wanted:
            result.append(left.pop(0))
        elif left and shared and left[0] != shared[0]:
            left.pop(0)
        else:
            result.append(right.pop(0))
            shared = [step for step in shared if step != result[-1]]
    return result


def _pruned(
    schema: schemas.Schema, found: dict[str, Any], *, gone: set[owning.Path], kept: set[owning.Path]
) -> dict[str, Any]:
    """The object without the fields that nobody owns any more; what holds an owned field stays."""
    holders = {path[:length] for path in kept for length in range(len(path) + 1)}
    leaving = {path for path in gone if path not in holders}
    return _without_fields(schema, found, (), leaving) if leaving else found


def _without_fields(schema: schemas.Schema | None, value: Any, path: owning.Path, leaving: set[owning.Path]) -> Any:
    """A copy without some fields; a map or a list that is emptied by it goes too."""
    if not any(one[: len(path)] == path for one in leaving):
        return value
    if isinstance(value, dict):
        steps = {f"f:{name}": (name, schema.child(name) if schema else None, one) for name, one in value.items()}
        kept = {
            name: left
            for step, (name, child, one) in steps.items()
            if (*path, step) not in leaving
            and (left := _without_fields(child, one, (*path, step), leaving)) is not _EMPTIED
        }
        return kept or _EMPTIED
    if isinstance(value, list) and schema:
        items = [
            left
            for step, one in owning.by_step(schema, value).items()
            if (*path, step) not in leaving
            and (left := _without_fields(schema.items, one, (*path, step), leaving)) is not _EMPTIED
        ]
        return items or _EMPTIED
    return value


_EMPTIED = object()
