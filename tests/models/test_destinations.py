"""Destinations, places and repository configs: what the resources said, how drains went, who has to wait."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from sqlalchemy import select, update

from app import errors
from app.events import Ref
from app.models import base, destinations, inventory, ledger, places, seeds, states, wishes
from tests.models.records import CLUSTER, Records, append, entry, identifier


def retire(records: Records, *keep: str) -> list[int]:
    """Mark all destinations but those of some uids as deleted."""
    with records.database.write() as connection:
        return destinations.retire_destinations(connection, cluster=CLUSTER, keep=set(keep))


def due(records: Records, found: Iterable[destinations.Destination]) -> list[bool]:
    """Which of some destinations may be drained now."""
    with records.database.read() as connection:
        rows = [destinations.by_id(connection, one.id) for one in found]
    return [row.due for row in rows if row is not None]


# A host that does not answer.
AWAY = errors.TemporaryError("the host does not answer", reason=destinations.HOST_UNREACHABLE)


def places_of(records: Records, destination: destinations.Destination) -> list[tuple[int, str, bool]]:
    """(generation, folder, retired) of all places of a destination."""
    row = destinations.PlaceRow
    query = select(row.generation, row.base_folder, row.retired_at).where(row.destination_id == destination.id)
    with records.database.read() as connection:
        return [(one[0], one[1], one[2] is not None) for one in connection.execute(query.order_by(row.generation))]


def test_a_destination_knows_everything_that_a_drain_needs(records: Records) -> None:
    """One read gives identity, place, branch, repository and how the last drains went."""
    prod = records.destination()
    assert (prod.uid, prod.ref, prod.cluster) == ("uid-prod", Ref("shop", "prod"), CLUSTER)
    assert (prod.place_generation, prod.branch, prod.base_folder) == (1, "main", "clusters/prod")
    assert (prod.url, prod.url_key) == ("https://git.example.com/repo", "git.example.com/repo")
    assert (prod.transport, prod.host, prod.repo_config) == ("https", "git.example.com", Ref("shop", "repo"))
    assert (prod.failed_drains, prod.last_pushed_at, prod.deleted) == (0, None, False)


def test_a_destination_without_a_place_is_not_served(records: Records) -> None:
    """Before its repository is resolved a destination has no place: it is in no listing of what can be drained."""
    with records.database.write() as connection:
        found = destinations.save_destination(
            connection, uid="u", ref=Ref("shop", "new"), cluster=CLUSTER, ready=False, reason="NoRepo", message="m"
        )
        assert destinations.by_id(connection, found) is None
        assert destinations.by_ref(connection, Ref("shop", "new")) == []
        assert destinations.live(connection, cluster=CLUSTER) == []


def test_seen_again_is_the_same_row(records: Records) -> None:
    """A resource is its uid: seen again it keeps its id, its numbers and its place, and takes the new words."""
    prod = records.destination()
    records.append(entry(prod))
    again = records.destination()
    assert (again.id, again.place_id) == (prod.id, prod.place_id)
    assert records.append(entry(prod, "b")) == [2]
    with records.database.write() as connection:
        found = destinations.save_destination(
            connection, uid=prod.uid, ref=prod.ref, cluster=CLUSTER, ready=False, reason="Conflict", message="claimed"
        )
        row = connection.execute(select(destinations.GitDestinationRow.__table__)).one()
    assert (found, row.ready, row.reason, row.message) == (prod.id, False, "Conflict", "claimed")


def test_a_recreated_destination_is_another_one(records: Records) -> None:
    """Deleted and applied again under the same name, a destination has a new uid, new numbers and a new place."""
    old = records.destination(uid="uid-1")
    records.append(entry(old))
    retire(records)
    new = records.destination(uid="uid-2")
    assert (new.id != old.id, new.place_id != old.place_id) == (True, True)
    assert records.append(entry(new)) == [1]
    with records.database.read() as connection:
        found = destinations.by_ref(connection, Ref("shop", "prod"))
    assert [(one.id, one.deleted) for one in found] == [(old.id, True), (new.id, False)]


@pytest.mark.parametrize("change", [{"branch": "dev"}, {"folder": "elsewhere"}, {"repo": "other"}])
def test_a_place_that_changes_raises_the_generation_and_supersedes_what_pends(
    records: Records, change: dict[str, str]
) -> None:
    """Another repository, branch or folder is another place: older pending rows end at once, the old place retires."""
    prod = records.destination()
    records.append(entry(prod, "a"), entry(prod, "b"))
    moved = records.destination(**change)
    assert (moved.id, moved.place_generation) == (prod.id, 2)
    assert moved.place_id != prod.place_id
    assert [state for _, state in records.states(prod)] == [ledger.SUPERSEDED] * 2
    assert records.bodies(prod) == []
    assert [(generation, retired) for generation, _, retired in places_of(records, prod)] == [(1, True), (2, False)]
    with records.database.read() as connection:
        assert not destinations.is_at(connection, prod.id, place_id=prod.place_id)
        assert destinations.is_at(connection, prod.id, place_id=moved.place_id)


def test_a_raise_and_what_it_supersedes_are_one_transaction(records: Records) -> None:
    """A transaction that fails after the raise leaves the old generation and its pending rows."""
    prod = records.destination()
    records.append(entry(prod))
    seen = places.Seen(1, prod.branch_id, prod.url_key, "main", "elsewhere")
    with pytest.raises(ZeroDivisionError):
        _raise_and_fail(records, prod, seen)
    assert places_of(records, prod) == [(1, "clusters/prod", False)]
    assert records.states(prod) == [(1, ledger.PENDING)]


def _raise_and_fail(records: Records, prod: destinations.Destination, seen: places.Seen) -> None:
    with records.database.write() as connection:
        assert places.save(connection, prod.id, seen)[1:] == (2, True)
        raise ZeroDivisionError


def test_a_place_that_goes_back_is_a_third_generation_with_its_files(records: Records) -> None:
    """Generations only rise; what stands in a former folder is ours still when a destination returns to it."""
    first = records.destination(folder="a")
    records.destination(folder="b")
    records.append(entry(first, "late"))
    third = records.destination(folder="a")
    assert (third.place_id, third.place_generation) == (first.place_id, 3)
    assert places_of(records, third) == [(2, "b", True), (3, "a", False)]
    assert records.states(third) == [(1, ledger.SUPERSEDED)]


@pytest.mark.parametrize(("folder", "is_ours"), [("a", False), ("a/b", False), ("elsewhere", True)])
def test_a_place_that_somebody_else_had_meanwhile_begins_anew(records: Records, folder: str, *, is_ours: bool) -> None:
    """What stands there may be the other one's by now: nothing of it is known as ours."""
    first = records.destination(folder="a")
    records.destination(folder="b")
    records.destination("other", folder=folder)
    records.destination("other", folder="c")
    third = records.destination(folder="a")
    assert third.place_generation == 3
    assert (third.place_id == first.place_id) is is_ours


