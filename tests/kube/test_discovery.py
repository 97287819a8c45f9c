"""What the API servers serve, by both ways of asking."""

from __future__ import annotations

import pytest

from app import errors, events
from app.kube import client, discovery, kinds
from app.rules import types
from tests.kube import objects
from tests.servers.api import KUBE_ONLY
from tests.waiting import wait_until

_API_SERVICES = types.ResourceType(
    "apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False, verbs=frozenset(), preferred=True
)


@pytest.fixture(params=["aggregated", "walked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: a server before 1.26 ignores what it is asked for and answers in plain JSON."""
    if request.param == "walked":
        monkeypatch.setattr(discovery, "_AGGREGATED", client.JSON)
    return str(request.param)


def find(found: discovery.Discovery, resource: str, group: str) -> list[types.ResourceType]:
    """All versions of a resource."""
    return [one for one in found.types if one.key == (group, resource)]


def test_types_say_what_can_be_done_with_them(cluster: client.Cluster, way: str) -> None:
    """A type has its group, version, kind, scope and verbs, whatever way the server was asked."""
    found = discovery.discover(cluster)
    [deployments] = find(found, "deployments", "apps")
    assert (deployments.version, deployments.kind, deployments.namespaced) == ("v1", "Deployment", True)
    assert deployments.watchable
    assert deployments.preferred
    [namespaces] = find(found, "namespaces", "")
    assert not namespaces.namespaced
    [reviews] = find(found, "selfsubjectaccessreviews", "authorization.k8s.io")
    assert not reviews.watchable
    assert found.failed_groups == frozenset()


@KUBE_ONLY
def test_one_version_of_a_type_is_preferred(cluster: client.Cluster, way: str) -> None:
    """Every served version is listed, and the server's preference marks exactly one of each type."""
    found = discovery.discover(cluster)
    scalers = {one.version: one.preferred for one in find(found, "horizontalpodautoscalers", "autoscaling")}
    assert scalers == {"v1": False, "v2": True}
    preferred = [one.key for one in found.types if one.preferred]
    assert len(preferred) == len(set(preferred))
    assert set(preferred) == {one.key for one in found.types}


def test_subresources_are_no_types(cluster: client.Cluster, way: str) -> None:
    """`deployments/status` is a part of a type and never listed."""
    assert not [one for one in discovery.discover(cluster).types if "/" in one.resource]


def test_both_ways_agree(cluster: client.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old server and a new one describe the same cluster alike."""
    aggregated = discovery.discover(cluster)
    monkeypatch.setattr(discovery, "_AGGREGATED", client.JSON)
    assert set(discovery.discover(cluster).types) == set(aggregated.types)


@KUBE_ONLY
def test_a_group_that_does_not_answer_is_named(cluster: client.Cluster, way: str) -> None:
    """A registered group without a server is a failed group; all other groups are there."""
    name = f"v1.{way}.example.com"
    spec = {
        "group": f"{way}.example.com",
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "absent", "namespace": "default"},
    }
    objects.create(cluster, _API_SERVICES, {"metadata": {"name": name}, "spec": spec})
    try:
        wait_until(lambda: discovery.discover(cluster).failed_groups, timeout=20)
        found = discovery.discover(cluster)
        assert found.failed_groups == {f"{way}.example.com"}
        assert find(found, "deployments", "apps")
    finally:
        objects.delete(cluster, _API_SERVICES, events.Ref("", name))
        wait_until(lambda: not discovery.discover(cluster).failed_groups, timeout=20)


def test_our_kinds_are_served_once_applied(our_kinds: client.Cluster, way: str) -> None:
    """`ours_served` names the kinds of ours that the cluster serves, as the types that we ask for."""
    found = discovery.discover(our_kinds)
    assert found.ours_served == {"GitRepoConfig", "GitDestination", "WatchRule", "ClusterWatchRule"}
    for ours in kinds.OUR_TYPES.values():
        [served] = find(found, ours.resource, ours.group)
        assert (served.version, served.kind, served.namespaced) == (ours.version, ours.kind, ours.namespaced)
        assert ours.verbs <= served.verbs


def test_other_kinds_are_refused() -> None:
    """Reading an object that is not ours says which kinds are."""
    for found in ({}, {"kind": "ConfigMap", "apiVersion": "v1"}, {"kind": "WatchRule", "apiVersion": "example.com/v1"}):
        with pytest.raises(errors.PermanentError, match="GitRepoConfig, GitDestination"):
            kinds.read(found)
