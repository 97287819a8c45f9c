"""The inventory: what is ours in Git, and what `unchanged` compares with."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from app.events import Operation
from app.models import destinations, inventory, ledger
from tests.models.records import Records, entry, identifier


def item(
    name: str, *, namespace: str = "shop", content_hash: str | None = "hash", removed: bool = False
) -> inventory.Item:
    """One file of a ConfigMap."""
    what = identifier(name, namespace=namespace)
    path = f"v1/configmaps/{namespace}/{name}.yaml"
    return inventory.Item(path, what, "5", content_hash, "blob", None, removed)


def save(records: Records, destination: destinations.Destination, *items: inventory.Item) -> None:
    """Write rows of the current place."""
    with records.database.write() as connection:
        inventory.save(connection, destination.place_id, items)


def known(records: Records, destination: destinations.Destination) -> dict[str, tuple[str, str]]:
    """Name -> (uid, content hash) of what is known at the current place."""
    with records.database.read() as connection:
        found = inventory.known(connection, destination_id=destination.id, place_id=destination.place_id)
    return {key[3]: (value.uid, value.content_hash) for key, value in found.items()}


def test_a_row_reads_back_and_is_replaced_by_path(records: Records) -> None:
    """What is saved is found by its path; saved again, the newer one stands."""
    prod = records.destination()
    save(records, prod, item("a"), item("b"))
    newer = item("a", content_hash="newer")
    save(records, prod, newer)
    with records.database.read() as connection:
        found = inventory.by_paths(connection, prod.place_id, [newer.path, item("b").path, "nowhere.yaml"])
    assert found == {newer.path: newer, item("b").path: item("b")}


def test_the_last_row_of_one_path_counts(records: Records) -> None:
    """A drain that writes and removes one path leaves the tombstone."""
    prod = records.destination()
    gone = item("a", removed=True)
    save(records, prod, item("a"), gone)
    with records.database.read() as connection:
        assert inventory.by_paths(connection, prod.place_id, [gone.path]) == {gone.path: gone}


def test_what_holds_a_file_is_known_once(records: Records) -> None:
    """Mark and remover are known, from Git or from a row that pends; the same text is kept once for many files."""
    prod = records.destination()
    save(records, prod, *(replace(item(n), selection="mark", remover="WatchRule shop/r") for n in "ab"), item("old"))
    records.append(replace(entry(prod, "c"), selection="mark", remover=""))
    with records.database.read() as connection:
        found = inventory.known(connection, destination_id=prod.id, place_id=prod.place_id)
    a, b, old, c = (found["", "configmaps", "shop", name] for name in ("a", "b", "old", "c"))
    assert (a.mark, a.remover, old.mark, old.remover) == ("mark", "WatchRule shop/r", None, None)
    assert (c.mark, c.remover) == ("mark", "")
    assert a.mark is b.mark is c.mark
    assert a.remover is b.remover


def test_the_end_of_a_seed_that_pends_says_nothing_of_what_was_written_since(records: Records) -> None:
    """What it will take over is known at once, but for files and rows that are newer than what was listed."""
    prod = records.destination()
    names = ("old", "since", "pends")
    save(records, prod, *(replace(item(name), selection="before", remover="r") for name in names))
    save(records, prod, replace(item("since"), selection="before", remover="r", resource_version="10"))
    stale = partial(entry, prod, state=ledger.STALE, seed="run", version=5)
    records.append(*(replace(stale(name), selection="listed", remover="") for name in names))
    records.append(replace(entry(prod, "pends", version=10), selection="live", remover="s"))
    ended = entry(prod, seed="run")
    ended = replace(ended, body=None, event=replace(ended.event, operation=Operation.SEED_SYNC, identifier=None))
    records.append(ended)
    with records.database.read() as connection:
        found = inventory.known(connection, destination_id=prod.id, place_id=prod.place_id)
    told = {key[3]: (value.mark, value.remover) for key, value in found.items()}
    assert told == {"old": ("listed", ""), "since": ("before", "r"), "pends": ("live", "s")}


def test_a_pending_delete_of_an_older_uid_leaves_its_successor_known(records: Records) -> None:
    """A listing was ahead of the stream: the predecessor's DELETE comes after the row of the object that is there."""
    prod = records.destination()
    save(records, prod, item("a"), item("b"))
    records.append(entry(prod, "a", version=7, uid="another"))
    records.append(entry(prod, "a", version=6, operation=Operation.DELETE))
    records.append(entry(prod, "b", version=6, operation=Operation.DELETE))
    assert known(records, prod) == {"a": ("another", "hash")}


def held(records: Records, place_id: int) -> dict[str, tuple[str | None, str | None]]:
    """Name -> (mark, rule) of the present files of a place."""
    with records.database.read() as connection:
        found = inventory.present(connection, place_id)
    return {one.identifier.name: (one.selection, one.rule) for one in found}