def test_a_rewritten_repo_config_of_the_same_repository_is_the_same_place(records: Records) -> None:
    """Another GitRepoConfig that names the same repository changes whose credentials are used, and no generation."""
    prod = records.destination()
    config = records.repo_config("second", path="repo")
    with records.database.write() as connection:
        seen = places.Seen(config, prod.branch_id, prod.url_key, prod.branch, prod.base_folder)
        assert places.save(connection, prod.id, seen) == (prod.place_id, 1, False)
        found = destinations.by_id(connection, prod.id)
    assert found is not None
    assert found.repo_config == Ref("shop", "second")


def test_former_places_on_a_branch_are_found_newest_first(records: Records) -> None:
    """A commit of ours under a former folder is recognised: every place of that name on the branch is listed."""
    first = records.destination(folder="a")
    second = records.destination(folder="b")
    records.destination("other", folder="c")
    with records.database.read() as connection:
        found = places.on_branch(connection, branch_id=first.branch_id, ref=Ref("shop", "prod"))
    assert [(one.id, one.base_folder) for one in found] == [(second.place_id, "b"), (first.place_id, "a")]


def test_live_are_the_ready_ones_of_the_cluster(records: Records) -> None:
    """A destination that is not ready, deleted, or of another cluster is not live."""
    prod, test = records.destination("prod"), records.destination("test", folder="clusters/test")
    records.destination("gone", folder="clusters/gone")
    retire(records, prod.uid, test.uid)
    with records.database.write() as connection:
        destinations.save_destination(
            connection, uid=test.uid, ref=test.ref, cluster=CLUSTER, ready=False, reason="Conflict", message=""
        )
        assert [one.id for one in destinations.live(connection, cluster=CLUSTER)] == [prod.id]
        assert destinations.live(connection, cluster="edge") == []


