"""What a rule does with an object, and why it does not take it: for `reverser explain` and `reverser render --rule`.

Asks the compiled rules and their matcher, which decide for the watch daemon as well; only the words are made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from app import errors, events
from app.cli import rendering, surveying
from app.rules import compiling, ignoring, selecting, types


class Near(IntEnum):
    """How far an object gets with a rule: of several rules, the one that nearly took it is worth a sentence."""

    OTHER_TYPE = 0
    NOT_READY = 1
    OTHER_NAMESPACE = 2
    PROBLEM = 3
    LEFT_OUT = 4
    FILTERED = 5
    TAKEN = 6


@dataclass(frozen=True, slots=True)
class Weighed:
    """One rule and one object. `reason` is one word for programs; `sentence` says why not, empty when it is taken."""

    rule: str
    near: Near
    reason: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """How one rule has an object written; `remark` says why it does not select it, where it does not."""

    base_folder: str
    ignored: ignoring.Ignored
    remark: str = ""


# How a refusal begins that is not the rule's own wish (`app/rules/selecting.py`).
_BY_WILDCARD = "* leaves it out: "

NO_RULE = Frame("", ignoring.NOTHING)


class Scale:
    """All rules of one destination."""

    def __init__(self, survey: surveying.Survey, destination: events.Ref) -> None:
        self.destination = destination
        self.rules = survey.rules_of(destination)
        self._survey = survey

    @cached_property
    def matcher(self) -> selecting.Matcher:
        """What the ready ones select."""
        return selecting.Matcher([verdict.rule for _, verdict in self.rules if verdict.rule is not None])

    def held(self, type_: types.ResourceType) -> types.ResourceType:
        """The type in the version in which the destination has it; as it is where no rule selects it."""
        scopes = (scope for _, verdict in self.rules if verdict.rule for scope in verdict.rule.scopes)
        return next((scope.type for scope in scopes if scope.type.key == type_.key), type_)

    def weigh_type(self, type_: types.ResourceType, namespace: str) -> list[Weighed]:
        """What each rule does with objects of a type in a namespace, as far as it does not depend on the object."""
        unusable = self._survey.unreadable_of(self.destination)
        return [
            *(self._type(key, verdict, type_, namespace) for key, verdict in self.rules),
            *(_not_ready(key, error.reason, error.message) for key, error in unusable),
        ]

    def weigh(self, subject: rendering.Subject) -> list[Weighed]:
        """What each rule does with one object, by name of the rule."""
        refusals = self._refusals(subject)
        weighed = self.weigh_type(subject.type, subject.identifier.namespace)
        return [_with_filter(one, refusals.get(one.rule, [])) if one.near is Near.TAKEN else one for one in weighed]

    def selection(self, subject: rendering.Subject) -> selecting.Selection | None:
        """What the destination selects of an object: the operations with their rules, and what is ignored."""
        found = self.matcher.match(subject.identifier, subject.content)
        return next((one for one in found if one.destination == self.destination), None)

    def _refusals(self, subject: rendering.Subject) -> Mapping[str, list[str | None]]:
        found: dict[str, list[str | None]] = {}
        for refusal in self.matcher.refusals(subject.identifier, subject.content):
            found.setdefault(refusal.rule, []).append(refusal.why)
        return found

    def _type(
        self, key: compiling.RuleKey, verdict: compiling.RuleVerdict, type_: types.ResourceType, namespace: str
    ) -> Weighed:
        scopes = [scope for scope in verdict.rule.scopes if scope.type.key == type_.key] if verdict.rule else []
        if not scopes:
            return _no_scope(key, verdict, type_)
        if all(scope.type.version != type_.version for scope in scopes):
            held = scopes[0].type.version
            sentence = f"{key} mirrors {type_} as {held}, and this is {type_.version}: the cluster serves it in both"
            return Weighed(str(key), Near.PROBLEM, "OtherVersion", sentence)
        if all(scope.namespace not in {"", namespace} for scope in scopes):
            sentence = f"{key} selects {type_} of its own namespace {key.ref.namespace} only"
            return Weighed(str(key), Near.OTHER_NAMESPACE, "OtherNamespace", sentence)
        if unread := self._unreadable(key, type_):
            return Weighed(str(key), Near.PROBLEM, "Unreadable", f"{key}: {unread}")
        return Weighed(str(key), Near.TAKEN)

    def _unreadable(self, key: compiling.RuleKey, type_: types.ResourceType) -> str:
        """What the watch daemon wrote into the rule's status: that the cluster does not let it read the type."""
        status = self._survey.raws[key.kind, key.ref].get("status") or {}
        said = [str(one.get("message")) for one in status.get("problems") or () if _is_unreadable(one, type_)]
        return said[0] if said else ""


