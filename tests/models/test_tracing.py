"""What `reverser explain` asks of one object: its files, its last commit, its last row; on both databases."""

from __future__ import annotations

from app import events
from app.models import commits, destinations, inventory, ledger, tracing
from tests.models.records import Records, entry, identifier

KEY = ("", "configmaps", "shop", "a")


def save(records: Records, destination: destinations.Destination, name: str, *, removed: bool = False) -> None:
    """A file of a ConfigMap at the current place."""
    path = f"{destination.base_folder}/v1/configmaps/shop/{name}.yaml"
    item = inventory.Item(path, identifier(name), "5", "hash", "blob", None, removed)
    with records.database.write() as connection:
        inventory.save(connection, destination.place_id, [item])


def record(records: Records, destination: destinations.Destination, sha: str, *names: str) -> None:
    """A commit with a file for each name."""
    changes = tuple(
        commits.Change(
            path=f"{name}.yaml",
            operation=events.Operation.UPDATE.value,
            identifier=identifier(name),
            resource_version="5",
            user=events.UserInfo("alice", "audit"),
            rule="WatchRule shop/all",
            sequence=1,
            blob_id="blob",
            observed_at=None,
        )
        for name in names
    )
    commit = commits.NewCommit(sha, "alice", "subject", 1, 1, changes)
    with records.database.write() as connection:
        commits.record(
            connection,
            [commit],
            destination_id=destination.id,
            place_id=destination.place_id,
            branch_id=destination.branch_id,
        )


def test_files_at_all_places(records: Records) -> None:
    """A file of each place that the destination had, the newest place first; of other objects and destinations none."""
    former = records.destination()
    save(records, former, "a")
    save(records, former, "b")
    other = records.destination("other", folder="other")
    save(records, other, "a")
    moved = records.destination(folder="moved")
    save(records, moved, "a", removed=True)
    with records.database.read() as connection:
        found = tracing.files(connection, moved.id, KEY)
    assert [(one.folder, one.place_id, one.removed) for one in found] == [
        ("moved", moved.place_id, True),
        ("clusters/prod", former.place_id, False),
    ]
    assert found[1].path == "clusters/prod/v1/configmaps/shop/a.yaml"
    assert found[1].branch == "main"


def test_the_last_commit_of_an_object(records: Records) -> None:
    """The newest commit that has the object, of this destination; None where there is none."""
    prod = records.destination()
    for sha, names in (("1", ["a", "b"]), ("2", ["a"]), ("3", ["b"])):
        record(records, prod, sha, *names)
    record(records, records.destination("other", folder="other"), "4", "a")
    with records.database.read() as connection:
        found = tracing.last_change(connection, prod.id, KEY)
        assert tracing.last_change(connection, prod.id, (*KEY[:3], "nobody")) is None
    assert found
    assert (found.sha, found.path, found.branch, found.uid) == ("2", "a.yaml", "main", identifier("a").uid)


def test_the_last_row_of_an_object(records: Records) -> None:
    """The newest Event of the object at a place, whatever its state."""
    prod = records.destination()
    records.append(entry(prod, "a"), entry(prod, "a", version=2, state=ledger.DEAD), entry(prod, "b", version=3))
    with records.database.read() as connection:
        found = tracing.last_row(connection, prod.id, KEY, place_id=prod.place_id)
        assert tracing.last_row(connection, prod.id, KEY, place_id=prod.place_id + 1) is None
    assert found
    assert (found.sequence, found.state, found.reason) == (2, ledger.DEAD, "why")


def test_the_types_that_are_in_git(records: Records) -> None:
    """Each type once, with its kind, and whether its objects have a namespace."""
    prod = records.destination()
    save(records, prod, "a")
    save(records, prod, "b")
    with records.database.read() as connection:
        assert tracing.types_of(connection, prod.id) == [("", "v1", "configmaps", "ConfigMap", True)]
        assert tracing.types_of(connection, prod.id + 1) == []