def test_a_deleted_destination_keeps_its_queue_while_rows_pend(records: Records) -> None:
    """Queues are those of live destinations, and of deleted ones until their last row is final."""
    prod, gone = records.destination("prod"), records.destination("gone", folder="clusters/gone")
    records.append(entry(gone))
    assert retire(records, prod.uid) == [gone.id]
    with records.database.write() as connection:
        assert destinations.queue_refs(connection) == [gone.ref, prod.ref]
        assert destinations.gone_refs(connection, cluster=CLUSTER) == set()
        ledger.settle(connection, gone.id, [ledger.Settled(1, ledger.PUSHED)])
        assert destinations.queue_refs(connection) == [prod.ref]
        assert destinations.by_ref(connection, gone.ref) == []
        assert destinations.gone_refs(connection, cluster=CLUSTER) == {gone.ref}
        assert destinations.gone_refs(connection, cluster="edge") == set()
    records.destination("gone", uid="another", folder="clusters/another")
    with records.database.read() as connection:
        assert destinations.gone_refs(connection, cluster=CLUSTER) == set()


def test_retiring_is_told_once_and_undone_by_seeing_it_again(records: Records) -> None:
    """A destination or repository config is marked once, and lives again when it is seen again."""
    prod = records.destination()
    assert retire(records) == [prod.id]
    assert retire(records) == []
    assert not records.destination().deleted
    with records.database.write() as connection:
        assert destinations.retire_repo_configs(connection, keep={"uid-repo"}) == []
        assert len(destinations.retire_repo_configs(connection, keep=set())) == 1


def test_retiring_leaves_other_clusters_alone(records: Records) -> None:
    """The leader of one cluster cannot delete what another cluster's leader knows."""
    records.destination()
    with records.database.write() as connection:
        assert destinations.retire_destinations(connection, cluster="edge", keep=set()) == []


def test_what_pends_for_a_deleted_destination_drains_for_a_while(records: Records) -> None:
    """Rows of a deleted destination are superseded after the grace, not before; live ones are left alone."""
    prod, gone = records.destination("prod"), records.destination("gone", folder="clusters/gone")
    records.append(entry(prod), entry(gone, "a"), entry(gone, "b"))
    retire(records, prod.uid)
    with records.database.write() as connection:
        assert places.retire_drained(connection, after=60.0) == 0
    records.age("git_destination", "deleted_at", seconds=61.0)
    with records.database.write() as connection:
        # What a person wants gone may be asked for long after.
        assert places.retire_drained(connection, after=60.0) == 0
    records.age("event", "observed_at", seconds=61.0)
    with records.database.write() as connection:
        assert places.retire_drained(connection, after=60.0) == 2
        assert places.retire_drained(connection, after=60.0) == 0
        assert destinations.queue_refs(connection) == [prod.ref]
    assert records.states(prod) == [(1, ledger.PENDING)]


def test_a_destination_that_is_put_off_waits_and_says_why(records: Records) -> None:
    """`not_before` holds by the database's clock; the error stands until a drain succeeds."""
    prod = records.destination()
    assert due(records, [prod]) == [True]
    with records.database.write() as connection:
        destinations.put_off(
            connection, prod.id, seconds=60.0, error=errors.StalledError("push refused", reason="Refused")
        )
    assert due(records, [prod]) == [False]
    records.age("git_destination", "not_before", seconds=1.0)
    assert due(records, [prod]) == [True]
    with records.database.write() as connection:
        destinations.put_off(connection, prod.id, seconds=60.0)
        state = states.of_destinations(connection, cluster=CLUSTER)[prod.uid]
        assert (state.last_error, state.last_error_reason) == ("push refused", "Refused")
        destinations.note_success(connection, prod.id, sha=None)
        state = states.of_destinations(connection, cluster=CLUSTER)[prod.uid]
    assert (state.last_error, state.last_error_reason, state.not_before) == (None, None, None)
    assert due(records, [prod]) == [True]


def test_a_push_is_noted_and_ends_the_count_of_failures(records: Records) -> None:
    """After a recorded push the sha, its time and the existence of the branch stand; crashes are forgotten."""
    prod = records.destination()
    with records.database.write() as connection:
        assert destinations.seconds_since_push(connection, prod.id) is None
        destinations.note_crash(connection, prod.id)
        destinations.note_success(connection, prod.id, sha="abc")
        since = destinations.seconds_since_push(connection, prod.id)
        found = destinations.by_id(connection, prod.id)
        state = states.of_destinations(connection, cluster=CLUSTER)[prod.uid]
    assert since is not None
    assert 0.0 <= since < 10.0
    assert found is not None
    assert found.failed_drains == 0
    assert (state.last_sha, state.branch_exists) == ("abc", True)


