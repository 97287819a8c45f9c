"""Compiling: who may write where, with a message for everyone who may not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.events import Operation, Ref
from app.rules import compiling, filters, ignoring, kinds, labels, noise
from app.rules.types import ResourceType

WATCH = frozenset({"list", "watch"})


def _type(group: str, resource: str, *, namespaced: bool = True) -> ResourceType:
    return ResourceType(group, "v1", resource, resource.title(), namespaced, WATCH, preferred=True)


TYPES = (
    _type("", "configmaps"),
    _type("", "services"),
    _type("", "secrets"),
    _type("apps", "deployments"),
    _type("", "namespaces", namespaced=False),
)


def _meta(name: str, namespace: str, created: str = "2024-01-01T00:00:00Z", *, deleting: bool = False) -> kinds.Meta:
    return kinds.Meta(Ref(namespace, name), f"uid-{name}", 1, created, "1", deleting)


def _config(name: str = "repo", namespace: str = "shop", **fields: Any) -> kinds.GitRepoConfig:
    defaults: dict[str, Any] = {
        "meta": _meta(name, namespace),
        "repo_url": "https://git.example.com/shop.git",
        "allowed_branches": ("main", "release/v*"),
        "secret_name": None,
        "push_interval": None,
        "max_commits": None,
        "access": kinds.AccessPolicy(),
    }
    return kinds.GitRepoConfig(**{**defaults, **fields})


def _target(name: str = "prod", namespace: str = "shop", **fields: Any) -> kinds.GitDestination:
    defaults: dict[str, Any] = {
        "meta": _meta(name, namespace),
        "repo_ref": Ref("shop", "repo"),
        "branch": "main",
        "base_folder": "clusters/prod",
    }
    return kinds.GitDestination(**{**defaults, **fields})


def _items(*resources: str, scope: Any = "Namespaced", operations: tuple[str, ...] = ()) -> tuple[kinds.RuleItem, ...]:
    return (kinds.RuleItem(operations, (), (), resources, scope),)


def _rule(name: str = "apps", namespace: str = "shop", **fields: Any) -> kinds.WatchRule:
    defaults: dict[str, Any] = {
        "meta": _meta(name, namespace),
        "destination_ref": Ref("shop", "prod"),
        "items": _items("configmaps"),
    }
    return kinds.WatchRule(**{**defaults, **fields})


def _cluster_rule(name: str = "all", **fields: Any) -> kinds.ClusterWatchRule:
    defaults: dict[str, Any] = {
        "meta": _meta(name, ""),
        "destination_ref": Ref("shop", "prod"),
        "items": _items("namespaces", scope="Cluster"),
    }
    return kinds.ClusterWatchRule(**{**defaults, **fields})


def _compile(
    *objects: Any,
    allow_local: bool = False,
    namespaces: dict[str, dict[str, str]] | None = None,
    members: dict[str, frozenset[str]] | None = None,
) -> compiling.Compilation:
    def of(kind: type) -> list[Any]:
        return [obj for obj in objects if isinstance(obj, kind)]

    return compiling.compile_all(
        repo_configs=of(kinds.GitRepoConfig),
        destinations=of(kinds.GitDestination),
        watch_rules=of(kinds.WatchRule),
        cluster_rules=of(kinds.ClusterWatchRule),
        types=TYPES,
        allow_local=allow_local,
        namespaces=namespaces,
        members=members,
    )


def _destination(*objects: Any, name: str = "prod", namespace: str = "shop") -> compiling.DestinationVerdict:
    return _compile(*objects).destinations[Ref(namespace, name)]


def _verdict(*objects: Any) -> compiling.RuleVerdict:
    (verdict,) = _compile(*objects).rules.values()
    return verdict


OPEN = kinds.AccessPolicy(mode="AllNamespaces")


def test_a_rule_compiles_to_its_scopes_and_place() -> None:
    """A rule that is in order names its destination, its place and each type with its namespace."""
    compilation = _compile(_config(), _target(), _rule(items=_items("configmaps", "deployments")))
    verdict = compilation.rules[compiling.RuleKey("WatchRule", Ref("shop", "apps"))]
    assert (verdict.ready, verdict.reason, verdict.message) == (True, "Ready", "feeds shop/prod with 2 types")
    (rule,) = compilation.compiled()
    assert rule == verdict.rule
    assert rule.rule_name == "WatchRule shop/apps"
    assert rule.destination == Ref("shop", "prod")
    assert rule.place == compilation.destinations[rule.destination].place
    assert (rule.place.branch, rule.place.base_folder, rule.place.url.host) == (
        "main",
        "clusters/prod",
        "git.example.com",
    )
    assert [(scope.type.resource, scope.namespace, scope.wildcard) for scope in rule.scopes] == [
        ("configmaps", "shop", False),
        ("deployments", "shop", False),
    ]
    assert rule.scopes[0].operations == {Operation.CREATE, Operation.UPDATE, Operation.DELETE}
    spec = json.loads(json.dumps(rule.spec))
    assert (spec["destination"], spec["branch"], spec["scopes"][0]["resource"]) == ("shop/prod", "main", "configmaps")


def test_a_cluster_rule_selects_all_namespaces() -> None:
    """Its scopes have no namespace, and its name has none either."""
    items = _items("namespaces", scope="Cluster") + _items("configmaps")
    verdict = _verdict(_config(), _target(), _cluster_rule(items=items))
    assert verdict.rule is not None
    assert verdict.rule.rule_name == "ClusterWatchRule all"
    assert {(scope.type.resource, scope.namespace) for scope in verdict.rule.scopes} == {
        ("namespaces", ""),
        ("configmaps", ""),
    }


def test_items_of_one_type_join_their_operations() -> None:
    """Two items on one type are one scope; what `*` reached stays apart from what is named."""
    items = _items("configmaps", operations=("CREATE",)) + _items("configmaps", operations=("DELETE",)) + _items("*")
    rule = _verdict(_config(), _target(), _rule(items=items)).rule
    assert rule is not None
    scopes = [(scope.wildcard, scope.operations) for scope in rule.scopes if scope.type.resource == "configmaps"]
    assert scopes == [(False, {Operation.CREATE, Operation.DELETE}), (True, compiling.matching.WATCHED)]


TEAM = labels.LabelSelector((labels.Requirement("team", "In", ("shop",)),))
NAMESPACES = {"shop": {"team": "shop"}, "shop-dev": {"team": "shop"}, "other": {"team": "other"}, "bare": {}}


def _narrowed(**fields: Any) -> tuple[kinds.RuleItem, ...]:
    return tuple(replace(item, **fields) for item in _items("configmaps"))


def test_a_plain_rule_compiles_to_what_it_always_did() -> None:
    """What narrows a rule is in its spec only where it is set, so that an upgrade changes no rule."""
    rule = _verdict(_config(), _target(), _rule()).rule
    assert rule is not None
    assert rule.spec["rules"] == [
        {"operations": [], "apiGroups": [], "apiVersions": [], "resources": ["configmaps"], "scope": "Namespaced"}
    ]
    assert rule.spec["scopes"] == [
        {
            "group": "",
            "version": "v1",
            "resource": "configmaps",
            "kind": "Configmaps",
            "namespace": "shop",
            "operations": ["CREATE", "DELETE", "UPDATE"],
            "wildcard": False,
        }
    ]
    assert rule.scopes[0].covers("shop")
    assert not rule.scopes[0].covers("other")


def test_what_narrows_a_rule_is_in_its_scopes_and_its_spec() -> None:
    """Filter, ignored fields and the namespaces of today stand beside each scope, as a manifest spells them."""
    items = _narrowed(
        names=("b", "a"),
        namespace_selector=TEAM,
        exclude_namespaces=("*-dev",),
        ignored=ignoring.Ignored(("/spec/a",), ("m",)),
    )
    rule = _rule_of(_compile(_config(), _target(), _cluster_rule(items=items), namespaces=NAMESPACES))
    (scope,) = rule.scopes
    assert scope.filter == filters.Filter(names=("a", "b"), namespaces=TEAM, exclude_namespaces=("*-dev",))
    assert (scope.ignored, scope.members) == (ignoring.Ignored(("/spec/a",), ("m",)), frozenset({"shop"}))
    assert [name for name in NAMESPACES if scope.covers(name)] == ["shop"]
    found = json.loads(json.dumps(rule.spec["scopes"][0]))
    assert {key: found[key] for key in ("filter", "ignoreFields", "ignoreManagers")} == {
        "filter": {
            "names": ["a", "b"],
            "namespaceSelector": {"matchLabels": {"team": "shop"}},
            "excludeNamespaces": ["*-dev"],
        },
        "ignoreFields": ["/spec/a"],
        "ignoreManagers": ["m"],
    }
    assert rule.spec["namespaces"] == [
        {"namespaceSelector": {"matchLabels": {"team": "shop"}}, "excludeNamespaces": ["*-dev"], "members": ["shop"]}
    ]


def _rule_of(compilation: compiling.Compilation) -> compiling.CompiledRule:
    (rule,) = compilation.compiled()
    return rule


def test_members_are_the_namespaces_that_the_selector_selects() -> None:
    """They are sorted in the spec; none are none, and without a selector nobody is listed."""
    items = _narrowed(namespace_selector=TEAM)
    said = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
    rule = _rule_of(_compile(_config(), _target(), _cluster_rule(items=items), namespaces=NAMESPACES))
    assert rule.spec["namespaces"] == [{**said, "members": ["shop", "shop-dev"]}]
    rule = _rule_of(_compile(_config(), _target(), _cluster_rule(items=items), namespaces={}))
    assert (rule.scopes[0].members, rule.spec["namespaces"]) == (frozenset(), [{**said, "members": []}])
    excluding = _narrowed(exclude_namespaces=("shop",))
    rule = _rule_of(_compile(_config(), _target(), _cluster_rule(items=excluding)))
    assert (rule.scopes[0].members, "namespaces" in rule.spec) == (None, False)
    assert rule.scopes[0].covers("other")
    assert not rule.scopes[0].covers("shop")


def test_a_rule_says_which_selection_has_no_namespace_now() -> None:
    """Each is named once, with what excludes namespaces from it: its selector may select some, and other items too."""

    def said(*items: kinds.RuleItem) -> str:
        compilation = _compile(_config(), _target(), _cluster_rule(items=items), namespaces=NAMESPACES)
        (verdict,) = compilation.rules.values()
        return verdict.message

    everywhere, team = _items("services"), _narrowed(namespace_selector=TEAM)
    excluded = _narrowed(namespace_selector=TEAM, exclude_namespaces=("shop*",))
    other = _narrowed(namespace_selector=labels.LabelSelector((labels.Requirement("team", "In", ("nobody",)),)))
    none = "; no namespace is selected by namespaceSelector"
    assert said(*team) == "feeds shop/prod with 1 type"
    assert said(*everywhere, *other) == f"feeds shop/prod with 2 types{none} team=nobody now"
    assert said(*team, *excluded) == f"feeds shop/prod with 1 type{none} team=shop with its excludeNamespaces now"
    assert said(*other, *other, *excluded).endswith(
        f"{none} team=nobody, nor by namespaceSelector team=shop with its excludeNamespaces now"
    )


def test_members_stand_once_however_many_types_there_are() -> None:
    """Thousands of namespaces on dozens of types are one list; each other selector has a list of its own."""
    plain, apart = _narrowed(namespace_selector=TEAM), _narrowed(namespace_selector=TEAM, exclude_namespaces=("shop",))
    items = (*(replace(item, resources=("*",)) for item in plain), *apart)
    rule = _rule_of(_compile(_config(), _target(), _cluster_rule(items=items), namespaces=NAMESPACES))
    assert len([scope for scope in rule.scopes if scope.members is not None]) > len(rule.spec["namespaces"])
    assert sorted(one["members"] for one in rule.spec["namespaces"]) == [["shop", "shop-dev"], ["shop-dev"]]
    assert not any("namespaces" in scope for scope in rule.spec["scopes"])


def test_a_wildcard_says_the_edition_of_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another table of noise is another version of the rules with `*`, and of no other rule."""

    def specs() -> list[object]:
        rules = _compile(_config(), _target(), _rule(items=_items("*")), _rule(name="named")).compiled()
        return [rule.spec for rule in rules]

    wild, named = specs()
    monkeypatch.setattr(noise, "EDITION", noise.EDITION + 1)
    later_wild, later_named = specs()
    assert later_named == named
    assert later_wild != wild


