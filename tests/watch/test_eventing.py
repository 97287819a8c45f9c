"""From a change to Events: operations, selection, content; without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app import errors, events
from app.models import inventory, ledger
from app.rules import compiling, kinds, selecting, types
from app.watch import eventing, routing
from tests.watch.desk import CONFIG_MAPS, SHOP, config_map, watch_rule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = eventing.Origin("home", 1, NOW)
KEY = ("", "configmaps", "shop", "a")
SECRETS = types.ResourceType("", "v1", "secrets", "Secret", True, frozenset({"list", "watch"}), True)


def target(**changes: Any) -> routing.Target:
    """The destination shop/prod at its first place."""
    values: dict[str, Any] = {
        "id": 1, "uid": "uid-prod", "ref": SHOP, "repo_config": events.Ref("shop", "repo"), "place_id": 7,
        "place_generation": 1, "branch": "main", "base_folder": "clusters/prod",
    }  # fmt: skip
    return routing.Target(**values | changes)


def routes(rule: kinds.WatchRule, *served: types.ResourceType) -> routing.Routing:
    """One rule for shop/prod."""
    config = {
        "metadata": {"name": "repo", "namespace": "shop"},
        "spec": {"repoUrl": "https://example.com/x.git", "allowedBranches": ["*"]},
    }
    place = {
        "metadata": {"name": "prod", "namespace": "shop"},
        "spec": {"repoRef": {"name": "repo"}, "branch": "main", "baseFolder": "clusters/prod"},
    }
    compilation = compiling.compile_all(
        repo_configs=[kinds.GitRepoConfig.from_object(config)],
        destinations=[kinds.GitDestination.from_object(place)],
        watch_rules=[rule],
        cluster_rules=[],
        types=served,
        allow_local=False,
    )
    marks = {1: routing.marks(selecting.scopes_of(compilation, SHOP))}
    return routing.Routing(
        selecting.Matcher(compilation.compiled()), {SHOP: target()}, holdings=routing.holdings(marks, [target()])
    )


def selected(change: eventing.ChangeKind, known: dict[inventory.Key, inventory.Known], *operations: str) -> list[str]:
    """The operations with which a ConfigMap `a` gets an Event."""
    subject = eventing.Subject(CONFIG_MAPS, config_map("a", 5), change=change)
    found = eventing.select(subject, routes(watch_rule("configmaps", operations=operations), CONFIG_MAPS), {1: known})
    return [one.operation.value for one in found if not one.kept]


@pytest.mark.parametrize(
    ("change", "uid", "expected"),
    [
        ("ADDED", "", "CREATE"),
        ("ADDED", "uid-a", "UPDATE"),
        ("ADDED", "another", "CREATE"),
        ("LISTED", "", "CREATE"),
        ("LISTED", "uid-a", "UPDATE"),
        ("MODIFIED", "", "UPDATE"),
        ("DELETED", "", "DELETE"),
        ("DELETED", "uid-a", "DELETE"),
    ],
)
def test_the_operation_is_what_happened(change: eventing.ChangeKind, uid: str, expected: str) -> None:
    """The real operation follows from the change and from what the destination knows, and is matched as such."""
    known = {KEY: inventory.Known(uid, "hash")} if uid else {}
    assert selected(change, known, "*") == [expected]
    assert selected(change, known, expected) == [expected]
    others = {"CREATE", "UPDATE", "DELETE"} - {expected}
    # A file of another object under this name is gone with it, whoever comes after it.
    assert selected(change, known, *sorted(others)) == (["DELETE"] if uid == "another" else [])


def test_a_secret_is_never_selected() -> None:
    """No Secret reaches an Event, whatever the rules say (promise P12)."""
    secret = {"metadata": {"name": "s", "namespace": "shop", "uid": "u", "resourceVersion": "1"}, "data": {"p": "x"}}
    subject = eventing.Subject(SECRETS, secret, change="ADDED")
    everything = routes(watch_rule("*", "secrets"), CONFIG_MAPS, SECRETS)
    assert list(eventing.select(subject, everything, {1: {}})) == []


def test_an_event_without_a_branch_is_not_made() -> None:
    """An Event without a branch is rejected where it is made (promise P4)."""
    subject = eventing.Subject(CONFIG_MAPS, config_map("a", 5), change="ADDED")
    chosen = eventing.Selected(target(branch=""), events.Operation.CREATE, "WatchRule shop/rule", "uid-a")
    with pytest.raises(errors.EventError, match="branch"):
        eventing.entry(subject, chosen, ORIGIN)


def test_an_object_that_cannot_be_encoded_is_dead_and_its_content_stays_out() -> None:
    """A row of an object that JSON cannot hold is dead, has no body, and its reason quotes nothing of it."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(5_000):
        inner["canary"] = {}
        inner = inner["canary"]
    subject = eventing.Subject(CONFIG_MAPS, config_map("a", 5) | {"data": deep}, change="ADDED")
    chosen = eventing.Selected(target(), events.Operation.CREATE, "WatchRule shop/rule", "uid-a")
    row = eventing.entry(subject, chosen, ORIGIN)
    assert (row.state, row.body, row.event.content_hash) == (ledger.DEAD, None, None)
    assert "canary" not in str(row.reason)


def test_u0000_is_legal_in_an_object() -> None:
    """U+0000 in a value is mirrored as it is."""
    subject = eventing.Subject(CONFIG_MAPS, config_map("a", 5, text="a\x00b"), change="ADDED")
    assert b"a\\u0000b" in subject.content().body


def test_a_delete_has_neither_body_nor_user() -> None:
    """A DELETE carries the identity only: nobody knows who deleted."""
    subject = eventing.Subject(CONFIG_MAPS, config_map("a", 5), change="DELETED")
    row = eventing.entry(subject, eventing.Selected(target(), events.Operation.DELETE, "r", "uid-a"), ORIGIN)
    assert (row.body, row.event.content_hash, row.event.user_info) == (None, None, None)


def test_one_namespace_gets_a_narrow_stream_and_two_get_a_wide_one() -> None:
    """Exactly the streams that the rules need: one namespace a stream of its own, two or all a single wide one."""
    one, two, wide = (selecting.DestinationScope(CONFIG_MAPS, name, True, "") for name in ("shop", "web", ""))
    for scopes, namespace in (([one], "shop"), ([one, one], "shop"), ([one, two], ""), ([one, wide], ""), ([wide], "")):
        assert list(routing.plan_streams(scopes)) == [routing.StreamKey("", "v1", "configmaps", namespace)]
