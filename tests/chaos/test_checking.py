"""The checker finds each kind of damage: planted by hand into the repository or the database of a history at rest."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import checking, histories, playing, running, stages
from tests.chaos.histories import Step
from tests.git import servers
from tests.system.repository import Repository

# In which each damage finds something to damage: files of a destination on main, one of more than one version.
BEGINNING = histories.beginning()
GOING_ON = [*map(Step.parse, ("write 0 0", "write 6 0", "delete 0 0", "replace 6 0", "label 12 1", "write 0 0"))]
pytestmark = pytest.mark.timeout(300)


@dataclass
class Rested:
    """A copy of what is left of a history, for one test to damage."""

    scene: checking.Scene
    repository: Repository
    database: sqlite3.Connection

    def do(self, statement: str, *values: Any) -> None:
        """Change the record; at least one row of it."""
        with self.database:
            assert self.database.execute(statement, values).rowcount

    def one(self, query: str) -> Any:
        """The first value of a query."""
        return self.database.execute(query).fetchone()[0]

    def file(self) -> tuple[str, bytes]:
        """A file of main, of an object that never went, and its content."""
        return next(one for one in self.repository.tree().items() if one[0].endswith("/configmap-12.yaml"))

    def put(self, path: str, content: str) -> str:
        """Commit a file to main as somebody else does; the commit."""
        return servers.commit_file(self.repository.path, path, content)

    def remove(self, path: str) -> str:
        """Commit the end of a file."""
        return self._commit(f"0 {'0' * 40}\t{path}\n")

    def change_nothing(self) -> str:
        """Commit the tree that there is."""
        return self._commit("")

    def record(self, sha: str, *changes: tuple[str, str | None]) -> None:
        """Put a commit into the record, as if we had made it."""
        last = self.one(
            "SELECT max(id) FROM \"commit\" WHERE branch_id = (SELECT id FROM repository_branch WHERE branch = 'main')"
        )
        columns = [
            row[1] for row in self.database.execute('PRAGMA table_info("commit")') if row[1] not in {"id", "sha"}
        ]
        names = ", ".join(columns)
        self.do(f'INSERT INTO "commit" (sha, {names}) SELECT ?, {names} FROM "commit" WHERE id = ?', sha, last)
        new = self.one('SELECT max(id) FROM "commit"')
        for path, blob in changes:
            columns = [row[1] for row in self.database.execute("PRAGMA table_info(commit_change)")]
            kept = ", ".join(name for name in columns if name not in {"commit_id", "path", "blob_id"})
            self.do(
                f"INSERT INTO commit_change (commit_id, path, blob_id, {kept}) "
                f"SELECT ?, ?, ?, {kept} FROM commit_change LIMIT 1",
                new,
                path,
                blob,
            )

    def blob(self, path: str) -> str:
        """What stands at a path of main."""
        return self.repository.git("rev-parse", f"main:{path}").strip()

    def _commit(self, change: str) -> str:
        where = self.repository.path
        index = {"GIT_INDEX_FILE": str(where / "test-index"), "GIT_DIR": str(where)}
        servers.ENVIRONMENT.update(index)
        try:
            self.repository.git("read-tree", "main")
            if change:
                servers.git("update-index", "--index-info", cwd=where, text=change)
            tree = self.repository.git("write-tree").strip()
            sha = self.repository.git("commit-tree", tree, "-p", "main", "-m", "Planted").strip()
            self.repository.git("update-ref", "refs/heads/main", sha)
        finally:
            for name in index:
                del servers.ENVIRONMENT[name]
        return sha


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[checking.Scene, Path]]:
    """A history at rest, in which everything holds, and the database of its installation, which has ended."""
    stage = stages.EmbeddedStage(tmp_path_factory.mktemp("stage"))
    try:
        player = playing.Player(stage.api, stage.repository.url)
        for steps in (BEGINNING, GOING_ON):
            for step in steps:
                player.play(step)
            scene = running.scene_of(stage, player)
            assert running.settled(scene) == []
        database = stage.database
        stage.lane.stop()
        yield scene, database
    finally:
        stage.end()


@pytest.fixture
def rested(history: tuple[checking.Scene, Path], tmp_path: Path) -> Iterator[Rested]:
    """The history, to be damaged; nothing is wrong with it yet."""
    scene, database = history
    shutil.copytree(scene.repository.path, tmp_path / "repository.git")
    shutil.copy(database, tmp_path / "reverser.db")
    repository = Repository(tmp_path / "repository.git", scene.repository.url)
    with contextlib.closing(sqlite3.connect(tmp_path / "reverser.db")) as connection:
        connection.row_factory = sqlite3.Row

        def rows(query: str) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query)]

        one = Rested(replace(scene, repository=repository, rows=rows), repository, connection)
        assert checking.check(one.scene) == []
        yield one


def _lose_a_file(rested: Rested) -> None:
    path, _ = rested.file()
    rested.record(rested.remove(path), (path, None))


def _lose_the_last_commit(rested: Rested) -> None:
    rested.repository.git("update-ref", "refs/heads/main", "main~1")


def _commit_twice(rested: Rested) -> None:
    """The same number once more: the file of an object goes back, and comes again."""
    path, content = rested.file()
    sha = rested.put(path, content.decode() + "# changed\n")
    rested.record(sha, (path, rested.blob(path)))
    rested.record(rested.put(path, content.decode()), (path, rested.blob(path)))


def _commit_an_older_state(rested: Rested) -> None:
    path = next(path for path, numbers in rested.repository.numbers("seq").items() if len(numbers) > 1)
    older = rested.repository.numbers("seq")[path][0]
    rested.record(rested.put(path, f'data:\n  seq: "{older}"\n'), (path, rested.blob(path)))


def _commit_what_nobody_wrote(rested: Rested) -> None:
    path, _ = rested.file()
    rested.record(rested.put(path, 'data:\n  seq: "999999"\n'), (path, rested.blob(path)))


def _commit_nothing(rested: Rested) -> None:
    rested.record(rested.change_nothing())


def _remove_what_came_back(rested: Rested) -> None:
    """The end of an object takes the file of its next life along."""
    journal = rested.scene.journal
    key = next(key for key, ends in journal.ended.items() if journal.written[key][-1] > max(ends))
    path = next(path for path in rested.repository.tree() if path.startswith("dest-0/") and f"/{key.name}." in path)
    rested.record(rested.remove(path), (path, None))


def _record_another_head(rested: Rested) -> None:
    rested.do("UPDATE repository_branch SET head = ? WHERE branch = 'main'", "1" * 40)


def _name_another_commit(rested: Rested) -> None:
    of_it = "SELECT 1 FROM commit_change g WHERE g.commit_id = c.id AND g.name = event.name"
    another = f'SELECT c.id FROM "commit" c WHERE NOT EXISTS ({of_it})'
    rested.do(
        f"UPDATE event SET commit_id = ({another} LIMIT 1) WHERE rowid = "
        "(SELECT min(rowid) FROM event WHERE state = 'pushed' AND operation <> 'SEED_SYNC')"
    )


def _write_outside(rested: Rested) -> None:
    rested.record(
        rested.put("elsewhere/file.yaml", "key: value\n"), ("elsewhere/file.yaml", rested.blob("elsewhere/file.yaml"))
    )


def _write_into_another_folder(rested: Rested) -> None:
    """As if one destination had written what belongs to another one."""
    path, _ = rested.file()
    sha = rested.one(
        f"SELECT c.sha FROM \"commit\" c JOIN commit_change g ON g.commit_id = c.id WHERE g.path = '{path}'"
    )
    rested.do(
        'UPDATE "commit" SET destination_id = (SELECT d.id FROM git_destination d WHERE d.id <> destination_id '
        "AND d.namespace LIKE 'chaos-%' ORDER BY d.id LIMIT 1) WHERE sha = ?",
        sha,
    )


def _keep_an_orphan(rested: Rested) -> None:
    path, content = rested.file()
    rested.record(rested.put(path.replace(".yaml", "-orphan.yaml"), content.decode()))


def _leave_a_commit_unrecorded(rested: Rested) -> None:
    sha = rested.one('SELECT sha FROM "commit" WHERE id = (SELECT max(id) FROM "commit")')
    rested.do('DELETE FROM commit_change WHERE commit_id = (SELECT id FROM "commit" WHERE sha = ?)', sha)
    rested.do('DELETE FROM "commit" WHERE sha = ?', sha)


def _record_what_is_not_there(rested: Rested) -> None:
    rested.record("1" * 40)


def _record_in_another_order(rested: Rested) -> None:
    main = "branch_id = (SELECT id FROM repository_branch WHERE branch = 'main')"
    first, second = (rested.one(f'SELECT {which}(id) FROM "commit" WHERE {main}') for which in ("min", "max"))
    shas = [rested.one(f'SELECT sha FROM "commit" WHERE id = {number}') for number in (first, second)]
    rested.do('UPDATE "commit" SET sha = ? WHERE id = ?', "0", first)
    rested.do('UPDATE "commit" SET sha = ? WHERE id = ?', shas[0], second)
    rested.do('UPDATE "commit" SET sha = ? WHERE id = ?', shas[1], first)


def _record_another_file(rested: Rested) -> None:
    rested.do("UPDATE commit_change SET blob_id = ? WHERE rowid = (SELECT min(rowid) FROM commit_change)", "1" * 40)


def _forget_a_file(rested: Rested) -> None:
    path, _ = rested.file()
    rested.do("DELETE FROM inventory WHERE path = ?", path)


def _leave_a_row_pending(rested: Rested) -> None:
    rested.do("UPDATE event SET state = 'pending' WHERE rowid = (SELECT max(rowid) FROM event)")


def _leave_a_row_dead(rested: Rested) -> None:
    rested.do("UPDATE event SET state = 'dead' WHERE rowid = (SELECT max(rowid) FROM event)")


def _push_without_a_commit(rested: Rested) -> None:
    rested.do(
        "UPDATE event SET commit_id = NULL WHERE rowid = (SELECT min(rowid) FROM event WHERE commit_id IS NOT NULL)"
    )


def _leave_a_seed_open(rested: Rested) -> None:
    rested.do("UPDATE seed_run SET state = 'listing' WHERE rowid = (SELECT max(rowid) FROM seed_run)")


def _leave_a_lease(rested: Rested) -> None:
    rested.do("UPDATE repository_branch SET owner = 'worker-of-old', until = '2999-01-01 00:00:00'")


Damage = Callable[[Rested], None]
FOUND: dict[Damage, tuple[str, str]] = {
    _lose_a_file: ("lost", "it is not there"),
    _lose_the_last_commit: ("record", "is recorded on main, and not there"),
    _commit_twice: ("repeated", "once more"),
    _commit_an_older_state: ("wrong", "after"),
    _commit_what_nobody_wrote: ("wrong", "nobody wrote number 999999"),
    _remove_what_came_back: ("wrong", "removed 2 times, and the object went 1 times"),
    _record_another_head: ("record", "and is elsewhere"),
    _name_another_commit: ("record", "is pushed, and not in its commit"),
    _commit_nothing: ("repeated", "changes nothing"),
    _write_outside: ("wrong", "no destination ever had this folder"),
    _write_into_another_folder: ("wrong", "never had this place"),
    _keep_an_orphan: ("wrong", "is left of an object that is gone"),
    _leave_a_commit_unrecorded: ("record", "is not recorded"),
    _record_what_is_not_there: ("record", "is recorded on main, and not there"),
    _record_in_another_order: ("record", "in another order"),
    _record_another_file: ("record", "the record of its files differs"),
    _forget_a_file: ("record", "inventory and Git differ"),
    _leave_a_row_pending: ("record", "rows are pending"),
    _leave_a_row_dead: ("record", "rows are dead"),
    _push_without_a_commit: ("record", "is pushed, and not in its commit"),
    _leave_a_seed_open: ("record", "is listing"),
    _leave_a_lease: ("record", "is held by worker-of-old, and there is nothing to do"),
}


@pytest.mark.parametrize("damage", FOUND, ids=lambda damage: damage.__name__.strip("_"))
def test_each_damage_is_found(rested: Rested, damage: Damage) -> None:
    """Of its kind, and with words that say where."""
    damage(rested)
    kind, words = FOUND[damage]
    found = checking.check(rested.scene)
    assert any(one.kind == kind and words in one.text for one in found), found


def test_what_goes_without_a_reason_is_found(rested: Rested) -> None:
    """A file of an object that nobody removed: the journal knows of no end, and there is one."""
    path, _ = rested.file()
    rested.record(rested.remove(path), (path, None))
    journal = replace(rested.scene.journal, ended=defaultdict(list), choosy=set())
    found = checking.check(replace(rested.scene, journal=journal))
    assert any(one.kind == "wrong" and "and the object went 0 times" in one.text for one in found), found
    (number,) = {numbers[-1] for file, numbers in rested.repository.numbers("seq").items() if file == path}
    journal = replace(journal, ended=defaultdict(lambda: [number - 1]))
    found = checking.check(replace(rested.scene, journal=journal))
    assert any(one.kind == "wrong" and f"number {number} is removed, and did not go" in one.text for one in found), (
        found
    )


def test_what_left_its_selection_is_found(rested: Rested) -> None:
    """Since everything rested only objects changed: the file of one that is selected no more has to be gone."""
    path, _ = rested.file()
    others = [one for one in rested.scene.objects if one["metadata"]["name"] != "configmap-12"]
    scene = replace(rested.scene, objects=others, selected_before=checking.selected(rested.scene))
    texts = [one.text for one in checking.check(scene)]
    assert texts == [f"{path} on main is left of an object that is selected no more"]


def test_a_number_that_never_came_is_found(rested: Rested) -> None:
    """Of a destination that nothing happens to each number has to be there, also those between two others."""
    journal = rested.scene.journal
    (ref,) = (ref for ref in journal.places if ref.endswith("/dest-0"))
    (key,) = (key for key in journal.written if key.name == "configmap-12")
    steady = replace(journal, steady={ref: key})
    assert checking.check(replace(rested.scene, journal=steady)) == []
    written = {**journal.written, key: [*journal.written[key], 999_999]}
    found = checking.check(replace(rested.scene, journal=replace(steady, written=written)))
    assert [one.text for one in found] == [f"{rested.file()[0]} on main: 1 numbers never came, the first [999999]"]
