"""The database comes back from a backup, or empty: Git is right in the end, and no file goes that should stay.

`docs/guide/backup.md` says what an operator does; etcd from a backup is in `test_evidence.py`.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.system.cluster import Api, Destination, rendered, repo_config
from tests.system.installation import Embedded
from tests.system.load import OBJECTS, Load, running
from tests.system.repository import Repository
from tests.system.test_crashes import wait_alive
from tests.waiting import wait_until


def database_of(own: Embedded) -> Path:
    """The file of its SQLite database."""
    return Path(own.options.database_url.removeprefix("sqlite:///"))


def back_up(own: Embedded, to: Path) -> None:
    """A backup as SQLite makes it while others write."""
    with contextlib.closing(sqlite3.connect(database_of(own))) as live, contextlib.closing(sqlite3.connect(to)) as copy:
        live.backup(copy)


def lose(own: Embedded) -> None:
    """The database is gone; nothing runs."""
    path = database_of(own)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@pytest.mark.promise("P2", "P10")
@pytest.mark.parametrize("backup", [True, False], ids=["backup", "nothing"])
def test_the_database_is_restored_under_changes(
    own: Embedded, api: Api, repository: Repository, tmp_path: Path, *, backup: bool
) -> None:
    """What the record forgot is in Git still: changes go on on top of it, and only what is gone is removed."""
    namespace = api.namespace()
    config = repo_config(api, namespace, "local", repository.url)
    destination = Destination(api, namespace, "prod", repository=config)
    own.start()
    writing = Load(api, namespace)
    with running(writing):
        api.create("configmaps", namespace, "passing-forgotten", data={"key": "value"})
        wait_alive(repository, writing)
        back_up(own, tmp_path / "backup.db")
        wait_alive(repository, writing)
        wait_alive(repository, writing)
        own.stop()
        before, files = repository.commits(), repository.tree()
        lose(own)
        api.delete("configmaps", namespace, "passing-forgotten")
        if backup:
            shutil.copy(tmp_path / "backup.db", database_of(own))
        own.start()
        wait_alive(repository, writing)
    wanted = rendered(api.list("configmaps", namespace), folder=destination.folder)
    # Without a record nobody knows whose the file of an object is that went meanwhile: it stays.
    left = set() if backup else files.keys() - wanted.keys()
    wait_until(lambda: repository.tree() == {**wanted, **{path: files[path] for path in left}}, what="Git")
    own.wait_drained(destination.ref)
    assert all(map(passes, left))
    assert bool(left) != backup

    assert repository.commits()[: len(before)] == before
    removed = repository.git("log", "--diff-filter=D", "--name-only", "--format=", "main").split()
    assert removed
    assert all(map(passes, removed))
    assert len(repository.numbers("seq")) >= OBJECTS
    # What the record of before the backup forgot is delivered again, and its commits are found.
    assert ("own_commit_found" in own.log("worker").read_text()) == backup

    # Until somebody says that it may go.
    said = own.reverser("verify", destination.ref)
    assert (said.returncode, said.stdout.count("there is no record")) == (0, len(left))
    gone = own.reverser("adopt", destination.ref, "--yes")
    assert gone.returncode == 0, gone.stderr
    assert {line for line in gone.stdout.splitlines() if line.endswith(".yaml")} == left
    assert repository.tree() == wanted
    assert "no file" in own.reverser("adopt", destination.ref, "--yes").stdout


def passes(path: str) -> bool:
    """Whether the file is of an object that was deleted, or may have been."""
    return Path(path).name.startswith("passing-")
