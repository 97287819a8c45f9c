"""Histories that went wrong once, told step by step: the order of a few steps that chance draws rarely.

What the streams have yet to bring is written by a listing first, or the other way round: destination 0 of
`miniature.py` has a rule on ConfigMaps, and object 0 is one of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.watch import batching
from tests.chaos import checking, histories, miniature
from tests.system.cluster import MERGE

FOLDER = "dest-0/one"
FILE = f"{FOLDER}/v1/configmaps/chaos-0/configmap-0.yaml"
NEW_BRANCH = "fresh"


def play(site: miniature.Site, deed: histories.Deed, choice: int = 0) -> None:
    """A deed to object, destination or rule 0."""
    site.player.play(histories.Step(deed, 0, choice))


def select(site: miniature.Site, *resources: str, operations: list[str], team: str = "") -> None:
    """The rule of destination 0 selects these operations of these resources."""
    wanted: dict[str, Any] = {"labelSelector": {"matchLabels": {"team": team}}} if team else {}
    items = [
        {"apiGroups": ["" if one == histories.CONFIG_MAPS else site.player.group], "resources": [one],
         "operations": operations, **wanted}
        for one in resources
    ]  # fmt: skip
    spec = {"destinationRef": {"name": "dest-0"}, "rules": items}
    site.player.insist("PATCH", f"{site.player._ours(0, 'watchrules')}/dest-0", {"spec": spec}, kind=MERGE)


def move_to_a_new_branch(site: miniature.Site) -> None:
    """Destination 0 keeps its folder."""
    site.player.journal.places[site.player.ref(0)].add((NEW_BRANCH, FOLDER))
    path = f"{site.player._ours(0, 'gitdestinations')}/dest-0"
    site.player.insist("PATCH", path, {"spec": {"branch": NEW_BRANCH}}, kind=MERGE)


def seed(site: miniature.Site) -> None:
    """A listing of destination 0 is written, swept and pushed, of which the streams know nothing yet."""
    site.lead(lambda leader: leader.ask(site.ref(0)))
    site.lead(lambda leader: leader.sweep())
    site.lead(lambda leader: leader.list_all())
    site.drain(0, site.ref(0))
    site.drain(0, site.ref(0))


def read_streams(site: miniature.Site) -> None:
    """Each stream hands over everything that it has yet to bring."""
    site.lead(lambda leader: leader.read())


def check_at_rest(site: miniature.Site) -> None:
    """At rest, Git, SQL and the cluster say the same."""
    site.rest()
    assert site.unforeseen == []
    assert [str(one) for one in checking.check(site.scene())] == []


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("overtaken", [False, True])
def test_a_state_that_a_tombstone_hides_is_written_by_the_next_seed(
    site: miniature.Site, *, anew: bool, overtaken: bool
) -> None:
    """A sweep takes a file at a version at which the stream, behind the listing, has yet to bring the object.

    What the stream brings then is behind the tombstone, so the seed of a changed rule, or of a destination that is made
    anew, has to write it: also where a change that is none for Git comes live between the list request and its page.
    """
    # A blue object, and a rule that selects what is blue; then it is red, which the stream has yet to say.
    play(site, "label", 1)
    play(site, "rule", 3)
    site.everything()
    play(site, "label", 2)
    seed(site)
    assert site.rows("SELECT count(*) AS n FROM inventory WHERE removed")[0]["n"] == 1
    if anew:
        play(site, "displace")
    # A rule that selects all of them.
    play(site, "rule")
    play(site, "place")
    site.lead(lambda leader: leader.reconcile())
    if overtaken:
        site.lead(lambda leader: leader.list(0))
        play(site, "noise", 1)
        read_streams(site)
    site.everything()
    assert site.rows("SELECT state FROM event WHERE state = 'stale' AND state_reason LIKE '%at this%'")
    check_at_rest(site)


def test_a_branch_comes_into_being_though_all_files_are_there_already(site: miniature.Site) -> None:
    """P1: a destination moves to a branch that is not there yet, which begins with what it would write."""
    play(site, "rule")
    site.everything()
    site.rest()
    before = site.repository.git("rev-parse", "main")
    move_to_a_new_branch(site)
    site.everything()
    check_at_rest(site)
    assert site.repository.git("rev-parse", NEW_BRANCH) == before
    play(site, "write")
    site.everything()
    check_at_rest(site)
    assert site.repository.git("rev-parse", f"{NEW_BRANCH}^") == before


def test_no_branch_comes_into_being_for_nothing(site: miniature.Site) -> None:
    """A destination whose rule selects no object writes no file, so it needs no branch."""
    select(site, histories.CONFIG_MAPS, operations=["*"], team="nobody")
    move_to_a_new_branch(site)
    site.everything()
    check_at_rest(site)
    assert site.scene().branches() == ["main", "next"]


def test_a_new_branch_takes_over_what_its_folder_held_on_the_other_one(site: miniature.Site) -> None:
    """P7: the streams come from further back than the copies on the new branch: no file goes back in time."""
    play(site, "rule")
    site.everything()
    site.rest()
    play(site, "write")
    play(site, "write")
    seed(site)
    move_to_a_new_branch(site)
    site.lead(lambda leader: leader.reconcile())
    read_streams(site)
    for _ in range(5):
        site.lead(lambda leader: leader.write())
    site.everything()
    check_at_rest(site)


def test_what_changes_while_another_type_is_listed_is_no_orphan(site: miniature.Site) -> None:
    """P2, P11: a rule without CREATE: the listing makes no row of an object, and a change of it is read afterwards."""
    site.everything()
    site.rest()
    play(site, "displace")
    site.everything()
    select(site, histories.CONFIG_MAPS, histories.TOYS, operations=["UPDATE", "DELETE"])
    play(site, "write")
    play(site, "place", 2)
    site.lead(lambda leader: leader.reconcile())

    def list_config_maps(leader: miniature.Leader) -> None:
        for key, stream in leader._streams.items():
            stream.running = key.resource == histories.CONFIG_MAPS
        leader.list(0)
        while leader._listings:
            leader.list(0)
        while leader._writer.inbox._pages:
            leader.write()

    site.lead(list_config_maps)
    read_streams(site)
    site.everything()
    site.rest()
    path = FILE.replace("/one/", "/two/")
    assert path in site.repository.tree("main")
    assert site.rows("SELECT state FROM event WHERE state_reason LIKE '%orphans removed%'") == []
    rows = "SELECT state_reason FROM event WHERE name = 'configmap-0' AND seed_run_id IS NOT NULL AND place_id = 4"
    assert [one["state_reason"] for one in site.rows(rows)] == [batching.CHANGED_SINCE]


def test_a_listing_writes_what_a_tombstone_hides_under_a_rule_without_update(site: miniature.Site) -> None:
    """P10: the live CREATE is behind a sweep's tombstone, and what the seed lists is known by that row alone."""
    play(site, "label", 1)
    select(site, histories.CONFIG_MAPS, operations=["CREATE", "DELETE"], team="blue")
    site.everything()
    assert FILE in site.repository.tree("main")
    play(site, "label", 2)
    seed(site)
    assert FILE not in site.repository.tree("main")
    select(site, histories.CONFIG_MAPS, operations=["CREATE", "DELETE"], team="red")
    site.everything()
    site.rest()
    assert FILE in site.repository.tree("main")


