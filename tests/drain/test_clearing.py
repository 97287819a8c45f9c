"""Files at places that nobody has any more: they go when a person says so, and nothing else happens there."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app import errors
from app.drain import building, clearing, draining, leasing, pushing
from app.models import base, commits, destinations, inventory, leases, ledger, places, seeds
from tests.drain.world import World, path_of, run_git

SEED = f"{ledger.PRUNE}7"


@pytest.fixture
def former(world: World) -> destinations.Destination:
    """A destination at the place that it had: it wrote two files to main, and points to another branch now."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.change(prod, "b", "1", version=1)
    world.drain(prod)
    moved = world.destination(branch="dev")
    world.change(moved, "a", "2", version=2)
    world.drain(moved)
    return at(world, prod)


def at(world: World, placed: destinations.Destination) -> destinations.Destination:
    """The record of a destination at a place that nobody has now."""
    with world.database.read() as connection:
        found = places.former_at(connection, placed.id, place=(placed.place_id, placed.place_generation))
    assert found is not None
    return found


def unwanted(world: World, place: destinations.Destination, *names: str) -> list[int]:
    """Write the rows that remove these files, as the watch daemon does it; their numbers."""
    return world.write(*(world.event(place, name, None, version=1, seed=SEED) for name in names))


def ends(world: World, place: destinations.Destination, numbers: list[int]) -> list[tuple[str, str | None]]:
    """How rows ended."""
    row = ledger.EventRow
    query = select(row.state, row.state_reason).where(row.destination_id == place.id, row.sequence.in_(numbers))
    with world.database.read() as connection:
        return [(state, reason) for state, reason in connection.execute(query.order_by(row.sequence))]


def still_ours(world: World, place: destinations.Destination) -> list[str]:
    """The files of a place that the record has."""
    with world.database.read() as connection:
        return [item.path for item in inventory.present(connection, place.place_id)]


def test_files_go_where_the_destination_was(world: World, former: destinations.Destination) -> None:
    """In one commit on that branch, which the record has; the place of now is as it was."""
    before = world.log("dev")
    numbers = unwanted(world, former, "a", "b")
    outcome = world.drain(former)
    assert (outcome.commits, outcome.rows, outcome.done) == (1, 2, ())
    assert ends(world, former, numbers) == [("pushed", None)] * 2
    assert (world.files("main"), world.log("dev")) == ({}, before)
    assert world.git("log", "-1", "--format=%s", "main") == "[PRUNE] 2 files of shop/prod by manager/kubectl\n"
    assert still_ours(world, former) == []
    with world.database.read() as connection:
        row = destinations.GitDestinationRow
        assert connection.scalar(select(row.last_sha)) == before[-1]
        recorded = select(commits.CommitRow.branch_id).order_by(commits.CommitRow.id.desc()).limit(1)
        assert connection.scalar(recorded) == former.branch_id


def test_both_places_are_worked_on(world: World, former: destinations.Destination) -> None:
    """What pends at the place of now is drained with it, however long it has to wait after an error of its own."""
    with world.database.read() as connection:
        (now,) = destinations.by_ref(connection, former.ref)
    world.change(now, "a", "3", version=3)
    (number,) = unwanted(world, former, "a")
    assert world.drain(former).commits == 2
    assert (set(world.files("main")), world.files("dev")[path_of("a")]) == ({path_of("b")}, '"3"')
    assert ends(world, former, [number]) == [("pushed", None)]
    with world.database.write() as connection:
        error = errors.TemporaryError("its host is away", delay=60.0)
        destinations.put_off(connection, former.id, seconds=60.0, error=error)
    world.change(now, "a", "4", version=4)
    unwanted(world, former, "b")
    assert world.drainer.drain(former.ref).commits == 1
    assert (world.files("main"), world.files("dev")[path_of("a")]) == ({}, '"3"')
    assert world.error(former)[1] == "its host is away"


def test_what_somebody_changed_stays(world: World, former: destinations.Destination, tmp_path: Path) -> None:
    """It is not the file that a person saw; what somebody removed is gone."""
    world.somebody_pushes(tmp_path, path_of("a"), "mine: now\n")
    world.somebody_pushes(tmp_path, "other", "text\n", replaces=path_of("b"))
    numbers = unwanted(world, former, "a", "b")
    world.drain(former)
    assert ends(world, former, numbers) == [
        ("stale", building.CHANGED_IN_GIT),
        ("unchanged", building.GONE_FROM_GIT),
    ]
    assert set(world.files("main")) == {path_of("a"), "other"}


