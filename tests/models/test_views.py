"""What people ask with SQL: the record of commits, and the views that show it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from app import events
from app.events import Operation
from app.models import commits, destinations, ledger, reports, rules
from tests.models.records import CLUSTER, Records, entry, identifier

OBSERVED = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)


def change(name: str, *, sequence: int = 1, what: events.Identifier | None = None) -> commits.Change:
    """One file of a commit."""
    return commits.Change(
        path=f"clusters/prod/v1/configmaps/shop/{name}.yaml",
        operation=Operation.UPDATE.value,
        identifier=what or identifier(name),
        resource_version="5",
        user=events.UserInfo("alice", "audit"),
        rule="WatchRule shop/all",
        sequence=sequence,
        blob_id="blob",
        observed_at=OBSERVED,
    )


def record(records: Records, destination: destinations.Destination, sha: str, *changes: commits.Change) -> int | None:
    """Record a commit of a destination."""
    commit = commits.NewCommit(sha, "alice <alice@>", "[UPDATE] v1/configmaps/a\n\nTrailer: x", 1, 2, changes)
    with records.database.write() as connection:
        (found,) = commits.record(
            connection,
            [commit],
            destination_id=destination.id,
            place_id=destination.place_id,
            branch_id=destination.branch_id,
        )
    return found


def rows(records: Records, query: str) -> list[dict[str, object]]:
    """What a person gets who types a query."""
    with records.database.read() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def test_a_commit_is_recorded_once(records: Records) -> None:
    """The same sha on the same branch is one row with its files; on another branch it is another commit."""
    prod = records.destination()
    elsewhere = records.destination("elsewhere", branch="dev", folder="e")
    first = record(records, prod, "abc", change("a"), change("b"))
    assert first is not None
    assert record(records, prod, "abc", change("a"), change("b")) is None
    assert record(records, elsewhere, "abc", change("a")) not in {None, first}
    with records.database.read() as connection:
        assert commits.id_of(connection, branch_id=prod.branch_id, sha="abc") == first
        assert commits.id_of(connection, branch_id=prod.branch_id, sha="unknown") is None
        assert commits.shas(connection, branch_id=prod.branch_id, among=["abc", "unknown"]) == {"abc"}
    assert rows(records, "SELECT count(*) AS n FROM commit_change") == [{"n": 3}]


def test_a_commit_without_files_is_recorded(records: Records) -> None:
    """A commit that changed nothing of ours is known all the same."""
    assert record(records, records.destination(), "abc") is not None


def test_the_audit_log_says_what_changed_by_whom_and_where(records: Records) -> None:
    """One row per file and commit, with object, user, rule, place and sha."""
    prod = records.destination()
    deployment = dataclasses.replace(identifier("web"), group="apps", version="v1", resource="deployments")
    record(records, prod, "abc", change("a", sequence=1), change("web", sequence=2, what=deployment))
    found = rows(records, "SELECT * FROM audit_log ORDER BY sequence")
    assert [row["object"] for row in found] == ["v1/configmaps/a", "apps/v1/deployments/web"]
    first = found[0]
    assert (first["cluster"], first["destination"], first["branch"]) == (CLUSTER, "shop/prod", "main")
    assert (first["operation"], first["namespace"], first["name"]) == ("UPDATE", "shop", "a")
    assert (first["user_name"], first["user_source"], first["rule"]) == ("alice", "audit", "WatchRule shop/all")
    assert (first["path"], first["commit_sha"]) == ("clusters/prod/v1/configmaps/shop/a.yaml", "abc")
    assert (first["subject"], first["base_folder"]) == ("[UPDATE] v1/configmaps/a", "clusters/prod")
    assert (first["resource_version"], first["uid"]) == ("5", "uid-a")


def test_the_audit_log_outlives_the_ledger_and_the_place(records: Records) -> None:
    """Rows stay when the ledger's rows are dropped, and name the branch and folder of their time after a move."""
    prod = records.destination()
    records.append(entry(prod))
    record(records, prod, "abc", change("a"))
    records.destination(branch="dev", folder="elsewhere")
    with records.database.write() as connection:
        connection.execute(text("DELETE FROM event"))
    assert rows(records, "SELECT branch, base_folder FROM audit_log") == [
        {"branch": "main", "base_folder": "clusters/prod"}
    ]


