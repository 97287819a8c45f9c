"""What a change of compiled rules touches: the scopes of each destination in which something else is selected now.

Pure: the rows in force before and after, and what is wanted. `causing.py` asks in the transaction that writes them, and
seeds what is touched. Rules are compared as their specs say them, so that nothing is selected in another way unseen:
the marks of files (`app/rules/selecting.py`) are made of the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from app.models import base, seeds
from app.rules import filters
from app.watch import routing, runs


class _Unit(NamedTuple):
    """A piece of what a destination's rules select: a type, in what namespace and how, and in which namespaces of it.

    `chosen` says which namespaceSelector decides, and is empty without one.
    """

    key: seeds.ScopeKey
    how: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Change:
    """How the rules of one destination changed.

    `rules` says whether more did than who belongs to a namespaceSelector, which changes at the pace of the cluster.
    `selected` is where something else is selected, or in another way; `members` are the namespaces that came or went.
    """

    rules: bool = False
    selected: frozenset[seeds.ScopeKey] = frozenset()
    members: frozenset[seeds.ScopeKey] = frozenset()


NO_CHANGE = Change()


def changes(before: Sequence[base.AnyRow], after: Sequence[base.AnyRow]) -> dict[int, Change]:
    """By destination, what became different from the rules in force `before` to those `after`.

    Only rows that are not in both are looked at: a rule that is the same keeps its version.
    """
    kept = {row.id for row in before} & {row.id for row in after}
    former, present = ([row for row in rows if row.id not in kept] for rows in (before, after))
    ids = {row.destination_id for row in (*former, *present)}
    return {
        id_: _change(*([row for row in rows if row.destination_id == id_] for rows in (former, present))) for id_ in ids
    }


def touched(wanted: Iterable[routing.WantedScope], keys: Iterable[seeds.ScopeKey]) -> set[routing.WantedScope]:
    """The scopes to list where something else is selected: what is selected in them has another mark now."""
    return {scope for scope, _ in _meetings(wanted, keys)}


def parts(wanted: Iterable[routing.WantedScope], keys: Iterable[seeds.ScopeKey]) -> set[routing.WantedScope]:
    """The parts of scopes that are in these namespaces; all of a scope for an empty one, or where they are many."""
    found: dict[routing.WantedScope, set[routing.WantedScope]] = {}
    for scope, namespace in _meetings(wanted, keys):
        part = scope._replace(key=replace(scope.key, namespace=namespace)) if namespace else scope
        found.setdefault(scope, set()).add(part)
    return set().union(*(of_it if len(of_it) <= runs.NARROW_LISTINGS else {scope} for scope, of_it in found.items()))


def _meetings(
    wanted: Iterable[routing.WantedScope], keys: Iterable[seeds.ScopeKey]
) -> Iterator[tuple[routing.WantedScope, str]]:
    """Scopes, each with the namespaces of keys of its type that are in it; an empty one is all of the scope.

    A scope of one namespace looks up two names and no more: a destination may have as many such scopes as keys.
    """
    named: dict[tuple[str, str], set[str]] = {}
    for key in keys:
        named.setdefault((key.group, key.resource), set()).add(key.namespace)
    for scope in wanted:
        names = named.get((scope.key.group, scope.key.resource), set())
        for namespace in names & {"", scope.key.namespace} if scope.key.namespace else names:
            yield scope, namespace


def _change(former: Sequence[base.AnyRow], present: Sequence[base.AnyRow]) -> Change:
    before, after = _units(former), _units(present)
    came_or_went = _moved(_members(former), _members(present))
    return Change(
        rules=[_said(row) for row in former] != [_said(row) for row in present],
        selected=frozenset(unit.key for unit in before ^ after),
        members=frozenset(
            replace(unit.key, namespace=name) for unit in before & after for name in came_or_went.get(unit.chosen, ())
        ),
    )


def _said(row: base.AnyRow) -> tuple[Any, ...]:
    """What a rule says itself. Rows come by name of the rule."""
    own = {field: value for field, value in row.spec.items() if field != "namespaces"}
    return row.rule, row.uid, row.place_id, own


def _units(rows: Iterable[base.AnyRow]) -> set[_Unit]:
    """With the name of the rule, which files are counted by."""
    return {
        _Unit(
            seeds.ScopeKey(scope["group"], scope["resource"], scope["namespace"]),
            json.dumps([row.rule, scope], sort_keys=True),
            _chosen(row, scope.get("filter", {})),
        )
        for row in rows
        for scope in row.spec["scopes"]
    }


def _members(rows: Iterable[base.AnyRow]) -> dict[str, frozenset[str]]:
    """Who belongs to each namespaceSelector of each rule."""
    return {_chosen(row, one): frozenset(one["members"]) for row in rows for one in row.spec.get("namespaces", ())}


def _moved(before: Mapping[str, frozenset[str]], after: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {chosen: before[chosen] ^ members for chosen, members in after.items() if chosen in before}


def _chosen(row: base.AnyRow, said: Mapping[str, Any]) -> str:
    """Names one namespaceSelector of one rule."""
    if "namespaceSelector" not in said:
        return ""
    return json.dumps([row.rule, *(said.get(field) for field in filters.BY_NAMESPACE)], sort_keys=True)