@pytest.mark.parametrize("folder", ["clusters/prod", "clusters"])
def test_what_another_destination_may_write_is_its_own(
    world: World, former: destinations.Destination, folder: str
) -> None:
    """One that took the folder after the rows were written: its files stay. One around it has other files."""
    numbers = unwanted(world, former, "a")
    other = world.destination("other", folder=folder)
    world.change(other, "a", "1", version=1)
    world.drain(other)
    world.drain(former)
    taken = folder == "clusters/prod"
    given_up = "superseded", "the folder is in use by now"
    assert ends(world, former, numbers) == [given_up if taken else ("pushed", None)]
    assert (path_of("a") in world.files("main")) is taken
    assert path_of("a", folder) in world.files("main")


def test_a_branch_that_is_gone_took_its_files_along(world: World, former: destinations.Destination) -> None:
    """Nothing is created again for the sake of removing files from it."""
    world.git("branch", "-D", "main")
    numbers = unwanted(world, former, "a")
    assert world.drain(former).note == ""
    assert ends(world, former, numbers) == [("unchanged", building.GONE_FROM_GIT)]
    assert world.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/dev"]
    assert still_ours(world, former) == [path_of("b")]


def test_a_branch_that_nobody_knows_of_is_not_created(world: World, former: destinations.Destination) -> None:
    """The record was restored, and the repository's default branch has such a file: it is not this one."""
    with world.database.write() as connection:
        forgotten = {"head": None, "state": leases.UNKNOWN}
        connection.execute(update(leases.RepositoryBranch).values(forgotten))
    run_git("-C", str(world.repository), "branch", "-m", "main", "trunk")
    run_git("-C", str(world.repository), "symbolic-ref", "HEAD", "refs/heads/trunk")
    numbers = unwanted(world, former, "a", "b")
    world.drain(former)
    assert ends(world, former, numbers) == [("unchanged", building.GONE_FROM_GIT)] * 2
    assert world.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/dev", "refs/heads/trunk"]


def test_what_cannot_be_done_is_given_up_with_the_reason(
    world: World, former: destinations.Destination, tmp_path: Path
) -> None:
    """The destination works on, without an error and without a wait; it can be asked for again."""
    world.repository.rename(tmp_path / "away")
    numbers = unwanted(world, former, "a")
    outcome = world.drainer.drain(former.ref)
    ((state, reason),) = ends(world, former, numbers)
    assert (state, reason) == ("superseded", outcome.note)
    assert "repository" in outcome.note
    assert world.error(former) == (None, None)
    assert world.is_due(former)
    (tmp_path / "away").rename(world.repository)
    again = dataclasses.replace(world.event(former, "a", None, version=1, seed=f"{ledger.PRUNE}8"))
    (number,) = world.write(again)
    world.drain(former)
    assert ends(world, former, [number]) == [("pushed", None)]


