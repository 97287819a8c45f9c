"""Who owns a field, as a real kube-apiserver writes it: what was allocated is told from what was chosen."""

from __future__ import annotations

from typing import Any

import orjson

from app import events
from app.kube import client, paths
from app.rules import ownership, sanitising, types
from app.rules.ignoring import Ignored
from tests.kube import objects
from tests.servers.api import KUBE_ONLY

pytestmark = KUBE_ONLY

_VERBS = frozenset({"get", "list", "watch", "create", "delete", "patch"})
SERVICES = types.ResourceType("", "v1", "services", "Service", namespaced=True, verbs=_VERBS, preferred=True)
DEPLOYMENTS = types.ResourceType(
    "apps", "v1", "deployments", "Deployment", namespaced=True, verbs=_VERBS, preferred=True
)
JOBS = types.ResourceType("batch", "v1", "jobs", "Job", namespaced=True, verbs=_VERBS, preferred=True)
SCALED = Ignored(managers=("kube-controller-manager/scale",))
AUTOSCALER = ownership.Owner("kube-controller-manager", "scale")


def made(cluster: client.Cluster, of: types.ResourceType, place: str, **content: Any) -> dict[str, Any]:
    """A new object, as the server keeps it."""
    return objects.create(cluster, of, {"metadata": {"name": "a", "namespace": place}, **content})


def sent(
    cluster: client.Cluster, of: types.ResourceType, place: str, change: dict[str, Any], *, by: str, how: str
) -> None:
    """Change the object as a field manager does; `how` is what follows its path."""
    path, _, what = (paths.single(of, events.Ref(place, "a")) + how).partition("?")
    body = orjson.dumps(change)
    merge = client.MERGE_PATCH
    kind = "application/apply-patch+yaml" if "force" in what else merge
    cluster.request("PATCH", f"{path}?{what}{'&' if what else ''}fieldManager={by}", body=body, content_type=kind)


def read(cluster: client.Cluster, of: types.ResourceType, place: str) -> dict[str, Any]:
    """The object as it is now."""
    return cluster.get_json(paths.single(of, events.Ref(place, "a")))


def spec_of(obj: dict[str, Any], ignored: Ignored | None = None) -> Any:
    """What is mirrored of a spec."""
    return sanitising.sanitise(obj, ignored or Ignored())["spec"]


def test_an_allocated_address_goes_and_a_chosen_one_stays(cluster: client.Cluster) -> None:
    """clusterIP and nodePort: nobody owns what the server allocates, and who chose owns what was chosen."""
    ports = [{"name": "one", "port": 80}, {"name": "two", "port": 81, "nodePort": 30123}]
    allocated = made(cluster, SERVICES, objects.namespace(cluster), spec={"type": "NodePort", "ports": ports})
    assert allocated["spec"]["clusterIP"]
    assert allocated["spec"]["ports"][0]["nodePort"]
    mirrored = spec_of(allocated)
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & mirrored.keys()
    assert [port.get("nodePort") for port in mirrored["ports"]] == [None, 30123]
    chosen = made(
        cluster, SERVICES, objects.namespace(cluster), spec={"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}
    )
    assert chosen["spec"]["clusterIPs"] == ["10.96.0.77"]
    mirrored = spec_of(chosen)
    assert mirrored["clusterIP"] == "10.96.0.77"
    assert "clusterIPs" not in mirrored


def test_a_headless_service_stays_headless(cluster: client.Cluster) -> None:
    """That it has no address is a decision; the families that the server filled in are none."""
    headless = made(cluster, SERVICES, objects.namespace(cluster), spec={"clusterIP": "None", "ports": [{"port": 80}]})
    assert headless["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    mirrored = spec_of(headless)
    assert mirrored["clusterIP"] == "None"
    assert not {"clusterIPs", "ipFamilies", "ipFamilyPolicy"} & mirrored.keys()


def test_an_update_that_changes_nothing_chooses_nothing(cluster: client.Cluster) -> None:
    """A tool that sends the whole object back, with the address that it read, owns none of it; who applies it does."""
    place = objects.namespace(cluster)
    service = made(cluster, SERVICES, place, spec={"ports": [{"port": 80}]})
    address = {"spec": {"clusterIP": service["spec"]["clusterIP"]}}
    sent(cluster, SERVICES, place, address, by="editor", how="")
    assert "clusterIP" not in spec_of(read(cluster, SERVICES, place))
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": place}}
    sent(cluster, SERVICES, place, {**head, **address}, by="gitops", how="?force=true")
    assert spec_of(read(cluster, SERVICES, place))["clusterIP"] == service["spec"]["clusterIP"]


def test_replicas_go_when_an_autoscaler_decides_them(cluster: client.Cluster) -> None:
    """After a controller wrote the scale, nobody else owns replicas; who writes them again does."""
    place = objects.namespace(cluster)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert spec_of(made(cluster, DEPLOYMENTS, place, spec=spec))["replicas"] == 2
    five, six = {"spec": {"replicas": 5}}, {"spec": {"replicas": 6}}
    sent(cluster, DEPLOYMENTS, place, five, by="kube-controller-manager", how="/scale")
    scaled = read(cluster, DEPLOYMENTS, place)
    assert scaled["spec"]["replicas"] == 5
    assert ownership.Managed(scaled).owners(("spec", "replicas")) == frozenset({AUTOSCALER})
    assert "replicas" not in spec_of(scaled)
    sent(cluster, DEPLOYMENTS, place, six, by="kubectl", how="")
    assert spec_of(read(cluster, DEPLOYMENTS, place))["replicas"] == 6


def test_ignored_managers_lose_what_they_alone_own(cluster: client.Cluster) -> None:
    """An injected container, a label and a variable of a controller go; what people wrote beside them stays."""
    place = objects.namespace(cluster)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made(cluster, DEPLOYMENTS, place, spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})
    before = sanitising.sanitise(read(cluster, DEPLOYMENTS, place))
    head = {"apiVersion": "apps/v1", "kind": "Deployment"}
    containers = [{"name": "sidecar", "image": "s"}, {"name": "c", "env": [{"name": "X", "value": "1"}]}]
    injected = {
        "metadata": {"name": "a", "namespace": place, "labels": {"injected": "yes"}, "finalizers": ["x.io/hold"]},
        "spec": {"template": {"spec": {"containers": containers}}},
    }
    sent(cluster, DEPLOYMENTS, place, {**head, **injected}, by="injector", how="?force=true")
    after = read(cluster, DEPLOYMENTS, place)
    assert len(after["spec"]["template"]["spec"]["containers"]) == 2
    assert sanitising.sanitise(after) != before
    assert sanitising.sanitise(after, Ignored(managers=("injector",))) == before


def test_a_job_is_mirrored_without_what_was_generated(cluster: client.Cluster) -> None:
    """Selector and labels with the uid of the Job go; what the author labelled stays."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    job = made(
        cluster, JOBS, objects.namespace(cluster),
        spec={"suspend": True, "template": {"metadata": {"labels": {"mine": "x"}}, "spec": pod}},
    )  # fmt: skip
    uid = job["metadata"]["uid"]
    assert uid in str(job["spec"])
    mirrored = sanitising.sanitise(job)
    assert uid not in str(mirrored)
    assert "selector" not in mirrored["spec"]
    assert mirrored["spec"]["template"]["metadata"]["labels"] == {"mine": "x"}
