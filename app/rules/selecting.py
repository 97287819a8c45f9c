"""From compiled rules to single objects: which destinations an object goes to, and what each of them selects.

`Matcher` is built once for a set of compiled rules and asked for every change. Rules are filed by what an object must
have to be selected by them, so that one question looks at a few of them, and answers are kept, so that it costs the
same for one rule and for thousands. `reverser explain` asks it too, for the reasons.
"""

from __future__ import annotations

import hashlib
import heapq
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.events import Identifier, Operation, Ref
from app.rules import filters, ignoring, labels, noise
from app.rules.compiling import Compilation, CompiledRule, Scope
from app.rules.types import ResourceType


@dataclass(frozen=True, slots=True)
class Selection:
    """What one destination selects of an object.

    `rules` names, for each operation that is selected, the first rule by name that selects the object with it.
    `ignored` is what any of the rules ignores. `narrowed` says that labels had a say, the object's own or those of its
    namespace, so that a change of labels may have brought the object in.
    """

    destination: Ref
    rules: Mapping[Operation, str]
    ignored: ignoring.Ignored = ignoring.NOTHING
    narrowed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one scope of one rule makes of an object; `why` says what leaves it out, None when it is selected."""

    rule: str
    destination: Ref
    why: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """One scope of one rule; `order` is its place among all, by name of the rule."""

    order: int
    scope: Scope
    rule: CompiledRule


_BY_ORDER = operator.attrgetter("order")
# How an entry is filed: under names, name prefixes, labels with a value, or labels with any value.
_NAME, _PREFIX, _LABEL, _KEY = range(4)
_Anchor = tuple[Any, ...]
_Answer = tuple[Selection, ...]

# In place of the rule that removes a file: no rule selects the deletion of its object.
NOBODY = ""

# Objects may be told apart by their labels without end; answers are not kept without end.
_MOST_ANSWERS = 10_000


class _Index:
    """The rules on one type that look at objects of one namespace."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = {entry.order: entry for entry in entries}
        self._always = [entry.order for entry in entries if not entry.scope.filter.by_object]
        self._filed: dict[_Anchor, list[_Entry]] = {}
        for entry in entries:
            if entry.scope.filter.by_object:
                for anchor in _anchors(entry.scope.filter):
                    self._filed.setdefault(anchor, []).append(entry)
        self._prefixes = sorted({len(anchor[1]) for anchor in self._filed if anchor[0] == _PREFIX})
        self._wild = any(entry.scope.wildcard for entry in entries)
        self._answers: dict[tuple[bool, frozenset[int]], _Answer] = {}

    def answer(self, identifier: Identifier, obj: Mapping[str, Any]) -> _Answer:
        """What an object gets. Two threads that ask at once make the same answer twice."""
        left_out = self._wild and noise.excluded_object(identifier, obj) is not None
        matched = self._matched(identifier.name, obj, left_out=left_out) if self._filed else frozenset()
        known = self._answers.get((left_out, matched))
        if known is None:
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            known = self._answers[left_out, matched] = self._made(matched, left_out=left_out)
        return known

    def _matched(self, name: str, obj: Mapping[str, Any], *, left_out: bool) -> frozenset[int]:
        """The entries that look at objects and select this one."""
        found = _labels_of(obj)
        return frozenset(
            entry.order
            for anchor in self._possible(name, found)
            for entry in self._filed.get(anchor, ())
            if entry.scope.filter.selects(name, found)
            and not (left_out and entry.scope.wildcard and not entry.scope.filter.names_exactly(name))
        )

    def _possible(self, name: str, found: Mapping[str, str]) -> Iterator[_Anchor]:
        yield _NAME, name
        for length in self._prefixes:
            yield _PREFIX, name[:length]
        for key, value in found.items():
            yield _KEY, key
            yield _LABEL, key, value

    def _made(self, matched: Iterable[int], *, left_out: bool) -> _Answer:
        plain = [order for order in self._always if not (left_out and self._entries[order].scope.wildcard)]
        parts: dict[Ref, _Part] = {}
        for order in sorted([*plain, *matched]):
            entry = self._entries[order]
            parts.setdefault(entry.rule.destination, _Part()).add(entry)
        return tuple(part.selection(destination) for destination, part in parts.items())