@pytest.mark.parametrize(
    "error",
    [
        errors.LeaseLostError("taken over"),
        errors.BranchDivergedError("rewritten"),
        errors.StalledError("no right", reason="DatabaseForbidden"),
    ],
)
def test_what_says_nothing_of_the_place_is_tried_again(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The rows pend, and the sweeper rings for them: an error that lasts is no loop of a worker with its broker."""
    numbers = unwanted(world, former, "a")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pushing.Pusher, "remove", fail)
        assert world.drainer.drain(former.ref).rings == ()
    assert ends(world, former, numbers) == [("pending", None)]
    world.drain(former)
    assert ends(world, former, numbers) == [("pushed", None)]


def test_an_error_that_nobody_foresaw_ends_it(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends neither the worker nor the destination."""
    numbers = unwanted(world, former, "a")

    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(pushing.Pusher, "remove", fail)
    world.drainer.drain(former.ref)
    assert ends(world, former, numbers) == [("superseded", "unexpected ZeroDivisionError; see the worker's log")]
    assert world.is_due(former)


def test_a_rewritten_branch_is_looked_at_again(world: World, former: destinations.Destination, tmp_path: Path) -> None:
    """What is there is what counts: the file that a person saw goes, on top of it."""
    clone = tmp_path / "clone"
    run_git("clone", "--quiet", "--branch", "main", str(world.repository), str(clone))
    run_git("-C", str(clone), "commit", "--quiet", "--amend", "-m", "rewritten")
    run_git("-C", str(clone), "push", "--quiet", "--force", "origin", "main")
    numbers = unwanted(world, former, "a")
    world.drain(former)
    assert ends(world, former, numbers) == [("pending", None)]
    world.drain(former)
    assert ends(world, former, numbers) == [("pushed", None)]
    assert set(world.files("main")) == {path_of("b")}


@pytest.mark.promise("P8")
def test_a_worker_that_dies_after_its_push_is_found_out(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one finds the commit on the remote and records it once."""
    numbers = unwanted(world, former, "a", "b")

    def die(*_: Any, **__: Any) -> Any:
        raise errors.LeaseLostError("dead")

    with monkeypatch.context() as patch:
        patch.setattr("app.drain.recording.record_plan", die)
        world.drain(former)
    pushed = world.log("main")
    assert ends(world, former, numbers) == [("pending", None)] * 2
    world.drain(former)
    assert ends(world, former, numbers) == [("pushed", "found on the remote")] * 2
    assert world.log("main") == pushed
    assert set(world.recorded()) == {*pushed, *world.log("dev")}
    assert still_ours(world, former) == []


def test_rows_that_nobody_could_do_for_long_are_given_up(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers may have died over them; what pends at the place of now goes its way."""
    with world.database.read() as connection:
        (now,) = destinations.by_ref(connection, former.ref)
    numbers = unwanted(world, former, "b")
    world.change(now, "a", "3", version=3)
    monkeypatch.setattr(clearing, "VALID", timedelta(0))
    world.drainer.drain(former.ref)
    assert ends(world, former, numbers) == [("superseded", "it was not done within five minutes: ask again")]
    assert world.states(now)[-1] == "pushed"


def test_a_death_over_a_former_place_is_not_counted_to_the_place_of_now(
    world: World, former: destinations.Destination
) -> None:
    """What pends there killed nobody."""
    with world.database.write() as connection:
        leases.take_branch(connection, branch_id=former.branch_id, owner="dead", seconds=-1.0, destination_id=None)
    unwanted(world, former, "a")
    assert world.drainer.drain(former.ref).commits == 1
    with world.database.read() as connection:
        assert connection.scalar(select(destinations.GitDestinationRow.failed_drains)) == 0


def test_two_that_fail_on_one_branch_do_not_ring_for_each_other(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that lasts is no loop of two workers with their broker, and changes go on meanwhile."""
    other = world.destination("other", folder="other")
    world.change(other, "a", "1", version=1)
    world.drain(other)
    moved = world.destination("other", folder="moved")
    unwanted(world, former, "a")
    unwanted(world, at(world, other), "a")

    def fail(*_: Any, **__: Any) -> Any:
        raise errors.StalledError("no right", reason="DatabaseForbidden")

    monkeypatch.setattr(pushing.Pusher, "remove", fail)
    assert world.drainer.drain(former.ref).rings == ()
    assert world.drainer.drain(other.ref).rings == ()
    world.change(moved, "a", "2", version=2)
    outcome = world.drainer.drain(other.ref)
    assert (outcome.commits, other.ref in outcome.rings) == (1, False)


def test_nothing_is_written_there(world: World, former: destinations.Destination) -> None:
    """A change that should not be there is none for this place: it is not even looked at."""
    number = world.change(former, "a", "late", version=9)
    before = world.log("main")
    unwanted(world, former, "b")
    world.drainer.drain(former.ref)
    assert ends(world, former, [number]) == [("pending", None)]
    assert len(world.log("main")) == len(before) + 1
    assert world.files("main") == {path_of("a"): '"1"'}


def come_back(world: World) -> tuple[destinations.Destination, list[int]]:
    """The destination returns to its first place, and is seeded there; the rows of that."""
    back = world.destination()
    run = world.begin_seed(back)
    numbers = [world.change(back, name, "9", version=9, seed=run) for name in ("a", "b")]
    world.close_seed(back, run, listed=2, list_version=9)
    return back, numbers


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_destination_that_comes_back_meanwhile_writes_there_again(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """What a person wanted gone is void then, and nothing of what pends for the place that it is again is given up."""
    numbers = unwanted(world, former, "a", "b")
    name = "clear" if when == "before" else "_push"
    original = getattr(clearing.Clearing, name)
    rows: list[int] = []

    def late(self: clearing.Clearing, *arguments: Any, **more: Any) -> Any:
        if not rows:
            rows.extend(come_back(world)[1])
        return original(self, *arguments, **more)

    monkeypatch.setattr(clearing.Clearing, name, late)
    world.drain(former)
    world.drain(former)
    assert {state for state, _ in ends(world, former, numbers)} == {"superseded"}
    assert {state for state, _ in ends(world, former, rows)} == {"pushed"}
    assert world.files("main") == {path_of("a"): '"9"', path_of("b"): '"9"'}
    with world.database.read() as connection:
        assert set(connection.scalars(select(seeds.SeedRun.state))) == {seeds.SWEPT}


def test_a_destination_that_comes_back_to_a_branch_that_is_gone(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded as pushed that was not."""
    unwanted(world, former, "a", "b")
    world.git("branch", "-D", "main")
    original = pushing.Pusher.record_gone
    rows: list[int] = []

    def late(self: pushing.Pusher, *arguments: Any) -> Any:
        rows.extend(come_back(world)[1])
        return original(self, *arguments)

    monkeypatch.setattr(pushing.Pusher, "record_gone", late)
    recorded = world.recorded()
    world.drainer.drain(former.ref)
    assert {state for state, _ in ends(world, former, rows)} == {"pending"}
    assert world.recorded() == recorded


def test_a_config_that_names_another_repository_meanwhile(world: World, former: destinations.Destination) -> None:
    """Nothing pends for ever at a place that nobody can reach."""
    numbers = unwanted(world, former, "a")
    other = world.repo_config(uid="other", ref=former.ref)
    with world.database.write() as connection:
        config_id = destinations.save_repo_config(connection, other)
        places.reach(connection, destinations.by_ref(connection, former.ref)[0].place_id, repo_config_id=config_id)
        row = destinations.GitRepoConfigRow
        connection.execute(update(row).where(row.uid == "config-uid").values(url_key="another"))
    world.drainer.drain(former.ref)
    assert ends(world, former, numbers) == [("superseded", "GitRepoConfig shop/repo names another repository now")]


def test_a_deleted_destination_ends_its_changes_in_order(world: World) -> None:
    """A change that came before the request makes another file of it than the person saw."""
    prod = world.destination()
    for name in ("a", "b"):
        world.change(prod, name, "1", version=1)
    world.drain(prod)
    number = world.change(prod, "a", "2", version=2)
    numbers = unwanted(world, prod, "a", "b")
    with world.database.write() as connection:
        connection.execute(update(destinations.GitDestinationRow).values(deleted_at=base.now()))
    world.drain(prod)
    assert [state for state, _ in ends(world, prod, [number, *numbers])] == ["pushed", "stale", "pushed"]
    assert world.files("main") == {path_of("a"): '"2"'}


def test_a_branch_in_use_is_waited_for(
    world: World, former: destinations.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives it back rings."""
    numbers = unwanted(world, former, "a")
    monkeypatch.setattr(draining, "PATIENCE", 0.0)
    other = world.destination("other", folder="other")
    held = leasing.take(world.database, other, owner="elsewhere", seconds=30, patience=0, deadline=0)
    assert held is not None
    assert "in use" in world.drain(former).note
    assert ends(world, former, numbers) == [("pending", None)]
    with world.database.write() as connection:
        leases.release_branch(connection, held.lease)
    world.change(other, "x", "1", version=1)
    assert world.drain(other).rings == (former.ref,)


def test_the_last_place_of_a_deleted_destination(world: World) -> None:
    """Its files go as well, and an end of them is an end, though they are of its last place."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.change(prod, "b", "1", version=1)
    world.drain(prod)
    with world.database.write() as connection:
        connection.execute(update(destinations.GitDestinationRow).values(deleted_at=base.now()))
    gone = at(world, prod)
    assert gone.deleted
    numbers = unwanted(world, gone, "a")
    world.drain(gone)
    world.git("branch", "-D", "main")
    numbers += unwanted(world, gone, "b")
    world.drain(gone)
    assert ends(world, gone, numbers) == [("pushed", None), ("unchanged", building.GONE_FROM_GIT)]
    assert world.git("for-each-ref") == ""
    assert still_ours(world, gone) == []