def test_a_drain_without_a_push_keeps_the_last_push(records: Records) -> None:
    """Nothing to push is a success that leaves the last sha alone."""
    prod = records.destination()
    with records.database.write() as connection:
        destinations.note_success(connection, prod.id, sha="abc")
        destinations.note_success(connection, prod.id, sha=None)
        assert states.of_destinations(connection, cluster=CLUSTER)[prod.uid].last_sha == "abc"


def test_a_host_that_does_not_answer_lets_its_destinations_wait_one_after_the_other(records: Records) -> None:
    """Other destinations of that host are put off at growing distances; the failed one and other hosts are not."""
    failed = records.destination("failed", folder="f")
    waiting = [records.destination(f"d{n}", folder=f"d{n}") for n in range(3)]
    elsewhere = records.destination("elsewhere", repo="other", host="git.other.com")
    with records.database.write() as connection:
        destinations.put_off_host(
            connection, host=failed.host, except_id=failed.id, error=AWAY, seconds=100.0, step=10.0
        )
    assert due(records, [failed, elsewhere, *waiting]) == [True, True, False, False, False]
    with records.database.read() as connection:
        found = states.of_destinations(connection, cluster=CLUSTER)
    moments = [found[one.uid].not_before for one in waiting]
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(moments) if a and b]
    assert gaps == pytest.approx([10.0, 10.0], abs=1.0)


def test_a_destination_that_waits_already_is_not_put_off_again(records: Records) -> None:
    """A second failure of a host does not push the others further and further away."""
    failed, other = records.destination("failed", folder="f"), records.destination("other", folder="o")
    with records.database.write() as connection:
        destinations.put_off_host(connection, host=failed.host, except_id=failed.id, error=AWAY, seconds=60.0, step=1.0)
        first = states.of_destinations(connection, cluster=CLUSTER)[other.uid].not_before
        destinations.put_off_host(
            connection, host=failed.host, except_id=failed.id, error=AWAY, seconds=600.0, step=1.0
        )
        assert states.of_destinations(connection, cluster=CLUSTER)[other.uid].not_before == first


def test_local_repositories_have_no_host_in_common(records: Records) -> None:
    """An empty host is none: a failing local repository puts nobody off."""
    failed = records.destination("failed", host="", folder="f")
    other = records.destination("other", host="", folder="o")
    with records.database.write() as connection:
        destinations.put_off_host(connection, host="", except_id=failed.id, error=AWAY, seconds=60.0, step=1.0)
    assert due(records, [other]) == [True]


def test_who_waits_for_a_branch(records: Records) -> None:
    """After a release exactly the destinations on that branch, and the one itself, with due pending rows are rung."""
    prod = records.destination("prod")
    waiting = records.destination("waiting", folder="w")
    later = records.destination("later", folder="l")
    idle = records.destination("idle", folder="i")
    elsewhere = records.destination("elsewhere", branch="dev", folder="e")
    records.append(*(entry(one) for one in (prod, waiting, later, elsewhere)))
    with records.database.write() as connection:
        destinations.put_off(connection, later.id, seconds=60.0)
        found = destinations.waiting_for(connection, branch_id=prod.branch_id, destination_id=prod.id)
        assert found == [prod.ref, waiting.ref]
        ledger.settle(connection, prod.id, [ledger.Settled(1, ledger.PUSHED)])
        found = destinations.waiting_for(connection, branch_id=prod.branch_id, destination_id=elsewhere.id)
    assert idle.ref not in found
    assert found == [waiting.ref, elsewhere.ref]


