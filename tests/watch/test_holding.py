"""Which rule holds a file: it removes the file, and another rule of the destination does not."""

from __future__ import annotations

import pytest

from app.models import inventory
from tests.watch.desk import Desk, cluster_rule, config_map, labelled, watch_rule

WEB = {"matchLabels": {"app": "web"}}
DB = {"matchLabels": {"app": "db"}}
WRITES = ["CREATE", "UPDATE"]


def deletes(desk: Desk) -> list[tuple[str, str]]:
    """(name, rule) of every DELETE in the ledger."""
    return [(row.name, row.rule) for row in desk.events() if row.operation == "DELETE"]


def forget(desk: Desk) -> None:
    """Know what SQL says, as the next leader does."""
    target = desk.writer.routes.target_of(1)
    with desk.database.read() as connection:
        desk.writer.known[1] = inventory.known(connection, destination_id=1, place_id=target.place_id)


@pytest.mark.parametrize("anew", [False, True])
def test_a_rule_of_other_labels_removes_nothing(desk: Desk, *, anew: bool) -> None:
    """What left a rule without DELETE stays, though a rule of other labels has DELETE; that one removes its own."""
    web = watch_rule("configmaps", name="web", labelSelector=WEB, operations=WRITES)
    desk.start(web, watch_rule("configmaps", name="db", labelSelector=DB))
    desk.seed(labelled(config_map("a", 110), app="web"), labelled(config_map("b", 111), app="db"))
    if anew:
        forget(desk)
    for name, at in (("a", 160), ("b", 161)):
        desk.live("MODIFIED", labelled(config_map(name, at), app="other"))
    desk.live("DELETED", labelled(config_map("a", 162), app="other"))
    desk.write()
    assert deletes(desk) == [("b", "WatchRule shop/db")]


def test_a_rule_that_excludes_a_namespace_removes_nothing_there(desk: Desk) -> None:
    """A wide rule with DELETE that leaves a namespace out in so many words removes no file of another rule there."""
    desk.start(cluster_rule("configmaps", excludeNamespaces=["sh*"]), watch_rule("configmaps", operations=WRITES))
    desk.seed(config_map("a", 110), config_map("b", 111, namespace="web"))
    desk.live("DELETED", config_map("a", 160))
    desk.live("DELETED", config_map("b", 161, namespace="web"))
    desk.write()
    assert deletes(desk) == [("b", "ClusterWatchRule wide")]


def test_operations_may_stand_in_two_rules(desk: Desk) -> None:
    """Of two rules with the same filter, one may write and the other one remove."""
    desk.start(
        watch_rule("configmaps", name="a", labelSelector=WEB, operations=WRITES),
        watch_rule("configmaps", name="b", labelSelector=WEB, operations=["DELETE"]),
    )
    desk.seed(labelled(config_map("a", 110), app="web"))
    desk.live("MODIFIED", labelled(config_map("a", 160), app="other"))
    desk.write()
    assert deletes(desk) == [("a", "WatchRule shop/b")]