def test_what_another_object_of_the_name_left_does_not_come_back(site: miniature.Site) -> None:
    """P7: a predecessor swept an object, and its replacement as well; the streams bring both once more."""
    play(site, "rule")
    site.everything()
    site.rest()
    for deed in ("write", "replace", "delete"):
        play(site, deed)  # type: ignore[arg-type]
        seed(site)
    before = site.repository.git("rev-list", "--count", "main", "--", FILE)
    play(site, "displace")
    play(site, "place")
    site.lead(lambda leader: leader.reconcile())
    read_streams(site)
    for _ in range(5):
        site.lead(lambda leader: leader.write())
    site.everything()
    check_at_rest(site)
    assert site.repository.git("rev-list", "--count", "main", "--", FILE) == before


@pytest.mark.parametrize("how", ["refused", "unselected"])
@pytest.mark.parametrize("led_anew", [False, True])
def test_a_restore_is_noticed_of_a_type_that_nobody_followed(site: miniature.Site, how: str, *, led_anew: bool) -> None:
    """DESIGN section 9: meanwhile etcd is restored, and whoever leads now never met the type."""
    play(site, "rule")
    site.everything()
    play(site, "write")
    site.everything()
    site.rest()
    if how == "refused":
        site.cluster.forbidden.add(histories.CONFIG_MAPS)
        read_streams(site)
    else:
        for number in range(histories.DESTINATIONS):
            site.player.play(histories.Step("rule", number, 2))
        site.everything()
    if led_anew:
        site.kill_leader()
    site.cluster.version = 105
    site.cluster.log.clear()
    play(site, "write")
    site.cluster.forbidden.clear()
    play(site, "rule")
    site.everything()
    check_at_rest(site)
