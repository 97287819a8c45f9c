"""Reading our four kinds: tolerant of what is absent, plain about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app import errors
from app.events import Ref
from app.rules import kinds

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
