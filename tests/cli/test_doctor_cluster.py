"""`reverser doctor` on a cluster: reachable, the recorded one, our four kinds, the rights of the account that asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import events, settings
from app.kube import client, crds, kinds, status
from tests.cli.patient import Diagnosis, Patient
from tests.git import servers
from tests.kube import objects
from tests.servers.api import EACH, KUBE_ONLY, SANDBOX_ONLY, ApiServer, make, token
from tests.servers.redis import RedisServer
from tests.servers.sandbox import SandboxServer

NO_BROKER = "redis+socket:///nowhere/redis.sock"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server; only the real one refuses by RBAC."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: ApiServer) -> Iterator[client.Cluster]:
    """It as its administrator sees it, with the right to get kube-system for everybody."""
    opened = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
    for user in ("reader", "alice"):
        grant(opened, user, "meet", {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]})
    yield opened
    opened.close()


def grant(cluster: client.Cluster, user: str, name: str, *rules: dict[str, Any], namespace: str = "") -> None:
    """A role with its binding, in the cluster or in a namespace."""
    kind = "Role" if namespace else "ClusterRole"
    place = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
    metadata = {"name": f"{user}-{name}"}
    role = {"metadata": metadata, "rules": list(rules)}
    binding = {
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    cluster.request("POST", f"{place}/{kind.lower()}s", body=orjson.dumps(role))
    cluster.request("POST", f"{place}/{kind.lower()}bindings", body=orjson.dumps(binding))


@pytest.fixture
def patient(tmp_path: Path, sqlite_url: str) -> Patient:
    """An installation that never met a cluster."""
    return Patient(tmp_path, database_url=sqlite_url, broker_url=NO_BROKER)


def look(patient: Patient, server: ApiServer, user: str = "admin", *words: str) -> Diagnosis:
    """Run the doctor as a user of the cluster."""
    return patient.doctor(*words, KUBECONFIG=str(server.kubeconfig(user)))


def test_no_cluster_at_all(patient: Patient) -> None:
    """Without a kubeconfig and outside of a pod the cluster fails, and what only it could tell is skipped."""
    found = patient.doctor()
    assert (found.levels("cluster"), found.levels("kinds"), found.levels("rights")) == (["FAIL"], ["SKIP"], ["SKIP"])
    assert "KUBECONFIG" in found.worst("cluster")["do"]


def test_a_worker_with_a_folder_of_secrets_needs_no_cluster(patient: Patient, tmp_path: Path) -> None:
    """Where Secrets come from a folder and there is no kubeconfig, the cluster is skipped."""
    found = patient.doctor(REVERSER_CREDENTIALS_DIR=str(tmp_path))
    assert found.levels("cluster") == ["SKIP"]


def test_a_cluster_that_does_not_answer(patient: Patient, tmp_path: Path) -> None:
    """A server that is away is a failure; a destination whose Secret stands there is skipped, others are not."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: canary}}]}"
    )
    patient.destination("secret", url="https://127.0.0.1:1/a.git", transport="https", secret="git")
    patient.destination("open", url="https://127.0.0.1:1/b.git", transport="https")
    found = patient.doctor(KUBECONFIG=str(kubeconfig))
    assert (found.levels("cluster"), found.levels("rights")) == (["FAIL"], ["SKIP"])
    assert "no answer from the cluster" in found.worst("cluster")["found"]
    assert found.levels("destination") == ["FAIL", "SKIP"]
    assert "canary" not in found.text


@pytest.mark.parametrize("name", EACH)
def test_a_cluster_without_our_kinds(patient: Patient, tmp_path: Path, name: str) -> None:
    """Kinds that are not served are named with the command that applies them."""
    with make(name, tmp_path / "bare") as bare:
        found = look(patient, bare)
        assert found.levels("cluster") == ["OK"]
        assert "ClusterWatchRule, GitDestination" in found.worst("kinds")["found"]
        assert found.worst("kinds")["do"] == "reverser crds | kubectl apply -f -"
        opened = client.connect(settings.Settings(kubeconfig=str(bare.kubeconfig())))
        crds.apply(opened, allow_local=False)
        opened.close()
        assert look(patient, bare).levels("kinds") == ["OK"]


