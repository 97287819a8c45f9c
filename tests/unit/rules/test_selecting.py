"""The matcher answers as reading every rule would, and as fast for thousands of rules as for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events import Identifier, Operation, Ref
from app.rules import filters, ignoring, labels, matching, noise, selecting, urls
from app.rules.compiling import Compilation, CompiledRule, Place, RuleKey, RuleVerdict, Scope
from app.rules.types import ResourceType

PLACE = Place(urls.normalise("https://h/r", allow_local=False), "main", "a", Ref("shop", "repo"))


def _type(resource: str, group: str = "", version: str = "v1") -> ResourceType:
    return ResourceType(group, version, resource, resource.title(), True, frozenset({"list", "watch"}), True)


CONFIGMAPS, REPLICASETS = _type("configmaps"), _type("replicasets", "apps")
ALL = matching.WATCHED
CREATE, UPDATE, DELETE = Operation.CREATE, Operation.UPDATE, Operation.DELETE
PROD, DEV = Ref("shop", "prod"), Ref("shop", "dev")
OWNED: dict[str, Any] = {"metadata": {"ownerReferences": [{"controller": True}]}}


def _scope(type_: ResourceType = CONFIGMAPS, namespace: str = "", **fields: Any) -> Scope:
    return Scope(type_, namespace, **{"operations": ALL, "wildcard": False, **fields})


def _rule(name: str, *scopes: Scope, destination: str = "prod", kind: Any = "WatchRule") -> CompiledRule:
    return CompiledRule(kind, Ref("shop", name), "u", 1, Ref("shop", destination), PLACE, scopes, {})


def _identifier(type_: ResourceType = CONFIGMAPS, *, namespace: str = "shop", name: str = "a") -> Identifier:
    return Identifier(type_.group, type_.version, type_.resource, namespace, name, type_.kind, "u")


def _labelled(**found: str) -> dict[str, Any]:
    return {"metadata": {"labels": found}}


def _selector(**equal: str) -> labels.LabelSelector:
    return labels.LabelSelector(tuple(labels.Requirement(key, "In", (value,)) for key, value in equal.items()))


def _narrow(*names: str, **fields: Any) -> filters.Filter:
    return filters.Filter(names=names, **fields)


def _names(found: tuple[selecting.Selection, ...], operation: Operation = CREATE) -> list[tuple[str, str]]:
    return [(one.destination.name, one.rules[operation].split("/")[1]) for one in found]


def test_each_destination_is_named_once_with_its_first_rule() -> None:
    """Several rules of one destination give one answer, under the first by name; destinations follow that order."""
    rules = [
        _rule("b", _scope(CONFIGMAPS, "shop")),
        _rule("a", _scope()),
        _rule("c", _scope(), destination="dev"),
        _rule("z", _scope(), kind="ClusterWatchRule"),
    ]
    assert _names(selecting.Matcher(rules).match(_identifier(), {})) == [("prod", "z"), ("dev", "c")]
    assert _names(selecting.Matcher(rules[:2]).match(_identifier(), {})) == [("prod", "a")]
    assert _names(selecting.Matcher(rules[:3]).match(_identifier(), {})) == [("prod", "a"), ("dev", "c")]


def test_each_operation_has_the_first_rule_that_selects_it() -> None:
    """The real operation is matched: a rule answers for what it selects, and a later one for the rest."""
    rules = [
        _rule("a", _scope(operations=frozenset({DELETE}))),
        _rule("b", _scope(operations=frozenset({DELETE, UPDATE}))),
    ]
    (found,) = selecting.Matcher(rules).match(_identifier(), {})
    assert found == selecting.Selection(PROD, {DELETE: "WatchRule shop/a", UPDATE: "WatchRule shop/b"})


def test_version_namespace_and_type_all_have_to_fit() -> None:
    """Another version, namespace or type is not selected."""
    matcher = selecting.Matcher([_rule("a", _scope(CONFIGMAPS, "shop"))])
    assert matcher.match(_identifier(), {})
    for other in (
        _identifier(namespace="other"),
        _identifier(_type("configmaps", version="v2")),
        _identifier(_type("configmaps", "example.com")),
        _identifier(REPLICASETS),
    ):
        assert matcher.match(other, {}) == ()
        assert matcher.refusals(other, {}) == [] or other.namespace == "other"
        assert matcher.remover(other, PROD) is None


def test_a_wildcard_leaves_single_objects_out_and_a_name_brings_them_in() -> None:
    """An owned ReplicaSet goes to the destination that names its type, or the very object."""
    matcher = selecting.Matcher(
        [
            _rule("a", _scope(REPLICASETS, wildcard=True)),
            _rule("b", _scope(REPLICASETS, "shop")),
            _rule("c", _scope(REPLICASETS, wildcard=True), destination="dev"),
            _rule("d", _scope(REPLICASETS, wildcard=True, filter=_narrow("web", "w*")), destination="dev"),
        ]
    )
    identifier = _identifier(REPLICASETS)
    assert _names(matcher.match(identifier, OWNED)) == [("prod", "b")]
    assert _names(matcher.match(identifier, {"metadata": {}})) == [("prod", "a"), ("dev", "c")]
    named, globbed = (replace(identifier, name=name) for name in ("web", "web-1"))
    assert _names(matcher.match(named, OWNED)) == [("prod", "b"), ("dev", "d")]
    assert _names(matcher.match(globbed, OWNED)) == [("prod", "b")]


def test_what_is_ignored_is_joined_and_labels_are_remembered() -> None:
    """The union of all rules that select the object counts; a destination knows whether labels had a say."""
    rules = [
        _rule("a", _scope(ignored=ignoring.Ignored(fields=("/spec/a",)))),
        _rule("b", _scope(ignored=ignoring.Ignored(managers=("m",)), filter=_narrow(labels=_selector(tier="front")))),
        _rule("c", _scope(ignored=ignoring.Ignored(fields=("/spec/c",)), filter=_narrow("other"))),
        _rule("d", _scope(), destination="dev"),
    ]
    matcher = selecting.Matcher(rules)
    prod, dev = matcher.match(_identifier(), _labelled(tier="front"))
    assert (prod.ignored, prod.narrowed) == (ignoring.Ignored(("/spec/a",), ("m",)), True)
    assert (dev.ignored, dev.narrowed) == (ignoring.NOTHING, False)
    prod, _ = matcher.match(_identifier(), _labelled(tier="back"))
    assert (prod.ignored, prod.narrowed) == (ignoring.Ignored(("/spec/a",)), False)


def test_without_a_note_the_remover_is_the_first_rule_with_delete() -> None:
    """Which rule selected the deletion is not known, or it selects nothing there now: one of those there does."""
    out = _narrow("no-such", namespaces=_selector(tier="front"))
    rules = [
        _rule("a", _scope(operations=frozenset({CREATE}))),
        _rule("b", _scope(CONFIGMAPS, "team")),
        _rule("c", _scope(filter=out, members=frozenset())),
        _rule("d", _scope(CONFIGMAPS, "shop", filter=_narrow("no-such"))),
        _rule("e", _scope(), destination="dev"),
    ]
    matcher = selecting.Matcher(rules)
    assert matcher.match(_identifier(), {})[0].rules == {CREATE: "WatchRule shop/a"}
    for noted in (None, "WatchRule shop/gone", "WatchRule shop/e", "WatchRule shop/b"):
        assert matcher.remover(_identifier(), PROD, noted=noted) == "WatchRule shop/c"
    assert matcher.remover(_identifier(namespace="team"), PROD) == "WatchRule shop/b"
    assert matcher.remover(_identifier(), DEV) == "WatchRule shop/e"
    assert matcher.remover(_identifier(), Ref("shop", "none")) is None
    narrow = selecting.Matcher([rules[3]])
    assert narrow.remover(_identifier(), PROD) == "WatchRule shop/d"
    assert narrow.remover(_identifier(namespace="team"), PROD) is None


def test_the_rule_that_is_noted_removes_and_no_other_one() -> None:
    """It removes while any of its entries there selects DELETE; where no rule selected the deletion, none removes."""
    rules = [
        _rule("a", _scope()),
        _rule("b", _scope(operations=frozenset({CREATE, UPDATE}))),
        _rule("c", _scope(operations=frozenset({DELETE})), _scope(CONFIGMAPS, "shop", operations=frozenset({CREATE}))),
    ]
    matcher = selecting.Matcher(rules)
    assert matcher.remover(_identifier(), PROD, noted="WatchRule shop/c") == "WatchRule shop/c"
    for kept in ("WatchRule shop/b", selecting.NOBODY):
        assert matcher.remover(_identifier(), PROD, noted=kept) is None


def test_a_rule_removes_nothing_in_a_namespace_that_it_excludes() -> None:
    """Who leaves a namespace out in so many words neither removes there nor keeps others from removing."""
    wide = _rule("a", _scope(filter=_narrow(exclude_namespaces=("sh*",))))
    matcher = selecting.Matcher([wide, _rule("b", _scope(operations=frozenset({CREATE})))])
    for noted in (None, "WatchRule shop/a", "WatchRule shop/b"):
        assert matcher.remover(_identifier(), PROD, noted=noted) is None
    assert matcher.remover(_identifier(namespace="team"), PROD, noted="WatchRule shop/a") == "WatchRule shop/a"
    matcher = selecting.Matcher([wide, _rule("b", _scope(CONFIGMAPS, "shop", filter=_narrow("no-such")))])
    assert matcher.remover(_identifier(), PROD, noted="WatchRule shop/a") == "WatchRule shop/b"


def test_refusals_say_which_part_leaves_an_object_out() -> None:
    """Each scope on the type says why it does not select the object, or nothing where it does."""
    matcher = selecting.Matcher(
        [
            _rule("a", _scope(CONFIGMAPS, "team")),
            _rule("b", _scope(filter=_narrow(namespaces=_selector(tier="front")), members=frozenset({"team"}))),
            _rule("c", _scope(filter=_narrow("web-*"))),
            _rule("d", _scope(wildcard=True)),
            _rule("e", _scope(wildcard=True, filter=_narrow("a"))),
            _rule("f", _scope(), destination="dev"),
            _rule("g", _scope(REPLICASETS)),
            _rule("h", _scope(filter=_narrow(labels=_selector(tier="front")))),
            _rule("i", _scope(filter=_narrow(namespaces=_selector(tier="front")), members=frozenset({"shop"}))),
        ]
    )
    found = matcher.refusals(_identifier(), OWNED)
    assert [(one.rule.split("/")[1], one.destination.name, one.why) for one in found] == [
        ("a", "prod", "the rule selects in its own namespace team only"),
        ("b", "prod", "the labels of its namespace do not meet namespaceSelector (tier=front)"),
        ("c", "prod", "its name matches none of names (web-*)"),
        (
            "d",
            "prod",
            f"* leaves it out: {noise.OWNED}; its type in resources, or its exact name in names, includes it",
        ),
        ("e", "prod", None),
        ("f", "dev", None),
        ("h", "prod", "its labels do not meet tier=front of labelSelector: it has no label tier"),
        ("i", "prod", None),
    ]


@pytest.mark.parametrize(
    ("asked", "fitting"),
    [
        ((("tier", "In", ("front", "back")),), {"front", "back"}),
        ((("tier", "In", ("front", "back")), ("tier", "In", ("back",))), {"back"}),
        ((("tier", "Exists", ()),), {"front", "back", "other"}),
        ((("tier", "NotIn", ("front",)),), {"back", "other", ""}),
        ((("tier", "DoesNotExist", ()),), {""}),
    ],
)
def test_every_operator_finds_its_objects(asked: tuple[tuple[Any, ...], ...], fitting: set[str]) -> None:
    """Whatever a selector asks for first, an object that it selects is found among the rules, and no other one is."""
    wanted = labels.LabelSelector(tuple(labels.Requirement(*one) for one in asked))
    matcher = selecting.Matcher([_rule("a", _scope(filter=_narrow(labels=wanted)))])
    tiers = ("front", "back", "other", "")
    found = {tier for tier in tiers if matcher.match(_identifier(), _labelled(tier=tier) if tier else {})}
    assert found == fitting


def test_labels_that_are_no_text_are_no_labels() -> None:
    """An aggregated server may send anything; nothing breaks, and nothing is selected by it."""
    matcher = selecting.Matcher([_rule("a", _scope(filter=_narrow(labels=_selector(tier="front"))))])
    for found in ({"tier": ["front"]}, {"tier": None}, {"tier": {"a": 1}}, None, {}):
        assert matcher.match(_identifier(), {"metadata": {"labels": found}}) == ()
    assert matcher.match(_identifier(), {"metadata": None}) == ()
    assert matcher.match(_identifier(), _labelled(tier="front"))


def test_namespaces_with_the_same_rules_share_what_is_known() -> None:
    """However many namespaces there are, each set of rules is filed once; excluded ones get nothing."""
    wanted = _narrow(exclude_namespaces=("kube-*",))
    rules = [_rule("a", _scope(filter=wanted)), _rule("b", _scope(CONFIGMAPS, "shop"), destination="dev")]
    matcher = selecting.Matcher(rules)
    found = matcher._types["", "configmaps", "v1"]
    assert found.index("one") is found.index("two")
    assert found.index("one") is found.index("one")
    assert found.index("shop") is not found.index("one")
    assert matcher.match(_identifier(namespace="kube-system"), {}) == ()
    assert _names(matcher.match(_identifier(), {})) == [("prod", "a"), ("dev", "b")]
    plain = selecting.Matcher(rules[1:])._types["", "configmaps", "v1"]
    assert plain.index("one") is plain.index("two")
    assert plain._known == {}


def test_answers_are_kept_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question gets the same answer object; what is kept is bounded, and right afterwards too."""
    monkeypatch.setattr(selecting, "_MOST_ANSWERS", 2)
    rules = [_rule(f"r{n}", _scope(filter=_narrow(f"n{n}")), destination=f"d{n}") for n in range(4)]
    matcher = selecting.Matcher(rules)
    index = matcher._types["", "configmaps", "v1"].index("shop")
    for _ in range(2):
        for n in range(4):
            assert _names(matcher.match(_identifier(name=f"n{n}"), {})) == [(f"d{n}", f"r{n}")]
            assert len(index._answers) <= 2
    assert matcher.match(_identifier(name="n3"), {}) is matcher.match(_identifier(name="n3"), {})


