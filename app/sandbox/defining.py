"""CustomResourceDefinitions: what they must say, and the status that their controller would write.

The real server accepts names and establishes a definition a moment after it is stored. Here both happen as it is
admitted, so that a type is served with the answer to the request that made it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.sandbox import kinds, problems

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_NAME.pattern}')"
)


def check(found: Mapping[str, Any]) -> list[problems.Cause]:
    """What is wrong with a definition, as apiextensions-apiserver says it."""
    causes = problems.Causes()
    spec = found.get("spec") or {}
    names = spec.get("names") or {}
    name = found["metadata"].get("name", "")
    if name != f"{names.get('plural', '')}.{spec.get('group', '')}":
        causes.wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not spec.get("group"):
        causes.required("spec.group")
    if not spec.get("scope"):
        causes.required("spec.scope")
    elif spec["scope"] not in {"Cluster", "Namespaced"}:
        causes.unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(one.get("storage")) for one in versions) != 1:
        causes.wrong("spec.versions", versions or None, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        _check_version(version, f"spec.versions[{index}]", causes)
    _check_names(names, causes)
    if not any(one.get("storage") for one in versions):
        causes.wrong("status.storedVersions", None, "must have at least one stored version")
    return causes.found


def _check_names(names: Mapping[str, Any], causes: problems.Causes) -> None:
    for key in ("plural", "singular", "kind", "listKind"):
        _check_name(names.get(key) or "", f"spec.names.{key}", causes)
    for key in ("shortNames", "categories"):
        for index, word in enumerate(names.get(key) or ()):
            _check_name(word, f"spec.names.{key}[{index}]", causes)


def _check_name(name: str, path: str, causes: problems.Causes) -> None:
    """A name becomes a part of paths; a kind may have capitals."""
    kind = path.lower().endswith("kind")
    if not name:
        causes.required(path)
    elif not _NAME.fullmatch(name.lower() if kind else name):
        causes.wrong(
            path, name, f"may have mixed case, but should otherwise match: {_NAME_TEXT}" if kind else _NAME_TEXT
        )


def _check_version(version: Mapping[str, Any], path: str, causes: problems.Causes) -> None:
    if not version.get("name"):
        causes.required(f"{path}.name")
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    field = f"{path}.schema.openAPIV3Schema"
    if schema is None:
        causes.required(field)
        return
    if schema.get("type") != "object":
        causes.required(f"{field}.type", "must not be empty at the root")
    _check_structural(schema, field, causes)


def _check_structural(schema: Mapping[str, Any], path: str, causes: problems.Causes) -> None:
    """Every field says its type; without it nothing could be pruned."""
    below = {f"{path}.properties[{name}]": one for name, one in (schema.get("properties") or {}).items()}
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            below[f"{path}.{word}"] = schema[word]
    for field, one in below.items():
        free = one.get("x-kubernetes-preserve-unknown-fields") or one.get("x-kubernetes-int-or-string")
        if not one.get("type") and not free:
            causes.required(f"{field}.type", "must not be empty for specified object fields")
        _check_structural(one, field, causes)


def with_status(registry: kinds.Registry, found: dict[str, Any], old: Mapping[str, Any] | None) -> dict[str, Any]:
    """The definition as its controller leaves it: names, conditions, stored versions."""
    spec = found["spec"]
    before: Mapping[str, Any] = (old or {}).get("status") or {}
    taken = _taken(registry, found)
    stored = [one["name"] for one in spec["versions"] if one["storage"]]
    kept = [name for name in before.get("storedVersions") or () if name not in stored]
    accepted = _condition("NamesAccepted", *(("False", *taken) if taken else ("True", "NoConflicts", _NO_CONFLICTS)))
    status = {
        "conditions": [_since(one, before) for one in (accepted, _established(before, accepted=not taken))],
        "acceptedNames": before.get("acceptedNames", {"plural": "", "kind": ""}) if taken else spec["names"],
        "storedVersions": [*kept, *stored],
    }
    return found | {"status": status}


_NO_CONFLICTS = "no conflicts found"


def _established(before: Mapping[str, Any], *, accepted: bool) -> dict[str, str]:
    """Once established, a definition stays so."""
    if accepted or kinds.established({"status": before}):
        return _condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
    return _condition("Established", "False", "NotAccepted", "not all names are accepted")


def _condition(name: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": name, "status": status, "lastTransitionTime": "", "reason": reason, "message": message}


def _since(condition: dict[str, str], before: Mapping[str, Any]) -> dict[str, str]:
    """The time of a condition is that of its last change."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = [
        one["lastTransitionTime"]
        for one in before.get("conditions") or ()
        if (one.get("type"), one.get("status")) == (condition["type"], condition["status"])
    ]
    return condition | {"lastTransitionTime": known[0] if known else now}


def _taken(registry: kinds.Registry, found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why the names cannot be accepted: another definition of the group has one of them."""
    names, group = found["spec"]["names"], found["spec"]["group"]
    others = [kind for kind in registry.kinds if kind.group == group and kind.definition != found["metadata"]["name"]]
    resources = {word for kind in others for word in (kind.resource, kind.singular, *kind.short_names)}
    types = {word for kind in others for word in (kind.kind, kind.list_kind)}
    wanted = [
        ("Plural", names["plural"], resources),
        ("Singular", names["singular"], resources),
        *(("ShortNames", short, resources) for short in names.get("shortNames") or ()),
        ("Kind", names["kind"], types),
        ("ListKind", names["listKind"], types),
    ]
    for role, word, used in wanted:
        if word in used:
            return f"{role}Conflict", f"{problems.quoted(word)} is already in use"
    return None