def test_an_object_that_needs_a_person(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """A rule whose status says Stalled is a failure in the status' words, a warning while part of it works."""
    crds.apply(cluster, allow_local=False)
    place = objects.namespace(cluster)
    rule = kinds.OUR_TYPES["WatchRule"]
    spec = {"destinationRef": {"name": "nowhere"}, "rules": [{"resources": ["configmaps"]}]}
    try:
        made = objects.create(cluster, rule, {"metadata": {"name": "apps", "namespace": place}, "spec": spec})
        assert look(patient, server).levels("objects") == ["OK"]
        for ready, level in (("False", "FAIL"), ("True", "WARN")):
            words = "unknown destination nowhere: create the GitDestination"
            now = datetime.now(UTC)
            new = [status.Condition("Ready", ready, "R", "m"), status.Condition("Stalled", "True", "R", words)]  # type: ignore[arg-type]
            conditions = status.merge_conditions([], new, generation=1, now=now)
            made = dict(status.patch_status(cluster, rule, made, status={"conditions": conditions}))
            finding = look(patient, server).worst("objects")
            assert (finding["level"], finding["subject"]) == (level, f"WatchRule {place}/apps")
            assert words in finding["found"]
            assert finding["do"] == f"kubectl -n {place} edit wr apps"
    finally:
        objects.delete(cluster, rule, events.Ref(place, "apps"))


def test_another_cluster_than_the_recorded_one(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """The uid of kube-system decides: another one is a failure, the recorded one is said to be it."""
    patient.watch_leads(uid="uid-of-another")
    found = look(patient, server)
    assert "another cluster than the recorded one" in found.worst("cluster")["found"]
    assert found.levels("rights") == ["SKIP"]


def test_the_recorded_cluster(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """The recorded cluster is OK, with its version and the account that asks."""
    patient.watch_leads(uid=cluster.uid())
    (finding,) = look(patient, server).of("cluster")
    assert finding["level"] == "OK"
    assert "to us as admin, and it is the recorded one" in finding["found"]


@KUBE_ONLY
def test_an_account_without_rights(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """Each missing right is a line with the rule that gives it: for rules, our kinds, their status and Secrets."""
    place = objects.namespace(cluster)
    found = patient.destination("prod", url="https://127.0.0.1:1/a.git", transport="https", secret="git")
    patient.rule(found, ("", "configmaps", place), ("apps", "deployments", place))
    rights = {one["subject"]: one for one in look(patient, server, "reader").of("rights")}
    configmaps = rights[f"list and watch configmaps in namespace {place}"]
    assert configmaps["level"] == "FAIL"
    assert '{apiGroups: [""], resources: ["configmaps"], verbs: ["list", "watch"]}' in configmaps["do"]
    assert f"list and watch deployments.apps in namespace {place}" in rights
    assert rights["patch gitdestinations.configbutler.ai/status"]["level"] == "FAIL"
    assert 'resourceNames: ["git"]' in rights["get secrets shop/git"]["do"]
    assert rights["list and watch customresourcedefinitions.apiextensions.k8s.io"]["level"] == "WARN"


@KUBE_ONLY
def test_an_account_with_the_rights_that_were_named(
    patient: Patient, server: ApiServer, cluster: client.Cluster
) -> None:
    """Who grants what the doctor asks for has an account without a missing right."""
    place, other = objects.namespace(cluster), objects.namespace(cluster)
    found = patient.destination("prod", url="https://127.0.0.1:1/a.git", transport="https", secret="git")
    patient.rule(found, ("", "configmaps", place), ("", "services", ""), ("apps", "deployments", other))
    objects.create(cluster, objects.NAMESPACES, {"metadata": {"name": "shop"}})
    for number, finding in enumerate(look(patient, server, "alice").of("rights")):
        _, _, rule = finding["do"].partition(": {")
        fields = orjson.loads(_as_json("{" + rule))
        _, _, namespace = finding["subject"].partition("in namespace ")
        inside = namespace or ("shop" if "secrets" in finding["subject"] else "")
        grant(cluster, "alice", f"rule-{number}", fields, namespace=inside)
    (finding,) = look(patient, server, "alice").of("rights")
    assert (finding["level"], finding["found"]) == ("OK", "enough for our kinds, 3 types of the rules, 1 Secret")


def _as_json(rule: str) -> str:
    for field in ("apiGroups", "resources", "resourceNames", "verbs"):
        rule = rule.replace(f"{field}:", f'"{field}":')
    return rule


@KUBE_ONLY
def test_each_process_needs_rights_of_its_own(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """A worker is asked for its Secrets alone, and needs no other right; a watch daemon is not asked for them."""
    patient.watch_leads(uid=cluster.uid())
    found = patient.destination("prod", url="https://127.0.0.1:1/a.git", transport="https", secret="git")
    patient.rule(found, ("", "configmaps", ""))
    # bob has no right at all, not even to see which cluster it is.
    as_worker, as_watch = (
        look(patient, server, "bob", "--for", "worker"),
        look(patient, server, "reader", "--for", "watch"),
    )
    assert as_worker.levels("cluster") == ["OK"]
    assert [one["subject"] for one in as_worker.of("rights")] == ["get secrets shop/git"]
    assert as_worker.of("kinds") == as_worker.of("objects") == []
    assert as_watch.levels("cluster") == ["OK"]
    assert "list and watch configmaps" in [one["subject"] for one in as_watch.of("rights")]
    assert "get secrets shop/git" not in [one["subject"] for one in as_watch.of("rights")]
    assert as_watch.of("destination") == []


@KUBE_ONLY
def test_a_type_of_two_namespaces_is_read_in_all(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """The watch daemon follows such a type with one stream over all namespaces, so a right in each is not enough."""
    one, two = objects.namespace(cluster), objects.namespace(cluster)
    allowed = {"apiGroups": [""], "resources": ["limitranges"], "verbs": ["list", "watch"]}
    for place in (one, two):
        grant(cluster, "reader", "limits", allowed, namespace=place)
    found = patient.destination("prod", url="https://127.0.0.1:1/a.git", transport="https")
    patient.rule(found, ("", "limitranges", one))
    assert not _about_limits(look(patient, server, "reader"))
    patient.rule(found, ("", "limitranges", one), ("", "limitranges", two))
    assert _about_limits(look(patient, server, "reader")) == ["list and watch limitranges"]


def _about_limits(found: Diagnosis) -> list[str]:
    return [one["subject"] for one in found.of("rights") if "limitranges" in one["subject"]]


@SANDBOX_ONLY
@pytest.mark.parametrize(
    ("status", "path", "expected"),
    [
        (500, "selfsubjectaccessreviews", ("rights", "FAIL", "answered 500")),
        (403, "namespaces/kube-system", ("cluster", "FAIL", 'resources: ["namespaces"]')),
        (429, "namespaces/kube-system", ("cluster", "FAIL", "answered 429")),
        (403, "/watchrules", ("objects", "SKIP", "forbidden")),
    ],
)
def test_a_cluster_that_refuses_in_part(
    patient: Patient, server: SandboxServer, status: int, path: str, expected: tuple[str, str, str]
) -> None:
    """A refusal is a line of the check that asked, without a traceback, and the others go on."""
    opened = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
    crds.apply(opened, allow_local=False)
    opened.close()
    server.fault("answer", status=status, path=path, verb="", times=0)
    try:
        found = look(patient, server)
    finally:
        server.clear_faults()
    check, level, words = expected
    finding = found.worst(check)
    assert (finding["level"], words in finding["found"]) == (level, True), finding
    assert found.levels("database") == found.levels("disk") == ["OK"]
    assert "next try" not in finding["found"]


@SANDBOX_ONLY
def test_a_cluster_that_hangs(patient: Patient, server: SandboxServer, cluster: client.Cluster) -> None:
    """A server that takes a connection and does not answer costs its timeout once."""
    server.fault("delay", seconds=20, path="namespaces/kube-system", times=1)
    try:
        found = patient.doctor(KUBECONFIG=str(server.kubeconfig()), REVERSER_KUBE_READ_TIMEOUT="1")
    finally:
        server.clear_faults()
    assert "no answer from the cluster" in found.worst("cluster")["found"]


def test_a_token_that_is_refused(patient: Patient, server: ApiServer, cluster: client.Cluster, tmp_path: Path) -> None:
    """Wrong credentials are said as such, and not shown."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig().read_text().replace(token(server.kubeconfig()), "token-canary"))
    found = patient.doctor(KUBECONFIG=str(kubeconfig))
    assert "does not accept our credentials" in found.worst("cluster")["found"]
    assert "canary" not in found.text


def test_nothing_in_the_cluster_changes(patient: Patient, server: ApiServer, cluster: client.Cluster) -> None:
    """Every object that is not a heartbeat is at the resourceVersion of before."""
    found = patient.destination("prod", url="https://127.0.0.1:1/a.git", transport="https", secret="git")
    patient.rule(found, ("", "configmaps", ""))
    before = _versions(cluster)
    look(patient, server)
    assert _versions(cluster) == before


def _versions(cluster: client.Cluster) -> dict[str, str]:
    paths = ["/api/v1/namespaces", "/api/v1/configmaps", "/api/v1/secrets", "/api/v1/events", f"{RBAC}/clusterroles"]
    paths.append("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    listed = [item["metadata"] for path in paths for item in cluster.get_json(path)["items"]]
    return {one["uid"]: one["resourceVersion"] for one in listed}


def test_all_is_well(
    patient: Patient, server: ApiServer, cluster: client.Cluster, redis_server: RedisServer, tmp_path: Path
) -> None:
    """An installation without a fault ends with exit code 0 and one sentence."""
    crds.apply(cluster, allow_local=False)
    host = servers.LocalHost(tmp_path / "git")
    host.folder.mkdir()
    host.repository()
    found = patient.destination("prod", url=host.url(), transport="file")
    patient.rule(found, ("", "configmaps", ""))
    patient.watch_leads(uid=cluster.uid())
    patient.worker_lives()
    done = patient.command(
        KUBECONFIG=str(server.kubeconfig()),
        REVERSER_BROKER_URL=redis_server.url,
        REVERSER_ALLOW_LOCAL_REPOS="true",
    )
    assert done.exit_code == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "All is well."
