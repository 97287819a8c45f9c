"""From compiled rules to single objects: which destinations an object goes to, and what each of them selects.

`Matcher` is built once for a set of compiled rules and asked for every change; all its answers are made beforehand,
so that a lookup costs the same for one rule and for thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.events import Identifier, Operation, Ref
from app.rules import matching
from app.rules.compiling import Compilation, CompiledRule, Scope
from app.rules.types import ResourceType

Match = tuple[Ref, CompiledRule]
_Key = tuple[str, str, str, Operation]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What an object gets: `of_all` rules, or only those `of_named` types when `*` leaves the object out."""

    of_all: tuple[Match, ...]
    of_named: tuple[Match, ...]


_NOTHING = _Answers((), ())


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
        self._answers = {key: _by_namespace(scoped) for key, scoped in entries.items()}

    def match(
        self, identifier: Identifier, *, operation: Operation, obj: Mapping[str, Any] | None = None
    ) -> tuple[Match, ...]:
        """One (destination, rule) for each destination that selects this change.

        `obj` is the object as the API delivered it: sanitising removes the ownerReferences that are looked at. None
        means that nobody knows the object any more, and nothing of it is left out.
        """
        namespaces = self._answers.get((identifier.group, identifier.resource, identifier.version, operation))
        if namespaces is None:
            return ()
        answers = namespaces.get(identifier.namespace) or namespaces.get("", _NOTHING)
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
    for rule in compilation.compiled():
        if rule.destination == destination:
            for scope in rule.scopes:
                key = scope.type, scope.namespace
                sweepable[key] = sweepable.get(key, False) or Operation.DELETE in scope.operations
    return {
        DestinationScope(type_, namespace, swept)
        for (type_, namespace), swept in sweepable.items()
        if not namespace or (type_, "") not in sweepable
    }


def _by_namespace(scoped: Iterable[tuple[Scope, CompiledRule]]) -> dict[str, _Answers]:
    """Answers for each namespace that a rule names, and under '' for every other one. Input is sorted by rule."""
    wide: list[tuple[int, Scope, CompiledRule]] = []
    narrow: dict[str, list[tuple[int, Scope, CompiledRule]]] = {}
    for order, (scope, rule) in enumerate(scoped):
        (narrow.setdefault(scope.namespace, []) if scope.namespace else wide).append((order, scope, rule))
    answers = {namespace: _answers(sorted(entries + wide, key=_order)) for namespace, entries in narrow.items()}
    return answers | {"": _answers(wide)}


def _order(entry: tuple[int, Scope, CompiledRule]) -> int:
    return entry[0]


def _answers(entries: Sequence[tuple[int, Scope, CompiledRule]]) -> _Answers:
    of_all = _first_of_each((rule for _, _, rule in entries))
    if not any(scope.wildcard for _, scope, _ in entries):
        return _Answers(of_all, of_all)
    return _Answers(of_all, _first_of_each(rule for _, scope, rule in entries if not scope.wildcard))


def _first_of_each(rules: Iterable[CompiledRule]) -> tuple[Match, ...]:
    first: dict[Ref, CompiledRule] = {}
    for rule in rules:
        first.setdefault(rule.destination, rule)
    return tuple(first.items())
