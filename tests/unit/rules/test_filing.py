"""How the matcher files rules: an object meets few of them, however many there are, and misses none that selects it."""

from __future__ import annotations

from typing import Any

import pytest

from app.events import Identifier, Ref
from app.rules import filters, labels, matching, noise, selecting, urls
from app.rules.compiling import Compilation, CompiledRule, Place, RuleKey, RuleVerdict, Scope
from app.rules.filters import Filter
from app.rules.labels import LabelSelector, Requirement
from app.rules.types import ResourceType

PLACE = Place(urls.normalise("https://h/r", allow_local=False), "main", "a", Ref("shop", "repo"))
TYPE = ResourceType("", "v1", "configmaps", "ConfigMap", True, frozenset({"list", "watch"}), True)
PROD = Ref("shop", "prod")

FRONT = Requirement("tier", labels.IN, ("front",))
LETTER = Requirement("app", labels.IN, ("a", "b", "c"))
HAS_TIER, NO_TIER = Requirement("tier", labels.EXISTS), Requirement("tier", labels.DOES_NOT_EXIST)
HAS_APP, NOT_BACK = Requirement("app", labels.EXISTS), Requirement("tier", labels.NOT_IN, ("back",))


def _rule(name: str, wanted: Filter = filters.EVERYTHING, *, wildcard: bool = False) -> CompiledRule:
    scope = Scope(TYPE, "", matching.WATCHED, wildcard, wanted)
    return CompiledRule("WatchRule", Ref("shop", name), "u", 1, PROD, PLACE, (scope,), {})


def _labelled(*requirements: Requirement) -> Filter:
    return Filter(labels=LabelSelector(requirements))


def _match(rules: list[CompiledRule], name: str, found: dict[str, str]) -> tuple[selecting.Selection, ...]:
    identifier = Identifier("", "v1", "configmaps", "shop", name, "ConfigMap", "u")
    return selecting.Matcher(rules).match(identifier, {"metadata": {"labels": found}})


@pytest.mark.parametrize(
    ("wanted", "name", "found"),
    [
        (Filter(names=("web", "api")), "web-1", {}),
        (Filter(names=("web-*",)), "api", {}),
        (_labelled(FRONT), "a", {"tier": "back"}),
        (_labelled(FRONT), "a", {"app": "front"}),
        (_labelled(LETTER, FRONT), "a", {"app": "a", "tier": "back"}),
        (_labelled(HAS_APP, FRONT), "a", {"app": "a"}),
        (_labelled(HAS_TIER), "a", {"app": "a"}),
        (_labelled(HAS_TIER, NOT_BACK), "a", {}),
    ],
)
def test_a_rule_is_not_asked_about_what_it_cannot_select(
    monkeypatch: pytest.MonkeyPatch, wanted: Filter, name: str, found: dict[str, str]
) -> None:
    """It is filed under the narrowest that it says, so that thousands of others cost an object nothing."""
    monkeypatch.setattr(Filter, "selects", lambda *_: pytest.fail("the rule was asked"))
    assert _match([_rule("a", wanted)], name, found) == ()


@pytest.mark.parametrize(
    ("wanted", "name", "found"),
    [
        (Filter(names=("web", "w[ab]*")), "wax", {}),
        (Filter(names=("*x",)), "wax", {}),
        (Filter(exclude_names=("b",)), "a", {}),
        (_labelled(LETTER), "a", {"app": "b"}),
        (_labelled(LETTER, FRONT), "a", {"app": "c", "tier": "front"}),
        (_labelled(HAS_TIER), "a", {"tier": ""}),
        (_labelled(HAS_TIER, NOT_BACK), "a", {"tier": "front"}),
        (_labelled(NOT_BACK), "a", {}),
        (_labelled(NOT_BACK), "a", {"tier": "front"}),
        (_labelled(NO_TIER), "a", {"app": "a"}),
        (_labelled(NO_TIER, HAS_APP), "a", {"app": "a"}),
    ],
)
def test_a_rule_is_found_by_what_it_selects(wanted: Filter, name: str, found: dict[str, str]) -> None:
    """Whatever a filter says, and however short a name or few the labels: what it selects is not missed."""
    assert _match([_rule("a", wanted)], name, found)


def test_where_no_rule_looks_at_objects_none_is_looked_at() -> None:
    """Types that are mirrored as a whole cost no reading of labels."""
    identifier = Identifier("", "v1", "configmaps", "shop", "a", "ConfigMap", "u")
    no_object: Any = None
    assert selecting.Matcher([_rule("a")]).match(identifier, no_object)


def test_a_namespace_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rules look at a namespace is asked for its first object, and remembered for all that follow."""
    asked: list[str] = []
    real = Scope.covers
    monkeypatch.setattr(Scope, "covers", lambda self, name: (asked.append(name), real(self, name))[1])
    matcher = selecting.Matcher([_rule("a", Filter(exclude_namespaces=("kube-*",)))])
    for namespace in ("shop", "team", "shop", "team"):
        assert matcher.match(Identifier("", "v1", "configmaps", namespace, "a", "ConfigMap", "u"), {})
    assert asked == ["shop", "team"]


def test_labels_had_a_say_whichever_rule_comes_first() -> None:
    """A change of labels may have brought an object in, even if another rule selects it without labels."""
    narrow, plain = _labelled(FRONT), filters.EVERYTHING
    for one, other in ((narrow, plain), (plain, narrow)):
        (found,) = _match([_rule("a", one), _rule("b", other)], "a", {"tier": "front"})
        assert found.narrowed


def test_a_mark_stays_the_same_from_release_to_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept with each file: another way to write the same selection would let go of all that is mirrored."""
    monkeypatch.setattr(noise, "EDITION", 1)
    rules = [_rule("a", Filter(LabelSelector((FRONT,)), ("web-*",)), wildcard=True), _rule("b")]
    verdicts = {RuleKey(rule.kind, rule.ref): RuleVerdict(True, "Ready", "", rule=rule) for rule in rules}
    (held,) = selecting.scopes_of(Compilation({}, {}, verdicts), PROD)
    assert held.mark == "04963c8d6b4f27a1"