def test_namespaces_that_nobody_knows_are_not_none() -> None:
    """Without the labels of the Namespaces, a rule that asks for them is not ready and says what to do."""
    asking = _cluster_rule(items=(*_items("configmaps"), *_narrowed(namespace_selector=TEAM)))
    verdict = _verdict(_config(), _target(), asking)
    assert (verdict.ready, verdict.reason, verdict.rule) == (False, "NamespacesUnknown", None)
    assert verdict.message == (
        "the labels of the Namespaces are not known, and namespaceSelector asks for them: wait until they are read; "
        "where they may not be, a ClusterRole of the watch daemon's account needs the rule "
        '{apiGroups: [""], resources: ["namespaces"], verbs: ["list", "watch"]}'
    )
    assert _verdict(_config(), _target(), _rule()).ready


def test_who_belonged_counts_while_nobody_knows_the_labels() -> None:
    """A rule that was in force goes on with the members it had; a selector that is new to it has none to go on with."""
    asking = _cluster_rule(items=_narrowed(namespace_selector=TEAM))
    before = _rule_of(_compile(_config(), _target(), asking, namespaces=NAMESPACES))
    members = compiling.members_of([before.spec, {"rules": []}])
    assert _rule_of(_compile(_config(), _target(), asking, members=members)) == before
    other = _cluster_rule(items=_narrowed(namespace_selector=TEAM, exclude_namespaces=("shop-dev",)))
    assert not _compile(_config(), _target(), other, members=members).compiled()


