"""Bad input, and the sentence that its user reads: when it is applied, in the status, on the terminal."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from app import settings
from tests.git.servers import HttpsGitServer, SshGitServer, commit_file
from tests.servers.api import KUBE_ONLY, SANDBOX_ONLY
from tests.system.cluster import Api, Destination, RefusedError, git_secret, rendered, repo_config
from tests.system.installation import Embedded, Lane
from tests.system.repository import Repository
from tests.waiting import wait_until

TOKEN = "ghp-canary-token-4711"


FOLDERS = ("../x", "/etc", "a/../../b", ".git/hooks")
# The reason by who says it: the rules of our CRD, and we ourselves where these are not evaluated.
RULED = ("inside of the repository", "write a relative folder", "belongs to Git")
COMPILED = ("inside the repository", "must be relative", "belongs to Git")


@KUBE_ONLY
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_outside_of_the_repository_is_not_stored(api: Api, folder: str) -> None:
    """The API server refuses a folder that is not plainly inside of the repository, with the reason."""
    namespace = api.namespace()
    with pytest.raises(RefusedError) as refused:
        Destination(api, namespace, "prod", repository="local", folder=folder)
    assert "spec.baseFolder" in str(refused.value)
    assert any(words in str(refused.value) for words in RULED)
    assert not api.list("gitdestinations", namespace)


@SANDBOX_ONLY
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_outside_of_the_repository_is_not_written(
    shared: Embedded, api: Api, repository: Repository, folder: str
) -> None:
    """Where the API server evaluates no rules of CRDs, we refuse the same, with the reason, and write nothing."""
    namespace = api.namespace()
    api.create("configmaps", namespace, "one", data={"key": "value"})
    config = repo_config(api, namespace, "local", repository.url)
    Destination(api, namespace, "prod", repository=config, folder=folder)
    said = api.wait_for_reason("gitdestinations", namespace, "prod", "InvalidFolder")
    assert "baseFolder" in said
    assert any(words in said for words in COMPILED)
    assert not repository.tip()


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


def test_unknown_destination(shared: Embedded, api: Api) -> None:
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


def test_branch_that_is_not_allowed(shared: Embedded, api: Api, repository: Repository) -> None:
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
    wait_until(lambda: repository.tip("hotfix"), 30, what="the branch, once it is allowed")


def test_overlapping_folders(shared: Embedded, api: Api, repository: Repository) -> None:
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


def test_missing_secret(shared: Embedded, api: Api, https_host: HttpsGitServer) -> None:
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


def test_wrong_password(shared: Embedded, api: Api, https_host: HttpsGitServer) -> None:
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
    wait_until(repository.tip, 20, what="the branch")


@pytest.mark.sshd
def test_changed_host_key(shared: Embedded, api: Api, ssh_host: SshGitServer) -> None:
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


@contextlib.contextmanager
def broker(lane: Lane) -> Iterator[redis.Redis]:
    """The Redis behind an installation."""
    client = redis.Redis(unix_socket_path=lane.options.broker_url.removeprefix("redis+socket://"))
    try:
        yield client
    finally:
        client.close()


def test_malformed_messages(shared: Embedded, api: Api, repository: Repository) -> None:
    """Whatever somebody pushes onto a queue: the next change of its destination is in Git, and nothing was run."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    worker = shared.up.pids["worker"]
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
    with broker(shared) as client:
        for one in raw:
            client.lpush(queue, one)
    api.create("configmaps", namespace, "after", data={"key": "value"})
    wait_until(lambda: repository.read(destination.path("configmaps", "after")), 30, what="the change after them")
    with broker(shared) as client:
        wait_until(lambda: client.llen(queue) == 0, 30, what="the queue gets empty")
    assert shared.up.pids["worker"] == worker, "the worker lives on"


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


# Legal names of a Role that Git or a file system would refuse as they are, or take for something else.
NAMES = ("..x", ".git", "GIT~1", "a:b", "con", "x\\y", "-rf", "caf\u00e9", "a\u200cb")


@pytest.mark.promise("P13")
def test_odd_names_and_a_link(shared: Embedded, api: Api, repository: Repository, tmp_path: Path) -> None:
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
    wait_until(lambda: repository.tree() == wanted, 30, what="a file for each name")
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


MANAGERS = ("a <x@y> b", "system:admin", "quote\" ' \\ back", "Zoë 漢字", "<>", "x" * 128)


@pytest.mark.promise("P13")
def test_odd_managers(shared: Embedded, api: Api, repository: Repository) -> None:
    """Whatever a field manager is called, the commit has a valid identity, and git fsck has nothing to say."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    shared.wait_seeded(destination.ref)
    for number, manager in enumerate(MANAGERS):
        before = repository.tip()
        api.apply("configmaps", namespace, f"of-{number}", manager=manager, data={"key": "value"})
        wait_until(lambda before=before: repository.tip() != before, 30, what="the commit")  # type: ignore[misc]
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