def test_who_waits_for_a_branch_that_was_its_own(records: Records) -> None:
    """Files at a former place that a person wants gone wait for its branch, whatever delays the place of now."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    moved = records.destination("prod", branch="dev")
    with records.database.write() as connection:
        destinations.put_off(connection, prod.id, seconds=60.0)
        append(connection, entry(prod), entry(moved, "b"), entry(moved, "c", seed="prune-1"))
        assert places.unwanted(connection, prod.ref) == []
        append(connection, entry(prod, "d", seed="prune-1"))
        (found,) = places.unwanted(connection, prod.ref)
        assert (found.place_id, found.former) == (prod.place_id, True)
        for branch, who, rung in (
            (prod.branch_id, other.id, [prod.ref]),
            (moved.branch_id, other.id, []),
            (moved.branch_id, prod.id, [prod.ref]),
        ):
            assert places.waiting_for(connection, branch_id=branch, destination_id=who) == rung
        row = destinations.GitDestinationRow
        connection.execute(update(row).where(row.id == prod.id).values(deleted_at=base.now()))
        assert [one.place_id for one in places.unwanted(connection, prod.ref)] == [prod.place_id]
        # What else pends there is done first, in its order.
        ledger.settle(connection, prod.id, [ledger.Settled(2, ledger.PUSHED)])
        at = [one.place_id for one in places.unwanted(connection, prod.ref)]
        assert at == [prod.place_id, moved.place_id]


def file(path: str, *, removed: bool = False) -> inventory.Item:
    """A file of the record."""
    return inventory.Item(path, identifier(path), "7", "h", f"blob-{path}", None, removed=removed)


def left(records: Records, name: str = "prod") -> list[tuple[str, bool, list[str]]]:
    """(folder, deleted, paths) of what destinations of a name left where nobody writes any more."""
    with records.database.read() as connection:
        return [
            (one.base_folder, one.deleted, [item.path for item in states.left_behind(connection, one.place_id)])
            for one in places.former(connection, cluster=CLUSTER, ref=Ref("shop", name))
        ]


def put(records: Records, place: destinations.Destination, *items: inventory.Item) -> None:
    """Let files stand at a place."""
    with records.database.write() as connection:
        inventory.save(connection, place.place_id, items)


def left_by_deleted(records: Records) -> list[tuple[str, str, int]]:
    """(destination, folder, files) of what deleted destinations left."""
    with records.database.read() as connection:
        found = states.left_by_deleted(connection, cluster=CLUSTER)
        assert states.left_by_deleted(connection, cluster="another") == []
        return [(str(place.ref), place.base_folder, files) for place, files in found]


def test_what_is_left_where_nobody_writes_any_more(records: Records) -> None:
    """Of places that were left, the last one first, and of who had the name; not where somebody has the folder."""
    first = records.destination(folder="a")
    put(records, first, file("a/1"), file("a/2", removed=True))
    second = records.destination(folder="b")
    put(records, second, file("b/1"))
    third = records.destination(folder="c")
    put(records, third, file("c/1"))
    assert left(records) == [("b", False, ["b/1"]), ("a", False, ["a/1"])]
    other = records.destination("other", folder="a")
    assert left(records) == [("b", False, ["b/1"])]
    with records.database.read() as connection:
        counts = states.file_counts(connection, [third.id])[third.id]
        assert {(one.place_id, one.files) for one in counts} == {(second.place_id, 1), (third.place_id, 1)}
    assert left_by_deleted(records) == []
    retire(records, other.uid)
    assert left(records) == [("c", True, ["c/1"]), ("b", True, ["b/1"])]
    assert left_by_deleted(records) == [("shop/prod", "b", 1), ("shop/prod", "c", 1)]
    with records.database.write() as connection:
        connection.execute(update(destinations.GitRepoConfigRow).values(deleted_at=base.now()))
    assert left_by_deleted(records) == []


def test_what_a_destination_without_a_place_has_is_not_left(records: Records) -> None:
    """One in conflict, or whose config is gone for a while, points to its files still: they are not left."""
    prod = records.destination(folder="a")
    put(records, prod, file("a/1"))
    moved = records.destination(folder="b")
    put(records, moved, file("b/1"))
    with records.database.write() as connection:
        places.clear(connection, prod.id, reason="not allowed")
        assert places.former_at(connection, prod.id, place=(moved.place_id, 2)) is None
        counts = states.file_counts(connection, [prod.id])[prod.id]
    assert left(records) == []
    assert sum(one.files for one in counts) == 2


def test_one_that_was_created_again_and_is_not_ready_has_what_its_name_had(records: Records) -> None:
    """Its config comes later: until then nobody knows where it points."""
    put(records, records.destination(uid="one"), file("1"))
    retire(records)
    assert left_by_deleted(records) == [("shop/prod", "clusters/prod", 1)]
    with records.database.write() as connection:
        destinations.save_destination(
            connection, uid="two", ref=Ref("shop", "prod"), cluster=CLUSTER, ready=False, reason="NoRepo", message="m"
        )
    assert (left(records), left_by_deleted(records)) == ([], [])


def test_what_several_left_in_one_folder_is_told_of_once(records: Records) -> None:
    """A destination that is deleted and created again: of a file that both knew, the later one decides."""
    for uid, paths in {"one": ("1", "2", "3"), "two": ("2",), "three": ("3",)}.items():
        made = records.destination("prod", uid=uid)
        put(records, made, *(file(path) for path in paths))
        if uid == "two":
            put(records, made, file("3", removed=True))
        retire(records)
    assert [paths for _, _, paths in left(records)] == [["3"], ["2"], ["1"]]
    assert [files for _, _, files in left_by_deleted(records)] == [1, 1, 1]


def test_a_former_place_whose_config_names_another_repository_is_told_of(records: Records) -> None:
    """What stands there is left, though nobody can reach it."""
    prod = records.destination()
    put(records, prod, file("1"))
    records.destination(branch="dev")
    with records.database.write() as connection:
        connection.execute(update(destinations.GitRepoConfigRow).values(url_key="another"))
        (found,) = places.former(connection, cluster=CLUSTER, ref=prod.ref)
    assert not found.named
    assert left(records) == [("clusters/prod", False, ["1"])]


def test_two_that_swap_folders_in_one_breath_begin_anew(records: Records) -> None:
    """Whoever is written first: a folder that another one had since is not taken for what it was."""
    for first, second in (("alpha", "beta"), ("gamma", "delta")):
        one, other = records.destination(first, folder=f"{first}/a"), records.destination(second, folder=f"{first}/b")
        with records.database.write() as connection:
            for place, folder in ((one, "c"), (other, "a"), (one, "b"), (other, "c"), (one, "a")):
                seen = places.Seen(1, place.branch_id, place.url_key, "main", f"{first}/{folder}")
                place_id, *_ = places.save(connection, place.id, seen)
        assert place_id not in {one.place_id, other.place_id}


def test_a_seed_that_a_worker_wants_is_handed_over_once(records: Records) -> None:
    """A rewritten branch asks for a seed of every live destination on it; each wish is taken once, by who routes it."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    elsewhere = records.destination("elsewhere", branch="dev", folder="e")
    gone = records.destination("gone", folder="g")
    retire(records, prod.uid, other.uid, elsewhere.uid)
    assert gone.branch_id == prod.branch_id
    with records.database.write() as connection:
        assert not wishes.any_waits(connection, cluster=CLUSTER, routed=[1])
        wishes.of_branch(connection, branch_id=prod.branch_id, cause="BranchDiverged")
        assert wishes.any_waits(connection, cluster=CLUSTER, routed=[1])
        wanted = wishes.take(connection, cluster=CLUSTER, routed={other.id, elsewhere.id})
        assert wanted == {other.id: "BranchDiverged"}
        assert wishes.any_waits(connection, cluster=CLUSTER, routed=[1])
        wanted = wishes.take(connection, cluster=CLUSTER, routed={prod.id, other.id})
        assert wanted == {prod.id: "BranchDiverged"}
        assert not wishes.any_waits(connection, cluster=CLUSTER, routed=[1])