def test_items_that_narrow_differently_are_scopes_of_their_own() -> None:
    """Equal wishes join their operations, however they are spelled; different ones stand in a stable order."""
    items = (
        *_narrowed(names=("b",), operations=("CREATE",)),
        *_narrowed(names=("a", "c"), operations=("DELETE",)),
        *_narrowed(names=("c", "a", "a"), operations=("UPDATE",)),
        *_narrowed(names=("b",), ignored=ignoring.Ignored(("/spec/a",))),
        *_items("configmaps"),
    )
    found = [_verdict(_config(), _target(), _rule(items=order)).rule for order in (items, items[::-1])]
    first, second = (rule.scopes if rule else () for rule in found)
    assert first == second
    assert {(scope.filter.names, bool(scope.ignored), scope.operations) for scope in first} == {
        ((), False, compiling.matching.WATCHED),
        (("b",), False, frozenset({Operation.CREATE})),
        (("b",), True, compiling.matching.WATCHED),
        (("a", "c"), False, frozenset({Operation.DELETE, Operation.UPDATE})),
    }
    assert len(first) == 4


def test_a_problem_leaves_the_rule_ready_when_other_types_remain() -> None:
    """Secrets are not selected, the rule says EncryptionRequired for them, and the others go on."""
    verdict = _verdict(_config(), _target(), _rule(items=_items("secrets", "configmaps")))
    assert verdict.ready
    assert [problem.reason for problem in verdict.problems] == ["EncryptionRequired"]
    assert "; not with: Secrets are mirrored only encrypted" in verdict.message
    assert verdict.rule is not None
    assert [scope.type.resource for scope in verdict.rule.scopes] == ["configmaps"]


