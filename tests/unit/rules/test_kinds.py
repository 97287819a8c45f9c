"""Reading our four kinds: tolerant of what is absent, plain about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app import errors
from app.events import Ref
from app.rules import filters, ignoring, kinds, labels, pruning

META = {
    "name": "prod",
    "namespace": "shop",
    "uid": "u1",
    "generation": 3,
    "creationTimestamp": "2024-01-01T00:00:00Z",
    "resourceVersion": "17",
}


def _obj(spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {**META, **metadata}, "spec": spec}


def _rule(**item: Any) -> dict[str, Any]:
    return _obj({"destinationRef": {"name": "prod"}, "rules": [{"resources": ["configmaps"], **item}]})


def test_meta_is_read_and_says_when_an_object_is_on_its_way_out() -> None:
    """Every field of the metadata arrives, and a deletionTimestamp means deleting."""
    meta = kinds.Meta.from_object(_obj({}, deletionTimestamp="2024-01-02T00:00:00Z"))
    assert meta == kinds.Meta(Ref("shop", "prod"), "u1", 3, "2024-01-01T00:00:00Z", "17", deleting=True)
    assert not kinds.Meta.from_object({"metadata": {"name": "x"}}).deleting
    assert kinds.Meta.from_object({"metadata": {"name": "x"}}).generation == 0


@pytest.mark.parametrize("obj", [{}, {"metadata": {}}, {"metadata": None}, {"metadata": []}, {"metadata": {"name": 5}}])
def test_an_object_without_a_name_is_refused(obj: dict[str, Any]) -> None:
    """What cannot be named cannot be read."""
    with pytest.raises(errors.PermanentError) as caught:
        kinds.Meta.from_object(obj)
    assert caught.value.reason == "InvalidSpec"


def test_a_full_repository_config_is_read() -> None:
    """Every field of the schema has its place."""
    config = kinds.GitRepoConfig.from_object(
        _obj(
            {
                "repoUrl": "https://h/r",
                "allowedBranches": ["main", "dev*"],
                "secretRef": {"name": "creds"},
                "push": {"interval": "1m30s", "maxCommits": 20},
                "accessPolicy": {"namespacedRules": {"mode": "AllNamespaces"}, "allowClusterRules": False},
            }
        )
    )
    assert (config.repo_url, config.allowed_branches, config.secret_name) == ("https://h/r", ("main", "dev*"), "creds")
    assert (config.push_interval, config.max_commits) == (90.0, 20)
    assert config.access == kinds.AccessPolicy(mode="AllNamespaces", allow_cluster_rules=False)


def test_an_empty_repository_config_is_read_with_the_strict_defaults() -> None:
    """Absent fields are absent; nobody from another namespace may refer to it, cluster rules may."""
    config = kinds.GitRepoConfig.from_object(_obj(None))
    assert (config.repo_url, config.allowed_branches, config.secret_name) == ("", (), None)
    assert (config.push_interval, config.max_commits) == (None, None)
    assert config.access == kinds.AccessPolicy(mode="SameNamespace", allow_cluster_rules=True)


def test_an_unknown_access_mode_opens_nothing() -> None:
    """A mode of a newer schema is read as the narrowest one."""
    raw = _obj({"accessPolicy": {"namespacedRules": {"mode": "FromSelector"}}})
    assert kinds.GitRepoConfig.from_object(raw).access.mode == "SameNamespace"


def test_a_destination_says_when_files_are_removed() -> None:
    """Absent fields are the defaults; a ratio that is none is refused by its name."""
    spec = {"repoRef": {"name": "r"}, "branch": "main", "baseFolder": "a"}
    assert kinds.GitDestination.from_object(_obj(spec)).pruning == pruning.DEFAULT
    said = {**spec, "prune": "OnEvent", "maxPruneRatio": 1}
    assert kinds.GitDestination.from_object(_obj(said)).pruning == pruning.Pruning(pruning.Policy.ON_EVENT, 1.0)
    for wrong in ("1", 1.1, -0.1, True, None):
        with pytest.raises(errors.PermanentError, match=r"spec\.maxPruneRatio must be a number from 0 to 1"):
            kinds.GitDestination.from_object(_obj({**spec, "maxPruneRatio": wrong}))


def test_references_default_to_their_own_namespace() -> None:
    """A repoRef and a WatchRule's destinationRef without a namespace mean the object's own."""
    raw = _obj({"repoRef": {"name": "r"}, "branch": "main", "baseFolder": "a"})
    assert kinds.GitDestination.from_object(raw).repo_ref == Ref("shop", "r")
    assert kinds.WatchRule.from_object(_rule()).destination_ref == Ref("shop", "prod")


def test_a_cluster_rule_needs_a_namespace_and_a_scope() -> None:
    """A cluster rule has no namespace of its own, and never guesses a scope."""
    item = {"resources": ["nodes"], "scope": "Cluster"}
    target = {"name": "prod", "namespace": "shop"}
    meta = {"metadata": {"name": "all"}}
    rule = kinds.ClusterWatchRule.from_object({**meta, "spec": {"destinationRef": target, "rules": [item]}})
    assert rule.items[0].scope == "Cluster"
    wide = {**item, "scope": "Namespaced"}
    rule = kinds.ClusterWatchRule.from_object({**meta, "spec": {"destinationRef": target, "rules": [wide]}})
    assert rule.items[0].scope == "Namespaced"
    for spec, said in (
        ({"destinationRef": {"name": "prod"}, "rules": [item]}, "destinationRef.namespace"),
        ({"destinationRef": {"namespace": "a"}, "rules": [item]}, "destinationRef.name"),
        ({"destinationRef": target, "rules": [{"resources": ["nodes"]}]}, r"rules\[0\]\.scope"),
    ):
        with pytest.raises(errors.PermanentError, match=said):
            kinds.ClusterWatchRule.from_object({**meta, "spec": spec})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (_rule(operations=["CONNECT"]), r"spec\.rules\[0\]\.operations holds 'CONNECT'"),
        (_rule(resources=[]), r"spec\.rules\[0\]\.resources is empty"),
        (_rule(resources="configmaps"), "resources must be a list"),
        (_rule(resources=[5]), "resources must be a list of strings"),
        (_obj({"destinationRef": {"name": "prod"}, "rules": ["x"]}), r"rules\[0\] is not a mapping"),
        (_obj("text"), "spec is not a mapping"),
    ],
)
def test_a_rule_of_the_wrong_shape_is_refused_by_field(raw: dict[str, Any], said: str) -> None:
    """The message names the field that is wrong."""
    with pytest.raises(errors.PermanentError, match=said):
        kinds.WatchRule.from_object(raw)


def test_max_commits_is_a_whole_number_from_one() -> None:
    """Zero commits before a push would never push."""
    for wrong in (0, -1, "5", 1.5, True):
        with pytest.raises(errors.PermanentError, match="maxCommits"):
            kinds.GitRepoConfig.from_object(_obj({"push": {"maxCommits": wrong}}))


def test_an_item_goes_into_json_as_it_stands_in_a_manifest() -> None:
    """The table of compiled rules shows what the user wrote."""
    item = kinds.WatchRule.from_object(_rule(operations=["CREATE"], apiGroups=["apps"], apiVersions=["v1"])).items[0]
    assert item.to_json() == {
        "operations": ["CREATE"],
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["configmaps"],
        "scope": "Namespaced",
    }


SELECTOR = {
    "matchLabels": {"tier": "front"},
    "matchExpressions": [
        {"key": "env", "operator": "In", "values": ["qa", "prod"]},
        {"key": "x", "operator": "Exists"},
    ],
}
READ = labels.LabelSelector(
    (
        labels.Requirement("tier", "In", ("front",)),
        labels.Requirement("env", "In", ("prod", "qa")),
        labels.Requirement("x", "Exists"),
    )
)


def _wide(**item: Any) -> dict[str, Any]:
    target = {"name": "prod", "namespace": "shop"}
    rule = {"resources": ["configmaps"], "scope": "Namespaced", **item}
    return {"metadata": {"name": "all"}, "spec": {"destinationRef": target, "rules": [rule]}}


def test_what_narrows_an_item_is_read_and_written() -> None:
    """Each field has its place, in the filter too, and is written only where it is set."""
    narrowed = {
        "labelSelector": SELECTOR,
        "names": ["web-*", "api"],
        "excludeNames": ["*-tmp"],
        "namespaceSelector": {"matchLabels": {"team": "shop"}},
        "excludeNamespaces": ["kube-*"],
        "ignoreFields": ["/spec/replicas"],
        "ignoreManagers": ["*/scale"],
    }
    (item,) = kinds.ClusterWatchRule.from_object(_wide(**narrowed)).items
    team = labels.LabelSelector((labels.Requirement("team", "In", ("shop",)),))
    assert (item.label_selector, item.namespace_selector) == (READ, team)
    assert (item.names, item.exclude_names, item.exclude_namespaces) == (("web-*", "api"), ("*-tmp",), ("kube-*",))
    assert item.ignored == ignoring.Ignored(("/spec/replicas",), ("*/scale",))
    assert item.filter == filters.Filter(READ, ("web-*", "api"), ("*-tmp",), team, ("kube-*",))
    assert item.to_json().items() >= {**narrowed, "names": ["api", "web-*"], "labelSelector": READ.to_json()}.items()


def test_a_selector_that_asks_for_nothing_is_refused() -> None:
    """A server drops what it does not know, and what is left would select everything; none at all is as none."""
    plain = kinds.ClusterWatchRule.from_object(_wide()).items[0]
    assert kinds.ClusterWatchRule.from_object(_wide(labelSelector=None, namespaceSelector=None)).items[0] == plain
    assert (plain.label_selector, plain.namespace_selector) == (labels.EVERYTHING, None)
    assert (plain.filter, plain.ignored) == (filters.EVERYTHING, ignoring.NOTHING)
    for field in ("labelSelector", "namespaceSelector"):
        for empty in ({}, {"matchLabels": {}, "matchExpressions": []}):
            with pytest.raises(errors.PermanentError) as caught:
                kinds.ClusterWatchRule.from_object(_wide(**{field: empty}))
            assert caught.value.message == (
                f"spec.rules[0].{field} asks for no label: write matchLabels or matchExpressions, or leave it out"
            )


UNKNOWN_KEY = "cannot be used: the key 'a b' can be no label: write it like tier or example.com/tier"
NO_VALUES = "cannot be used: In needs values: list at least one, or use Exists or DoesNotExist"
NO_OPERATOR = "cannot be used: the operator '' is unknown: use In, NotIn, Exists, DoesNotExist"
NO_NAME = "which matches no name: write a name, or a glob like web-*"
NOT_ENDED = "no ] ends its [: write a set like [ab], or ? for any character"
NOTHING_LEFT = "leaves nothing of what the entry selects: narrow it, or remove the entry"
WITHOUT_VALUES = [{"key": "x", "operator": "Exists"}, {"key": "a", "operator": "In"}]
NAMESPACES_HERE = "narrows a ClusterWatchRule with scope Namespaced, and nothing else: remove it"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"labelSelector": {"matchLabels": {"a b": "x"}}}, f"labelSelector.matchLabels.a b {UNKNOWN_KEY}"),
        ({"labelSelector": {"matchLabels": {"a": 5}}}, "labelSelector.matchLabels.a must be a string"),
        ({"labelSelector": {"matchLabels": []}}, "labelSelector.matchLabels is not a mapping"),
        ({"labelSelector": {"matchExpressions": WITHOUT_VALUES}}, f"labelSelector.matchExpressions[1] {NO_VALUES}"),
        ({"labelSelector": {"matchExpressions": {}}}, "labelSelector.matchExpressions must be a list"),
        ({"labelSelector": "a=b"}, "labelSelector is not a mapping"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a"}]}},
            f"namespaceSelector.matchExpressions[0] {NO_OPERATOR}",
        ),
        ({"names": ["a/b"]}, f"names holds 'a/b', {NO_NAME}"),
        ({"names": ["a", ""]}, f"names holds '', {NO_NAME}"),
        ({"names": ["a\0"]}, f"names holds 'a\\x00', {NO_NAME}"),
        ({"excludeNames": ["a\n"]}, f"excludeNames holds 'a\\n', {NO_NAME}"),
        ({"excludeNamespaces": ["a\x7f"]}, f"excludeNamespaces holds 'a\\x7f', {NO_NAME}"),
        ({"names": ["a"] * 101}, "names has 101 entries, and may have 100: use a glob or labels"),
        ({"names": "web"}, "names must be a list"),
        ({"excludeNames": ["%"]}, f"excludeNames holds '%', {NO_NAME}"),
        ({"excludeNames": ["x" * 254]}, f"excludeNames holds '{'x' * 80}', {NO_NAME}"),
        ({"excludeNamespaces": ["Team"]}, f"excludeNamespaces holds 'Team', {NO_NAME}"),
        ({"names": ["a", "app-["]}, f"names holds 'app-[': {NOT_ENDED}"),
        ({"excludeNames": ["[z-a]"]}, "excludeNames holds '[z-a]': z-a runs backwards: write a-z"),
        ({"excludeNamespaces": ["team-*", "kube-["]}, f"excludeNamespaces holds 'kube-[': {NOT_ENDED}"),
        ({"names": ["app-config"], "excludeNames": ["app-config"]}, f"excludeNames {NOTHING_LEFT}"),
        ({"excludeNamespaces": ["*"]}, f"excludeNamespaces {NOTHING_LEFT}"),
        ({"ignoreManagers": ["kube-["]}, f"ignoreManagers holds 'kube-[': {NOT_ENDED}"),
        ({"scope": "Cluster", "namespaceSelector": SELECTOR}, f"namespaceSelector {NAMESPACES_HERE}"),
        ({"scope": "Cluster", "excludeNamespaces": ["a"]}, f"excludeNamespaces {NAMESPACES_HERE}"),
        ({"ignoreFields": [5]}, "ignoreFields must be a list of strings"),
    ],
)
def test_what_narrows_wrongly_is_refused_by_field(item: dict[str, Any], said: str) -> None:
    """The message has the field's path, what is wrong with it, and what to write."""
    with pytest.raises(errors.PermanentError) as caught:
        kinds.ClusterWatchRule.from_object(_wide(**item))
    assert (caught.value.reason, caught.value.message) == ("InvalidSpec", f"spec.rules[0].{said}")


