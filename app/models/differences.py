"""What changed from one version of a compiled rule to the next, in words that a person reads in SQL.

Pure: two specs as `app/rules/compiling.py` makes them, and a line of text. `rules.py` writes it with each version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIRST = "first version"
SAME = "the rule was written differently, and selects what it did"
# What a spec says of its place; the rest is about what it selects.
_PLACE = ("destination", "repository", "branch", "baseFolder")
_NOTHING = "(none)"

_Spec = Mapping[str, Any]
# What one scope of a type says, as field and text.
_Said = dict[str, str]


def describe(before: _Spec | None, after: _Spec) -> str:
    """What changed, in parts that `; ` joins; empty exactly when nothing did."""
    if before is None:
        return FIRST
    if before == after:
        return ""
    parts = [
        f"{field} {_text(before.get(field))} -> {_text(after.get(field))}"
        for field in _PLACE
        if before.get(field) != after.get(field)
    ]
    parts += _scopes(_by_type(before), _by_type(after))
    parts += _namespaces(_members(before), _members(after))
    return "; ".join(parts) or SAME


def _by_type(spec: _Spec) -> dict[str, list[_Spec]]:
    """The scopes of a spec by what a person calls them: `v1/configmaps in shop`."""
    found: dict[str, list[_Spec]] = {}
    for scope in spec.get("scopes", ()):
        name = "/".join(part for part in (scope["group"], scope["version"], scope["resource"]) if part)
        found.setdefault(f"{name} in {scope['namespace']}" if scope["namespace"] else name, []).append(scope)
    return found


def _scopes(before: Mapping[str, list[_Spec]], after: Mapping[str, list[_Spec]]) -> list[str]:
    parts = [f"+ {name}" for name in sorted(after.keys() - before.keys())]
    parts += [f"- {name}" for name in sorted(before.keys() - after.keys())]
    shared = sorted(before.keys() & after.keys())
    changes: dict[str, list[str]] = {}
    for name in shared:
        for change in _changes(before[name], after[name]):
            changes.setdefault(change, []).append(name)
    # What changed for each type alike is said once.
    return parts + [
        change if len(names) == len(shared) else f"{change} ({', '.join(names)})" for change, names in changes.items()
    ]


def _changes(before: Sequence[_Spec], after: Sequence[_Spec]) -> list[str]:
    """What changed in the scopes of one type. A rule that selects it in two ways is shown whole."""
    if list(before) == list(after):
        return []
    if len(before) == len(after) == 1:
        (old,), (new,) = map(_said, before), map(_said, after)
        changed = [field for field in {**old, **new} if old.get(field) != new.get(field)]
        return [f"{field} {old.get(field, _NOTHING)} -> {new.get(field, _NOTHING)}" for field in changed]
    return [f"selected by {_ways(before)} -> {_ways(after)}"]


def _ways(scopes: Iterable[_Spec]) -> str:
    return " or by ".join(
        f"[{', '.join(f'{field} {text}' for field, text in _said(scope).items())}]" for scope in scopes
    )


def _said(scope: _Spec) -> _Said:
    """The parts of one scope that a person may have changed, and the edition of our table behind `*`."""
    said = {"operations": ", ".join(scope["operations"])}
    if scope.get("wildcard"):
        said["resources"] = "*"
    if "noise" in scope:
        said["resources"] = f"* (edition {scope['noise']} of what it leaves out)"
    values = {**scope.get("filter", {}), **{field: scope[field] for field in _IGNORED if field in scope}}
    return said | {field: _text(value) for field, value in values.items()}


_IGNORED = ("ignoreFields", "ignoreManagers")


def _members(spec: _Spec) -> dict[str, set[str]]:
    """Who belongs to each namespaceSelector, by what it says."""
    return {
        "; ".join(f"{field} {_text(value)}" for field, value in one.items() if field != "members"): set(one["members"])
        for one in spec.get("namespaces", ())
    }


def _namespaces(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> list[str]:
    """Who came and went with the labels of a namespace; with another selector, the rule changed and says so."""
    parts = []
    for selector in (one for one in after if one in before):
        signs = [f"+ {name}" for name in sorted(after[selector] - before[selector])]
        signs += [f"- {name}" for name in sorted(before[selector] - after[selector])]
        if signs:
            parts.append(f"namespaces {' '.join(signs)}" + (f" ({selector})" if len(after) > 1 else ""))
    return parts


def _text(value: Any) -> str:
    """A value of a manifest: a list as its items, a label selector as kubectl takes it."""
    if value is None:
        return _NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value.keys() <= {"matchLabels", "matchExpressions"}:
        return _selector(value)
    if isinstance(value, Sequence):
        return ", ".join(map(_text, value)) or _NOTHING
    return json.dumps(value, sort_keys=True)


def _selector(value: Mapping[str, Any]) -> str:
    labels = [f"{key}={label}" for key, label in sorted(value.get("matchLabels", {}).items())]
    return ", ".join(labels + [_requirement(one) for one in value.get("matchExpressions", ())]) or "everything"


def _requirement(one: Mapping[str, Any]) -> str:
    key, values = one["key"], ", ".join(one.get("values", ()))
    match one["operator"]:
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "Exists":
            return str(key)
        case _:
            return f"!{key}"
