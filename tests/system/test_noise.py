"""What `*` leaves out because nobody wrote it, and how naming a type or an object includes it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.cluster import Api, Destination, Object, deployment, repo_config
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

ROOT_CA = "kube-root-ca.crt"


def owner(*, controller: bool) -> list[Object]:
    """The owners of an object that a Deployment has made, or that is only cleaned up with it."""
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "4711", "controller": controller}]


def fill(api: Api, namespace: str) -> None:
    """What people write, and what grows beside it."""
    api.create("deployments", namespace, "web", spec=deployment())
    api.create("deployments", namespace, "generated", spec=deployment(), ownerReferences=owner(controller=True))
    api.create("configmaps", namespace, "settings", data={"key": "value"})
    api.create("configmaps", namespace, "cleaned-up", data={}, ownerReferences=owner(controller=False))
    api.create("configmaps", namespace, "generated", data={}, ownerReferences=owner(controller=True))
    api.create("configmaps", namespace, ROOT_CA, data={"ca.crt": "-"})
    api.create("leases", namespace, "leader", spec={"holderIdentity": "somebody"})
    api.create("serviceaccounts", namespace, "robot")


# Without our own kinds, which `*` mirrors as well: each change of a rule would be a commit.
EVERYTHING = {"apiGroups": ["", "apps", "coordination.k8s.io"], "resources": ["*"]}
WRITTEN = {"deployments/web", "configmaps/settings", "configmaps/cleaned-up", "serviceaccounts/robot"}


def choose(api: Api, destination: Destination, *items: Object) -> None:
    """Give the rule of a destination other items."""
    api.merge("watchrules", destination.namespace, destination.name, spec={"rules": list(items)})
    api.wait_ready("watchrules", destination.namespace, destination.name)


def wait_files(repository: Repository, wanted: set[str]) -> None:
    """Wait until exactly these are in Git, each as `resource/name`."""

    def found() -> set[str]:
        return {f"{path.parent.parent.name}/{path.stem}" for path in map(Path, repository.tree())}

    try:
        wait_until(lambda: found() == wanted)
    except AssertionError as error:
        raise AssertionError(f"missing {wanted - found()}, not wanted {found() - wanted}") from error


@pytest.mark.promise("P2")
def test_a_wildcard_leaves_out_what_nobody_wrote(shared: Lane, api: Api, repository: Repository) -> None:
    """`*` mirrors what people write; what a controller owns, heartbeats and copies of the cluster's stay out."""
    namespace = api.namespace()
    fill(api, namespace)
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["limitranges"])
    choose(api, destination, EVERYTHING)
    wait_files(repository, WRITTEN)
    status = api.get("watchrules", namespace, "prod")["status"]
    said = "\n".join(status["excluded"])
    assert "* leaves out leases.coordination.k8s.io: heartbeats, renewed every few seconds" in status["excluded"]
    assert "kube-root-ca.crt is written into every namespace" in said
    assert "a controller owns" in said
    assert not status["problems"]

    # A controller that takes an object over takes it out of Git; one that lets go gives it back.
    api.merge("configmaps", namespace, "settings", metadata={"ownerReferences": owner(controller=True)})
    wait_files(repository, WRITTEN - {"configmaps/settings"})
    api.merge("configmaps", namespace, "settings", metadata={"ownerReferences": None})
    wait_files(repository, WRITTEN)


@pytest.mark.promise("P2")
def test_what_is_named_is_included(shared: Lane, api: Api, repository: Repository) -> None:
    """A type or an object that a rule names is mirrored although `*` leaves it out, until the rule drops it: kept."""
    namespace = api.namespace()
    fill(api, namespace)
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["limitranges"])
    named_types = {**EVERYTHING, "resources": ["*", "deployments", "leases"]}
    choose(api, destination, named_types, {**EVERYTHING, "names": [ROOT_CA]})
    shared.wait_seeded(destination.ref)
    named = {"deployments/generated", "leases/leader", f"configmaps/{ROOT_CA}"}
    wait_files(repository, WRITTEN | named)

    before = repository.commits()
    choose(api, destination, EVERYTHING)
    shared.wait_seeded(destination.ref)
    wait_until(lambda: retained(api, destination) == len(named), what="what is named no more is counted")
    assert repository.commits() == before


def retained(api: Api, destination: Destination) -> int:
    """How many files are kept without a rule."""
    status = api.get("gitdestinations", destination.namespace, destination.name).get("status") or {}
    return int(status.get("retained", -1))
