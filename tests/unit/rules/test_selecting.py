"""The matcher answers as reading every rule would, and as fast for thousands of rules as for one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.events import Identifier, Operation, Ref
from app.rules import matching, selecting, urls
from app.rules.compiling import Compilation, CompiledRule, Place, RuleKey, RuleVerdict, Scope
from app.rules.selecting import DestinationScope
from app.rules.types import ResourceType

PLACE = Place(urls.normalise("https://h/r", allow_local=False), "main", "a", Ref("shop", "repo"))


def _type(resource: str, group: str = "", version: str = "v1") -> ResourceType:
    return ResourceType(group, version, resource, resource.title(), True, frozenset({"list", "watch"}), True)


CONFIGMAPS, REPLICASETS = _type("configmaps"), _type("replicasets", "apps")
ALL = matching.WATCHED


def _scope(
    type_: ResourceType, namespace: str = "", operations: frozenset[Operation] = ALL, *, wildcard: bool = False
) -> Scope:
    return Scope(type_, namespace, operations, wildcard)


def _rule(name: str, *scopes: Scope, destination: str = "prod", kind: Any = "WatchRule") -> CompiledRule:
    return CompiledRule(kind, Ref("shop", name), "u", 1, Ref("shop", destination), PLACE, scopes, {})


def _identifier(type_: ResourceType = CONFIGMAPS, *, namespace: str = "shop", name: str = "a") -> Identifier:
    return Identifier(type_.group, type_.version, type_.resource, namespace, name, type_.kind, "u")


def _names(matches: tuple[selecting.Match, ...]) -> list[tuple[str, str]]:
    return [(destination.name, rule.ref.name) for destination, rule in matches]


def test_each_destination_is_named_once_with_its_first_rule() -> None:
    """Several rules of one destination give one answer, under the first by name."""
    rules = [
        _rule("b", _scope(CONFIGMAPS, "shop")),
        _rule("a", _scope(CONFIGMAPS)),
        _rule("c", _scope(CONFIGMAPS), destination="dev"),
        _rule("z", _scope(CONFIGMAPS), kind="ClusterWatchRule"),
    ]
    matcher = selecting.Matcher(rules)
    assert _names(matcher.match(_identifier(), operation=Operation.CREATE)) == [("prod", "z"), ("dev", "c")]
    assert _names(selecting.Matcher(rules[:2]).match(_identifier(), operation=Operation.CREATE)) == [("prod", "a")]


def test_operation_version_namespace_and_type_all_have_to_fit() -> None:
    """The real operation is matched; another version, namespace or type is not selected."""
    matcher = selecting.Matcher([_rule("a", _scope(CONFIGMAPS, "shop", frozenset({Operation.DELETE})))])
    assert matcher.match(_identifier(), operation=Operation.DELETE)
    assert not matcher.match(_identifier(), operation=Operation.UPDATE)
    assert not matcher.match(_identifier(namespace="other"), operation=Operation.DELETE)
    assert not matcher.match(_identifier(_type("configmaps", version="v2")), operation=Operation.DELETE)
    assert not matcher.match(_identifier(REPLICASETS), operation=Operation.DELETE)


def test_a_wildcard_leaves_single_objects_out_and_a_name_brings_them_in() -> None:
    """An owned ReplicaSet goes to the destination that names replicasets only."""
    owned = {"metadata": {"ownerReferences": [{"controller": True}]}}
    matcher = selecting.Matcher(
        [
            _rule("a", _scope(REPLICASETS, wildcard=True)),
            _rule("b", _scope(REPLICASETS, "shop")),
            _rule("c", _scope(REPLICASETS, wildcard=True), destination="dev"),
        ]
    )
    found = matcher.match(_identifier(REPLICASETS), operation=Operation.UPDATE, obj=owned)
    assert _names(found) == [("prod", "b")]
    found = matcher.match(_identifier(REPLICASETS), operation=Operation.UPDATE, obj={"metadata": {}})
    assert _names(found) == [("prod", "a"), ("dev", "c")]
    assert _names(matcher.match(_identifier(REPLICASETS), operation=Operation.DELETE)) == [("prod", "a"), ("dev", "c")]


_scopes = st.builds(
    Scope,
    st.sampled_from([CONFIGMAPS, REPLICASETS, _type("configmaps", version="v2")]),
    st.sampled_from(["", "shop", "team"]),
    st.frozensets(st.sampled_from(sorted(ALL))),
    st.booleans(),
)
_rules = st.lists(
    st.builds(
        lambda name, destination, scopes: _rule(name, *scopes, destination=destination),
        st.text(alphabet="abc", min_size=1, max_size=3),
        st.sampled_from(["prod", "dev"]),
        st.lists(_scopes, max_size=3),
    ),
    max_size=6,
    unique_by=lambda rule: rule.rule_name,
)


@given(
    _rules,
    st.sampled_from([CONFIGMAPS, REPLICASETS]),
    st.sampled_from(["shop", "team", "x"]),
    st.sampled_from(["a", "kube-root-ca.crt"]),
    st.sampled_from(sorted(ALL)),
)
def test_matching_equals_asking_every_rule(
    rules: list[CompiledRule], type_: ResourceType, namespace: str, name: str, operation: Operation
) -> None:
    """The index answers what a loop over all rules answers."""
    identifier = _identifier(type_, namespace=namespace, name=name)
    excluded = matching.excluded_object(identifier, {}) is not None
    expected: dict[Ref, CompiledRule] = {}
    for rule in sorted(rules, key=lambda rule: rule.rule_name):
        for scope in rule.scopes:
            fits = scope.type == type_ and scope.namespace in ("", namespace) and operation in scope.operations
            if fits and not (scope.wildcard and excluded):
                expected.setdefault(rule.destination, rule)
    assert dict(selecting.Matcher(rules).match(identifier, operation=operation)) == expected


def _compilation(*rules: CompiledRule) -> Compilation:
    return Compilation(
        {}, {}, {RuleKey(rule.kind, rule.ref): RuleVerdict(True, "Ready", "", rule=rule) for rule in rules}
    )


def test_scopes_inside_a_wider_one_are_dropped() -> None:
    """One listing covers all: a namespace inside of an all-namespaces scope of the same type is not listed again."""
    compilation = _compilation(
        _rule("a", _scope(CONFIGMAPS, "shop"), _scope(REPLICASETS, "shop", frozenset({Operation.CREATE}))),
        _rule("b", _scope(CONFIGMAPS, "", frozenset({Operation.UPDATE}))),
        _rule("c", _scope(REPLICASETS, "shop", frozenset({Operation.DELETE}))),
        _rule("d", _scope(CONFIGMAPS, "team"), destination="dev"),
    )
    assert selecting.scopes_of(compilation, Ref("shop", "prod")) == {
        DestinationScope(CONFIGMAPS, "", sweepable=False),
        DestinationScope(REPLICASETS, "shop", sweepable=True),
    }
    assert selecting.scopes_of(compilation, Ref("shop", "none")) == set()