WIDGETS = _type("example.com", "widgets")
BETA = replace(WIDGETS, version="v1beta1", preferred=False)


def _versioned(name: str, version: str, *more: str, **fields: Any) -> kinds.WatchRule:
    items = (kinds.RuleItem((), (), (version,), ("widgets",), "Namespaced"), *_items(*more))
    return _rule(name, items=items, **fields)


def test_a_destination_holds_one_version_of_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rule by name keeps its version, whatever comes first; another one goes on without that type."""
    monkeypatch.setattr(f"{__name__}.TYPES", (*TYPES, WIDGETS, BETA))
    first, second = _versioned("a", "v1beta1"), _versioned("b", "v1", "configmaps")
    found = _compile(_config(), _target(), second, first).rules
    kept, other = (found[compiling.RuleKey("WatchRule", Ref("shop", name))] for name in "ab")
    assert kept.rule is not None
    assert other.rule is not None
    assert (kept.problems, [str(scope.type) for scope in other.rule.scopes]) == ((), ["configmaps"])
    (problem,) = other.problems
    assert (problem.resource, problem.reason) == ("widgets.example.com", "VersionConflict")
    assert "as v1beta1 by WatchRule shop/a" in problem.message
    assert {scope.type.version for scope in kept.rule.scopes} == {"v1beta1"}


def test_a_version_conflict_names_the_other_rule_only_within_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that loses a type alone is not ready, and does not learn the names of another namespace."""
    monkeypatch.setattr(f"{__name__}.TYPES", (*TYPES, WIDGETS, BETA))
    lost = _versioned("a", "v1", namespace="team")
    found = _compile(_config(access=OPEN), _target(), _versioned("b", "v1beta1"), lost).rules
    verdict = found[compiling.RuleKey("WatchRule", Ref("team", "a"))]
    assert (verdict.ready, verdict.reason) == (False, "VersionConflict")
    assert "by another rule" in verdict.message
    assert "shop/b" not in verdict.message


