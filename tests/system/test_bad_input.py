"""Bad input, and the sentence that its user reads: when it is applied, in the status, on the terminal."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from app import queues, settings
from app.kube import client, crds
from app.rules import paths
from tests.contract.manifests import DEFINITIONS
from tests.git.servers import HttpsGitServer, SshGitServer, commit_file
from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY, ApiServer
from tests.system.cluster import MERGE, Api, Destination, RefusedError, git_secret, rendered, repo_config
from tests.system.installation import Embedded, Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

TOKEN = "ghp-canary-token-4711"


# A folder -> what the rules of our CRD say to it, and what we say where it came past them.
OUTSIDE = "inside of the repository", "write the plain path inside the repository"
NO_FOLDER = "write a relative folder such as clusters/prod", "must be relative and made of letters, digits and . _ -"
OF_GIT = "a name that belongs to Git: choose another one", "which belongs to Git: choose another name"
FOLDERS = {
    "../other": OUTSIDE,
    "/etc": NO_FOLDER,
    "a/../../b": OUTSIDE,
    ".git/hooks": OF_GIT,
    "x/.GIT": OF_GIT,
    "x/.gitmodules": OF_GIT,
    "git~1": NO_FOLDER,
    "a\0b": NO_FOLDER,
    "a\nb": NO_FOLDER,
    "a\n": NO_FOLDER,
    "a\\b": NO_FOLDER,
    "a ": NO_FOLDER,
    "a./b": (OUTSIDE[0], "holds a segment that ends in a dot: rename it"),
    "a//b": NO_FOLDER,
    "x" * 201: ("may not be more than 200", "longer than 200 bytes: choose a shorter one"),
}


@KUBE_ONLY
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_outside_of_the_repository_is_not_stored(api: Api, folder: str) -> None:
    """The API server refuses a folder that is not plainly inside of the repository, with the reason."""
    namespace = api.namespace()
    with pytest.raises(RefusedError) as refused:
        Destination(api, namespace, "prod", repository="local", folder=folder)
    assert "spec.baseFolder" in str(refused.value)
    assert FOLDERS[folder][0] in str(refused.value)
    assert not api.list("gitdestinations", namespace)


@pytest.fixture
def any_folder(server: ApiServer, api: Api) -> Iterator[None]:
    """Meanwhile, our CRD says nothing of folders: what it refuses can be stored, as an older one would have let it."""
    path = DEFINITIONS.one("", "gitdestinations.configbutler.ai")
    versions = api.request("GET", path)["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["baseFolder"] = {"type": "string"}
    api.request("PATCH", path, {"spec": {"versions": versions}}, kind=MERGE)
    yield
    api.remove_ours()
    cluster = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
    crds.apply(cluster, allow_local=True)
    cluster.close()
    # A type whose schema changed answers 429 for a moment.
    wait_until(lambda: stored(api), what="our kinds are served again")


def stored(api: Api) -> bool:
    """Whether destinations can be read."""
    with contextlib.suppress(RefusedError):
        return api.list("gitdestinations") == []
    return False


@pytest.mark.promise("P13")
def test_a_folder_outside_of_the_repository_is_not_written(
    shared: Lane, api: Api, any_folder: None, repository: Repository
) -> None:
    """Whatever folder the API server has stored, we refuse it again, with the reason, and nothing is written."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    names = {f"bad-{number}": folder for number, folder in enumerate(FOLDERS)}

    def made(name: str, folder: str) -> bool:
        with contextlib.suppress(RefusedError):
            return bool(Destination(api, namespace, name, repository=config, folder=folder))
        return False

    for name, folder in names.items():
        wait_until(lambda name=name, folder=folder: made(name, folder), what=repr(folder))  # type: ignore[misc]
    for name, folder in names.items():
        said = api.wait_for_reason("gitdestinations", namespace, name, "InvalidFolder")
        assert said.startswith("baseFolder ")
        assert FOLDERS[folder][1] in said
        assert said in api.wait_for_reason("watchrules", namespace, name, "NotReady")
    good = Destination(api, namespace, "good", repository=config, branch="good")
    shared.wait_seeded(good.ref)
    assert repository.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/good"]
    assert set(repository.tree("good")) == {good.path("configmaps", "one")}


