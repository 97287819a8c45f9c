"""The round trip through the whole product: a cluster is lost, and comes back from Git as it was, by `kubectl apply`.

`test_types.py` asks the rules alone; here a running Reverser watches every type at once, and what it committed is
what is applied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.kube import client, crds
from tests.roundtrip import travels
from tests.roundtrip.travelling import FOLDER, Travelling, mirrored, serve
from tests.roundtrip.travels import Kind, Object
from tests.servers import api
from tests.system.cluster import OURS, Api, repo_config
from tests.system.installation import Embedded
from tests.system.repository import Repository
from tests.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.kubectl, pytest.mark.timeout(900)]

# Where our own objects are: a namespace that is not mirrored.
HOME = "home"
DESTINATION = f"{HOME}/all"
# The server makes some objects of these types by itself; where it can, it tells by a label which.
NARROWED: Mapping[Kind, Object] = {
    Kind("v1", "Event"): {"names": ["seeds.*"]},
    Kind("events.k8s.io/v1", "Event"): {"names": ["beds.*"]},
    Kind("apiregistration.k8s.io/v1", "APIService"): {
        "labelSelector": {
            "matchExpressions": [{"key": "kube-aggregator.kubernetes.io/automanaged", "operator": "DoesNotExist"}]
        }
    },
    Kind("networking.k8s.io/v1", "IPAddress"): {
        "labelSelector": {
            "matchExpressions": [
                {
                    "key": "ipaddress.kubernetes.io/managed-by",
                    "operator": "NotIn",
                    "values": ["ipallocator.k8s.io"],
                }
            ]
        }
    },
}
# What has to be there before the rest can be applied.
FIRST = ("v1/namespaces", "apiextensions.k8s.io/v1/customresourcedefinitions")
# For hundreds of objects, each a commit, on a machine that does other things too.
PATIENCE = 180.0


class World:
    """A cluster with every type, a Reverser that mirrors them all, and the repository."""

    def __init__(self, travelling: Travelling, lane: Embedded, repository: Repository) -> None:
        self.travelling, self.lane, self.repository = travelling, lane, repository
        by_kind = travels.by_kind()
        # What defines a kind comes before what is of that kind.
        definitions = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        self.manifests = [*by_kind.pop(definitions), *(one for kind in by_kind for one in by_kind[kind])]
        self.paths = {travelling.path_of(one): one for one in self.manifests}

    def wanted(self) -> dict[str, bytes]:
        """The files of the objects as they stand."""
        return {path: mirrored(self.travelling.read(manifest)) for path, manifest in self.paths.items()}

    def wait_for(self, wanted: Mapping[str, bytes]) -> None:
        """Wait until Git holds these files, each byte of them."""

        def found() -> dict[str, bytes]:
            tree = self.repository.tree()
            return {path: tree[path] for path in wanted if path in tree}

        with contextlib.suppress(AssertionError):
            wait_until(lambda: found() == wanted, PATIENCE)
        assert differences(found(), wanted) == {}

    def settle(self) -> dict[str, bytes]:
        """Wait until nothing is under way; what Git holds then."""
        self.lane.wait_drained(DESTINATION, PATIENCE)
        return self.repository.tree()


def differences(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Where two trees differ, as texts that a failed test shows."""
    paths = (path for path in {**found, **wanted} if found.get(path) != wanted.get(path))
    return {path: (found.get(path, b"").decode(), wanted.get(path, b"").decode()) for path in paths}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[api.ApiServer]:
    """An API server of this test's own, with our CRDs for local repositories."""
    with serve("kube", tmp_path / "server") as found:
        cluster = client.connect(settings.Settings(kubeconfig=str(found.kubeconfig())))
        crds.apply(cluster, allow_local=True)
        cluster.close()
        yield found


@pytest.fixture
def world(server: api.ApiServer, tmp_path: Path) -> Iterator[World]:
    """A Reverser that mirrors every type by name; none of the objects is there yet."""
    lane = Embedded(tmp_path / "data", server.kubeconfig())
    with Travelling(server, tmp_path / "files") as travelling:
        wait_until(lambda: travelling.serves(*OURS), what="our kinds are served")
        repository = Repository.local(tmp_path / "repository.git")
        lane.start()
        mirror_everything(Api(server), travelling, repository)
        lane.wait_seeded(DESTINATION)
        yield World(travelling, lane, repository)
    lane.end()


def mirror_everything(api: Api, travelling: Travelling, repository: Repository) -> None:
    """One destination; a rule for each namespace and one for the cluster, which name the types of the manifests."""
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": HOME}})
    config = repo_config(api, HOME, "local", repository.url)
    api.merge("gitrepoconfigs", HOME, config, spec={"accessPolicy": {"namespacedRules": {"mode": "AllNamespaces"}}})
    place = {"repoRef": {"name": config}, "branch": "main", "baseFolder": FOLDER}
    api.create("gitdestinations", HOME, "all", spec=place)
    destination = {"name": "all", "namespace": HOME}
    by_namespace: dict[str, dict[Kind, Object]] = {}
    for manifest in (one for manifests in travels.by_kind().values() for one in manifests):
        namespace = manifest["metadata"].get("namespace", "")
        by_namespace.setdefault(namespace, {})[travels.kind_of(manifest)] = manifest
    for namespace, kinds in by_namespace.items():
        items = [item(travelling, kind, {} if namespace else {"scope": "Cluster"}) for kind in kinds]
        resource = "watchrules" if namespace else "clusterwatchrules"
        api.create(resource, namespace, "all", spec={"destinationRef": destination, "rules": items})


def item(travelling: Travelling, kind: Kind, more: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a rule that names one type."""
    group, _, version = kind.api_version.rpartition("/")
    resources = [travelling.type_of(kind).resource]
    return {"apiGroups": [group], "apiVersions": [version], "resources": resources, **NARROWED.get(kind, {}), **more}


def test_a_cluster_comes_back_from_git(world: World) -> None:
    """Everything is created, lost and applied from Git: the tree is the same, byte for byte, and no commit follows."""
    travelling, repository = world.travelling, world.repository
    for manifest in world.manifests:
        travelling.create(manifest)
    world.wait_for(world.wanted())
    kept = world.settle()

    for manifest in reversed(world.manifests):
        travelling.remove(manifest)
    wait_until(lambda: not world.paths.keys() & repository.tree().keys(), PATIENCE, what="all files are gone")
    left = {path: content for path, content in kept.items() if path not in world.paths}
    assert differences(world.settle(), left) == {}

    travelling.write_files(kept)
    travelling.kubectl("apply", *(f"--filename={FOLDER}/{folder}" for folder in FIRST))
    travelling.kubectl("wait", "--for=condition=Established", "--all", "crd")
    travelling.kubectl("apply", "--recursive", f"--filename={FOLDER}")
    world.wait_for(kept)
    assert differences(world.settle(), kept) == {}
    # Of a Node, the taints of its state are not mirrored, and an apply replaces the whole list.
    others = (path for path in kept if not path.startswith(f"{FOLDER}/v1/nodes/"))
    assert travelling.kubectl("diff", *(f"--filename={path}" for path in others)) == "", "nothing is left to apply"

    before = repository.commits()
    last = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "last", "namespace": "garden"}}
    travelling.create(last)
    wait_until(lambda: repository.tip() != before[-1], PATIENCE, what="the last object")
    world.settle()
    assert repository.commits() == [*before, repository.tip()], "one commit, that of the last object"