def test_two_destinations_may_hold_two_versions_of_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions conflict within one destination only, and a rule that cannot be used takes none."""
    monkeypatch.setattr(f"{__name__}.TYPES", (*TYPES, WIDGETS, BETA))
    elsewhere = _versioned("b", "v1", destination_ref=Ref("shop", "other"))
    found = _compile(_config(), _target(), _target("other", base_folder="o"), _versioned("a", "v1beta1"), elsewhere)
    assert all(verdict.ready and not verdict.problems for verdict in found.rules.values())
    unusable = _versioned("0", "v1beta1", destination_ref=Ref("shop", "prod"), namespace="team")
    found = _compile(_config(), _target(), unusable, _versioned("b", "v1"))
    assert found.rules[compiling.RuleKey("WatchRule", Ref("shop", "b"))].ready


def test_a_rule_of_secrets_alone_is_not_ready() -> None:
    """Nothing remains, so the reason of the problem is the reason of the rule."""
    verdict = _verdict(_config(), _target(), _rule(items=_items("secrets")))
    assert (verdict.ready, verdict.reason, verdict.rule) == (False, "EncryptionRequired", None)


def test_a_rule_without_items_is_not_ready() -> None:
    """It says what to add."""
    verdict = _verdict(_config(), _target(), _rule(items=()))
    assert (verdict.ready, verdict.reason) == (False, "NotServed")
    assert "spec.rules" in verdict.message


def test_a_rule_of_which_the_wildcard_leaves_all_out_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told what is left out and how to have it, and not that it has no items."""
    monkeypatch.setattr(f"{__name__}.TYPES", (_type("coordination.k8s.io", "leases"),))
    verdict = _verdict(_config(), _target(), _rule(items=_items("*")))
    assert (verdict.ready, verdict.reason) == (False, "NotServed")
    assert verdict.message == f"{verdict.notes[0]}: name what is wanted in resources"


def test_what_the_wildcard_leaves_out_is_in_the_notes() -> None:
    """The status of a rule can show it."""
    verdict = _verdict(_config(), _target(), _rule(items=_items("*")))
    assert verdict.ready
    assert any("secrets" in note for note in verdict.notes)