@KUBE_ONLY
def test_token_in_the_url(api: Api) -> None:
    """A URL with a token is refused with the advice to use secretRef, and the token is not echoed."""
    namespace = api.namespace()
    spec = {"repoUrl": f"https://robot:{TOKEN}@git.example.com/shop.git", "allowedBranches": ["*"]}
    with pytest.raises(RefusedError, match="use secretRef") as caught:
        api.create("gitrepoconfigs", namespace, "bad", spec=spec)
    assert TOKEN not in str(caught.value)
    assert not api.list("gitrepoconfigs", namespace)


def ready(api: Api, resource: str, namespace: str, name: str) -> dict[str, str]:
    """What the status says of Ready."""
    (found,) = [one for one in api.get(resource, namespace, name)["status"]["conditions"] if one["type"] == "Ready"]
    return {key: found[key] for key in ("status", "reason", "message")}


def test_unknown_destination(shared: Lane, api: Api) -> None:
    """A rule that names no destination says so, and what to do."""
    namespace = api.namespace()
    spec = {"destinationRef": {"name": "nobody"}, "rules": [{"resources": ["configmaps"]}]}
    api.create("watchrules", namespace, "lost", spec=spec)
    api.wait_for_reason("watchrules", namespace, "lost", "DestinationNotFound")
    assert ready(api, "watchrules", namespace, "lost") == {
        "status": "False",
        "reason": "DestinationNotFound",
        "message": f"unknown destination {namespace}/nobody: create the GitDestination, or correct destinationRef",
    }


def test_branch_that_is_not_allowed(shared: Lane, api: Api, repository: Repository) -> None:
    """A destination on a branch that its repository does not allow writes nothing; its rule says why, too."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    api.merge("gitrepoconfigs", namespace, config, spec={"allowedBranches": ["main", "release/*"]})
    Destination(api, namespace, "prod", repository=config, branch="hotfix")
    message = api.wait_for_reason("gitdestinations", namespace, "prod", "BranchNotAllowed")
    assert "hotfix" in message
    assert "main" in message
    assert message in api.wait_for_reason("watchrules", namespace, "prod", "NotReady")
    api.merge("gitrepoconfigs", namespace, config, spec={"allowedBranches": ["hotfix"]})
    wait_until(lambda: repository.tip("hotfix"), what="the branch, once it is allowed")


def test_overlapping_folders(shared: Lane, api: Api, repository: Repository) -> None:
    """Of two destinations whose folders overlap the older one works; the other one says Conflict and with whom."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    older = Destination(api, namespace, "a-older", repository=config, folder="clusters/prod")
    Destination(api, namespace, "b-younger", repository=config, folder="clusters/prod/inner")
    message = api.wait_for_reason("gitdestinations", namespace, "b-younger", "Conflict")
    assert message == (
        f"clusters/prod/inner on main overlaps the folder of GitDestination {namespace}/a-older: "
        "choose another baseFolder or branch"
    )
    shared.wait_seeded(older.ref)
    assert set(repository.tree()) == {older.path("configmaps", "one")}


def test_missing_secret(shared: Lane, api: Api, https_host: HttpsGitServer) -> None:
    """Without the Secret the status names it, the rows wait, and nothing is asked of the host."""
    repository = Repository(https_host.repository("shop"), https_host.url("shop"))
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "https", repository.url, secret="robot")
    destination = Destination(api, namespace, "prod", repository=config)
    message = api.wait_for_reason("gitdestinations", namespace, "prod", "SecretNotFound")
    assert f"the Secret robot is not in namespace {namespace}: create it there, beside the GitRepoConfig" in message
    assert not https_host.requests
    assert shared.pending(destination.ref)


def test_wrong_password(shared: Lane, api: Api, https_host: HttpsGitServer) -> None:
    """A refused password is said without being shown, and the rows wait; another Secret is used at once."""
    repository = Repository(https_host.repository("shop"), https_host.url("shop"))
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    secret = git_secret(api, namespace, "robot", replace(https_host.credentials, password=TOKEN))
    config = repo_config(api, namespace, "https", repository.url, secret=secret)
    destination = Destination(api, namespace, "prod", repository=config)
    message = api.wait_for_reason("gitdestinations", namespace, "prod", "AuthenticationFailed")
    assert "check the Secret that secretRef names" in message
    assert "next try at" in message
    table = shared.reverser("status").stdout
    assert "check the Secret that secretRef names" in table
    assert TOKEN not in table + message
    assert not [path for path, content in shared.files() if TOKEN.encode() in content]
    assert shared.pending(destination.ref) == 2
    assert not repository.tip()
    right = git_secret(api, namespace, "right", https_host.credentials)
    api.merge("gitrepoconfigs", namespace, config, spec={"secretRef": {"name": right}})
    wait_until(repository.tip, what="the branch")