_KEYS, _VALUES = st.sampled_from(["tier", "app"]), st.sampled_from(["a", "b", "c"])
_few = st.lists(_VALUES, min_size=1, max_size=2).map(tuple)
_requirements = st.one_of(
    st.builds(labels.Requirement, _KEYS, st.sampled_from(["In", "NotIn"]), _few),
    st.builds(labels.Requirement, _KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
)
_selectors = st.lists(_requirements, max_size=2).map(lambda found: labels.LabelSelector(tuple(found)))
_globs = st.lists(st.sampled_from(["a", "a*", "web-?", "*", "kube-root-ca.crt", "[aw]*", "*-1"]), max_size=2).map(tuple)
NAMESPACES: Mapping[str, Mapping[str, str]] = {"shop": {"tier": "a"}, "team": {"tier": "b", "app": "a"}, "x": {}}


@st.composite
def _scopes(draw: st.DrawFn) -> Scope:
    namespace = draw(st.sampled_from(["", "shop", "team"]))
    wanted = filters.Filter(draw(_selectors), draw(_globs), draw(_globs))
    members = None
    if not namespace:
        selector = draw(_selectors)
        excluded = draw(st.sampled_from([(), ("t*",), ("shop", "x")]))
        wanted = replace(wanted, namespaces=selector or None, exclude_namespaces=excluded)
        members = frozenset(name for name, found in NAMESPACES.items() if selector.matches(found)) if selector else None
    if draw(st.booleans()):
        wanted, members = filters.EVERYTHING, None
    return Scope(
        draw(st.sampled_from([CONFIGMAPS, REPLICASETS, _type("configmaps", version="v2")])),
        namespace,
        draw(st.frozensets(st.sampled_from(sorted(ALL)), min_size=1)),
        draw(st.booleans()),
        wanted,
        draw(st.sampled_from([ignoring.NOTHING, ignoring.Ignored(("/spec/a",)), ignoring.Ignored((), ("m",))])),
        members,
    )


_rules = st.lists(
    st.builds(
        lambda name, destination, scopes: _rule(name, *scopes, destination=destination),
        st.text(alphabet="abc", min_size=1, max_size=3),
        st.sampled_from(["prod", "dev"]),
        st.lists(_scopes(), max_size=3),
    ),
    max_size=8,
    unique_by=lambda rule: rule.rule_name,
)


def _meets(one: labels.Requirement, found: Mapping[str, str]) -> bool:
    there, value = one.key in found, found.get(one.key)
    return {
        "In": there and value in one.values,
        "NotIn": not there or value not in one.values,
        "Exists": there,
        "DoesNotExist": not there,
    }[one.operator]


def _glob(name: str, glob: str) -> bool:
    """The globs of these tests, written out."""
    meanings = {"a*": name[:1] == "a", "web-?": name[:4] == "web-" and len(name) == 5, "*": True}
    meanings |= {"[aw]*": name[:1] in {"a", "w"}, "*-1": name[-2:] == "-1", "t*": name[:1] == "t"}
    return meanings.get(glob, name == glob)


def _key(one: ResourceType | Identifier) -> tuple[str, str, str]:
    return one.group, one.resource, one.version


def _naive(scope: Scope, identifier: Identifier, obj: Mapping[str, Any]) -> bool:
    """One scope read word by word."""
    type_, wanted = scope.type, scope.filter
    found, of_namespace = obj["metadata"].get("labels", {}), NAMESPACES[identifier.namespace]
    by_namespace = wanted.namespaces.requirements if wanted.namespaces else ()
    noisy = noise.excluded_object(identifier, obj) is not None
    return all(
        [
            _key(type_) == _key(identifier),
            scope.namespace in ("", identifier.namespace),
            not any(_glob(identifier.namespace, glob) for glob in wanted.exclude_namespaces),
            all(_meets(one, of_namespace) for one in by_namespace),
            not wanted.names or any(_glob(identifier.name, glob) for glob in wanted.names),
            not any(_glob(identifier.name, glob) for glob in wanted.exclude_names),
            all(_meets(one, found) for one in wanted.labels.requirements),
            not (scope.wildcard and noisy and identifier.name not in wanted.names),
        ]
    )


_identifiers = st.builds(
    _identifier,
    st.sampled_from([CONFIGMAPS, REPLICASETS]),
    namespace=st.sampled_from(sorted(NAMESPACES)),
    name=st.sampled_from(["a", "ab", "web-1", "kube-root-ca.crt"]),
)
_objects = st.builds(
    lambda found, owners: {"metadata": {"labels": found, "ownerReferences": owners}},
    st.dictionaries(_KEYS, _VALUES),
    st.sampled_from([[], [{"controller": True}], [{"kind": "X"}]]),
)


@given(_rules, _identifiers, _objects)
def test_matching_equals_asking_every_rule(
    rules: list[CompiledRule], identifier: Identifier, obj: dict[str, Any]
) -> None:
    """The index answers what a loop over all rules answers: who selects it, under which rule, and what is ignored."""
    expected: dict[Ref, selecting.Selection] = {}
    for rule in sorted(rules, key=lambda rule: rule.rule_name):
        for scope in rule.scopes:
            if _naive(scope, identifier, obj):
                before = expected.get(rule.destination, selecting.Selection(rule.destination, {}))
                expected[rule.destination] = selecting.Selection(
                    rule.destination,
                    dict.fromkeys(scope.operations, rule.rule_name) | before.rules,
                    before.ignored | scope.ignored,
                    before.narrowed or bool(scope.filter.labels or scope.filter.namespaces),
                )
    matcher = selecting.Matcher(rules)
    assert matcher.match(identifier, obj) == tuple(expected.values())
    taken = {one.destination for one in matcher.refusals(identifier, obj) if one.why is None}
    assert taken == set(expected)


@given(_rules, _identifiers, st.sampled_from([None, selecting.NOBODY, *(f"WatchRule shop/{name}" for name in "abc")]))
def test_the_remover_is_the_rule_that_is_noted_or_the_first(
    rules: list[CompiledRule], identifier: Identifier, noted: str | None
) -> None:
    """Of the rules on type and namespace, the noted one decides where it is there, and DELETE in any case."""
    there = [
        (rule.rule_name, DELETE in scope.operations)
        for rule in rules
        for scope in rule.scopes
        if rule.destination == PROD and _key(scope.type) == _key(identifier)
        if scope.namespace in ("", identifier.namespace)
        if not any(_glob(identifier.namespace, glob) for glob in scope.filter.exclude_namespaces)
    ]
    removers = sorted(name for name, deletes in there if deletes)
    if noted == selecting.NOBODY or noted in [name for name, _ in there]:
        removers = [name for name in removers if name == noted]
    assert selecting.Matcher(rules).remover(identifier, PROD, noted=noted) == (removers[0] if removers else None)


def _held(*rules: CompiledRule, destination: Ref = PROD) -> set[selecting.DestinationScope]:
    verdicts = {RuleKey(rule.kind, rule.ref): RuleVerdict(True, "Ready", "", rule=rule) for rule in rules}
    return selecting.scopes_of(Compilation({}, {}, verdicts), destination)


def _mark(*scopes: Scope) -> str:
    (held,) = _held(*(_rule(f"r{number}", scope) for number, scope in enumerate(scopes)))
    return held.mark


def test_scopes_inside_a_wider_one_are_dropped() -> None:
    """One listing covers all of a type, a namespace inside included, whose DELETE makes it evidence for a sweep."""
    rules = [
        _rule("a", _scope(CONFIGMAPS, "shop"), _scope(REPLICASETS, "shop", operations=frozenset({CREATE}))),
        _rule("b", _scope(operations=frozenset({UPDATE}))),
        _rule("c", _scope(REPLICASETS, "shop", operations=frozenset({DELETE}))),
        _rule("d", _scope(CONFIGMAPS, "team"), destination="dev"),
        _rule("e", _scope(REPLICASETS, "team", operations=frozenset({UPDATE}))),
    ]
    assert {(one.type, one.namespace, one.sweepable) for one in _held(*rules)} == {
        (CONFIGMAPS, "", True),
        (REPLICASETS, "shop", True),
        (REPLICASETS, "team", False),
    }
    assert _held(*rules, destination=Ref("shop", "none")) == set()


def test_a_mark_is_of_what_is_selected_and_of_nothing_else() -> None:
    """Rule names, their order and number, ignored fields and the namespaces of today leave a mark as it is."""
    plain = _scope(filter=_narrow("a", "b"))
    mark = _mark(plain)
    assert len(mark) == 16
    assert int(mark, 16)
    assert mark == _mark(plain, plain)
    assert mark == _mark(replace(plain, ignored=ignoring.Ignored(("/spec/a",))))
    assert mark == _mark(replace(plain, filter=_narrow("b", "a")))
    chosen = replace(plain, filter=_narrow(namespaces=_selector(tier="a")))
    assert _mark(replace(chosen, members=frozenset({"x"}))) == _mark(replace(chosen, members=frozenset()))
    assert _mark(plain, _scope(CONFIGMAPS, "shop")) == _mark(_scope(CONFIGMAPS, "shop"), plain)


def test_a_mark_changes_with_everything_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, namespace, operations, wildcard, filter, rules inside of a wide scope: each gives another mark."""
    plain = _scope()
    others = [
        plain,
        _scope(_type("configmaps", version="v2")),
        _scope(CONFIGMAPS, "shop"),
        _scope(operations=frozenset({CREATE})),
        _scope(wildcard=True),
        _scope(filter=_narrow("a")),
        _scope(filter=_narrow(exclude_names=("a",))),
        _scope(filter=_narrow(labels=_selector(tier="a"))),
        _scope(filter=_narrow(namespaces=_selector(tier="a"))),
        _scope(filter=_narrow(exclude_namespaces=("a",))),
        _scope(_type("configmaps", "example.com")),
    ]
    marks = [_mark(scope) for scope in others] + [_mark(plain, _scope(CONFIGMAPS, "shop"))]
    assert len(set(marks)) == len(marks)
    wild, named = _mark(_scope(wildcard=True)), _mark(plain)
    monkeypatch.setattr(noise, "EDITION", 99)
    assert (_mark(_scope(wildcard=True)) != wild, _mark(plain)) == (True, named)


def test_a_mark_of_one_namespace_is_its_own() -> None:
    """What a rule of another namespace selects does not touch it."""
    own = _rule("a", _scope(CONFIGMAPS, "shop"))
    alone = {one.namespace: one.mark for one in _held(own)}
    both = {one.namespace: one.mark for one in _held(own, _rule("b", _scope(CONFIGMAPS, "team", filter=_narrow("x"))))}
    assert both["shop"] == alone["shop"]
    assert set(both) == {"shop", "team"}
