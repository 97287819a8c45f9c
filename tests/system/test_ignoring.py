"""Fields that a rule ignores: they leave Git once, and from then on their changes make no commit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.system.cluster import MERGE, Api, Destination, Object, deployment, repo_config, single
from tests.system.installation import Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

UPDATES = 20


@dataclass(frozen=True)
class Mirrored:
    """One object in Git."""

    shared: Lane
    api: Api
    repository: Repository
    destination: Destination
    resource: str
    name: str

    @property
    def path(self) -> str:
        """Its file."""
        return self.destination.path(self.resource, self.name)

    def choose(self, *items: Object, rule: str = "") -> None:
        """Give a rule of the destination other items; create it where it is not there yet."""
        namespace, name = self.destination.namespace, rule or self.destination.name
        spec = {"destinationRef": {"name": self.destination.name}, "rules": list(items)}
        if any(one["metadata"]["name"] == name for one in self.api.list("watchrules", namespace)):
            self.api.merge("watchrules", namespace, name, spec=spec)
        else:
            self.api.create("watchrules", namespace, name, spec=spec)
        self.api.wait_ready("watchrules", namespace, name)

    def change(self, **fields: object) -> None:
        """Merge into the object."""
        self.api.merge(self.resource, self.destination.namespace, self.name, **fields)

    def wait_for(self, *lines: str, without: str) -> None:
        """Wait until the file holds these lines, and no such word."""

        def right() -> bool:
            found = [line.strip() for line in self.repository.read(self.path).splitlines()]
            return set(lines) <= set(found) and not any(line.startswith(without) for line in found)

        wait_until(right, what=f"{lines} without {without}")
        self.shared.wait_seeded(self.destination.ref)

    def commits(self) -> int:
        """How many commits there are."""
        return len(self.repository.commits())


def mirrored(shared: Lane, api: Api, repository: Repository, resource: str, **fields: object) -> Mirrored:
    """An object that is in Git."""
    namespace = api.namespace()
    api.create(resource, namespace, "one", **fields)
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=[resource])
    shared.wait_seeded(destination.ref)
    return Mirrored(shared, api, repository, destination, resource, "one")


@pytest.mark.promise("P1", "P3")
def test_a_field_is_ignored_from_now_on(shared: Lane, api: Api, repository: Repository) -> None:
    """A field that a rule ignores leaves the file in one commit, its updates make none; of two rules both count."""
    data = {"kept": "1", "noise": "1", "more": "1"}
    one = mirrored(shared, api, repository, "configmaps", data=data, annotations={"tool/a": "1", "tool/b": "1"})
    one.wait_for('noise: "1"', without="never")
    before = one.commits()
    item = {"resources": ["configmaps"]}
    one.choose({**item, "ignoreFields": ["/data/noise", "/metadata/annotations/other~1a"]})
    one.wait_for('kept: "1"', 'more: "1"', 'tool/a: "1"', without="noise")
    one.choose({**item, "ignoreFields": ["/data/noise", "/metadata/annotations/*"]})
    one.wait_for('kept: "1"', 'more: "1"', without="tool/")
    assert one.commits() == before + 2
    for number in range(UPDATES):
        one.change(data={"noise": str(number)}, metadata={"annotations": {"tool/a": str(number)}})
    one.change(data={"kept": "2"})
    one.wait_for('kept: "2"', 'more: "1"', without="noise")
    assert one.commits() == before + 3

    one.choose({**item, "ignoreFields": ["/data/more"]}, rule="second")
    one.wait_for('kept: "2"', without="more")
    one.change(data={"more": "2", "noise": "again"})
    one.change(data={"kept": "3"})
    one.wait_for('kept: "3"', without="more")
    assert one.commits() == before + 5
    shared.stop()
    shared.start()
    api.delete("watchrules", one.destination.namespace, "second")
    one.wait_for('kept: "3"', 'more: "2"', without="noise")
    assert one.commits() == before + 6


@pytest.mark.promise("P1", "P3")
def test_what_a_scaler_writes_is_ignored(shared: Lane, api: Api, repository: Repository) -> None:
    """With `ignoreManagers`, replicas that only a scaler owns are no intent; what a person sets again is."""
    one = mirrored(shared, api, repository, "deployments", spec=deployment())
    one.choose({"resources": ["deployments"], "ignoreManagers": ["scaler/scale"]})
    namespace = one.destination.namespace
    api.apply("deployments", namespace, "one", manager="alice", spec={**deployment(), "replicas": 2})
    one.wait_for("replicas: 2", without="never")
    before = one.commits()
    scale = single("deployments", namespace, "one") + "/scale?fieldManager=scaler"
    for replicas in (5, 7, 9):
        api.request("PATCH", scale, {"spec": {"replicas": replicas}}, kind=MERGE)
    one.change(metadata={"labels": {"real": "change"}})
    one.wait_for("real: change", without="replicas")
    assert one.commits() == before + 2
    api.apply("deployments", namespace, "one", manager="alice", spec={**deployment(), "replicas": 3})
    one.wait_for("replicas: 3", without="never")
    assert one.commits() == before + 3


BAD = {
    "spec": "begins with /",
    "/metadata/name": "/metadata/name",
    "/apiVersion": "/apiVersion",
    "/*": "/*",
    "/metadata/*": "/metadata/*",
    "/a~2": "~",
    "/spec/": "a part of it is empty",
    "/spec.replicas": "write it like /spec/replicas",
    "/spec/list/-": "the position of an item",
    "/spec/containers[0]/image": "write it like /spec/containers/*/image",
    "/metadata/annotations/example.com/build": "write /metadata/annotations/example.com~1build",
    "/metadata/annotations/example.com~1*": "* stands for a whole part",
    "/metadata/annotation/example.com~1build": "no field 'annotation'",
}


@pytest.mark.parametrize("pointer", BAD)
def test_a_pointer_that_is_none_is_refused(shared: Lane, api: Api, pointer: str) -> None:
    """A pointer that names nothing, or what a file cannot be without, is refused by name: at once, or in the status."""
    namespace = api.namespace()
    rules = [{"resources": ["configmaps"], "ignoreFields": [pointer]}]
    spec = {"destinationRef": {"name": "prod"}, "rules": rules}
    try:
        api.create("watchrules", namespace, "prod", spec=spec)
    except AssertionError as refused:
        said = str(refused)
        assert "ignoreFields" in said
        assert not api.list("watchrules", namespace)
    else:
        said = api.wait_for_reason("watchrules", namespace, "prod", "InvalidSpec")
        assert BAD[pointer] in said