class _Type:
    """The rules of one type and version, in the order of their names: those of single namespaces, and of all."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self.entries = entries
        self._narrow: dict[str, list[_Entry]] = {}
        self._wide: list[_Entry] = []
        self._feeding: dict[tuple[str, Ref], list[_Entry]] = {}
        self._deleting: dict[tuple[str, Ref], Mapping[str, bool]] = {}
        for entry in entries:
            namespace = entry.scope.namespace
            (self._narrow.setdefault(namespace, []) if namespace else self._wide).append(entry)
            self._feeding.setdefault((namespace, entry.rule.destination), []).append(entry)
        self._choosy = any(entry.scope.filter.by_namespace for entry in self._wide)
        self._everywhere = _Index(self._wide)
        self._known: dict[str, _Index] = {}
        # Namespaces that the same rules look at share an index, however many there are.
        self._shared: dict[tuple[int, ...], _Index] = {}

    def index(self, namespace: str) -> _Index:
        """The rules for objects of a namespace. Two threads that ask at once make the same index twice."""
        if not self._choosy and namespace not in self._narrow:
            return self._everywhere
        known = self._known.get(namespace)
        if known is None:
            wide = (entry for entry in self._wide if entry.scope.covers(namespace))
            entries = list(heapq.merge(self._narrow.get(namespace, ()), wide, key=_BY_ORDER))
            orders = tuple(entry.order for entry in entries)
            known = self._known[namespace] = self._shared.setdefault(orders, _Index(entries))
        return known

    def deleting(self, namespace: str, destination: Ref) -> Mapping[str, bool]:
        """The rules of a destination that cover a namespace, and whether they select DELETE there.

        Labels are not asked, the object's nor its namespace's: it is they that changed. Two threads that ask at once
        make the same answer twice.
        """
        known = self._deleting.get((namespace, destination))
        if known is None:
            feeding = (entry for place in {"", namespace} for entry in self._feeding.get((place, destination), ()))
            there = (entry for entry in feeding if entry.scope.filter.covers(namespace, None))
            found = ((entry.rule.rule_name, Operation.DELETE in entry.scope.operations) for entry in there)
            known = self._deleting[namespace, destination] = merged(found)
        return known


@dataclass(slots=True)
class _Part:
    """The selection of one destination while it is put together."""

    rules: dict[Operation, str] = field(default_factory=dict)
    ignored: ignoring.Ignored = ignoring.NOTHING
    narrowed: bool = False

    def add(self, entry: _Entry) -> None:
        for operation in entry.scope.operations:
            self.rules.setdefault(operation, entry.rule.rule_name)
        self.ignored |= entry.scope.ignored
        self.narrowed |= entry.scope.filter.by_labels

    def selection(self, destination: Ref) -> Selection:
        return Selection(destination, self.rules, self.ignored, self.narrowed)


class Matcher:
    """Answers which destinations an object goes to, and under which rule."""

    def __init__(self, rules: Sequence[CompiledRule]) -> None:
        """Index the rules by type and version."""
        entries: dict[tuple[str, str, str], list[_Entry]] = {}
        for rule in sorted(rules, key=lambda rule: rule.rule_name):
            for scope in rule.scopes:
                found = entries.setdefault((scope.type.group, scope.type.resource, scope.type.version), [])
                found.append(_Entry(len(found), scope, rule))
        self._types = {key: _Type(found) for key, found in entries.items()}

    def match(self, identifier: Identifier, obj: Mapping[str, Any]) -> tuple[Selection, ...]:
        """What each destination selects of an object, ordered by the first rule of each; nothing of those that do not.

        `obj` is the object as the API delivered it: sanitising removes the ownerReferences that are looked at.
        """
        found = self._of(identifier)
        return found.index(identifier.namespace).answer(identifier, obj) if found else ()

    def remover(self, identifier: Identifier, destination: Ref, *, noted: str | None = None) -> str | None:
        """The rule under which a destination removes its file of an object that is gone or selected no more."""
        found = self._of(identifier)
        return remover(found.deleting(identifier.namespace, destination), noted=noted) if found else None

    def refusals(self, identifier: Identifier, obj: Mapping[str, Any]) -> list[Refusal]:
        """For each scope on the object's type and version, by name of the rule: why it does not select the object.

        For `reverser explain`: it reads every rule, and is as slow as that. `match` selects an object for a destination
        exactly when one of that destination's refusals has no `why`.
        """
        found = self._of(identifier)
        entries = found.entries if found else ()
        return [
            Refusal(entry.rule.rule_name, entry.rule.destination, _why_not(entry.scope, identifier, obj))
            for entry in entries
        ]

    def _of(self, identifier: Identifier) -> _Type | None:
        return self._types.get((identifier.group, identifier.resource, identifier.version))


def merged(found: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """Rules and whether any of their scopes selects DELETE."""
    rules: dict[str, bool] = {}
    for rule, deletes in found:
        rules[rule] = rules.get(rule, False) or deletes
    return rules


def remover(deleting: Mapping[str, bool], *, noted: str | None) -> str | None:
    """The rule that removes a file. `deleting` are the rules on its type and namespace, and whether they select DELETE.

    `noted` is the rule that selected the deletion of the object when its file was last written or listed, NOBODY where
    none did: what another rule never selected is not its to remove. Where nobody knows it, or it covers type and
    namespace no more, it is the first by name that selects DELETE there.
    """
    if noted == NOBODY:
        return None
    if noted is not None and noted in deleting:
        return noted if deleting[noted] else None
    return min((rule for rule, deletes in deleting.items() if deletes), default=None)


def _why_not(scope: Scope, identifier: Identifier, obj: Mapping[str, Any]) -> str | None:
    wanted = scope.filter
    if scope.namespace not in ("", identifier.namespace):
        return f"the rule selects in its own namespace {scope.namespace} only"
    if why := wanted.namespace_refusal(identifier.namespace, scope.members):
        return why
    if why := wanted.refusal(identifier.name, _labels_of(obj)):
        return why
    noisy = noise.excluded_object(identifier, obj) if scope.wildcard else None
    if noisy is not None and not wanted.names_exactly(identifier.name):
        return f"* leaves it out: {noisy}; its type in resources, or its exact name in names, includes it"
    return None


def _anchors(wanted: filters.Filter) -> Iterator[_Anchor]:
    """What an object must have one of, so that a filter may select it; the narrowest that the filter says."""
    required = [one for one in wanted.labels.requirements if one.operator == labels.IN]
    if wanted.names:
        for name in wanted.names:
            yield (_NAME, name) if filters.is_exact(name) else (_PREFIX, filters.literal_prefix(name))
    elif required:
        least = min(required, key=lambda one: len(one.values))
        for value in least.values:
            yield _LABEL, least.key, value
    elif present := [one for one in wanted.labels.requirements if one.operator == labels.EXISTS]:
        yield _KEY, present[0].key
    else:
        yield _PREFIX, ""


def _labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of an object, as far as they are text: an aggregated server may send anything."""
    return {key: value for key, value in noise.mapping(obj, "labels").items() if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class DestinationScope:
    """One type in one namespace ('' = cluster scope or all) that a destination holds.

    `sweepable` says that a rule on it selects DELETE, so that orphans in it may be removed. `mark` is the same as long
    as the same is selected in it, of whatever objects there are: 16 hex digits.
    """

    type: ResourceType
    namespace: str
    sweepable: bool
    mark: str


def scopes_of(compilation: Compilation, destination: Ref) -> set[DestinationScope]:
    """What a destination's rules select; a scope inside an all-namespaces scope of its type is dropped.

    A dropped scope passes its DELETE on: what a sweep takes of a wide scope, `remover` decides for each file.
    """
    by_type: dict[ResourceType, list[Scope]] = {}
    for verdict in compilation.rules.values():
        rule = verdict.rule
        if rule is not None and rule.destination == destination:
            for scope in rule.scopes:
                by_type.setdefault(scope.type, []).append(scope)
    return {one for type_, scopes in by_type.items() for one in _held(type_, scopes)}


def _held(type_: ResourceType, scopes: Sequence[Scope]) -> Iterator[DestinationScope]:
    namespaces = {scope.namespace for scope in scopes}
    for namespace in {""} if "" in namespaces else namespaces:
        inside = [scope for scope in scopes if namespace in {"", scope.namespace}]
        sweepable = any(Operation.DELETE in scope.operations for scope in inside)
        yield DestinationScope(type_, namespace, sweepable, _mark(inside))


def _mark(scopes: Iterable[Scope]) -> str:
    """A digest of everything that decides what these scopes select."""
    said = {orjson.dumps(scope.selects(), option=orjson.OPT_SORT_KEYS) for scope in scopes}
    return hashlib.sha256(b"\n".join(sorted(said))).hexdigest()[:16]
