"""From compiled rules to single objects: which destinations an object goes to, and what each of them selects.

`Matcher` is built once for a set of compiled rules and asked for every change. An answer is made when a type and
namespace is first asked for, and kept, so that a lookup costs the same for one rule and for thousands.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.events import Identifier, Operation, Ref
from app.rules import matching
from app.rules.compiling import Compilation, CompiledRule, Scope
from app.rules.types import ResourceType

Match = tuple[Ref, CompiledRule]
_Key = tuple[str, str, str, Operation]
# The place of the rule among all, so that two sorted lists can be joined.
_Entry = tuple[int, Scope, CompiledRule]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What an object gets: `of_all` rules, or only those `of_named` types when `*` leaves the object out."""

    of_all: tuple[Match, ...]
    of_named: tuple[Match, ...]


class _Rules:
    """The rules of one type, version and operation, sorted by name: those of single namespaces, and of all."""

    def __init__(self, scoped: Iterable[tuple[Scope, CompiledRule]]) -> None:
        self._wide: list[_Entry] = []
        self._narrow: dict[str, list[_Entry]] = {}
        for order, (scope, rule) in enumerate(scoped):
            entries = self._narrow.setdefault(scope.namespace, []) if scope.namespace else self._wide
            entries.append((order, scope, rule))
        self._everywhere = _answers(self._wide)
        self._known: dict[str, _Answers] = {}

    def answers(self, namespace: str) -> _Answers:
        """What objects of a namespace get. Two threads that ask at once make the same answer twice."""
        if namespace not in self._narrow:
            return self._everywhere
        known = self._known.get(namespace)
        if known is None:
            entries = heapq.merge(self._narrow[namespace], self._wide, key=operator.itemgetter(0))
            known = self._known[namespace] = _answers(list(entries))
        return known


class Matcher:
    """Answers which destinations a change goes to, under the first rule by name of each."""

    def __init__(self, rules: Sequence[CompiledRule]) -> None:
        """Index the rules by type and version, operation and namespace."""
        entries: dict[_Key, list[tuple[Scope, CompiledRule]]] = {}
        for rule in sorted(rules, key=lambda rule: rule.rule_name):
            for scope in rule.scopes:
                for operation in scope.operations:
                    key = scope.type.group, scope.type.resource, scope.type.version, operation
                    entries.setdefault(key, []).append((scope, rule))
        self._rules = {key: _Rules(scoped) for key, scoped in entries.items()}

    def match(
        self, identifier: Identifier, *, operation: Operation, obj: Mapping[str, Any] | None = None
    ) -> tuple[Match, ...]:
        """One (destination, rule) for each destination that selects this change.

        `obj` is the object as the API delivered it: sanitising removes the ownerReferences that are looked at. None
        means that nobody knows the object any more, and nothing of it is left out.
        """
        rules = self._rules.get((identifier.group, identifier.resource, identifier.version, operation))
        if rules is None:
            return ()
        answers = rules.answers(identifier.namespace)
        if answers.of_all is answers.of_named or matching.excluded_object(identifier, obj or {}) is None:
            return answers.of_all
        return answers.of_named


@dataclass(frozen=True, slots=True)
class DestinationScope:
    """One type in one namespace ('' = cluster scope or all) that a destination holds.

    `sweepable` says that a rule on it selects DELETE, so that orphans in it may be removed.
    """

    type: ResourceType
    namespace: str
    sweepable: bool


def scopes_of(compilation: Compilation, destination: Ref) -> set[DestinationScope]:
    """What a destination's rules select; a scope inside an all-namespaces scope of its type is dropped.

    A dropped scope does not pass its DELETE on: whether a wide scope is swept is decided by its own rules alone.
    """
    sweepable: dict[tuple[ResourceType, str], bool] = {}
    for verdict in compilation.rules.values():
        rule = verdict.rule
        if rule is not None and rule.destination == destination:
            for scope in rule.scopes:
                key = scope.type, scope.namespace
                sweepable[key] = sweepable.get(key, False) or Operation.DELETE in scope.operations
    return {
        DestinationScope(type_, namespace, swept)
        for (type_, namespace), swept in sweepable.items()
        if not namespace or (type_, "") not in sweepable
    }


def _answers(entries: Sequence[_Entry]) -> _Answers:
    of_all = _first_of_each(rule for _, _, rule in entries)
    if not any(scope.wildcard for _, scope, _ in entries):
        return _Answers(of_all, of_all)
    return _Answers(of_all, _first_of_each(rule for _, scope, rule in entries if not scope.wildcard))


def _first_of_each(rules: Iterable[CompiledRule]) -> tuple[Match, ...]:
    first: dict[Ref, CompiledRule] = {}
    for rule in rules:
        first.setdefault(rule.destination, rule)
    return tuple(first.items())
