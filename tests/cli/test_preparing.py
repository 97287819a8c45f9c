"""What `up` meets on its way: an older database, a disk without room, a port that somebody took."""

from __future__ import annotations

import shutil
import socket
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import db, errors
from app.cli import installation, preparing, probing, up, updata
from tests.servers.sandbox import SandboxServer

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""
REVISION = """
revision = "0099"
down_revision = "{head}"
branch_labels = None
depends_on = None

def upgrade() -> None:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> updata.DataFolder:
    """A data folder."""
    one = updata.DataFolder.at(tmp_path / "data")
    one.make()
    return one


def test_a_database_of_an_older_version_is_migrated(
    folder: updata.DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that an older version wrote is brought to this one, and that is said; a new one is no news."""
    url, head = f"sqlite:///{folder.database}", db.head_revision()
    preparing.migrate(url)
    preparing.migrate(url)
    assert capsys.readouterr().out == ""
    newer = tmp_path / "migrations"
    shutil.copytree(db.MIGRATIONS, newer)
    (newer / "versions" / "0099_newer.py").write_text(REVISION.format(head=head))
    with monkeypatch.context() as patched:
        patched.setattr(db, "MIGRATIONS", newer)
        preparing.migrate(url)
        said = f"The database of an older version was migrated, from revision {head} to 0099.\n"
        assert capsys.readouterr().out == said
    with pytest.raises(
        errors.PermanentError, match=r"at revision 0099, .* newer version of Reverser; upgrade this one"
    ):
        preparing.migrate(url)
    with closing(db.Database(url)) as database:
        assert database.revision() == "0099"


def test_a_cluster_that_never_answered_is_not_remembered(
    folder: updata.DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a folder goes on with is a cluster that answered: a dead one is waited for, and forgotten at the end."""
    dead = tmp_path / "dead"
    dead.write_text(KUBECONFIG)
    plan = installation.install(folder=folder, kubeconfig=str(dead), flower_port=None)
    wishes = preparing.Wishes(apply_crds=False, demo=False)
    folder.note_cluster("/the/good/one")
    preparing.prepare(plan, wishes)
    assert folder.read_cluster() == "/the/good/one"
    assert "It is waited for." in capsys.readouterr().out
    with SandboxServer(tmp_path / "server") as server:
        plan = installation.install(folder=folder, kubeconfig=str(server.kubeconfig()), flower_port=None)
        preparing.prepare(plan, wishes)
    assert folder.read_cluster() == str(server.kubeconfig())


def test_a_full_disk_is_said_once(
    folder: updata.DataFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk without room is said when it gets full and when it has room again; nothing is started on a full one."""
    free = 10_000_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    with folder.locked() as lock:
        assert lock
        ground = up.Ground(lock)
        ground.check()
        assert capsys.readouterr().out == ""
        up.refuse_full_disk(folder)
        free = 1_000_000
        ground.check()
        ground.check()
        (said,) = capsys.readouterr().out.splitlines()
        assert said.startswith(f"The disk of {folder.path} is full (less than 20 MB are free): make room.")
        later = updata.DataFolder.at(folder.path / "not" / "there")
        with pytest.raises(errors.PermanentError, match=f"the disk of {folder.path} is full .*, then start again"):
            up.refuse_full_disk(later)
        free = 10_000_000_000
        ground.check()
        assert capsys.readouterr().out == f"There is room on the disk of {folder.path} again: going on.\n"


def test_a_file_that_cannot_be_written_is_named(folder: updata.DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails for want of room names the file, and leaves no half of it behind."""

    def full(*_words: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(updata.json, "dump", full)
    before = set(folder.path.iterdir())
    with pytest.raises(OSError, match="No space left on device") as caught:
        folder.note_cluster("/k")
    assert caught.value.filename == str(folder.path / "cluster.json")
    assert set(folder.path.iterdir()) == before


def test_flower_moves_from_a_port_that_was_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that another program took since is given up, which is said; one that was asked for is kept."""
    free = probing.free_port(0)
    monkeypatch.setattr(installation, "FLOWER_PORT", free)
    chosen, asked = installation.Port(None), installation.Port(free)
    assert chosen.number == asked.number == free
    chosen.choose()
    assert chosen.number == free
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free))
        holder.listen()
        chosen.choose()
        asked.choose()
    assert chosen.number != free
    assert asked.number == free
    said = f"Port {free} was taken by another program: Flower listens on {chosen.number} now.\n"
    assert capsys.readouterr().out == said
