"""From a user's change to a pushed commit and its row in the audit log, on both ways to run Reverser."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.git import servers
from tests.system.cluster import KINDS, Api, Destination, deployment, git_secret, manifest, path_of, repo_config
from tests.system.installation import Lane, Separate
from tests.system.repository import Repository
from tests.waiting import wait_until

log = logging.getLogger(__name__)

MANIFESTS = Path(__file__).parent.parent / "kube" / "manifests"
# What users are told is two seconds; a machine that runs other things meanwhile gets more.
ARRIVES_WITHIN = 20.0


@dataclass
class Commits:
    """Waits for the commits of one branch, one for each step, and notes how long they took."""

    repository: Repository
    branch: str = "main"
    times: dict[str, float] = field(default_factory=dict)

    def after(self, step: str, act: Callable[[], object]) -> str:
        """Do something that makes one commit, and give that commit's subject."""
        before = self.repository.tip(self.branch)
        started = time.monotonic()
        act()
        acted = time.monotonic()
        wait_until(lambda: self.repository.tip(self.branch) != before, what=f"a commit of: {step}")
        self.times[step] = time.monotonic() - acted
        log.info(f"{step}: {acted - started:.2f} s to make it, then {self.times[step]:.2f} s until it was pushed")
        assert self.repository.git("rev-parse", f"{self.branch}~1") == before
        return self.repository.git("log", "-1", "--format=%s", self.branch)


def audited(lane: Lane, sha: str) -> dict[str, object]:
    """The one row of the audit log that names a commit."""
    query = "SELECT * FROM audit_log WHERE commit_sha = :sha"
    (row,) = wait_until(lambda: lane.rows(query, sha=sha), what=f"the record of {sha}")
    return dict(row)


@dataclass(frozen=True)
class Step:
    """One change that a user makes: how its commit begins, whom it names, and how it is made."""

    start: str
    manager: str | None
    act: Callable[[], object]


def by_kubectl(api: Api, place: str) -> list[Step]:
    """What people type."""

    def kubectl(*words: str, stdin: str = "") -> Callable[[], str]:
        return lambda: api.kubectl_works("--namespace", place, *words, stdin=stdin)

    settings = yaml.safe_dump(manifest("configmaps", "settings", data={"on": "yes"}))
    web = yaml.safe_dump(manifest("deployments", "web", spec=deployment()))
    changed = '{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:1.26"}]}}}}'
    off = '{"data": {"on": "no"}}'
    apply, patch = "kubectl-client-side-apply", "kubectl-patch"
    return [
        Step("[CREATE] v1/configmaps/settings", apply, kubectl("apply", "-f", "-", stdin=settings)),
        Step("[UPDATE] v1/configmaps/settings", patch, kubectl("patch", "configmap", "settings", "-p", off)),
        Step("[DELETE] v1/configmaps/settings", None, kubectl("delete", "configmap", "settings")),
        Step("[CREATE] apps/v1/deployments/web", apply, kubectl("apply", "-f", "-", stdin=web)),
        Step("[UPDATE] apps/v1/deployments/web", patch, kubectl("patch", "deployment", "web", "-p", changed)),
        Step("[DELETE] apps/v1/deployments/web", None, kubectl("delete", "deployment", "web")),
    ]


def by_requests(api: Api, place: str) -> list[Step]:
    """What tools send: server-side apply by one manager and then another, and a delete."""

    def step(operation: str, resource: str, name: str, manager: str, fields: Mapping[str, object]) -> Step:
        start = f"[{operation}] {KINDS[resource][0]}/{resource}/{name}"
        return Step(start, manager, lambda: api.apply(resource, place, name, manager=manager, **fields))

    def gone(resource: str, name: str) -> Step:
        start = f"[DELETE] {KINDS[resource][0]}/{resource}/{name}"
        return Step(start, None, lambda: api.delete(resource, place, name))

    return [
        step("CREATE", "configmaps", "settings", "alice", {"data": {"on": "yes"}}),
        step("UPDATE", "configmaps", "settings", "bob", {"data": {"on": "no"}}),
        gone("configmaps", "settings"),
        step("CREATE", "deployments", "web", "alice", {"spec": deployment()}),
        step("UPDATE", "deployments", "web", "bob", {"spec": deployment("nginx:1.26")}),
        gone("deployments", "web"),
    ]