def test_the_end_of_a_seed_says_what_selects_the_files_that_it_did_not_write(records: Records) -> None:
    """Stale rows of the seed stamp the files of their objects; left over is only what nothing ever selected."""
    prod = records.destination()
    names = ("kept", "left", "again", "since", "untold", "another", "pending")
    save(records, prod, *(replace(item(name), selection="old", rule="r") for name in names[:4]), item("gone"))
    save(records, prod, *(item(name) for name in names[4:]), item("gone", removed=True))
    save(records, prod, replace(item("since"), selection="old", rule="r", resource_version="10"))
    ended = partial(entry, prod, state=ledger.STALE, seed="run", version=5)
    rows = {
        **{name: ended(name) for name in ("kept", "gone", "since")},
        **{name: ended(name) for name in ("left", "untold")},
        "another": ended("another", uid="another"),
        "pending": entry(prod, "pending", seed="run", version=5),
        "again": ended("again", seed="before"),
    }
    marks = {"left": ledger.LEFT, "untold": ledger.LEFT}
    said = [replace(row, selection=marks.get(name, "new")) for name, row in rows.items()]
    records.append(*said, ended("untold"))
    moved = records.destination(folder="elsewhere")
    save(records, moved, item("kept"))
    with records.database.write() as connection:
        inventory.take_over(connection, "run", destination_id=prod.id)
    assert held(records, prod.place_id) == {
        "kept": ("new", "WatchRule shop/all"), "left": ("old", "r"), "again": ("old", "r"), "since": ("old", "r"),
        "untold": (ledger.LEFT, "WatchRule shop/all"), "another": (None, None), "pending": (None, None),
    }  # fmt: skip
    assert held(records, moved.place_id) == {"kept": (None, None)}


def test_nothing_to_save_is_fine(records: Records) -> None:
    """A drain without a file saves nothing."""
    prod = records.destination()
    save(records, prod)
    with records.database.read() as connection:
        assert inventory.present(connection, prod.place_id) == []
        assert inventory.by_paths(connection, prod.place_id, []) == {}


def test_more_paths_than_one_statement_takes(records: Records) -> None:
    """The paths of a large drain are written and looked up in one call each."""
    prod = records.destination()
    items = [item(f"n{i}") for i in range(5_001)]
    save(records, prod, *items)
    with records.database.read() as connection:
        assert len(inventory.by_paths(connection, prod.place_id, [one.path for one in items])) == len(items)


def test_a_scope_holds_its_present_files_only(records: Records) -> None:
    """A sweep sees one type in one namespace, or in all, of one place, and no tombstone."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    save(records, prod, item("b"), item("a"), item("gone", removed=True), item("c", namespace="else"))
    save(records, other, item("foreign"))
    with records.database.read() as connection:
        shop = inventory.of_scope(connection, prod.place_id, group="", resource="configmaps", namespace="shop")
        everywhere = inventory.of_scope(connection, prod.place_id, group="", resource="configmaps", namespace="")
        assert inventory.of_scope(connection, prod.place_id, group="apps", resource="configmaps", namespace="") == []
        assert inventory.of_scope(connection, prod.place_id, group="", resource="pods", namespace="") == []
        assert inventory.present(connection, prod.place_id) == everywhere
    assert [one.identifier.name for one in shop] == ["a", "b"]
    assert [one.identifier.name for one in everywhere] == ["c", "a", "b"]


def test_pending_rows_overlay_what_is_in_git_in_order(records: Records) -> None:
    """The newest pending row of an object counts, then Git: that is what a new observation is compared with."""
    prod = records.destination()
    save(records, prod, item("in-git"), item("changed"))
    records.append(
        entry(prod, "changed", version=6, content_hash="second"),
        entry(prod, "new", version=7, content_hash="first"),
        entry(prod, "changed", version=8, content_hash="third"),
    )
    assert known(records, prod) == {
        "in-git": ("uid-in-git", "hash"),
        "changed": ("uid-changed", "third"),
        "new": ("uid-new", "first"),
    }


def test_a_pending_delete_removes_and_a_later_create_returns(records: Records) -> None:
    """An object whose newest row is a DELETE is unknown; created again, it is known by its new uid."""
    prod = records.destination()
    save(records, prod, item("a"), item("b"))
    records.append(
        entry(prod, "a", version=6, operation=Operation.DELETE),
        entry(prod, "b", version=7, operation=Operation.DELETE),
        entry(prod, "b", version=8, operation=Operation.CREATE, uid="uid-2", content_hash="again"),
        entry(prod, "never-there", version=9, operation=Operation.DELETE),
    )
    assert known(records, prod) == {"b": ("uid-2", "again")}


def test_final_rows_and_tombstones_do_not_count(records: Records) -> None:
    """What was settled stands in the inventory or nowhere; a tombstone is not known."""
    prod = records.destination()
    save(records, prod, item("gone", removed=True))
    records.append(entry(prod, "a"), entry(prod, "b"), entry(prod, "c", state=ledger.STALE))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(1, ledger.SUPERSEDED, "newer")])
    assert known(records, prod) == {"b": ("uid-b", "hash")}


def test_a_new_place_knows_nothing(records: Records) -> None:
    """After a move nothing is unchanged: files and rows of the former place do not count."""
    prod = records.destination()
    save(records, prod, item("a"))
    moved = records.destination(folder="elsewhere")
    assert known(records, moved) == {}