@pytest.mark.postgres
@pytest.mark.parametrize("write", ["want_seed", "lock_all", "put_off_host", "release_host"])
def test_destinations_are_locked_in_one_order(postgres_records: Records, write: str) -> None:
    """A transaction that writes several destinations waits for the first of them before it has any other."""
    records = postgres_records
    first, second = records.destination("first", folder="1"), records.destination("second", folder="2")
    with records.database.write() as connection:
        # Moves the row behind the other one, where a plain UPDATE finds it later.
        for one in (second, first):
            destinations.put_off(connection, one.id, seconds=0.0, error=AWAY)

    def several() -> None:
        with records.database.write() as connection:
            match write:
                case "want_seed":
                    wishes.of_branch(connection, branch_id=first.branch_id, cause="test")
                case "lock_all":
                    destinations.lock_all(connection, cluster=CLUSTER)
                case "put_off_host":
                    destinations.put_off_host(
                        connection, host=first.host, except_id=second.id, error=AWAY, seconds=1.0, step=1.0
                    )
                    destinations.put_off(connection, second.id, seconds=1.0)
                case "release_host":
                    destinations.release_host(connection, host=first.host)

    with records.database.write() as connection:
        destinations.note_crash(connection, first.id)
        later = records.blocked_call(several)
        destinations.note_crash(connection, second.id)
    later.result(timeout=10)


