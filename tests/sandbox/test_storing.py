"""The store: one counter, a bounded history, and a file that holds what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import errors
from app.sandbox import storing

MAPS = storing.Type("", "configmaps")


def place(name: str, namespace: str = "shop", resource: str = "configmaps") -> storing.Place:
    """Where an object stands."""
    return storing.Place("", resource, namespace, name)


def body(name: str, value: str = "") -> dict[str, Any]:
    """An object with something in it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}


def put(store: storing.Store, name: str, value: str = "", namespace: str = "shop") -> storing.Change:
    """Write one object."""
    [change] = store.write([storing.Write(place(name, namespace), body(name, value))])
    return change


def values(store: storing.Store, at: int | None = None) -> dict[str, str]:
    """What the store holds, or held at a revision."""
    return {one["metadata"]["name"]: one["data"]["value"] for one in store.objects(MAPS, at=at)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a store, where it stands in a data folder."""
    (tmp_path / "sandbox").mkdir()
    return tmp_path / "sandbox" / "sandbox.db"


def afresh(path: Path) -> str:
    """The advice for a file that cannot be used; what mirrors its cluster would not go on with another one."""
    return f"begin with an empty cluster: move the whole data folder {path.parents[1]} away"


@pytest.fixture
def store(path: Path) -> Iterator[storing.Store]:
    """An empty store."""
    found = storing.Store(path)
    yield found
    found.close()


def test_one_counter_numbers_the_changes_of_all_types(store: storing.Store) -> None:
    """Each change of any type takes the next revision, and the object carries it."""
    writes = [storing.Write(place("a"), body("a")), storing.Write(place("b", resource="secrets"), body("b"))]
    changes = [*store.write(writes), put(store, "a", "2")]
    assert [change.revision for change in changes] == [1, 2, 3]
    assert [change.last["metadata"]["resourceVersion"] for change in changes] == ["1", "2", "3"]
    assert store.revision == 3


def test_an_end_takes_a_revision(store: storing.Store) -> None:
    """A deleted object is told as it was, at the revision of its end."""
    put(store, "a", "x")
    [change] = store.write([storing.Write(place("a"), None)])
    assert change.last == {**body("a", "x"), "metadata": {"name": "a", "resourceVersion": "2"}}
    assert store.get(place("a")) is None


def test_objects_stand_in_the_order_of_etcd(store: storing.Store) -> None:
    """Namespace and name are sorted as one text with a slash between, byte by byte."""
    for namespace, name in (("b", "a"), ("a-b", "z"), ("a", "b"), ("a", "a.b"), ("a", "a")):
        put(store, name, f"{namespace}/{name}", namespace)
    found = [one["data"]["value"] for one in store.objects(MAPS)]
    assert found == sorted(found) == ["a-b/z", "a/a", "a/a.b", "a/b", "b/a"]


def test_each_earlier_state_can_be_read(store: storing.Store) -> None:
    """The state at every revision of the history is what it was."""
    seen = [values(store)]
    for step in ("a1", "b1", "a2", "c1", "-b", "b2", "-a"):
        if step.startswith("-"):
            store.write([storing.Write(place(step[1]), None)])
        else:
            put(store, step[0], step[1])
        seen.append(values(store))
    assert [values(store, at=revision) for revision in range(store.revision + 1)] == seen


def test_everything_survives_a_new_start(store: storing.Store, path: Path) -> None:
    """Objects, counter, history and the server's own values are read back as they were."""
    for step in range(4):
        put(store, "a", str(step))
    store.write([storing.Write(place("a"), None)])
    put(store, "b", "x")
    store.set_value("port", "4711")
    before = [values(store, at=revision) for revision in range(store.revision + 1)]
    store.close()
    again = storing.Store(path)
    assert [values(again, at=revision) for revision in range(again.revision + 1)] == before
    assert (again.revision, again.value("port"), again.value("other")) == (6, "4711", "")
    assert again.changes_after(MAPS, 3)[0].last["data"] == {"value": "3"}
    again.close()


def test_a_write_that_fails_leaves_nothing(store: storing.Store, path: Path) -> None:
    """When the disk is full, neither file nor memory holds any of the write, and smaller ones go on."""
    put(store, "a", "before")
    told: list[object] = []
    store.listeners.append(told.append)
    connection = store._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    writes = [storing.Write(place("a"), body("a", "after")), storing.Write(place("b"), body("b", "x" * 100_000))]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write(writes)
    assert (values(store), store.revision, told) == ({"a": "before"}, 1, [])
    assert put(store, "a", "small").revision == 2
    store.close()
    again = storing.Store(path)
    assert values(again) == {"a": "small"}
    again.close()


def test_an_object_larger_than_etcd_takes_is_refused(store: storing.Store) -> None:
    """1.5 MB is the most, and nothing of a refused write stands."""
    with pytest.raises(storing.TooLarge):
        store.write([storing.Write(place("a"), body("a")), storing.Write(place("b"), body("b", "x" * storing.LARGEST))])
    assert (values(store), store.revision) == ({}, 0)


def test_a_compaction_forgets_all_but_the_present(store: storing.Store, path: Path) -> None:
    """After it, no earlier state can be read, the present one can, and a new start knows it."""
    for step in range(3):
        put(store, "a", str(step))
    store.compact()
    put(store, "a", "new")
    store.close()
    again = storing.Store(path)
    assert (again.compacted, values(again, at=3), values(again)) == (3, {"a": "2"}, {"a": "new"})
    with pytest.raises(storing.Forgotten):
        again.objects(MAPS, at=2)
    again.close()


def test_a_position_behind_the_history_is_forgotten_by_type(store: storing.Store) -> None:
    """A reader of a type that did not change since has missed nothing."""
    put(store, "a")
    store.write([storing.Write(place("s", resource="secrets"), body("s"))])
    store.compact()
    assert not store.changes_after(MAPS, 1)
    with pytest.raises(storing.Forgotten):
        store.changes_after(storing.Type("", "secrets"), 1)


@pytest.mark.parametrize(("bound", "size"), [("HISTORY", 1), ("HISTORY_BYTES", 1_000)])
def test_the_history_is_bounded(store: storing.Store, monkeypatch: pytest.MonkeyPatch, bound: str, size: int) -> None:
    """By count and by size; the newest changes stay."""
    monkeypatch.setattr(storing, bound, 10 * size)
    for step in range(100):
        put(store, "a", "x" * size * (step % 2 + 1))
    assert 0 < store.revision - store.compacted <= 13
    assert values(store, at=store.revision - 1)
    with pytest.raises(storing.Forgotten):
        store.objects(MAPS, at=store.compacted - 1)


def test_a_history_that_cannot_be_cut_costs_no_write(store: storing.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is in the file is told and answered, whatever becomes of old changes; they are cut later."""
    monkeypatch.setattr(storing, "HISTORY", 10)
    told: list[int] = []
    store.listeners.append(lambda changes: told.extend(change.revision for change in changes))
    connection = store._database._connection
    connection.execute("CREATE TEMP TRIGGER full BEFORE DELETE ON change BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    for step in range(30):
        put(store, "a", str(step))
    assert told == [*range(1, 31)]
    assert store.compacted == 0
    connection.execute("DROP TRIGGER full")
    put(store, "a", "last")
    assert (store.compacted, values(store, at=21)) == (21, {"a": "20"})


def test_a_restored_backup_is_an_earlier_state(store: storing.Store, path: Path) -> None:
    """State and counter jump back, the numbers are given again, and a new start agrees."""
    put(store, "a", "1")
    put(store, "b", "1")
    put(store, "a", "2")
    store.write([storing.Write(place("b"), None)])
    store.rewind(2)
    assert (values(store), store.revision) == ({"a": "1", "b": "1"}, 2)
    assert put(store, "a", "other").revision == 3
    store.close()
    again = storing.Store(path)
    assert (values(again), again.revision) == ({"a": "other", "b": "1"}, 3)
    with pytest.raises(storing.Forgotten):
        again.rewind(9)
    again.close()


def test_a_damaged_file_says_what_to_do(path: Path) -> None:
    """A file that is no database is neither opened nor overwritten."""
    path.write_bytes(b"not a database, but somebody's file" * 200)
    with pytest.raises(errors.PermanentError, match=f"damaged or no SQLite file .*, or {afresh(path)}"):
        storing.Store(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_broken_page_is_found_at_the_start(path: Path) -> None:
    """A database with a page of rubbish in it is not served."""
    store = storing.Store(path)
    for number in range(200):
        put(store, f"a-{number}", "x" * 200)
    store.close()
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(errors.PermanentError, match="is damaged"):
        storing.Store(path)


def test_a_database_of_somebody_else_is_left_alone(path: Path) -> None:
    """A SQLite file with other tables is named as what it is, and keeps its content."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(errors.PermanentError, match=f"is not a database of the sandbox: {afresh(path)}"):
        storing.Store(path)
    assert path.read_bytes()[100:] == content[100:]


def test_a_file_of_another_version_is_not_touched(store: storing.Store, path: Path) -> None:
    """Tables of another version of Reverser are refused with both numbers."""
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    told = rf"another version of Reverser \(tables 99, here 1\): use that version, or {afresh(path)}"
    with pytest.raises(errors.PermanentError, match=told):
        storing.Store(path)


@pytest.mark.usefixtures("store")
def test_a_second_owner_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one file would each know half of it."""
    monkeypatch.setattr("app.sandbox.database._BUSY_SECONDS", 0.1)
    with pytest.raises(errors.PermanentError, match="another sandbox runs on"):
        storing.Store(path)


def test_a_folder_without_rights_says_so(tmp_path: Path) -> None:
    """A file that cannot be opened is named with what to look at."""
    with pytest.raises(errors.PermanentError, match="look at the folder's rights"):
        storing.Store(tmp_path / "missing" / "sandbox.db")
