"""Labels, names and namespaces that narrow a rule: what changes in or out of a selection is a CREATE or a DELETE.

Only a change of the cluster removes a file. What a change of a rule leaves behind is kept and counted, and goes with
its object. Each story ends with a restart that finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY, ApiServer
from tests.servers.kube import KubeServer
from tests.servers.sandbox import SandboxServer
from tests.system.cluster import MERGE, Api, Destination, Object, rendered, repo_config
from tests.system.installation import Embedded, Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

WEB = {"matchLabels": {"app": "web"}}
NOT_WEB = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}


@dataclass(frozen=True)
class Story:
    """One destination of ConfigMaps, on a branch of its own, and what happens to it."""

    shared: Lane
    api: Api
    repository: Repository
    destination: Destination

    @classmethod
    def begin(cls, shared: Lane, api: Api, repository: Repository, *items: Object, branch: str = "main") -> Story:
        """A namespace, and a destination whose rule has these items."""
        namespace = api.namespace()
        repo_config(api, namespace, "local", repository.url)
        destination = Destination(
            api, namespace, branch, repository="local", branch=branch, folder=branch, resources=["limitranges"]
        )
        story = cls(shared, api, repository, destination)
        if items:
            story.choose(*items)
        return story

    def beside(self, branch: str, *items: Object) -> Story:
        """Another destination in the same namespace, on another branch."""
        destination = Destination(
            self.api,
            self.namespace,
            branch,
            repository="local",
            branch=branch,
            folder=branch,
            resources=["limitranges"],
        )
        story = Story(self.shared, self.api, self.repository, destination)
        story.choose(*items)
        return story

    @property
    def namespace(self) -> str:
        """Where its destination is."""
        return self.destination.namespace

    @property
    def branch(self) -> str:
        """Where it writes."""
        return self.destination.branch

    def choose(self, *items: Object) -> None:
        """Give the rule other items, and wait until they are in force and in Git."""
        self.api.merge("watchrules", self.namespace, self.destination.name, spec={"rules": list(items)})
        self.api.wait_ready("watchrules", self.namespace, self.destination.name)
        self.shared.wait_seeded(self.destination.ref)

    def choose_everywhere(self, *items: Object) -> str:
        """Create a ClusterWatchRule with these items, or change it; its name."""
        name = f"{self.namespace}-{self.destination.name}"
        spec = {
            "destinationRef": {"name": self.destination.name, "namespace": self.namespace},
            "rules": [{"scope": "Namespaced", "resources": ["configmaps"], **item} for item in items],
        }
        if any(one["metadata"]["name"] == name for one in self.api.list("clusterwatchrules")):
            self.api.merge("clusterwatchrules", "", name, spec=spec)
        else:
            self.api.create("clusterwatchrules", "", name, spec=spec)
        self.api.wait_ready("clusterwatchrules", "", name)
        self.shared.wait_seeded(self.destination.ref)
        return name

    def put(self, name: str, text: str = "1", /, *, namespace: str = "", **labels: str) -> None:
        """Create a ConfigMap."""
        self.api.create("configmaps", namespace or self.namespace, name, labels=labels, data={"text": text})

    def label(self, name: str, /, *, namespace: str = "", **labels: str | None) -> None:
        """Change labels of a ConfigMap; None takes one away."""
        self.api.merge("configmaps", namespace or self.namespace, name, metadata={"labels": labels})

    def change(self, name: str, text: str) -> None:
        """Change what a ConfigMap holds."""
        self.api.merge("configmaps", self.namespace, name, data={"text": text})

    def names(self) -> set[str]:
        """The names of the files in its branch, with their namespace where that is another one."""
        found = (Path(path) for path in self.repository.tree(self.branch))
        own = self.namespace
        return {path.stem if path.parent.name == own else f"{path.parent.name}/{path.stem}" for path in found}

    def wait(self, *names: str) -> None:
        """Wait until exactly these ConfigMaps are in Git, each as the cluster has it."""
        wait_until(lambda: self.names() == set(names), what=f"{sorted(names)} in {self.branch}")
        wanted = rendered(self._objects(names), folder=self.destination.folder)
        wait_until(lambda: self.repository.tree(self.branch) == wanted, what="the files' content")
        self.shared.wait_drained(self.destination.ref)

    def _objects(self, names: tuple[str, ...]) -> list[Object]:
        places = [name.rpartition("/")[::2] for name in names]
        found = [self.api.get("configmaps", namespace or self.namespace, name) for namespace, name in places]
        return [{"apiVersion": "v1", "kind": "ConfigMap", **one} for one in found]

    def subjects(self) -> list[str]:
        """What its commits say, the newest first."""
        if not self.repository.tip(self.branch):
            return []
        return self.repository.git("log", "--format=%s", self.branch).splitlines()

    def commits(self) -> list[str]:
        """Its commits, the oldest first."""
        return self.repository.commits(self.branch)

    def operations(self, name: str) -> list[str]:
        """What the ledger says of one ConfigMap, in order, each with its end."""
        query = (
            "SELECT e.operation, e.state FROM event e JOIN git_destination d ON d.id = e.destination_id "
            "WHERE d.namespace = :namespace AND d.name = :destination AND e.name = :name ORDER BY e.sequence"
        )
        rows = self.shared.rows(query, namespace=self.namespace, destination=self.destination.name, name=name)
        return [f"{row['operation']} {row['state']}" for row in rows]

    def audited(self, name: str) -> list[str]:
        """What the audit log says of one ConfigMap, the oldest first."""
        query = "SELECT operation FROM audit_log WHERE destination = :destination AND name = :name ORDER BY sequence"
        return [str(row["operation"]) for row in self.shared.rows(query, destination=self.destination.ref, name=name)]

    def status(self, resource: str = "gitdestinations", name: str = "") -> Mapping[str, Any]:
        """The status of its destination, or of another object beside it."""
        found = self.api.get(resource, self.namespace, name or self.destination.name)
        return found.get("status") or {}

    def wait_retained(self, count: int) -> None:
        """Wait until so many files are counted as kept without a rule."""
        wait_until(lambda: self.status().get("retained") == count, what=f"{count} retained")


def restart(*stories: Story) -> None:
    """Start everything again: nothing is written, and what comes next is one commit."""
    shared = stories[0].shared
    before = [story.commits() for story in stories]
    rows = shared.rows("SELECT count(*) AS found FROM event")
    shared.stop()
    shared.start()
    for story in stories:
        story.api.wait_ready("watchrules", story.namespace, story.destination.name)
        story.shared.wait_seeded(story.destination.ref)
    assert [story.commits() for story in stories] == before
    assert shared.rows("SELECT count(*) AS found FROM event") == rows


@pytest.mark.promise("P1", "P2", "P3")
def test_an_object_enters_and_leaves_a_selector(shared: Lane, api: Api, repository: Repository) -> None:
    """Labels that change into a selector are a CREATE, out of it a DELETE: in Git, in the ledger, in the audit log."""
    story = Story.begin(shared, api, repository, {"resources": ["configmaps"], "labelSelector": WEB})
    story.put("other", app="database")
    story.put("one", app="web")
    story.wait("one")
    story.label("other", app="web")
    story.wait("one", "other")
    assert story.subjects()[0].startswith("[CREATE] v1/configmaps/other")
    story.change("other", "2")
    story.wait("one", "other")
    assert story.subjects()[0].startswith("[UPDATE] v1/configmaps/other")
    story.label("other", app="database", more="labels")
    story.wait("one")
    assert story.subjects()[0].startswith("[DELETE] v1/configmaps/other")
    assert story.operations("other") == ["CREATE pushed", "UPDATE pushed", "DELETE pushed"]
    assert story.audited("other") == ["CREATE", "UPDATE", "DELETE"]

    # What happens outside of the selector is nobody's business.
    before = story.commits()
    story.change("other", "3")
    api.delete("configmaps", story.namespace, "other")
    story.put("third", app="web")
    story.wait("one", "third")
    assert len(story.commits()) == len(before) + 1

    # The same name again, outside of the selector: the file of the one that is gone goes.
    api.delete("configmaps", story.namespace, "one")
    story.put("one", "again", app="database")
    story.wait("third")
    assert story.operations("one")[-1] == "DELETE pushed"
    story.label("one", app="web")
    story.wait("one", "third")
    restart(story)


@pytest.mark.promise("P2")
def test_names_narrow_a_rule(shared: Lane, api: Api, repository: Repository) -> None:
    """`names` and `excludeNames` are globs with capitals told apart: every pattern counts, an exclusion wins."""
    item = {"resources": ["configmaps"], "names": ["app-*", "exact", "v[12]"], "excludeNames": ["*-tmp", "app-?"]}
    story = Story.begin(shared, api, repository, item)
    for name in ("app-web", "app-web-tmp", "app-1", "exact", "exactly", "v1", "v3", "web-app-1"):
        story.put(name)
    story.wait("app-web", "exact", "v1")
    api.delete("configmaps", story.namespace, "exact")
    api.delete("configmaps", story.namespace, "exactly")
    story.wait("app-web", "v1")


@pytest.mark.promise("P1", "P2")
def test_an_object_moves_between_two_selectors(shared: Lane, api: Api, repository: Repository) -> None:
    """Of two destinations with complementary selectors exactly one has an object, also when it moved unseen."""
    web = Story.begin(shared, api, repository, {"resources": ["configmaps"], "labelSelector": WEB}, branch="web")
    rest = web.beside("rest", {"resources": ["configmaps"], "labelSelector": NOT_WEB})
    web.put("one", app="web")
    web.put("two")
    web.wait("one")
    rest.wait("two")
    web.label("one", app="database")
    web.label("two", app="web")
    web.wait("two")
    rest.wait("one")
    assert (web.operations("one")[-1], rest.operations("one")[-1]) == ("DELETE pushed", "CREATE pushed")

    shared.kill("watch")
    web.label("one", app="web")
    web.label("two", app=None)
    api.delete("configmaps", web.namespace, "two")
    web.put("two", "again", app="database")
    web.put("three", app="web")
    web.wait("one", "three")
    rest.wait("two")


@SANDBOX_ONLY
@pytest.mark.promise("P2", "P10")
def test_an_object_left_while_nobody_could_see_it(
    shared: Lane, api: Api, repository: Repository, server: ApiServer
) -> None:
    """An object whose labels changed in a history that is forgotten is found by the next listing, as gone."""
    assert isinstance(server, SandboxServer)
    story = Story.begin(shared, api, repository, {"resources": ["configmaps"], "labelSelector": WEB})
    story.put("one", app="web")
    story.put("two", app="web")
    story.put("three")
    story.wait("one", "two")
    watched = f"/namespaces/{story.namespace}/configmaps"
    try:
        for verb in ("list", "watch"):
            server.fault("answer", status=500, path=f"{watched}\\?", verb=verb)
        assert server.fault("drop", path=watched)["streams"]
        story.label("two", app="database")
        story.label("three", app="web")
        server.compact()
    finally:
        server.clear_faults()
    story.wait("one", "three")
    story.label("two", app="web")
    story.wait("one", "two", "three")


@pytest.mark.promise("P1", "P2", "P3")
def test_a_namespace_enters_and_leaves_a_selector(shared: Lane, api: Api, repository: Repository) -> None:
    """Labels of a namespace take all of its objects in or out, of that destination alone; no other namespace moves."""
    story = Story.begin(shared, api, repository, branch="shops")
    team = story.namespace
    first, second, third = (api.namespace(prefix) for prefix in ("shop", "shop", "shop-test"))
    for place in (first, second, third):
        for name in ("one", "two"):
            story.put(name, namespace=place)
    label_namespace(api, first, team=team)
    label_namespace(api, third, team=team)
    item = {"namespaceSelector": {"matchLabels": {"team": team}}, "excludeNamespaces": ["shop-test*"]}
    other = story.beside("others", {"resources": ["limitranges"]})
    everywhere = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [first, second]}
    other.choose_everywhere({"namespaceSelector": {"matchExpressions": [everywhere]}})
    story.choose_everywhere(item)
    of_first, of_second = ([f"{place}/{name}" for name in ("one", "two")] for place in (first, second))
    story.wait(*of_first)
    other.wait(*of_first, *of_second)
    others, before = other.commits(), story.commits()

    label_namespace(api, second, team=team)
    story.wait(*of_first, *of_second)
    label_namespace(api, first, team=None)
    story.wait(*of_second)
    story.put("three", namespace=second)
    story.wait(*of_second, f"{second}/three")
    changed = repository.git("diff", "--name-only", "--no-renames", before[-1], story.commits()[-1]).split()
    assert {Path(path).parent.name for path in changed} == {first, second}
    other.wait(*of_first, *of_second, f"{second}/three")
    assert len(other.commits()) == len(others) + 1
    assert [end.split()[0] for end in story.operations("one")] == ["CREATE", "CREATE"]

    # Back, while nothing runs.
    others = other.commits()
    shared.stop()
    label_namespace(api, first, team=team)
    label_namespace(api, second, team="nobody")
    shared.start()
    story.wait(*of_first)
    assert other.commits() == others


def label_namespace(api: Api, name: str, **labels: str | None) -> None:
    """Change labels of a namespace; None takes one away."""
    api.request("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}}, kind=MERGE)


@SANDBOX_ONLY
@pytest.mark.promise("P2")
def test_a_selected_namespace_is_deleted(shared: Lane, api: Api, repository: Repository) -> None:
    """A namespace that is deleted takes the files of its objects along, whichever of the two is seen first."""
    story = Story.begin(shared, api, repository, branch="shops")
    team = story.namespace
    kept, gone = (api.namespace("shop") for _ in range(2))
    for place in (kept, gone):
        label_namespace(api, place, team=team)
        story.put("one", namespace=place)
    story.choose_everywhere({"namespaceSelector": {"matchLabels": {"team": team}}})
    story.wait(f"{kept}/one", f"{gone}/one")
    api.request("DELETE", f"/api/v1/namespaces/{gone}")
    story.wait(f"{kept}/one")


@pytest.mark.promise("P2", "P3", "P10")
def test_a_rule_is_narrowed_and_widened(shared: Lane, api: Api, repository: Repository) -> None:
    """What a narrower rule does not select is kept, counted, and goes with its object; a wider one takes it back."""
    plain = {"resources": ["configmaps"]}
    story = Story.begin(shared, api, repository, plain)
    story.put("one", app="web")
    for name in ("two", "three", "four"):
        story.put(name)
    story.wait("one", "two", "three", "four")
    before = story.commits()
    story.choose({**plain, "labelSelector": WEB})
    story.wait_retained(3)
    assert story.commits() == before

    # What is kept stays as it was, until its object goes; what is selected now lives on.
    kept = repository.tree()[story.destination.path("configmaps", "two")]
    story.change("two", "unseen")
    story.label("two", other="label")
    story.change("one", "2")
    wait_until(lambda: len(story.commits()) == len(before) + 1, what="the change that is selected")
    assert repository.tree()[story.destination.path("configmaps", "two")] == kept
    api.delete("configmaps", story.namespace, "three")
    wait_until(lambda: story.names() == {"one", "two", "four"}, what="the delete of what was kept")
    story.label("four", app="web")
    labelled = story.destination.path("configmaps", "four")
    wait_until(lambda: "app: web" in repository.read(labelled), what="what was kept is selected again")
    story.label("four", app=None)
    wait_until(lambda: story.names() == {"one", "two"}, what="and leaves as any other")
    story.label("one", app="database")
    wait_until(lambda: story.names() == {"two"}, what="what left the selector")
    restart(story)

    story.choose(plain)
    story.wait("one", "two", "four")
    before = story.commits()
    api.delete("watchrules", story.namespace, story.destination.name)
    story.wait_retained(3)
    assert story.commits() == before


@KUBE_ONLY
def test_namespaces_that_may_not_be_listed(own: Embedded, api: Api, server: ApiServer, repository: Repository) -> None:
    """Without the right to list namespaces, the rule that needs it says which right to give, and the others go on."""
    assert isinstance(server, KubeServer)
    grant(api, "alice")
    own.kubeconfig = server.kubeconfig("alice")
    own.start()
    story = Story.begin(own, api, repository, {"resources": ["configmaps"]})
    story.put("one")
    story.wait("one")
    spec = {
        "destinationRef": {"name": story.destination.name, "namespace": story.namespace},
        "rules": [{"scope": "Namespaced", "resources": ["configmaps"], "namespaceSelector": {"matchLabels": WEB}}],
    }
    spec["rules"][0]["namespaceSelector"] = WEB  # type: ignore[index]
    name = f"{story.namespace}-wide"
    api.create("clusterwatchrules", "", name, spec=spec)
    said = api.wait_for_reason("clusterwatchrules", "", name, "NamespacesUnknown")
    assert "list" in said
    assert "watch" in said
    assert "namespaces" in said
    story.put("two")
    story.wait("one", "two")
    grant(api, "alice", "namespaces")
    api.wait_ready("clusterwatchrules", "", name)


def grant(api: Api, user: str, *resources: str) -> None:
    """Let a user read what Reverser reads of a cluster, and these."""
    name = f"reverser-{user}-{'-'.join(resources)}"
    read = ["get", "list", "watch"]
    rules = [
        {"apiGroups": ["configbutler.ai"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": read},
        {"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": read},
        {"apiGroups": [""], "resources": ["configmaps", "limitranges", *resources], "verbs": read},
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
    ]
    group = "rbac.authorization.k8s.io"
    root = f"/apis/{group}/v1"
    api.request("POST", f"{root}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "User", "apiGroup": group, "name": user}
    role = {"kind": "ClusterRole", "apiGroup": group, "name": name}
    binding = {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
    api.request("POST", f"{root}/clusterrolebindings", binding)