@pytest.mark.promise("P1", "P2", "P4")
@pytest.mark.parametrize("hand", [by_requests, pytest.param(by_kubectl, marks=pytest.mark.kubectl)])
def test_each_change_on_one_machine(
    shared: Lane, api: Api, repository: Repository, hand: Callable[[Api, str], list[Step]]
) -> None:
    """Each apply, patch and delete is one pushed commit, and one row that names who, why and where."""
    place = api.namespace()
    api.create("configmaps", place, "first", data={"key": "value"})
    config = repo_config(api, place, "local", repository.url)
    destination = Destination(api, place, "prod", repository=config, resources=["configmaps", "deployments"])
    shared.wait_seeded(destination.ref)
    commits = Commits(repository)
    for step in hand(api, place):
        subject = commits.after(step.start, step.act)
        assert subject == (f"{step.start} by manager/{step.manager}" if step.manager else step.start)
        row = audited(shared, repository.tip())
        assert (row["destination"], row["branch"], row["user_name"]) == (f"{place}/prod", "main", step.manager)
        assert row["operation"] == step.start.split()[0].strip("[]")
        assert str(row["rule"]).endswith(f"{place}/prod")
    (entry, *_) = shared.answer("audit", "log", "--destination", destination.ref, "--limit", "1")
    assert entry["commit_sha"] == repository.tip()
    assert list(repository.tree()) == [destination.path("configmaps", "first")]
    assert median(commits.times) < ARRIVES_WITHIN


def median(times: dict[str, float]) -> float:
    """The middle of what was measured, printed for those who look."""
    found = sorted(times.values())[len(times) // 2]
    log.info(f"median until pushed: {found:.2f} s, longest {max(times.values()):.2f} s")
    return found


@pytest.mark.promise("P1")
@pytest.mark.kubectl
@pytest.mark.postgres
@pytest.mark.rabbitmq
@pytest.mark.sshd
@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_manifests_on_servers(separate: Separate, api: Api, ssh_host: servers.SshGitServer) -> None:
    """What users have applied works as it is beside PostgreSQL and RabbitMQ, over SSH, custom types included."""
    repository = Repository(ssh_host.repository("shared"), ssh_host.url("shared"))
    separate.start()
    text = (MANIFESTS / "one-repo-two-branches.yaml").read_text()
    ours = text.replace("ssh://git@127.0.0.1:2222/srv/git/shared.git", repository.url)
    assert ours != text
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    git_secret(api, "shop", "git-creds", ssh_host.credentials)
    api.kubectl_works("apply", "-f", "-", stdin=ours)
    commits = Commits(repository)
    web = yaml.safe_dump(manifest("deployments", "web", spec=deployment()))

    def kubectl(*words: str, stdin: str = "") -> Callable[[], str]:
        return lambda: api.kubectl_works("--namespace", "shop", *words, stdin=stdin)

    settings = yaml.safe_dump(manifest("configmaps", "settings", data={"on": "yes"}))
    kubectl("apply", "-f", "-", stdin=settings)()
    for branch in ("main", "dev"):
        wait_until(lambda branch=branch: repository.tip(branch), what=branch)  # type: ignore[misc]
    commits.after("create a Deployment", kubectl("apply", "-f", "-", stdin=web))
    scaled = kubectl("patch", "deployment", "web", "-p", '{"spec": {"replicas": 3}}')
    assert commits.after("patch a Deployment", scaled) == "[UPDATE] apps/v1/deployments/web by manager/kubectl-patch"
    commits.after("delete a Deployment", kubectl("delete", "deployment", "web"))
    assert audited(separate, repository.tip())["destination"] == "shop/prod"

    custom = ("apply", "-f", str(MANIFESTS / "custom-resource.yaml"))
    first = api.kubectl(*custom)
    assert 'no matches for kind "Order"' in first.stderr
    wait_until(lambda: api.kubectl(*custom).returncode == 0, what="the CRD is served")
    order = "clusters/prod/shop.example.com/v1/orders/shop/alice-1.yaml"
    content = wait_until(lambda: repository.read(order), what="the Order")
    assert 'customer: "no"' in content
    assert 'flavor: "1e3"' in content
    assert "last-applied" not in content
    assert "uid:" not in content
    assert set(repository.tree("main")) == {order, path_of("clusters/prod", "configmaps", "shop", "settings")}
    # The branch dev was missing and started from main, with what prod had there by then.
    dev = {path for path in repository.tree("dev") if not path.startswith("clusters/prod/")}
    assert dev == {path_of("clusters/dev", "configmaps", "shop", "settings")}
    median(commits.times)
    found = {one["destination"]: one for one in separate.answer("status")}
    assert {name: one["branch"] for name, one in found.items()} == {"shop/prod": "main", "shop/dev": "dev"}
    assert all(one["ready"] for one in found.values())
