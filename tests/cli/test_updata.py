"""The data folder: who may use it, what its files say, and what they are not believed for."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from app import errors, settings
from app.cli import options, processes, updata
from app.sandbox import identity, running

UP = updata.Up(
    kubeconfig="/k",
    repository="/r",
    repository_url="file:///r",
    database_url="sqlite:///other.db",
    broker_url="redis+socket:///s",
    flower_url="http://127.0.0.1:5555",
    pids={"supervisor": 1},
)


def test_folder_is_private(tmp_path: Path) -> None:
    """A new data folder is for its user alone, and one that was opened is closed again."""
    folder = updata.DataFolder.at(tmp_path / "data")
    folder.make()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.database.touch()
    folder.path.chmod(0o755)
    folder.make()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    """A folder that holds other things is neither used nor closed to others."""
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(errors.PermanentError, match="holds other files"):
        updata.DataFolder.at(tmp_path).make()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_folder_that_held_a_sandbox_alone(tmp_path: Path) -> None:
    """Where `reverser sandbox` ran, `up` may follow; a folder of that name that is somebody's own is left alone."""
    (tmp_path / "sandbox").mkdir()
    folder = updata.DataFolder.at(tmp_path)
    with pytest.raises(errors.PermanentError, match="holds other files"):
        folder.make()
    identity.at(running.folder_of(folder.path))
    folder.make()
    assert folder.lock.exists()


def test_a_copy_does_not_answer_for_the_first(tmp_path: Path) -> None:
    """The processes of a folder are those of the moved folder, too, and never those of a copy, which would end them."""
    folder = updata.DataFolder.at(tmp_path / "data")
    folder.make()
    me = processes.identify(os.getpid())
    assert me
    folder.write_identities({"supervisor": me})
    shutil.copytree(folder.path, tmp_path / "copy")
    folder.path.rename(tmp_path / "moved")
    assert updata.DataFolder.at(tmp_path / "copy").read_identities() == {}
    assert updata.DataFolder.at(tmp_path / "moved").read_identities() == {"supervisor": me}


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """A file where the folder belongs gives one sentence."""
    (tmp_path / "data").touch()
    with pytest.raises(errors.PermanentError, match="cannot be used"):
        updata.DataFolder.at(tmp_path / "data").make()


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "a;b", "a\nb"])
def test_paths_that_no_url_holds_are_refused(tmp_path: Path, name: str) -> None:
    """A path that would read as something else in a URL is refused before anything is made."""
    with pytest.raises(errors.PermanentError, match="may not hold"):
        updata.DataFolder.at(tmp_path / name)


def test_one_supervisor_per_folder(tmp_path: Path) -> None:
    """A second one does not get the folder while the first holds it, and gets it after."""
    folder = updata.DataFolder.at(tmp_path)
    assert not folder.is_running()
    with folder.locked() as first:
        assert first
        assert folder.is_running()
        with folder.locked() as second:
            assert second is None
    assert not folder.is_running()


def test_lock_of_a_deleted_folder_is_lost(tmp_path: Path) -> None:
    """Who holds the lock of a file that was deleted or replaced finds out."""
    folder = updata.DataFolder.at(tmp_path)
    with folder.locked() as lock:
        assert lock
        assert lock.is_ours()
        folder.lock.unlink()
        assert not lock.is_ours()
        folder.lock.touch()
        assert not lock.is_ours()


def test_up_json_reads_back(tmp_path: Path) -> None:
    """up.json is for its user alone, holds exactly the documented keys, and leaves no temporary file."""
    folder = updata.DataFolder.at(tmp_path)
    folder.write_up(UP)
    path = tmp_path / "up.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(json.loads(path.read_text())) == [
        "broker_url",
        "database_url",
        "flower_url",
        "kubeconfig",
        "pids",
        "repository",
        "repository_url",
    ]
    assert folder.read_up() == UP
    assert os.listdir(tmp_path) == ["up.json"]  # noqa: PTH208 - hidden files count


@pytest.mark.parametrize("content", ["", "{", "[]", '{"other": 1}', '"text"'])
def test_damaged_files_count_as_missing(tmp_path: Path, content: str) -> None:
    """A file that cannot be read says nothing, and stops nobody."""
    folder = updata.DataFolder.at(tmp_path)
    (tmp_path / "up.json").write_text(content)
    (tmp_path / "pids.json").write_text(content)
    assert folder.read_up() is None
    assert folder.read_identities() == {}


def test_identities_read_back(tmp_path: Path) -> None:
    """What was noted at the start of a process is what `down` compares with."""
    folder = updata.DataFolder.at(tmp_path)
    me = processes.identify(os.getpid())
    assert me
    folder.write_identities({"supervisor": me})
    assert folder.read_identities() == {"supervisor": me}
    folder.forget()
    assert folder.read_identities() == {}


def test_settings_of_a_running_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in the folder of a running `up` needs no variables, and variables that are set win."""
    updata.DataFolder.at(tmp_path).write_up(UP)
    found = options.settings_in(tmp_path)
    assert (found.database_url, found.broker_url, found.kubeconfig) == (UP.database_url, UP.broker_url, UP.kubeconfig)
    assert found.allow_local_repos
    monkeypatch.setenv("REVERSER_DATABASE_URL", "sqlite:///mine.db")
    monkeypatch.setenv("KUBECONFIG", "")
    found = options.settings_in(tmp_path)
    assert (found.database_url, found.kubeconfig) == ("sqlite:///mine.db", UP.kubeconfig)


def test_a_folder_alone_allows_no_local_repository(tmp_path: Path) -> None:
    """Without a running `up`, file:// repositories stay refused whatever the folder is named."""
    found = options.settings_in(tmp_path)
    assert not found.allow_local_repos
    assert found.database_url == f"sqlite:///{tmp_path}/reverser.db"


def test_up_json_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody else put there does not say where our database is."""
    updata.DataFolder.at(tmp_path).write_up(UP)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert updata.DataFolder.at(tmp_path).read_up() is None


def test_settings_survive_the_way_to_a_child() -> None:
    """A child that reads the variables of `to_environment` has the same settings, but a name of its own."""
    mine = settings.Settings(node="me", database_url="sqlite:///x.db", allow_local_repos=True, max_commits=7)
    child = settings.Settings.from_environment(mine.to_environment())
    assert child.node != "me"
    assert child.to_environment() == mine.to_environment()
    assert (child.database_url, child.allow_local_repos, child.max_commits) == ("sqlite:///x.db", True, 7)