def by_rule(survey: surveying.Survey, text: str) -> RuleScale:
    """The rule that `--rule` names. Raises PermanentError for one that is not there or not ready."""
    namespace, _, name = text.rpartition("/")
    key = compiling.RuleKey("WatchRule" if namespace else "ClusterWatchRule", events.Ref(namespace, name))
    if error := survey.unreadable.get((key.kind, key.ref)):
        raise errors.PermanentError(f"{key} cannot be used: {error.message}", reason=error.reason)
    verdict = survey.compilation.rules.get(key)
    if verdict is None:
        rules = ", ".join(sorted(str(one) for one in survey.compilation.rules)) or "none"
        raise errors.PermanentError(f"there is no {key}; there are: {rules}")
    if verdict.rule is None:
        raise errors.PermanentError(f"{key} is not ready: {verdict.message}", reason=verdict.reason)
    return RuleScale(Scale(survey, verdict.rule.destination), verdict.rule)


class RuleScale:
    """One rule beside the others of its destination, which say with it what is ignored."""

    def __init__(self, scale: Scale, rule: compiling.CompiledRule) -> None:
        self._scale, self._rule = scale, rule
        self.held = scale.held

    def frame(self, subject: rendering.Subject) -> Frame:
        """How an object is written by way of this rule, also where the rule does not select it."""
        selection = self._scale.selection(subject)
        ignored = selection.ignored if selection else self._would_ignore(subject.type)
        weighed = next(one for one in self._scale.weigh(subject) if one.rule == self._rule.rule_name)
        remark = f"{subject} is not selected: {weighed.sentence}." if weighed.sentence else ""
        return Frame(self._rule.place.base_folder, ignored, remark)

    def _would_ignore(self, type_: types.ResourceType) -> ignoring.Ignored:
        """What the rule ignores on the type, or, where it does not select that, on anything."""
        of_type = [scope for scope in self._rule.scopes if scope.type.key == type_.key]
        ignored = ignoring.NOTHING
        for scope in of_type or self._rule.scopes:
            ignored |= scope.ignored
        return ignored


def nearest(weighed: Iterable[Weighed]) -> Weighed | None:
    """The rule with which an object got furthest, the first of several; None where there is no rule."""
    return max(weighed, key=lambda one: one.near, default=None)


def _with_filter(one: Weighed, refusals: Sequence[str | None]) -> Weighed:
    """A scope that takes the object decides; else the first that does not says why."""
    said = [why for why in refusals if why]
    if not said or len(said) < len(refusals):
        return one
    if said[0].startswith(_BY_WILDCARD):
        return Weighed(one.rule, Near.LEFT_OUT, "LeftOut", f"{one.rule}: {said[0]}")
    return Weighed(one.rule, Near.FILTERED, "NotSelected", f"{one.rule} leaves it out: {said[0]}")


def _no_scope(key: compiling.RuleKey, verdict: compiling.RuleVerdict, type_: types.ResourceType) -> Weighed:
    """Why a rule has nothing of a type."""
    problem = next((one for one in verdict.problems if _means(one.resource, type_)), None)
    if problem is not None:
        return Weighed(str(key), Near.PROBLEM, problem.reason, f"{key}: {problem.message}")
    if verdict.rule is None:
        return _not_ready(key, verdict.reason, verdict.message)
    note = next((note for note in verdict.notes if note.startswith(f"* leaves out {type_}: ")), "")
    if note:
        sentence = f"{key} leaves it out: {note}. Naming {type_} in resources includes it"
        return Weighed(str(key), Near.LEFT_OUT, "LeftOut", sentence)
    if type_.key in {other.key for other in verdict.other_versions}:
        sentence = f"{key} leaves it out: {type_} is served in none of its apiVersions. Without them, * takes it"
        return Weighed(str(key), Near.LEFT_OUT, "LeftOut", sentence)
    return Weighed(str(key), Near.OTHER_TYPE, "NotSelected", f"{key} does not select {type_}")


def _not_ready(key: compiling.RuleKey, reason: str, message: str) -> Weighed:
    return Weighed(str(key), Near.NOT_READY, reason, f"{key} is not ready: {message}")


def _is_unreadable(problem: Mapping[str, object], type_: types.ResourceType) -> bool:
    return (problem.get("reason"), problem.get("resource")) == ("Unreadable", str(type_))


def _means(pattern: str, type_: types.ResourceType) -> bool:
    """Whether a resource as a rule writes it means a type."""
    plural, _, group = pattern.lower().partition(".")
    return plural == type_.resource.lower() and group in {"", type_.group.lower()}
