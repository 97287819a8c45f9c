"""Our CRDs in the API servers: what users apply is accepted, what is dangerous is refused with advice."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from app import errors, events, settings
from app.kube import client, crds, kinds, paths, status
from tests import lanes
from tests.kube import objects
from tests.servers.api import KUBE_ONLY, ApiServer
from tests.servers.kube import KubeServer
from tests.waiting import wait_until

# The rules of our CRDs in CEL: the sandbox takes what they refuse, and the compiler refuses it (tests/unit/rules).
NEEDS_RULES = KUBE_ONLY
MANIFESTS = Path(__file__).parent / "manifests"


@pytest.fixture(scope="module")
def own_kube(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of this module's own: the schema that allows local repositories is for the whole cluster."""
    server = KubeServer(tmp_path_factory.mktemp("crds"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def kubectl(server: ApiServer, *arguments: str, text: str = "") -> str:
    """Run kubectl; its output, errors included."""
    program = lanes.find_program("kubectl") or lanes.leave_out("kubectl")
    kubeconfig = server.kubeconfig()
    # Its cache of the types that it has seen is kept by address, and another server may have had ours.
    command = [str(program), "--kubeconfig", str(kubeconfig), "--cache-dir", str(kubeconfig.parent / "kubectl")]
    command += arguments
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def refusal(cluster: client.Cluster, kind: str, found: dict[str, Any]) -> str:
    """What the server says to an object, empty when it takes it; nothing is kept."""
    our_type = kinds.OUR_TYPES[kind]
    namespace = "default" if our_type.namespaced else ""
    body = {
        "apiVersion": our_type.api_version,
        "kind": kind,
        **found,
        "metadata": {"name": "test", **found.get("metadata", {})},
    }
    session = cluster._session
    response = session.pool.request(
        "POST",
        f"{session.server}{paths.collection(our_type, namespace)}?dryRun=All&fieldValidation=Strict",
        body=orjson.dumps(body),
        headers={**session.headers(), "Content-Type": client.JSON},
    )
    return "" if response.status < 300 else str(response.json()["message"])


def repo(**spec: Any) -> dict[str, Any]:
    """A GitRepoConfig with some fields changed."""
    return {"spec": {"repoUrl": "https://git.example.com/a.git", "allowedBranches": ["main"], **spec}}


def destination(**spec: Any) -> dict[str, Any]:
    """A GitDestination with some fields changed."""
    return {"spec": {"repoRef": {"name": "repo"}, "branch": "main", "baseFolder": "prod", **spec}}


def rule(item: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A rule with one entry."""
    return {"spec": {"destinationRef": {"name": "prod"}, "rules": [item], **spec}}


@pytest.mark.kubectl
def test_what_users_apply_is_accepted_unchanged(server: ApiServer, our_kinds: client.Cluster) -> None:
    """The manifests that people have are accepted by kubectl; nothing in them is dropped."""
    for name in ("one-repo-two-branches", "cluster-wide"):
        assert "rror" not in kubectl(server, "apply", "-f", str(MANIFESTS / f"{name}.yaml"))
    # The file brings a CRD and an object of it, so that the first round may be too early for the object.
    custom = str(MANIFESTS / "custom-resource.yaml")
    kubectl(server, "apply", "-f", custom)
    wait_until(lambda: "rror" not in kubectl(server, "apply", "-f", custom))
    for path in MANIFESTS.glob("*.yaml"):
        for wanted in yaml.safe_load_all(path.read_text()):
            if wanted["kind"] in kinds.OUR_TYPES:
                _check_kept(our_kinds, wanted)


def _check_kept(cluster: client.Cluster, wanted: dict[str, Any]) -> None:
    metadata = wanted["metadata"]
    ref = events.Ref(metadata.get("namespace", ""), metadata["name"])
    found = cluster.get_json(paths.single(kinds.OUR_TYPES[wanted["kind"]], ref))
    assert found["spec"] == wanted["spec"]
    assert kinds.read(found).meta.ref == ref


@pytest.mark.kubectl
def test_kubectl_shows_what_matters(server: ApiServer, our_kinds: client.Cluster, place: str) -> None:
    """`kubectl get gd` shows repository, branch, folder, readiness, last commit and what waits."""
    spec = destination(baseFolder="clusters/prod")["spec"]
    found = objects.create(
        our_kinds, kinds.OUR_TYPES["GitDestination"], {"metadata": {"name": "prod", "namespace": place}, "spec": spec}
    )
    condition = {"type": "Ready", "status": "True", "reason": "Synced", "message": "-"}
    status.patch_status(
        our_kinds,
        kinds.OUR_TYPES["GitDestination"],
        found,
        status={
            "conditions": [{**condition, "lastTransitionTime": "2030-01-01T00:00:00Z"}],
            "lastCommitSHA": "abc123",
            "pending": 7,
        },
    )
    head, row, *_ = kubectl(server, "get", "gd", "-n", place).splitlines()
    assert head.split() == ["NAME", "REPO", "BRANCH", "FOLDER", "READY", "REASON", "LAST-COMMIT", "PENDING", "AGE"]
    assert row.split()[:8] == ["prod", "repo", "main", "clusters/prod", "True", "Synced", "abc123", "7"]
    for name in ("grc", "gd", "wr", "cwr", "reverser"):
        assert "error" not in kubectl(server, "get", name, "-n", place)


@pytest.mark.parametrize("kind", ["WatchRule", "ClusterWatchRule"])
def test_get_wide_shows_how_much_a_rule_holds(our_kinds: client.Cluster, place: str, kind: str) -> None:
    """`kubectl get wr,cwr -o wide` has the number of files: a rule that is ready and selects nothing stands out."""
    our_type = kinds.OUR_TYPES[kind]
    namespace, item = (place, {}) if our_type.namespaced else ("", {"scope": "Namespaced"})
    spec = {
        "destinationRef": {"name": "prod", "namespace": place},
        "rules": [{"resources": ["configmaps"], **item}],
    }
    metadata = {"name": place, **({"namespace": namespace} if namespace else {})}
    found = objects.create(our_kinds, our_type, {"metadata": metadata, "spec": spec})
    status.patch_status(our_kinds, our_type, found, status={"objects": 7})
    session = our_kinds._session
    response = session.pool.request(
        "GET",
        f"{session.server}{paths.collection(our_type, namespace)}",
        headers={**session.headers(), "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    )
    table = response.json()
    columns = [(one["name"], one["priority"]) for one in table["columnDefinitions"]]
    (row,) = (one["cells"] for one in table["rows"] if one["cells"][0] == place)
    assert row[columns.index(("Objects", 1))] == 7
    objects.delete(our_kinds, our_type, events.Ref(namespace, place))


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com/a.git",
        "https://git.example.com:8443/group/sub/a",
        "https://[2001:db8::1]/a.git",
        "ssh://git@git.example.com/a.git",
        "ssh://git@127.0.0.1:2222/srv/git/a.git",
        "git@git.example.com:group/a.git",
    ],
)
def test_a_repository_url_is_accepted(our_kinds: client.Cluster, url: str) -> None:
    """HTTPS, SSH and the short form of SSH are taken."""
    assert refusal(our_kinds, "GitRepoConfig", repo(repoUrl=url)) == ""


@NEEDS_RULES
@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("ext::sh -c canary", "write https://HOST/PATH"),
        ("file:///srv/git/a.git", "write https://HOST/PATH"),
        ("/srv/git/a.git", "write https://HOST/PATH"),
        ("-ucanary", "begins with a dash"),
        ("--upload-pack=canary", "begins with a dash"),
        ("ssh://-oProxyCommand=canary/a", "begins with a dash"),
        ("ssh://git@-oProxyCommand=canary/a", "begins with a dash"),
        ("git@-oProxyCommand=canary:a", "begins with a dash"),
        ("git@host:-canary", "begins with a dash"),
        ("git://git.example.com/a.git", "write https://HOST/PATH"),
        ("http://git.example.com/a.git", "write https://HOST/PATH"),
        ("http://user:canary@git.example.com/a.git", "write https://HOST/PATH"),
        ("https://user:canary@git.example.com/a.git", "use secretRef"),
        ("https://canary@git.example.com/a.git", "use secretRef"),
        ("HTTPS://user:canary@git.example.com", "use secretRef"),
        ("ssh://git:canary@git.example.com/a.git", "use secretRef"),
        ("https://git.example.com/a b", "percent-encode"),
        ("https://git.example.com/a\nb", "percent-encode"),
        ("https://git.example.com/a\\b", "percent-encode"),
        ("ssh://git@git.example.com/$(canary)", "percent-encode"),
        ("https://git.example.com/../a", "plain path"),
        ("https://git.example.com/%2E%2e/a", "plain path"),
        ("git@host:../a", "plain path"),
        ("https://", "write https://HOST/PATH"),
        ("", "repoUrl"),
        ("https://git.example.com/" + "a" * 2_000, "repoUrl"),
    ],
)
def test_a_dangerous_url_is_refused(our_kinds: client.Cluster, url: str, advice: str) -> None:
    """What could run a program, read a file or hold a credential is refused with advice and without an echo."""
    message = refusal(our_kinds, "GitRepoConfig", repo(repoUrl=url))
    assert advice in message
    assert "canary" not in message


@NEEDS_RULES
@pytest.mark.parametrize(
    ("folder", "advice"),
    [
        ("../other", "plain path"),
        ("/etc", "relative folder"),
        ("a/../../b", "plain path"),
        ("a/./b", "plain path"),
        (".git/hooks", "belongs to Git"),
        ("x/.GIT", "belongs to Git"),
        ("x/.gitmodules", "belongs to Git"),
        ("git~1", "relative folder"),
        ("a\x00b", "relative folder"),
        ("a\nb", "relative folder"),
        ("a\n", "relative folder"),
        ("a\\b", "relative folder"),
        ("a ", "relative folder"),
        ("a.", "plain path"),
        ("a//b", "relative folder"),
        ("a/", "relative folder"),
        ("ä", "relative folder"),
        ("", "baseFolder"),
        ("a" * 201, "baseFolder"),
    ],
)
def test_a_folder_outside_of_the_repository_is_refused(our_kinds: client.Cluster, folder: str, advice: str) -> None:
    """A folder that leaves the repository, or that Git or a file system reads in a way of its own, is refused."""
    assert advice in refusal(our_kinds, "GitDestination", destination(baseFolder=folder))


@pytest.mark.parametrize("folder", ["prod", "clusters/prod", ".github/x", "a..b", "a" * 200])
def test_a_plain_folder_is_accepted(our_kinds: client.Cluster, folder: str) -> None:
    """Dots inside of a name are no way out."""
    assert refusal(our_kinds, "GitDestination", destination(baseFolder=folder)) == ""


NO_BRANCHES = [
    *("", "-x", "/x", "x/", "a//b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "@", "a@{1}", ".a"),
    *("a/.b", "a.lock", "a.lock/b", "a.", "refs/heads/main", "HEAD", "a\x7f", "a\nb", "x" * 201),
]


@NEEDS_RULES
@pytest.mark.parametrize("branch", NO_BRANCHES)
def test_what_git_takes_for_no_branch_is_refused(our_kinds: client.Cluster, branch: str) -> None:
    """A branch name that Git would refuse or read otherwise is refused when applied."""
    assert "spec.branch" in refusal(our_kinds, "GitDestination", destination(branch=branch))


@pytest.mark.parametrize("branch", ["main", "release/v1.2", "feature/ä", "dependabot/npm_and_yarn/x-1.0", "a@b"])
def test_a_branch_is_accepted(our_kinds: client.Cluster, branch: str) -> None:
    """Usual branch names are taken."""
    assert refusal(our_kinds, "GitDestination", destination(branch=branch)) == ""


def test_a_destination_has_a_branch(our_kinds: client.Cluster) -> None:
    """A destination without a branch is refused: it is never guessed."""
    spec = destination()["spec"]
    del spec["branch"]
    assert "spec.branch: Required" in refusal(our_kinds, "GitDestination", {"spec": spec})


@NEEDS_RULES
def test_a_queue_can_be_named_after_a_destination(our_kinds: client.Cluster) -> None:
    """A name that would make its queue's name too long for a broker (255 bytes) is refused."""
    longest = {**destination(), "metadata": {"name": "x" * 180}}
    assert refusal(our_kinds, "GitDestination", longest) == ""
    assert "at most 180" in refusal(our_kinds, "GitDestination", {**destination(), "metadata": {"name": "x" * 181}})


@pytest.mark.parametrize(
    ("kind", "found", "field"),
    [
        ("GitRepoConfig", {}, "spec"),
        ("GitRepoConfig", repo(allowedBranches=[]), "allowedBranches"),
        ("GitRepoConfig", repo(push={"maxCommits": 0}), "maxCommits"),
        ("GitRepoConfig", repo(secretRef={"name": "../x"}), "secretRef"),
        ("GitRepoConfig", repo(accessPolicy={"namespacedRules": {"mode": "FromSelector"}}), "mode"),
        ("GitRepoConfig", repo(commit={"author": "x"}), "unknown field"),
        ("GitDestination", destination(suspend=True), "unknown field"),
        ("GitDestination", destination(repoRef={"name": "a", "namespace": "../b"}), "namespace"),
        ("WatchRule", rule({"resources": []}), "resources"),
        ("WatchRule", rule({"operations": ["READ"], "resources": ["*"]}), "operations"),
        ("WatchRule", rule({"resources": ["*"], "scope": "Cluster"}), "unknown field"),
        ("ClusterWatchRule", rule({"resources": ["*"], "scope": "Cluster"}), "destinationRef.namespace"),
        (
            "ClusterWatchRule",
            rule({"resources": ["*"]}, destinationRef={"name": "prod", "namespace": "shop"}),
            "scope: Required",
        ),
    ],
)
def test_a_wrong_field_is_named(our_kinds: client.Cluster, kind: str, found: dict[str, Any], field: str) -> None:
    """A field that is wrong, missing or without effect is refused by name: nothing is accepted and ignored."""
    assert field in refusal(our_kinds, kind, found)


@NEEDS_RULES
def test_an_interval_is_a_duration(our_kinds: client.Cluster) -> None:
    """A text that is no duration is refused by the field's name."""
    assert "spec.push.interval" in refusal(our_kinds, "GitRepoConfig", repo(push={"interval": "soon"}))


def test_access_is_closed_by_default(our_kinds: client.Cluster, place: str) -> None:
    """A repository with an empty policy admits its own namespace and cluster rules."""
    found = objects.create(
        our_kinds,
        kinds.OUR_TYPES["GitRepoConfig"],
        {"metadata": {"name": "repo", "namespace": place}, **repo(accessPolicy={"namespacedRules": {}})},
    )
    assert found["spec"]["accessPolicy"] == {"namespacedRules": {"mode": "SameNamespace"}, "allowClusterRules": True}


@pytest.mark.kube
def test_local_repositories_are_a_choice_of_the_installation(own_kube: KubeServer) -> None:
    """With local repositories allowed, file:// is taken, everything else stays refused, and it can be taken back."""
    cluster = client.connect(settings.Settings(kubeconfig=str(own_kube.kubeconfig())))
    local = repo(repoUrl="file:///srv/git/a.git")
    crds.apply(cluster, allow_local=True)
    wait_until(lambda: not refusal(cluster, "GitRepoConfig", local))
    assert refusal(cluster, "GitRepoConfig", repo()) == ""
    for url in ("file:///srv/../etc", "file://host/x", "ext::sh -c x", "https://user:canary@git.example.com/a.git"):
        message = refusal(cluster, "GitRepoConfig", repo(repoUrl=url))
        assert message
        assert "canary" not in message
    crds.apply(cluster, allow_local=False)
    wait_until(lambda: refusal(cluster, "GitRepoConfig", local))


@pytest.mark.kubectl
def test_the_manifests_are_what_apply_applies(server: ApiServer) -> None:
    """`manifests` is a text for kubectl, with either choice."""
    for allow_local in (True, False):
        text = crds.manifests(allow_local=allow_local)
        assert kubectl(server, "apply", "--dry-run=server", "-f", "-", text=text).count("customresourcedefinition") >= 4
        assert ("file:///" in text) == allow_local


@KUBE_ONLY
def test_applying_needs_the_right_to(server: ApiServer) -> None:
    """Without the right to change CRDs, the message names it."""
    alice = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig("alice"))))
    with pytest.raises(errors.StalledError, match="customresourcedefinitions"):
        crds.apply(alice, allow_local=False)