@pytest.mark.sshd
def test_changed_host_key(shared: Lane, api: Api, ssh_host: SshGitServer) -> None:
    """A host key that differs from known_hosts is refused: the status says so, and nothing is written."""
    repository = Repository(ssh_host.repository("shop"), ssh_host.url("shop"))
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    ssh_host.create_key("stranger")
    wrong = replace(ssh_host.credentials, known_hosts=ssh_host.known_hosts("stranger"))
    config = repo_config(api, namespace, "ssh", repository.url, secret=git_secret(api, namespace, "robot", wrong))
    Destination(api, namespace, "prod", repository=config)
    message = api.wait_for_reason("gitdestinations", namespace, "prod", "HostKeyMismatch")
    assert "known_hosts" in message
    assert not repository.tip()


@SANDBOX_ONLY
def test_malformed_messages(shared: Embedded, api: Api, repository: Repository) -> None:
    """Whatever somebody pushes onto a queue: the next change of its destination is in Git, and nothing was run."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    worker = shared.pid("worker")
    queue = f"dest.{namespace}.prod"
    task = {"task": "reverser.apply_events", "id": "4711"}
    message = {"body": "bnVsbA==", "content-type": "application/json", "content-encoding": "utf-8"}
    properties = {"delivery_tag": "1", "delivery_info": {"exchange": "dest"}, "body_encoding": "base64"}
    raw = [
        b"",
        b"\x80\x04no json",
        b"null",
        b"{}",
        json.dumps(message).encode(),
        json.dumps({**message, "headers": task, "properties": properties}).encode(),
        b"[" * 20_000,
    ]
    with shared.redis() as client:
        for one in raw:
            client.lpush(queue, one)
    api.create("configmaps", namespace, "after", data={"key": "value"})
    wait_until(lambda: repository.read(destination.path("configmaps", "after")), what="the change after them")
    with shared.redis() as client:
        wait_until(lambda: client.llen(queue) == 0, what="the queue gets empty")
        kept = queues.DEAD_QUEUE
        wait_until(lambda: client.llen(kept) == len(raw), what="each is kept for whoever looks for its sender")
        client.delete(kept)
    assert shared.pid("worker") == worker, "the worker lives on"


@SANDBOX_ONLY
def test_database_of_a_newer_version(api: Api, sqlite_url: str, tmp_path: Path) -> None:
    """A process that meets a database of a newer version says what to do, and leaves it as it is."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    class Newer(Lane):
        options = replace(
            settings.Settings(),
            database_url=sqlite_url,
            broker_url=f"redis+socket://{tmp_path}/nobody.sock",
            work_dir=tmp_path / "work",
            kubeconfig=str(api.kubeconfig),
        )

    commands = ("watch", "worker", "status", "migrate")
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(commands, pool.map(Newer().reverser, commands), strict=True))
    for command, done in answers.items():
        said = done.stdout + done.stderr
        assert done.returncode == 1, f"{command}: {said}"
        assert "newer version of Reverser" in said, command
        assert "Traceback" not in said, command
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
        for table in ("worker_node", "watch_lease"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


# Legal names of a Role that Git or a file system would refuse as they are, take for something else, or for one another;
# and names that a terminal or a page shows as another one.
NAMES = (
    *("..x", ".git", "GIT~1", "a:b", "con", "NUL", "x\\y", "-rf", "a.", "a ", "...", "<b>", "'", "x" * 253),
    *("twin", "Twin", "caf\u00e9", "cafe\u0301", "\u00df", "ss"),
    *("a\nb", "a\x00b", "\x1b[2J", "a\u200cb", "\u202egnp", "\ufeffa"),
)


@pytest.mark.promise("P13")
def test_odd_names_and_a_link(shared: Lane, api: Api, repository: Repository, tmp_path: Path) -> None:
    """Whatever an object is called, its file stands in the folder; a link in its place is refused, and not followed."""
    namespace, outside = api.namespace(), tmp_path / "outside.yaml"
    outside.write_text("untouched")
    link = f"clusters/prod/v1/configmaps/{namespace}/linked.yaml"
    commit_file(repository.path, link, str(outside), mode="120000")
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=("configmaps", "roles"))
    shared.wait_seeded(destination.ref)
    for name in NAMES:
        api.create("roles", namespace, name, rules=[])
    api.create("configmaps", namespace, "linked", data={"key": "value"})
    wanted = {link: str(outside).encode(), **rendered(api.list("roles", namespace), folder="clusters/prod")}
    wait_until(lambda: repository.tree() == wanted, what="a file for each name")
    shared.wait_drained(destination.ref)
    (dead,) = shared.rows(
        "SELECT name, state_reason FROM event WHERE namespace = :name AND state = 'dead'", name=namespace
    )
    assert dead["name"] == "linked"
    assert "move it away in Git" in dead["state_reason"]
    assert outside.read_text() == "untouched"
    assert repository.tree() == wanted
    assert repository.git("fsck", "--strict") == ""
    assert len({path.casefold() for path in wanted}) == len(NAMES) + 1
    assert all(path.isascii() and path.startswith("clusters/prod/") for path in wanted)