def test_reports_filter_the_audit_log(records: Records) -> None:
    """The newest first, of one destination or one name, at most `limit`; text and time come back as they were."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    odd = dataclasses.replace(identifier("x"), name="a\x00\\b")
    record(records, prod, "one", change("a", sequence=1), change("x", sequence=2, what=odd))
    record(records, other, "two", change("a"))
    with records.database.read() as connection:
        everything = reports.audit_entries(connection)
        assert [one.commit_sha for one in everything] == ["two", "one", "one"]
        assert [one.name for one in reports.audit_entries(connection, destination="shop/prod")] == ["a\x00\\b", "a"]
        assert {one.destination for one in reports.audit_entries(connection, name="a")} == {"shop/prod", "shop/other"}
        assert len(reports.audit_entries(connection, limit=1)) == 1
    assert all(one.pushed_at.tzinfo is UTC for one in everything)


def test_destination_lag_says_how_far_each_destination_is(records: Records) -> None:
    """Pending rows and the age of the oldest, the last push, the last error: one row per destination."""
    prod = records.destination("prod")
    records.destination("idle", folder="i")
    old = entry(prod, "a")
    event = dataclasses.replace(old.event, observed_at=OBSERVED)
    records.append(dataclasses.replace(old, event=event), entry(prod, "b"), entry(prod, "c"))
    with records.database.write() as connection:
        ledger.settle(connection, prod.id, [ledger.Settled(3, ledger.PUSHED)])
        destinations.note_success(connection, prod.id, sha="abc")
    found = {str(row["destination"]): row for row in rows(records, "SELECT * FROM destination_lag")}
    lag, idle = found["shop/prod"], found["shop/idle"]
    age = (datetime.now(UTC) - OBSERVED).total_seconds()
    assert (lag["pending"], lag["events"], lag["queue"]) == (2, 3, "dest.shop.prod")
    assert lag["lag_seconds"] == pytest.approx(age, abs=5.0)
    assert (lag["last_sha"], lag["branch"], lag["repository"]) == ("abc", "main", "git.example.com/repo")
    assert (idle["pending"], idle["events"], idle["lag_seconds"], idle["last_sha"]) == (0, 0, None, None)


def test_reports_tell_the_status_of_every_destination(records: Records) -> None:
    """A deleted destination is shown while rows of it pend; one without a place is shown too."""
    prod, gone = records.destination("prod"), records.destination("gone", folder="g")
    drained = records.destination("drained", folder="d")
    records.append(entry(gone))
    with records.database.write() as connection:
        destinations.retire_destinations(connection, cluster=CLUSTER, keep={prod.uid})
        destinations.save_destination(
            connection, uid="n", ref=events.Ref("shop", "new"), cluster=CLUSTER, ready=False, reason="R", message="\x00"
        )
        found = reports.destination_statuses(connection)
    assert drained.ref.name not in {one.destination for one in found}
    assert [(one.destination, one.ready, one.pending) for one in found] == [
        ("shop/gone", True, 1),
        ("shop/new", False, 0),
        ("shop/prod", True, 0),
    ]
    assert (found[1].branch, found[1].message, found[1].deleted_at) == (None, "\x00", None)
    assert found[0].deleted_at is not None


def test_rule_history_shows_every_version(records: Records) -> None:
    """Which rule was in force when, and where it led then."""
    prod = records.destination()
    for spec in ({"n": 1}, {"n": 2}):
        with records.database.write() as connection:
            seen = rules.RuleSeen("WatchRule shop/a", "u", prod.id, prod.place_id, spec)
            rules.save(connection, cluster=CLUSTER, rules=[seen])
    records.destination(folder="elsewhere")
    found = rows(records, "SELECT * FROM rule_history ORDER BY version")
    assert [(row["version"], row["valid_to"] is None) for row in found] == [(1, False), (2, True)]
    assert {(row["rule"], row["destination"], row["branch"], row["base_folder"]) for row in found} == {
        ("WatchRule shop/a", "shop/prod", "main", "clusters/prod")
    }
    assert all(row["spec"] for row in found)
