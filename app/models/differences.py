"""What changed from one version of a compiled rule to the next, in words that a person reads in SQL.

Pure: two specs as `app/rules/compiling.py` makes them, and a line of text. `rules.py` writes it with each version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.rules import labels, matching

FIRST = "first version"
SAME = "the rule was written differently, and selects what it did"
# What a spec says of its place; the rest is about what it selects.
_PLACE = ("destination", "repository", "branch", "baseFolder")
_NOTHING = "(none)"

_Spec = Mapping[str, Any]
# What one scope of a type says, as field and value.
_Said = dict[str, Any]


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
    """The scopes of a spec by what a person calls them: `v1/configmaps`. Their namespace never changes."""
    found: dict[str, list[_Spec]] = {}
    for scope in spec.get("scopes", ()):
        name = "/".join(part for part in (scope["group"], scope["version"], scope["resource"]) if part)
        found.setdefault(name, []).append(scope)
    return found


def _scopes(before: Mapping[str, list[_Spec]], after: Mapping[str, list[_Spec]]) -> list[str]:
    parts = [f"+ {name}{_narrowed(after[name])}" for name in sorted(after.keys() - before.keys())]
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


def _narrowed(scopes: Sequence[_Spec]) -> str:
    """What narrows a new type, in parentheses; not that `*` reached it, which many would say in one line."""
    if len(scopes) > 1:
        return f" (selected by {_ways(scopes)})"
    said = _said(scopes[0])
    del said["resources"]
    if set(scopes[0]["operations"]) == matching.WATCHED:
        del said["operations"]
    return f" ({'; '.join(f'{field} {_text(value)}' for field, value in said.items())})" if said else ""


def _changes(before: Sequence[_Spec], after: Sequence[_Spec]) -> list[str]:
    """What changed of one type: its kind, where its CRD was made anew, and how it is selected."""
    kinds = [_text(scopes[0].get("kind")) for scopes in (before, after)]
    return ([] if kinds[0] == kinds[1] else [f"kind {' -> '.join(kinds)}"]) + _selected(before, after)


def _selected(before: Sequence[_Spec], after: Sequence[_Spec]) -> list[str]:
    """How the selection of one type changed. A rule that selects it in two ways is shown whole."""
    if [*map(_said, before)] == [*map(_said, after)]:
        return []
    if len(before) == len(after) == 1:
        (old,), (new,) = map(_said, before), map(_said, after)
        changed = [field for field in {**old, **new} if old.get(field) != new.get(field)]
        return [f"{field} {_change(old.get(field), new.get(field))}" for field in changed]
    return [f"selected by {_ways(before)} -> {_ways(after)}"]


def _change(old: Any, new: Any) -> str:
    """Of a list what came and went, because two long ones side by side show nobody what differs."""
    if isinstance(old, list) and isinstance(new, list):
        return _signs(set(old), set(new))
    return f"{_text(old)} -> {_text(new)}"


def _signs(before: set[str], after: set[str]) -> str:
    return " ".join([*(f"+ {one}" for one in sorted(after - before)), *(f"- {one}" for one in sorted(before - after))])


def _ways(scopes: Iterable[_Spec]) -> str:
    return " or by ".join(
        f"[{', '.join(f'{field} {_text(value)}' for field, value in _said(scope).items())}]" for scope in scopes
    )


def _said(scope: _Spec) -> _Said:
    """The parts of one scope that a person may have changed, and the edition of our table behind `*`."""
    resources = "*" if scope.get("wildcard") else "by name"
    if "noise" in scope:
        resources = f"* (edition {scope['noise']} of what it leaves out)"
    ignored = {field: scope[field] for field in _IGNORED if field in scope}
    operations = ", ".join(scope["operations"])
    return {"operations": operations, "resources": resources, **scope.get("filter", {}), **ignored}


_IGNORED = ("ignoreFields", "ignoreManagers")


def _members(spec: _Spec) -> dict[str, set[str]]:
    """Who belongs to each namespaceSelector, by what it says."""
    return {
        "; ".join(f"{field} {_text(value)}" for field, value in one.items() if field != "members"): set(one["members"])
        for one in spec.get("namespaces", ())
    }


def _namespaces(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> list[str]:
    """Who came and went with the labels of a namespace; with another selector, the rule changed and says so."""
    found = {selector: _signs(before[selector], after[selector]) for selector in after if selector in before}
    return [
        f"namespaces {signs}" + (f" ({selector})" if len(after) > 1 else "")
        for selector, signs in found.items()
        if signs
    ]


def _text(value: Any) -> str:
    """A value of a manifest: a list as its items, a label selector as kubectl takes it."""
    if value is None:
        return _NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value.keys() <= {"matchLabels", "matchExpressions"}:
        return str(labels.LabelSelector.of_json(value)) or "everything"
    if isinstance(value, Sequence):
        return ", ".join(map(_text, value)) or _NOTHING
    return json.dumps(value, sort_keys=True)
