"""Secrets: from the cluster with least rights, from a folder, and never in a text."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from app import errors, events, settings
from app.kube import client, problems, secrets
from tests.kube import faults as fault
from tests.kube import objects
from tests.servers.api import KUBE_ONLY, ApiServer

CANARY = "canary-4711"


def write(directory: Path, namespace: str, name: str, **values: str) -> None:
    """A Secret as files."""
    folder = directory / namespace / name
    folder.mkdir(parents=True)
    for key, value in values.items():
        (folder / key).write_text(value)


def test_a_secret_is_read_with_its_bytes(cluster: client.Cluster, place: str) -> None:
    """Values come as the bytes they are."""
    data = {"identity": base64.b64encode(b"\x00\xff").decode(), "username": base64.b64encode(b"alice").decode()}
    objects.create(cluster, objects.SECRETS, {"metadata": {"name": "git", "namespace": place}, "data": data})
    found = secrets.read_secret(cluster, events.Ref(place, "git"))
    assert dict(found) == {"identity": b"\x00\xff", "username": b"alice"}


def test_a_secret_without_data_is_empty(cluster: client.Cluster, place: str) -> None:
    """A Secret may be empty."""
    objects.create(cluster, objects.SECRETS, {"metadata": {"name": "git", "namespace": place}})
    assert len(secrets.read_secret(cluster, events.Ref(place, "git"))) == 0


def test_a_missing_secret_says_where_it_belongs(cluster: client.Cluster, place: str) -> None:
    """A missing Secret stalls, with its name and the namespace where it has to be."""
    with pytest.raises(errors.StalledError, match=f"the Secret git is not in namespace {place}: create it") as caught:
        secrets.read_secret(cluster, events.Ref(place, "git"))
    assert caught.value.reason == "SecretNotFound"


@KUBE_ONLY
def test_a_forbidden_secret_says_which_right_is_missing(server: ApiServer, place: str) -> None:
    """Without the right to get Secrets, the message names the rule."""
    alice = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig("alice"))))
    with pytest.raises(problems.Forbidden, match=r'resources: \["secrets"\], verbs: \["get"\]'):
        secrets.read_secret(alice, events.Ref(place, "git"))


def test_a_secret_never_shows_its_values() -> None:
    """The text of a Secret holds its keys alone."""
    found = secrets.SecretData({"password": CANARY.encode(), "username": b"alice"})
    assert str(found) == repr(found) == "SecretData(password, username)"
    assert CANARY not in f"{found}"


def test_an_unreadable_value_is_not_shown(faults: fault.FaultServer, faulty: client.Cluster) -> None:
    """A value that is no base64 is refused without being shown, in the error and in what caused it."""
    faults.answers = [fault.json({"data": {"password": f"{CANARY}!"}})]
    with pytest.raises(errors.StalledError, match="password") as caught:
        secrets.read_secret(faulty, events.Ref("shop", "git"))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_mounted_secret_is_read_from_files(tmp_path: Path) -> None:
    """A folder per Secret and a file per key, as Kubernetes mounts them: hidden folders behind links are left out."""
    write(tmp_path, "shop", "git", username="alice")
    versions = tmp_path / "shop" / "git" / "..2030_01_01"
    versions.mkdir()
    (versions / "password").write_text("secret")
    (tmp_path / "shop" / "git" / "password").symlink_to("..2030_01_01/password")
    found = secrets.directory_secret(tmp_path, events.Ref("shop", "git"))
    assert dict(found) == {"username": b"alice", "password": b"secret"}


@pytest.mark.parametrize("name", ["..", "../other/git", "/etc", "git/", "", "GIT", "a\x00b", "missing"])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """A name that is no Kubernetes name is not found, whatever stands at its path."""
    write(tmp_path, "other", "git", username="alice")
    (tmp_path / "shop").mkdir()
    with pytest.raises(errors.StalledError) as caught:
        secrets.directory_secret(tmp_path, events.Ref("shop", name))
    assert caught.value.reason == "SecretNotFound"
