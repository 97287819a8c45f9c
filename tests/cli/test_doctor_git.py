"""`reverser doctor` on Git: real hosts that refuse, hang or are gone; credentials from a folder, as workers may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import errors
from app.git import credentials
from app.models import destinations, leases
from tests import lanes
from tests.cli.patient import Finding, Patient
from tests.git import servers

NO_BROKER = "redis+socket:///nowhere/redis.sock"
# What Credentials call by field, as files of a Secret.
_KEYS = {name: keys[0] for name, keys in credentials.KEYS.items()}


@pytest.fixture
def patient(tmp_path: Path, sqlite_url: str) -> Patient:
    """An installation whose workers read Secrets from a folder, and may use repositories of this machine."""
    (tmp_path / "secrets").mkdir()
    return Patient(
        tmp_path,
        database_url=sqlite_url,
        broker_url=NO_BROKER,
        credentials_dir=str(tmp_path / "secrets"),
        allow_local_repos=True,
    )


@pytest.fixture
def local(tmp_path: Path) -> servers.LocalHost:
    """Repositories by file://."""
    (tmp_path / "git").mkdir()
    return servers.LocalHost(tmp_path / "git")


@pytest.fixture
def https(tmp_path: Path) -> Iterator[servers.HttpsGitServer]:
    """An HTTPS host with one empty repository."""
    (tmp_path / "https").mkdir()
    server = servers.HttpsGitServer(tmp_path / "https")
    server.repository()
    yield server
    server.stop()


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[servers.SshGitServer]:
    """An SSH host with one empty repository."""
    lanes.lane("sshd")
    (tmp_path / "ssh").mkdir()
    server = servers.SshGitServer(tmp_path / "ssh")
    server.repository()
    yield server
    server.stop()


def keep(patient: Patient, name: str, found: credentials.Credentials) -> str:
    """Write credentials as a mounted Secret of the namespace shop; its name."""
    folder = Path(patient.options.credentials_dir, "shop", name)
    folder.mkdir(parents=True)
    for field, text in found.to_wire().items():
        if text:
            (folder / _KEYS[field]).write_text(text)
    return name


def judged(patient: Patient, host: servers.LocalHost, **changes: str) -> Finding:
    """What is found of one destination on a host, with the host's credentials but for `changes`."""
    secret = None
    if host.transport != "file":
        secret = keep(patient, "git", replace(host.credentials, **changes))
    patient.destination("prod", url=host.url(), transport=host.transport, secret=secret)
    (finding,) = patient.doctor().of("destination")
    assert "canary" not in str(finding)
    return finding


def test_an_empty_repository_is_well(patient: Patient, local: servers.LocalHost) -> None:
    """An empty repository gets its branch with the first commit; that nothing was pushed yet is said."""
    local.repository()
    finding = judged(patient, local)
    assert finding["level"] == "OK"
    assert "the repository is empty: branch main starts with the first commit" in finding["found"]
    assert "write access is not proven" in finding["found"]


def test_a_branch_that_is_there(patient: Patient, local: servers.LocalHost) -> None:
    """A branch is named with its tip, and the last push with its age."""
    tip = servers.commit_file(local.repository(), "README", "hello")
    found = patient.destination("prod", url=local.url(), transport="file")
    with patient.writing() as database, database.write() as connection:
        destinations.note_success(connection, found, sha=tip)
    (finding,) = patient.doctor().of("destination")
    assert f"branch main stands at {tip[:10]}" in finding["found"]
    assert f"ago, was {tip[:10]}" in finding["found"]


def test_a_branch_that_is_missing_starts_from_the_default(patient: Patient, local: servers.LocalHost) -> None:
    """A new branch is no problem: the line says where it starts."""
    servers.commit_file(local.repository(), "README", "hello")
    patient.destination("prod", url=local.url(), transport="file", branch="dev")
    (finding,) = patient.doctor().of("destination")
    assert (finding["level"], "branch dev is missing and starts from main" in finding["found"]) == ("OK", True)


def test_a_branch_that_was_deleted(patient: Patient, local: servers.LocalHost) -> None:
    """A branch that was recorded and is gone is a failure: it is not made again."""
    servers.commit_file(local.repository(), "README", "hello")
    patient.destination("prod", url=local.url(), transport="file", branch="dev", branch_state=leases.PRESENT)
    (finding,) = patient.doctor().of("destination")
    assert (finding["level"], "was deleted" in finding["found"]) == ("FAIL", True)
    assert "kubectl -n shop edit gd prod" in finding["do"]


def test_a_local_repository_that_is_not_there(patient: Patient, local: servers.LocalHost) -> None:
    """A repository that is missing on this machine is a failure."""
    assert "no Git repository" in judged(patient, local)["found"]


def test_local_repositories_that_are_switched_off(patient: Patient, local: servers.LocalHost) -> None:
    """The doctor follows the setting that a worker follows."""
    local.repository()
    patient.destination("prod", url=local.url(), transport="file")
    (finding,) = patient.doctor(REVERSER_ALLOW_LOCAL_REPOS="false").of("destination")
    assert (finding["level"], "switched off" in finding["found"]) == ("FAIL", True)


def test_https_with_the_right_password(patient: Patient, https: servers.HttpsGitServer) -> None:
    """A login that works is OK."""
    assert judged(patient, https)["level"] == "OK"