def test_the_notes_of_a_watch_rule_are_about_its_namespace() -> None:
    """What can only stand in another namespace is not in them; a rule over all namespaces has it."""
    note = "* leaves out single configmaps: the API server keeps its own state there"
    of_shop = _verdict(_config(), _target(), _rule(items=_items("*")))
    of_all = _verdict(_config(), _target(), _cluster_rule(items=_items("*")))
    assert (note in of_shop.notes, note in of_all.notes) == (False, True)
    assert set(of_shop.notes) < set(of_all.notes)


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"branch": ""}, "InvalidBranch", "never guessed"),
        ({"branch": "a..b"}, "InvalidBranch", "no name"),
        ({"branch": "refs/heads/main"}, "InvalidBranch", "write main"),
        ({"branch": "HEAD"}, "InvalidBranch", "short name"),
        ({"branch": "dev"}, "BranchNotAllowed", "main, release/v*"),
        ({"branch": "Main"}, "BranchNotAllowed", "main"),
        ({"base_folder": "../x"}, "InvalidFolder", "plain path"),
        ({"base_folder": ""}, "InvalidFolder", "name a folder"),
        ({"repo_ref": Ref("shop", "gone")}, "RepoConfigNotFound", "unknown GitRepoConfig shop/gone"),
    ],
)
def test_a_destination_that_cannot_work_says_why(fields: dict[str, Any], reason: str, said: str) -> None:
    """Reason and message are what a status shows, and there is no place to write to."""
    verdict = _destination(_config(), _target(**fields))
    assert (verdict.ready, verdict.reason, verdict.place) == (False, reason, None)
    assert said in verdict.message


def test_a_branch_matches_a_glob() -> None:
    """`release/v*` admits release/v2."""
    assert _destination(_config(), _target(branch="release/v2")).ready


def test_no_allowed_branches_admit_none() -> None:
    """An empty list is no permission."""
    assert "(none)" in _destination(_config(allowed_branches=()), _target()).message


def test_an_unusable_url_stops_the_destination_without_its_token() -> None:
    """The reason travels from the repository to its destinations, the token does not."""
    compilation = _compile(_config(repo_url="https://u:s3cr3t@h/r"), _target(), _rule())
    repo = compilation.repo_configs[Ref("shop", "repo")]
    target = compilation.destinations[Ref("shop", "prod")]
    (rule,) = compilation.rules.values()
    assert (repo.ready, repo.reason, target.reason, rule.reason) == (False, "InvalidUrl", "InvalidUrl", "NotReady")
    assert "s3cr3t" not in repr(compilation)


def test_local_repositories_follow_the_installation() -> None:
    """file:// is ready only where it is allowed."""
    config = _config(repo_url="file:///srv/a")
    assert not _compile(config).repo_configs[Ref("shop", "repo")].ready
    assert _compile(config, allow_local=True).repo_configs[Ref("shop", "repo")].ready


def test_a_rule_without_a_destination_says_so() -> None:
    """An unknown destination in the own namespace is named."""
    verdict = _verdict(_config(), _rule())
    assert (verdict.ready, verdict.reason) == (False, "DestinationNotFound")
    assert "unknown destination shop/prod" in verdict.message
    assert _verdict(_config(), _cluster_rule()).reason == "DestinationNotFound"


def test_a_reference_across_namespaces_needs_the_owners_policy() -> None:
    """Across namespaces: closed, it is refused; opened by the owner it works, for destinations and for rules."""
    closed, opened = _config(), _config(access=OPEN)
    far = _target(namespace="team", name="far")
    assert _destination(closed, far, name="far", namespace="team").reason == "AccessDenied"
    assert _destination(opened, far, name="far", namespace="team").ready
    rule = _rule(namespace="team")
    assert _verdict(closed, _target(), rule).reason == "AccessDenied"
    verdict = _verdict(opened, _target(), rule)
    assert verdict.rule is not None
    assert verdict.rule.scopes[0].namespace == "team"


def test_a_refused_reference_does_not_say_what_exists() -> None:
    """The answer is the same word for word, whether the other object is there or not."""
    far = _target(namespace="team", name="far")
    rule = _rule(namespace="team")
    assert _destination(_config(), far, name="far", namespace="team") == _destination(far, name="far", namespace="team")
    verdicts = [
        _verdict(_config(), _target(), rule),
        _verdict(_config(), _target(branch=""), rule),
        _verdict(_target(), rule),
        _verdict(rule),
    ]
    assert {(verdict.reason, verdict.message) for verdict in verdicts} == {("AccessDenied", verdicts[0].message)}


