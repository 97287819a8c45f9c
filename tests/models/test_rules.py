"""Compiled rules keep their history; cursors and worker nodes keep their newest state."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from sqlalchemy import select, text

from app.models import cursors, destinations, nodes, rules
from tests.models.records import CLUSTER, Records

SPEC: Mapping[str, Any] = {"rules": [{"resources": ["configmaps"], "operations": ["*"]}], "text": "ü\u2028"}


def seen(
    destination: destinations.Destination,
    rule: str = "WatchRule shop/a",
    *,
    spec: Mapping[str, Any] = SPEC,
    uid: str = "u",
) -> rules.RuleSeen:
    """A compiled rule of a destination at its place."""
    return rules.RuleSeen(rule, uid, destination.id, destination.place_id, spec)


def save(records: Records, *found: rules.RuleSeen, cluster: str = CLUSTER, present: Collection[str] = ()) -> set[int]:
    """Put rules into force."""
    with records.database.write() as connection:
        return rules.save(connection, cluster=cluster, rules=found, present=present)


def history(records: Records) -> list[tuple[str, int, bool]]:
    """(rule, version, whether it is in force) of all versions, oldest first."""
    row = rules.CompiledRuleRow
    with records.database.read() as connection:
        found = connection.execute(select(row.rule, row.version, row.valid_to).order_by(row.id))
        return [(one.rule, one.version, one.valid_to is None) for one in found]


def test_a_rule_that_is_the_same_keeps_its_version(records: Records) -> None:
    """Compiled again without a change, nothing is written and no destination changed."""
    prod = records.destination()
    assert save(records, seen(prod)) == {prod.id}
    assert save(records, seen(prod, spec=dict(sorted(SPEC.items(), reverse=True)))) == set()
    assert history(records) == [("WatchRule shop/a", 1, True)]


def test_a_change_is_a_new_version_and_the_old_one_is_kept(records: Records) -> None:
    """Another spec or another resource of the same name closes the version in force and opens the next."""
    prod = records.destination()
    save(records, seen(prod))
    assert save(records, seen(prod, spec={"rules": []})) == {prod.id}
    assert save(records, seen(prod, spec={"rules": []}, uid="recreated")) == {prod.id}
    assert history(records) == [("WatchRule shop/a", n, n == 3) for n in (1, 2, 3)]
    row = rules.CompiledRuleRow
    with records.database.read() as connection:
        found = connection.execute(select(row.spec, row.valid_from, row.valid_to).order_by(row.id)).all()
    assert [one.spec for one in found] == [dict(SPEC), {"rules": []}, {"rules": []}]
    assert all(older.valid_from <= older.valid_to <= newer.valid_from for older, newer in itertools.pairwise(found))


def test_a_rule_that_is_out_of_order_is_known_by_what_it_said_last(records: Records) -> None:
    """One that is not ready, and neither one that is, nor one that is deleted, nor one that points elsewhere now."""
    prod, dev = records.destination("prod"), records.destination("dev", folder="dev")
    words = {"paused": {"paused": 2}, "ready": {"ready": 1}, "deleted": {"deleted": 1}, "moved": {"moved": 1}}
    save(records, seen(prod, "paused", spec={"paused": 1}, uid="paused"))
    save(records, *(seen(prod, name, spec=spec, uid=name) for name, spec in words.items()))
    save(
        records,
        seen(prod, "ready", spec=words["ready"], uid="ready"), seen(dev, "moved", spec=words["moved"], uid="moved"),
        present={"paused", "ready", "moved"},
    )  # fmt: skip

    def paused(present: set[str], *, cluster: str = CLUSTER) -> list[Mapping[str, Any]]:
        with records.database.read() as connection:
            return rules.paused_specs(connection, prod.id, cluster=cluster, present=present)

    assert paused({"paused", "ready", "moved"}) == [{"paused": 2}]
    assert paused({"ready", "moved"}) == []
    assert paused({"paused"}, cluster="other") == []


def told(records: Records) -> list[tuple[str, str | None]]:
    """What `rule_history` says of each version: what changed, and why it ended; the oldest first."""
    with records.database.read() as connection:
        found = connection.execute(text("SELECT difference, ended FROM rule_history ORDER BY valid_from, version"))
        return [(row.difference, row.ended) for row in found]


def test_each_version_says_what_changed_and_why_it_ended(records: Records) -> None:
    """The history of a rule reads as a story, from its first version over its deletion to its return."""
    prod = records.destination()
    spec = {**SPEC, "destination": "shop/prod", "branch": "main"}
    save(records, seen(prod, spec=spec))
    save(records, seen(prod, spec={**spec, "branch": "prod"}))
    save(records)
    save(records, seen(prod, spec={**spec, "branch": "prod"}, uid="recreated"))
    save(records, present=["recreated"])
    save(records, seen(records.destination(uid="another"), spec={**spec, "branch": "prod"}, uid="recreated"))
    assert told(records) == [
        ("first version", rules.REPLACED),
        ("branch main -> prod", rules.DELETED),
        ("in force again; the rule was created again", rules.NOT_READY),
        ("in force again; the destination was created again", None),
    ]


def test_a_difference_may_quote_anything(records: Records) -> None:
    """A name with U+0000 in a rule is written on both databases: nobody's rule stops the daemon of all."""
    prod = records.destination()
    scope = {"group": "", "version": "v1", "resource": "configmaps", "namespace": "shop", "operations": ["CREATE"]}
    for name in ("a", "b\x00\ud800"):
        save(records, seen(prod, spec={"scopes": [{**scope, "filter": {"names": [name]}}]}))
    row = rules.CompiledRuleRow
    with records.database.read() as connection:
        (*_, told) = connection.scalars(select(row.difference).order_by(row.version))
    assert told == "names + b\x00\ud800 - a"