def test_kinds_that_are_not_served_in_time_are_temporary(
    our_kinds: client.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that is slow to serve our kinds is tried again; the message says where to look."""
    monkeypatch.setattr(crds, "_SERVED_DEADLINE", 0.2)
    monkeypatch.setattr(crds, "_served", lambda *_: False)
    with pytest.raises(errors.TemporaryError, match="conditions of clusterwatchrules"):
        crds.apply(our_kinds, allow_local=False)


def test_a_damaged_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its CRD files, an installation names the folder where they are missing."""
    monkeypatch.setattr(crds, "FOLDER", tmp_path)
    with pytest.raises(errors.PermanentError, match=str(tmp_path)):
        crds.manifests(allow_local=False)


def test_all_kinds_tell_their_conditions_alike() -> None:
    """The four schemas have the same conditions, and every field is described."""
    documents = list(yaml.safe_load_all(crds.manifests(allow_local=False)))
    schemas = [one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] for one in documents]
    conditions = [schema["status"]["properties"]["conditions"] for schema in schemas]
    assert len(schemas) == 4
    assert all(one == conditions[0] for one in conditions)
    assert [
        field for schema in schemas for field in _undescribed(schema["spec"]) + _undescribed(schema["status"])
    ] == []


def _undescribed(schema: dict[str, Any]) -> list[str]:
    properties = {**schema.get("properties", {}), **schema.get("items", {}).get("properties", {})}
    bare = [name for name, one in properties.items() if not one.get("description")]
    return bare + [name for one in properties.values() for name in _undescribed(one)]