def test_the_sweeper_sees_what_waits_and_whether_it_is_due(records: Records) -> None:
    """Destinations of the cluster with pending rows, with the span of their numbers; deleted ones are among them."""
    prod, later = records.destination("prod"), records.destination("later", folder="l")
    gone = records.destination("gone", folder="g")
    records.destination("idle", folder="i")
    records.append(entry(prod, "a"), entry(prod, "b"), entry(later), entry(gone))
    retire(records, prod.uid, later.uid)
    with records.database.write() as connection:
        destinations.put_off(connection, later.id, seconds=60.0)
        found = states.waiting(connection, cluster=CLUSTER)
        assert states.waiting(connection, cluster="edge") == []
    assert [(one.ref, one.first, one.last, one.due) for one in found] == [
        (prod.ref, 1, 2, True),
        (later.ref, 1, 1, False),
        (gone.ref, 1, 1, True),
    ]


def test_how_a_repository_answers_is_known_by_its_uid(records: Records) -> None:
    """A worker's last connection stands at the repository config: its end, and the branches that it saw last."""
    prod = records.destination()
    with records.database.write() as connection:
        assert states.of_repo_configs(connection)["uid-repo"] == states.RepoState(None, None, None)
        destinations.note_connection(connection, prod.repo_config_id, check=destinations.CONNECTED, branches=3)
        assert states.of_repo_configs(connection)["uid-repo"] == states.RepoState(None, "Connected", 3)
        destinations.note_connection(connection, prod.repo_config_id, check="AuthenticationFailed")
        assert states.of_repo_configs(connection)["uid-repo"] == states.RepoState(None, "AuthenticationFailed", 3)
        destinations.retire_repo_configs(connection, keep=set())
        assert states.of_repo_configs(connection) == {}


@pytest.mark.parametrize(("error", "stalled"), [(errors.StalledError, True), (errors.TemporaryError, False)])
def test_an_error_that_a_person_has_to_end_is_told_apart(
    records: Records, error: type[errors.ReverserError], *, stalled: bool
) -> None:
    """A refused push stalls a destination, a host that is away does not; a drain that works ends both."""
    prod = records.destination()
    with records.database.write() as connection:
        destinations.put_off(connection, prod.id, seconds=60.0, error=error("no"))
        assert states.of_destinations(connection, cluster=CLUSTER)[prod.uid].stalled is stalled
        destinations.note_success(connection, prod.id, sha=None)
        assert states.of_destinations(connection, cluster=CLUSTER)[prod.uid].stalled is False


def test_files_are_counted_per_place_and_type(records: Records) -> None:
    """The status counts what stands in Git, former places included and tombstones left out."""
    prod = records.destination()
    present = [
        inventory.Item(f"{n}.yaml", identifier(n), "1", None, None, None, removed=n == "gone")
        for n in ("a", "b", "gone")
    ]
    with records.database.write() as connection:
        inventory.save(connection, prod.place_id, present)
    moved = records.destination(folder="elsewhere")
    with records.database.write() as connection:
        inventory.save(connection, moved.place_id, present[:1])
        found = states.file_counts(connection, [prod.id])
        assert states.file_counts(connection, []) == {}
    assert sorted((one.place_id, one.files) for one in found[prod.id]) == [(prod.place_id, 2), (moved.place_id, 1)]
    assert {(one.group, one.resource, one.namespace) for one in found[prod.id]} == {("", "configmaps", "shop")}


def test_files_are_counted_by_what_selected_them(records: Records) -> None:
    """The count tells files of one type apart by the mark of their selection and by their rule."""
    prod = records.destination()
    rows = [("a", "m1", "r1"), ("b", "m1", "r1"), ("c", "m2", "r1"), ("d", "m1", "r2"), ("e", None, None)]
    items = [
        inventory.Item(f"{n}.yaml", identifier(n), "1", None, None, None, removed=False, selection=mark, rule=rule)
        for n, mark, rule in rows
    ]
    with records.database.write() as connection:
        inventory.save(connection, prod.place_id, items)
        found = states.file_counts(connection, [prod.id])[prod.id]
    assert {(one.selection, one.rule): one.files for one in found} == {
        ("m1", "r1"): 2, ("m2", "r1"): 1, ("m1", "r2"): 1, (None, None): 1,
    }  # fmt: skip