def test_a_watch_rule_has_no_namespaces_to_choose_from() -> None:
    """What chooses namespaces is refused in a WatchRule, and empty it says nothing."""
    for field, value in (("namespaceSelector", SELECTOR), ("excludeNamespaces", ["a"])):
        with pytest.raises(errors.PermanentError, match=rf"rules\[0\]\.{field} {NAMESPACES_HERE}"):
            kinds.WatchRule.from_object(_rule(**{field: value}))
    kinds.WatchRule.from_object(_rule(namespaceSelector=None, excludeNamespaces=[]))


def test_what_is_ignored_is_checked_with_its_place() -> None:
    """A pointer or manager that can never work is refused by the entry and the path of its list."""
    for field, entry in (("ignoreFields", "spec"), ("ignoreManagers", "*")):
        with pytest.raises(errors.PermanentError) as caught:
            kinds.WatchRule.from_object(_rule(**{field: [entry]}))
        assert caught.value.reason == "InvalidSpec"
        assert caught.value.message.startswith(f"spec.rules[0].{field} holds {entry!r}: ")


@pytest.mark.parametrize("name", ["web-*", "system:controller", "a b", "x" * 253, "[!a]", "a?b"])
def test_a_glob_may_be_whatever_a_name_may_be(name: str) -> None:
    """Names of Kubernetes hold more than letters; only / and % are in none, and `?` is for the rest."""
    assert kinds.WatchRule.from_object(_rule(names=[name])).items[0].names == (name,)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2us", 2e-6), ("1µs", 1e-6), ("3ns", 3e-9), ("0", 0)],
)
def test_durations_read_as_go_reads_them(text: str, seconds: float) -> None:
    """A duration means what kubectl users know."""
    assert kinds.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5d", "1m30", "x5s", "."])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A bare number has no unit, and nothing is guessed."""
    with pytest.raises(errors.PermanentError, match="no duration"):
        kinds.parse_duration(text)
