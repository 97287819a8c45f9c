"""What a change of rules touches: exactly where the marks of files change, and single namespaces that came or went."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text

from app.models import rules, seeds
from app.rules import noise
from app.watch import comparing, routing, runs
from tests.watch.desk import CONFIG_MAPS, ROLES, Desk, cluster_rule, config_map, watch_rule

TEAMS = {"matchLabels": {"team": "yes"}}
IN = {"team": "yes"}
WIDE: dict[str, Any] = {"resources": ["configmaps"], "namespaceSelector": TEAMS}
WAYS: list[dict[str, Any]] = [
    WIDE,
    {**WIDE, "resources": ["*"]},
    {**WIDE, "operations": ["CREATE", "DELETE"]},
    {**WIDE, "names": ["a"]},
    {**WIDE, "excludeNames": ["b"]},
    {**WIDE, "labelSelector": TEAMS},
    {**WIDE, "namespaceSelector": {"matchLabels": {"team": "other"}}},
    {**WIDE, "excludeNamespaces": ["c"]},
    {"resources": ["configmaps"]},
]


def marks(desk: Desk) -> dict[tuple[str, str], str]:
    """The mark of each scope, by resource and namespace."""
    (found,) = desk.writer.routes.marks.values()
    return {(key.resource, key.namespace): mark for key, mark in found.items()}


def close_seeds(desk: Desk) -> None:
    """What is open came to its end."""
    with desk.database.write() as connection:
        connection.execute(text("UPDATE seed_run SET state = 'swept'"))


def test_where_a_mark_changes_a_listing_stamps_it(desk: Desk) -> None:
    """Whatever changes in a rule: the scopes with another mark are listed, else all their files would count as left."""
    desk.namespaces = {"one": IN}
    desk.start(cluster_rule(**WAYS[0]))
    for way in [*WAYS[1:], WAYS[0]]:
        close_seeds(desk)
        before = marks(desk)
        desk.start(cluster_rule(**way))
        after = marks(desk)
        assert {key for key in after if after[key] != before.get(key)} == desk.open_scopes(), way


def test_another_table_of_noise_lists_what_a_wildcard_selects(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with another edition stamps its mark on everything under `*`, and makes no commit of it."""
    desk.start(watch_rule("*", name="all"), watch_rule("configmaps", name="named", namespace="shop"))
    desk.seed(config_map("a", 110))
    monkeypatch.setattr(noise, "EDITION", noise.EDITION + 1)
    again = Desk(desk.settings.database_url, owner="two")
    again.start(watch_rule("*", name="all"), watch_rule("configmaps", name="named", namespace="shop"))
    assert again.open_scopes() == {("configmaps", "shop"), ("roles", "shop")}
    again.seed(config_map("a", 110), version="160")
    ((found,),) = (known.values() for known in again.writer.known.values())
    assert found.mark == marks(again)["configmaps", "shop"]
    with again.database.read() as connection:
        rows = rules.CompiledRuleRow
        told = {row.rule: row.version for row in connection.execute(select(rows).order_by(rows.version))}
    assert told == {"WatchRule shop/all": 2, "WatchRule shop/named": 1}
    again.close()


def test_a_namespace_of_a_rule_on_many_types_is_one_word_more(desk: Desk) -> None:
    """Who belongs is written once and not with each type, and each type lists the namespace that came."""
    things = [replace(ROLES, group="x.io", resource=f"things{number}") for number in range(30)]
    desk.namespaces = {f"team-{number}": IN for number in range(100)}
    desk.adopt(cluster_rule("*", namespaceSelector=TEAMS), served=things)
    close_seeds(desk)
    desk.namespaces = {**desk.namespaces, "one-more": IN}
    desk.adopt(cluster_rule("*", namespaceSelector=TEAMS), served=things)
    assert desk.open_scopes() == {(one.resource, "one-more") for one in things}
    with desk.database.read() as connection:
        row = rules.CompiledRuleRow
        first, second = connection.execute(select(row.spec, row.difference).order_by(row.version))
    assert [json.dumps(one.spec).count('"team-7"') for one in (first, second)] == [1, 1]
    assert second.difference == "namespaces + one-more"


def test_a_namespace_that_moves_while_the_rule_changes_is_listed_with_the_rest(desk: Desk) -> None:
    """The whole scope has another mark then, and one listing of it brings the namespace too."""
    desk.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    desk.namespaces = {"one": IN}
    desk.start(cluster_rule("configmaps", namespaceSelector=TEAMS))
    close_seeds(desk)
    desk.namespaces = {"one": IN, "two": IN}
    desk.start(cluster_rule("configmaps", namespaceSelector=TEAMS, excludeNames=["x"]))
    assert desk.open_scopes() == {(CONFIG_MAPS.resource, "")}


@pytest.mark.parametrize(("more", "listed"), [(0, "each namespace"), (1, "the type")])
def test_many_namespaces_of_a_scope_are_all_of_it(more: int, listed: str) -> None:
    """Beyond the bound a seed has one scope of the type, whatever else it has; what is wanted narrow stays so."""
    names = [f"team-{number}" for number in range(runs.NARROW_LISTINGS + more)]
    keys = [seeds.ScopeKey("", "configmaps", name) for name in names]
    wide = routing.WantedScope(seeds.ScopeKey("", "configmaps", ""), "v1", sweepable=True)
    apart = {wide._replace(key=key) for key in keys}
    other = wide._replace(key=seeds.ScopeKey("", "roles", ""))
    assert comparing.parts([wide, other], [*keys, other.key]) == {other, *(apart if listed != "the type" else {wide})}
    assert comparing.parts(apart, keys) == apart


@pytest.mark.parametrize(("changed", "met"), [("shop", {"", "shop"}), ("", {"", "shop", "bank"}), ("other", {""})])
def test_a_scope_meets_its_own_namespace_and_all(changed: str, met: set[str]) -> None:
    """A change in a namespace touches what is wanted there or everywhere, a change in all of them each scope."""
    key = seeds.ScopeKey("", "configmaps", changed)
    every = {name: routing.WantedScope(replace(key, namespace=name), "v1", True) for name in ("", "shop", "bank")}
    expected = {every[name] for name in met}
    assert comparing.touched(every.values(), [key]) == expected
    assert comparing.parts(every.values(), [key]) == {
        scope._replace(key=key) if changed else scope for scope in expected
    }
    assert not comparing.touched(every.values(), [replace(key, group="x.io"), replace(key, resource="roles")])
