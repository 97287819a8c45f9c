"""Which cluster `up` mirrors: what is named, what the folder mirrors, the sandbox, in this order; never another one."""

from __future__ import annotations

import pwd
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app import db, errors, settings
from app.cli import clusters, updata
from app.models import leases
from app.sandbox import running

OPTIONS = settings.Settings()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> updata.DataFolder:
    """A new data folder, for somebody without a kubeconfig of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    one = updata.DataFolder.at(tmp_path / "data")
    one.make()
    return one


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A file that exists; nobody connects."""
    path = tmp_path / "kubeconfig"
    path.write_text("apiVersion: v1\nkind: Config\n")
    return str(path)


def record(folder: updata.DataFolder, uid: str) -> None:
    """What a watch daemon writes that leads a cluster."""
    url = f"sqlite:///{folder.database}"
    db.upgrade(url)
    database = db.Database(url)
    with database.write() as connection:
        leases.take_lead(connection, cluster="home", cluster_uid=uid, owner="me", seconds=1.0)
    database.close()


def test_the_sandbox_is_the_last_choice(folder: updata.DataFolder) -> None:
    """With nothing named and nothing remembered it is the sandbox, at the path where the sandbox writes its own."""
    chosen = clusters.choose(folder, OPTIONS, named="")
    assert chosen == clusters.Choice(kubeconfig=str(running.kubeconfig_path(folder.path)), is_sandbox=True)


def test_the_option_wins_over_the_variable(folder: updata.DataFolder, kubeconfig: str, tmp_path: Path) -> None:
    """--kubeconfig is taken, then KUBECONFIG; both become absolute paths."""
    options = replace(OPTIONS, kubeconfig=str(tmp_path / "missing"))
    assert clusters.choose(folder, options, named=kubeconfig).kubeconfig == kubeconfig
    with pytest.raises(errors.PermanentError, match="missing cannot be read: give the path of a file"):
        clusters.choose(folder, options, named="")
    assert clusters.choose(folder, replace(OPTIONS, kubeconfig="~/kubeconfig"), named="").kubeconfig == kubeconfig


def test_the_variable_is_said(folder: updata.DataFolder, kubeconfig: str) -> None:
    """Whoever has KUBECONFIG set without thinking of it reads which cluster that is, and what comes without it."""
    chosen = clusters.choose(folder, replace(OPTIONS, kubeconfig=kubeconfig), named="")
    assert chosen.kubeconfig == kubeconfig
    assert f"the cluster of {kubeconfig}, as KUBECONFIG says; without it, a sandbox" in chosen.remark


def test_a_folder_goes_on_with_its_cluster(folder: updata.DataFolder, kubeconfig: str) -> None:
    """Where nothing is named, the remembered cluster is taken, and that is said."""
    folder.note_cluster(kubeconfig)
    chosen = clusters.choose(folder, OPTIONS, named="")
    assert (chosen.kubeconfig, chosen.is_sandbox) == (kubeconfig, False)
    assert chosen.remark == f"Going on with the cluster of {kubeconfig}."
    sandbox = updata.DataFolder.at(folder.path / "other")
    sandbox.make()
    sandbox.note_cluster(str(sandbox.sandbox_kubeconfig))
    chosen = clusters.choose(sandbox, OPTIONS, named="")
    assert (chosen.is_sandbox, chosen.remark) == (True, "Going on with the sandbox of this folder.")
    Path(kubeconfig).unlink()
    with pytest.raises(errors.PermanentError, match="cannot be read"):
        clusters.choose(folder, OPTIONS, named="")


def test_a_moved_sandbox_is_the_folders_own(folder: updata.DataFolder, tmp_path: Path) -> None:
    """A folder with a sandbox that is moved or copied mirrors the sandbox in it, not that of the former place."""
    folder.note_cluster(str(folder.sandbox_kubeconfig))
    copy = updata.DataFolder.at(tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)
    for variable in ("", str(copy.sandbox_kubeconfig)):
        chosen = clusters.choose(copy, replace(OPTIONS, kubeconfig=variable), named="")
        assert (chosen.kubeconfig, chosen.is_sandbox) == (str(copy.sandbox_kubeconfig), True)


def test_what_kubectl_would_take_is_left_alone(folder: updata.DataFolder) -> None:
    """~/.kube/config is never taken by itself; that it is there is said, with what to type."""
    usual = Path("~/.kube/config").expanduser()
    usual.parent.mkdir()
    usual.write_text("apiVersion: v1\nkind: Config\n")
    chosen = clusters.choose(folder, OPTIONS, named="")
    assert chosen.is_sandbox
    assert "make up KUBECONFIG=~/.kube/config" in chosen.remark
    assert "--data-dir" in chosen.remark


def test_a_sandbox_is_no_cluster_of_somebody(folder: updata.DataFolder, kubeconfig: str) -> None:
    """A folder with a sandbox refuses a cluster, and says how to go on with the sandbox; naming the sandbox is fine."""
    folder.note_cluster(str(folder.sandbox_kubeconfig))
    with pytest.raises(
        errors.PermanentError, match=r"mirrors its sandbox, .*: leave --kubeconfig out .* --data-dir of"
    ):
        clusters.choose(folder, OPTIONS, named=kubeconfig)
    with pytest.raises(errors.PermanentError, match="unset KUBECONFIG"):
        clusters.choose(folder, replace(OPTIONS, kubeconfig=kubeconfig), named="")
    assert clusters.choose(folder, replace(OPTIONS, kubeconfig=str(folder.sandbox_kubeconfig)), named="").is_sandbox


def test_a_folder_from_before_is_no_new_sandbox(folder: updata.DataFolder, kubeconfig: str) -> None:
    """A folder that mirrors a cluster without remembering its kubeconfig asks for it."""
    record(folder, "uid-of-a-cluster")
    with pytest.raises(errors.PermanentError, match="does not know its kubeconfig: give it with --kubeconfig"):
        clusters.choose(folder, OPTIONS, named="")
    assert clusters.choose(folder, OPTIONS, named=kubeconfig).kubeconfig == kubeconfig


@pytest.mark.parametrize("content", [b"", b"no database"])
def test_a_damaged_database_names_no_cluster(folder: updata.DataFolder, content: bytes) -> None:
    """A database that cannot be read is somebody else's to complain of."""
    folder.database.write_bytes(content)
    assert clusters.recorded_uid(folder, OPTIONS) == ""


def test_somebody_without_a_home(folder: updata.DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as in a container, has no ~/.kube/config, and starts all the same."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    chosen = clusters.choose(folder, OPTIONS, named="")
    assert (chosen.is_sandbox, chosen.remark) == (True, "")
    with pytest.raises(errors.PermanentError, match=r"the kubeconfig ~/config cannot be read"):
        clusters.choose(folder, OPTIONS, named="~/config")