@pytest.mark.promise("P2", "P13")
def test_odd_names_go_again(shared: Lane, api: Api, repository: Repository) -> None:
    """Each odd name has one file that says whose it is; with its object that file goes, and no other one."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config, resources=["roles"])
    shared.wait_seeded(destination.ref)
    for name in NAMES:
        api.create("roles", namespace, name, rules=[])
    wait_until(lambda: len(repository.tree()) == len(NAMES), what="a file for each name")
    files = {destination.path("roles", name): name for name in NAMES}
    assert repository.tree().keys() == files.keys()
    for path, name in files.items():
        location = paths.decode(destination.folder, path, name=name)
        assert location == paths.Location("rbac.authorization.k8s.io", "v1", "roles", namespace, name)
    for path, name in list(files.items()):
        api.delete("roles", namespace, quote(name, safe=""))
        del files[path]
        wait_until(lambda files=files: repository.tree().keys() == files.keys(), what=repr(name))  # type: ignore[misc]
    records = shared.answer("audit", "log", "--destination", destination.ref, "--limit", "200")
    deleted = {one["object"] for one in records if one["operation"] == "DELETE"}
    assert deleted == {f"rbac.authorization.k8s.io/v1/roles/{name}" for name in NAMES}
    # Nothing of a name begins a line: a subject and a trailer each are one line.
    for message in repository.git("log", "-z", "--format=%B", "main").strip("\0").split("\0"):
        subject, empty, *trailers = message.strip().split("\n")
        assert subject.startswith(("[CREATE] rbac.authorization.k8s.io/v1/roles/", "[DELETE] rbac.", "[SEED_SYNC] "))
        assert not empty
        assert all(line.startswith("Reverser-") for line in trailers)


MANAGERS = ("a <x@y> b", "system:admin", "quote\" ' \\ back", "Zoë 漢字", "<>", "x" * 128)


@pytest.mark.promise("P13")
def test_odd_managers(shared: Lane, api: Api, repository: Repository) -> None:
    """Whatever a field manager is called, the commit has a valid identity, and git fsck has nothing to say."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    for number, manager in enumerate(MANAGERS):
        before = repository.tip()
        api.apply("configmaps", namespace, f"of-{number}", manager=manager, data={"key": "value"})
        wait_until(lambda before=before: repository.tip() != before, what="the commit")  # type: ignore[misc]
        name, email = repository.git("log", "-1", "--format=%an%n%ae", "main").splitlines()
        assert name
        assert "@" in email
        assert not set("<>\n") & set(name + email)
        subject = repository.git("log", "-1", "--format=%s", "main")
        assert subject.startswith(f"[CREATE] v1/configmaps/of-{number} by manager/")
        words = ("audit", "log", "--destination", destination.ref, "--object", f"of-{number}")
        (entry,) = wait_until(lambda words=words: shared.answer(*words), what="the record")  # type: ignore[misc]
        assert entry["user_name"] == manager
    assert repository.git("fsck", "--strict") == ""