@pytest.mark.parametrize(
    ("changes", "found", "do"),
    [
        ({"password": "wrong-canary"}, "refused the credentials", "Secret shop/git"),
        ({"password": ""}, "asks for credentials", "Secret shop/git"),
        ({"ca_certificate": ""}, "TLS certificate is not trusted", "ca.crt"),
        ({"ca_certificate": "canary"}, "no certificate in PEM form", "ca.crt"),
    ],
)
def test_https_that_refuses(
    patient: Patient, https: servers.HttpsGitServer, changes: dict[str, str], found: str, do: str
) -> None:
    """A wrong or missing password, an unknown authority and a broken one are told apart, each with what to write."""
    finding = judged(patient, https, **changes)
    assert finding["level"] == "FAIL"
    assert found in finding["found"]
    assert do in finding["do"]


def test_a_repository_that_is_not_there(patient: Patient, https: servers.HttpsGitServer) -> None:
    """A host that has no such repository is told apart from one that does not answer."""
    secret = keep(patient, "git", https.credentials)
    patient.destination("prod", url=https.url("gone"), transport="https", secret=secret)
    (finding,) = patient.doctor().of("destination")
    assert "no such repository" in finding["found"]
    assert "kubectl -n shop edit grc prod" in finding["do"]


def test_a_secret_that_is_not_there(patient: Patient, https: servers.HttpsGitServer) -> None:
    """A missing Secret is named with the command that makes it."""
    patient.destination("prod", url=https.url(), transport="https", secret="git")
    (finding,) = patient.doctor().of("destination")
    assert "the Secret git is not in namespace shop" in finding["found"]
    assert "kubectl -n shop create secret generic git" in finding["do"]
    assert https.requests == []


@pytest.mark.sshd
def test_ssh_with_the_right_key(patient: Patient, ssh: servers.SshGitServer) -> None:
    """A key and a host key that fit are OK."""
    assert judged(patient, ssh)["level"] == "OK"


@pytest.mark.sshd
def test_ssh_with_a_changed_host_key(patient: Patient, ssh: servers.SshGitServer) -> None:
    """Another host key than the recorded one sends a person to the operator of the host."""
    ssh.create_key("impostor")
    finding = judged(patient, ssh, known_hosts=ssh.known_hosts("impostor"))
    assert (finding["level"], "another host key" in finding["found"]) == ("FAIL", True)
    assert "ask the operator" in finding["do"]


@pytest.mark.sshd
@pytest.mark.parametrize(("known", "words"), [("", "does not name"), ("garbage", "needs a host, a key type and a key")])
def test_ssh_without_a_host_key(patient: Patient, ssh: servers.SshGitServer, known: str, words: str) -> None:
    """No known_hosts, or one that cannot be read, is a failure of its own."""
    assert words in judged(patient, ssh, known_hosts=known)["found"]


def test_a_dead_host_delays_nobody(patient: Patient, https: servers.HttpsGitServer, local: servers.LocalHost) -> None:
    """A host that hangs uses up its own time alone; its second repository is skipped, other hosts are judged."""
    https.hang.set()
    https.repository("second")
    local.repository()
    secret = keep(patient, "git", https.credentials)
    for name, url in (("a", https.url()), ("b", https.url("second"))):
        patient.destination(name, url=url, transport="https", secret=secret)
    patient.destination("c", url=local.url(), transport="file")
    patient.destination("d", url="https://127.0.0.1:1/x.git", transport="https")
    began = time.monotonic()
    found = patient.doctor(REVERSER_GIT_TIMEOUT="2").of("destination")
    assert [one["level"] for one in found] == ["FAIL", "SKIP", "OK", "FAIL"]
    assert "did not answer for another repository" in found[1]["found"]
    assert "cannot be reached" in found[3]["found"]
    assert "will try again" not in str(found)
    assert time.monotonic() - began < 20


def test_a_destination_that_was_not_accepted(patient: Patient) -> None:
    """What the watch daemon refused is a failure in its words: a branch that is not allowed, for one."""
    words = "branch release is not among allowedBranches of the GitRepoConfig (main)"
    patient.refused_destination("prod", reason="BranchNotAllowed", message=words)
    (finding,) = patient.doctor().of("destination")
    assert (finding["level"], finding["found"]) == ("FAIL", words)
    assert "kubectl -n shop describe gd prod" in finding["do"]


def test_no_destination_at_all(patient: Patient) -> None:
    """An installation without a destination mirrors nothing, which is a warning."""
    assert patient.doctor().levels("destination") == ["WARN"]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.StalledError("the host refused the push to main: protected", reason="PushRefused"), "FAIL"),
        (errors.StalledError("h refused the credentials", reason="AuthenticationFailed"), "WARN"),
        (errors.TemporaryError("h limits the rate; will try again in 60 s", reason="RateLimited"), "WARN"),
    ],
)
def test_the_error_of_the_last_push(
    patient: Patient, local: servers.LocalHost, error: errors.ReverserError, level: str
) -> None:
    """A refused push shows though reading works; what reading has disproved by now is a warning only."""
    local.repository()
    found = patient.destination("prod", url=local.url(), transport="file")
    with patient.writing() as database, database.write() as connection:
        destinations.put_off(connection, found, seconds=60.0, error=error)
    well, left = patient.doctor().of("destination")
    assert well["level"] == "OK"
    assert left["level"] == level
    assert "will try again" not in left["found"]


def test_nothing_is_left_behind(patient: Patient, tmp_path: Path, https: servers.HttpsGitServer) -> None:
    """Looking at Git makes no work directory, no cache and no branch, and pushes nothing."""
    assert judged(patient, https)["level"] == "OK"
    assert not patient.options.work_dir.exists()
    assert servers.tip(https.folder / "repo.git") is None
    assert not [one for one in https.requests if "receive-pack" in one]