def test_a_cluster_rule_needs_to_be_admitted() -> None:
    """allowClusterRules: false keeps cluster rules out, and the default lets them in."""
    policy = kinds.AccessPolicy(allow_cluster_rules=False)
    assert _verdict(_config(access=policy), _target(), _cluster_rule()).reason == "AccessDenied"
    assert _verdict(_config(), _target(), _cluster_rule()).ready


def test_one_of_many_claims_to_a_folder_wins() -> None:
    """Ten destinations claim one folder at once; the earliest wins, then the name, whatever the order."""
    targets = [_target(name=f"d{number}", base_folder="a" if number % 2 else "a/b") for number in range(10)]
    targets.append(_target(name="z", meta=_meta("z", "shop", "2023-01-01T00:00:00Z"), base_folder="A/b/c"))
    for order in (targets, targets[::-1]):
        verdicts = _compile(_config(), *order).destinations
        assert [ref.name for ref, verdict in verdicts.items() if verdict.ready] == ["z"]
        assert {verdict.reason for verdict in verdicts.values()} == {"Ready", "Conflict"}
    ties = _compile(_config(), *targets[:-1][::-1]).destinations
    assert [ref.name for ref, verdict in ties.items() if verdict.ready] == ["d0"]


def test_a_conflict_is_found_through_two_spellings_of_one_repository() -> None:
    """Another transport or ending makes no other repository."""
    other = _config(name="other", repo_url="git@git.example.com:shop")
    verdicts = _compile(_config(), other, _target(), _target(name="x", repo_ref=Ref("shop", "other"))).destinations
    assert [verdict.reason for verdict in verdicts.values()] == ["Ready", "Conflict"]


def test_other_branches_and_folders_do_not_conflict() -> None:
    """Siblings and other branches live side by side, and one that lost blocks nobody."""
    verdicts = _compile(
        _config(),
        _target(),
        _target(name="a", base_folder="clusters/dev"),
        _target(name="b", branch="release/v1"),
        _target(name="c", base_folder="clusters/prod2"),
    ).destinations
    assert all(verdict.ready for verdict in verdicts.values())


def test_a_conflict_names_the_other_only_within_a_namespace() -> None:
    """Who else writes to a repository is not shown to another namespace."""
    ours = _target(name="x", meta=_meta("x", "shop", "2024-02-01T00:00:00Z"))
    theirs = _target(name="x", meta=_meta("x", "team", ""))
    verdicts = _compile(_config(access=OPEN), _target(), ours, theirs).destinations
    assert "GitDestination shop/prod" in verdicts[Ref("shop", "x")].message
    assert "shop/prod" not in verdicts[Ref("team", "x")].message
    assert verdicts[Ref("team", "x")].reason == "Conflict"


def test_what_is_being_deleted_is_gone() -> None:
    """A deletionTimestamp is the owner's word: no verdict, and references to it find nothing."""
    gone = _meta("repo", "shop", deleting=True)
    compilation = _compile(_config(meta=gone), _target(), _rule(meta=_meta("apps", "shop", deleting=True)))
    assert (compilation.repo_configs, compilation.rules) == ({}, {})
    assert compilation.destinations[Ref("shop", "prod")].reason == "RepoConfigNotFound"
    target = _target(meta=_meta("prod", "shop", deleting=True))
    assert _verdict(_config(), target, _rule()).reason == "DestinationNotFound"


def test_manifests_that_users_have_compile() -> None:
    """The documented example of one repository with two targets is ready as it stands."""
    text = (Path(__file__).parent / "one_repo_two_branches.yaml").read_text()
    classes: dict[str, Any] = {
        "GitRepoConfig": kinds.GitRepoConfig,
        "GitDestination": kinds.GitDestination,
        "WatchRule": kinds.WatchRule,
    }
    compilation = _compile(*(classes[obj["kind"]].from_object(obj) for obj in yaml.safe_load_all(text)))
    assert all(verdict.ready for verdict in compilation.destinations.values())
    assert [rule.rule_name for rule in compilation.compiled()] == [
        "WatchRule shop/dev-configmaps",
        "WatchRule shop/prod-apps",
    ]