def test_a_seed_counts_until_its_sweep_is_recorded(records: Records) -> None:
    """A destination is in a seed from its start until SWEPT, or until it has another place; superseded is over."""
    prod = records.destination()
    with records.database.write() as connection:
        scope = [(seeds.ScopeKey("", "configmaps", ""), "v1", True)]
        assert states.in_seed(connection, [prod.id]) == set()
        for end, expected in ((seeds.SUPERSEDED, set()), (seeds.SYNCED, {prod.id}), (seeds.SWEPT, set())):
            run = seeds.start(connection, destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=scope)
            assert states.in_seed(connection, [prod.id]) == {prod.id}
            seeds.finish(connection, run, state=end)
            assert states.in_seed(connection, [prod.id]) == expected
            seeds.finish(connection, run, state=seeds.SWEPT)
        seeds.start(connection, destination_id=prod.id, place_id=prod.place_id, cause="test", scopes=scope)
    records.destination(folder="elsewhere")
    with records.database.read() as connection:
        assert states.in_seed(connection, [prod.id]) == set()


def test_a_config_that_names_another_repository_stops_the_drain_of_the_old_place(records: Records) -> None:
    """Rows of a place are never pushed to another repository: until the place is decided anew nothing is drained."""
    prod = records.destination()
    records.repo_config("repo", path="another")
    with records.database.read() as connection:
        assert destinations.by_id(connection, prod.id) is None
        assert destinations.by_ref(connection, prod.ref) == []


def test_a_host_that_answers_again_lets_nobody_wait(records: Records) -> None:
    """Destinations that waited for their host are due at once; one that waits for another reason goes on waiting."""
    failed = records.destination("failed", folder="f")
    waiting = records.destination("waiting", folder="w")
    refused = records.destination("refused", folder="r")
    with records.database.write() as connection:
        destinations.put_off(connection, refused.id, seconds=60.0, error=errors.StalledError("no", reason="Refused"))
        destinations.put_off_host(connection, host=failed.host, except_id=failed.id, error=AWAY, seconds=60.0, step=1.0)
    assert due(records, [waiting, refused]) == [False, False]
    with records.database.write() as connection:
        destinations.release_host(connection, host=failed.host)
    assert due(records, [waiting, refused]) == [True, False]


def unchecked(records: Records, *, limit: int = 10) -> list[int]:
    """The destinations whose regular check is due after 100 seconds."""
    with records.database.read() as connection:
        return wishes.unchecked(connection, among=[1, 2], after=100.0, limit=limit)


def test_a_check_is_due_when_the_last_one_is_long_ago(records: Records) -> None:
    """A new place was just listed; what was asked for is not asked for again, whatever became of it."""
    prod, dev = records.destination("prod"), records.destination("dev", folder="dev")
    assert unchecked(records) == []
    records.age("place", "since", seconds=101)
    assert unchecked(records) == [prod.id, dev.id]
    with records.database.write() as connection:
        wishes.ask(connection, dev.id, cause="a person")
        wishes.ask_check(connection, [prod.id, dev.id], cause="the check")
        wanted = wishes.take(connection, cluster=CLUSTER, routed=[prod.id, dev.id])
    assert wanted == {prod.id: "the check", dev.id: "a person"}
    assert unchecked(records) == []
    records.age("git_destination", "checked_at", seconds=101)
    assert unchecked(records) == [prod.id, dev.id]
    assert unchecked(records, limit=1) == [prod.id]


def test_nobody_checks_what_is_gone(records: Records) -> None:
    """A deleted destination and one that nobody names are never due, nor is one that is asked for already."""
    gone, prod = records.destination("gone", folder="gone"), records.destination("prod")
    records.age("place", "since", seconds=101)
    with records.database.write() as connection:
        destinations.retire_destinations(connection, cluster=CLUSTER, keep={prod.uid})
        assert wishes.unchecked(connection, among=[gone.id], after=0.0, limit=10) == []
    assert unchecked(records) == [prod.id]
    assert gone.id != prod.id
    with records.database.write() as connection:
        wishes.ask(connection, prod.id, cause="a person")
    assert unchecked(records) == []


def test_a_place_that_is_lost_ends_its_seeds(records: Records) -> None:
    """The end of a seed that was superseded with what pends never comes, and nobody waits for it."""
    prod = records.destination("prod")
    words = {"destination_id": prod.id, "place_id": prod.place_id, "cause": "test", "scopes": []}
    runs = []
    for state in (seeds.SWEPT, seeds.SYNCED, seeds.LISTING):
        with records.database.write() as connection:
            runs.append(seeds.start(connection, **words))  # type: ignore[arg-type]
            if state != seeds.LISTING:
                seeds.finish(connection, runs[-1], state=state)
    with records.database.write() as connection:
        places.clear(connection, prod.id, reason="not allowed")
        states_of = [seeds.state_of(connection, run) for run in runs]
    assert states_of == [seeds.SWEPT, seeds.SUPERSEDED, seeds.SUPERSEDED]