def test_the_versions_in_force_are_told_by_rule(records: Records) -> None:
    """The status of a rule says which version of it is in force."""
    prod = records.destination()
    save(records, seen(prod), seen(prod, "WatchRule shop/b"))
    save(records, seen(prod, spec={"rules": []}))
    with records.database.read() as connection:
        assert rules.versions(connection, cluster=CLUSTER) == {"WatchRule shop/a": 2}


def test_a_rule_that_leads_elsewhere_changes_both_destinations(records: Records) -> None:
    """The destination that loses a rule has to be seeded like the one that gains it; a raised generation counts too."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    save(records, seen(prod))
    assert save(records, seen(other)) == {prod.id, other.id}
    assert save(records, seen(records.destination("other", folder="moved"))) == {other.id}


def test_a_rule_that_is_gone_is_closed_and_goes_on_counting_when_it_returns(records: Records) -> None:
    """Versions of one rule only rise, across its absence too."""
    prod = records.destination()
    save(records, seen(prod), seen(prod, "WatchRule shop/b"))
    assert save(records, seen(prod, "WatchRule shop/b")) == {prod.id}
    assert save(records) == {prod.id}
    assert save(records, seen(prod)) == {prod.id}
    assert history(records) == [
        ("WatchRule shop/a", 1, False),
        ("WatchRule shop/b", 1, False),
        ("WatchRule shop/a", 2, True),
    ]


def test_the_rules_of_clusters_are_apart(records: Records) -> None:
    """Compiling the rules of one cluster closes no rule of another."""
    prod = records.destination()
    save(records, seen(prod, "WatchRule shop/b"), seen(prod))
    save(records, seen(prod), cluster="edge")
    save(records, cluster="edge")
    with records.database.read() as connection:
        in_force = rules.in_force(connection, cluster=CLUSTER)
        assert rules.in_force(connection, cluster="edge") == []
    assert [one.rule for one in in_force] == ["WatchRule shop/a", "WatchRule shop/b"]
    assert in_force[0].spec == dict(SPEC)


def test_a_cursor_is_one_per_stream_and_stands_where_it_was_moved(records: Records) -> None:
    """A resume point is replaced, never doubled; streams, namespaces and clusters do not touch each other."""
    wide = cursors.Cursor("apps", "deployments", "", "v1", "100", 1)
    narrow = cursors.Cursor("apps", "deployments", "shop", "v1", "90", 1)
    newer = cursors.Cursor("apps", "deployments", "", "v2", "200", 2)
    with records.database.write() as connection:
        for cursor in (wide, narrow, newer):
            cursors.move(connection, cluster=CLUSTER, cursor=cursor)
        cursors.move(connection, cluster="edge", cursor=wide)
        assert set(cursors.load(connection, cluster=CLUSTER)) == {newer, narrow}
        cursors.drop(connection, cluster=CLUSTER, cursor=wide)
        assert cursors.load(connection, cluster=CLUSTER) == [narrow]
        assert cursors.load(connection, cluster="edge") == [wide]


def test_a_cursor_moves_with_its_batch_or_not_at_all(records: Records) -> None:
    """A transaction that fails leaves the resume point where it was."""
    first = cursors.Cursor("", "configmaps", "", "v1", "1", 1)
    with records.database.write() as connection:
        cursors.move(connection, cluster=CLUSTER, cursor=first)
    with contextlib.suppress(ZeroDivisionError), records.database.write() as connection:
        cursors.move(connection, cluster=CLUSTER, cursor=cursors.Cursor("", "configmaps", "", "v1", "2", 1))
        raise ZeroDivisionError
    with records.database.read() as connection:
        assert cursors.load(connection, cluster=CLUSTER) == [first]


def beat(records: Records, name: str, *, dedicated: bool = False) -> None:
    """A worker says that it lives."""
    with records.database.write() as connection:
        nodes.beat(
            connection,
            name=name,
            globs=["team-*/prod"],
            dedicated=dedicated,
            serves=["dest.shop.prod"],
        )


def live(records: Records) -> list[str]:
    """The names of live workers."""
    with records.database.read() as connection:
        return [node.name for node in nodes.live(connection)]


def test_a_worker_lives_while_its_heartbeat_is_young(records: Records) -> None:
    """A worker that is silent too long serves nothing; one beat and it is back, as one row."""
    beat(records, "b", dedicated=True)
    beat(records, "a")
    assert live(records) == ["a", "b"]
    records.age("worker_node", "heartbeat", seconds=nodes.STALE_AFTER + 1)
    assert live(records) == []
    beat(records, "b", dedicated=True)
    with records.database.read() as connection:
        assert nodes.live(connection) == [
            nodes.NodeRow("b", ("team-*/prod",), dedicated=True, serves=("dest.shop.prod",))
        ]


def test_a_worker_that_is_long_silent_is_forgotten(records: Records) -> None:
    """Rows of dead workers do not pile up: others drop them after ten times the silence."""
    beat(records, "dead")
    records.age("worker_node", "heartbeat", seconds=10 * nodes.STALE_AFTER + 1)
    beat(records, "alive")
    with records.database.read() as connection:
        assert list(connection.scalars(text("SELECT name FROM worker_node"))) == ["alive"]


@pytest.mark.postgres
def test_a_beat_waits_for_no_other_worker(postgres_migrated_url: str) -> None:
    """After a long outage all rows are old, and each worker would drop those of the others: none waits for one."""
    with contextlib.closing(Records(postgres_migrated_url)) as records:
        beat(records, "b")
        records.age("worker_node", "heartbeat", seconds=10 * nodes.STALE_AFTER + 1)
        with records.database.write() as connection:
            connection.execute(text("SELECT * FROM worker_node FOR UPDATE"))
            beat(records, "a")
        assert live(records) == ["a"]


def test_a_worker_that_ends_is_gone_at_once(records: Records) -> None:
    """A worker that says goodbye is not waited for."""
    beat(records, "a")
    with records.database.write() as connection:
        nodes.remove(connection, "a")
    assert live(records) == []
