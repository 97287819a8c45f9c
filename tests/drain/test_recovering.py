"""What a drain does after a crash, a lost answer, a frozen holder, a moved or rewritten branch."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import db, errors
from app.drain import draining, pushing, recording
from app.models import commits, destinations, inventory, leases, rules, wishes
from tests.drain.world import World, path_of
from tests.waiting import wait_until


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A fresh world on each database."""
    made = World(tmp_path, database_url, branch_lease=1.0)
    yield made
    made.close()


@contextmanager
def dying_after_push(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker pushes and ends before it records: what a kill -9 between the two leaves behind."""

    def die(*_: Any, **__: Any) -> None:
        raise errors.UnknownOutcomeError("killed between push and record", delay=0.0)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "record_plan", die)
        yield


def test_own_commit_found_on_the_remote_is_recorded_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between push and record: the next drain finds the commit by its trailers and records it once."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "2", version=2)
    world.change(prod, "b", "1", version=3)
    with dying_after_push(monkeypatch):
        world.drain(prod)
    assert world.states(prod) == ["pushed", "pending", "pending"]
    world.change(prod, "b", "2", version=4)
    world.drain(prod)
    assert world.states(prod) == ["pushed"] * 4
    assert len(world.log()) == 4
    assert world.recorded() == world.log()


def test_a_found_commit_says_what_selected_its_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is recorded from its commit has the mark and the rule of its row, as one that is recorded at once."""
    prod = world.destination()
    world.write(dataclasses.replace(world.event(prod, "a", "1", version=1), selection="mark"))
    with dying_after_push(monkeypatch):
        world.drain(prod)
    world.drain(prod)
    with world.database.read() as connection:
        (item,) = inventory.present(connection, prod.place_id)
    assert (item.selection, item.rule) == ("mark", "WatchRule shop/all")


def test_own_first_commit_on_an_empty_repository_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the crash was in the very first push, of several commits, to an empty repository."""
    prod = world.destination()
    for number in range(3):
        world.change(prod, "a", str(number), version=number + 1)
    with dying_after_push(monkeypatch):
        world.drain(prod)
    world.drain(prod)
    assert world.states(prod) == ["pushed"] * 3
    assert world.recorded() == world.log()
    assert len(world.log()) == 3


def test_found_commit_is_recorded_even_if_its_rows_were_superseded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that was raised between push and record: the commit is recorded, its rows keep their end."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    with dying_after_push(monkeypatch):
        world.drain(prod)
    moved = world.destination(folder="clusters/moved")
    world.change(moved, "b", "1", version=2)
    world.drain(moved)
    assert world.states(prod) == ["superseded", "pushed"]
    assert world.recorded() == world.log()


@pytest.mark.parametrize(("left", "rule"), [(True, "WatchRule shop/prod"), (False, "WatchRule shop/all")])
def test_a_sweep_found_on_the_remote_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, *, left: bool, rule: str
) -> None:
    """A crash after the push of a sweep: the removed files are recorded as removed, under the SEED_SYNC row.

    The rule that removes them is named; where it is gone meanwhile, the one that had selected them.
    """
    prod = world.destination()
    world.change(prod, "orphan", "1", version=1)
    world.change(prod, "kept", "1", version=2)
    world.drain(prod)
    world.seed(prod, [("kept", "1", 2)], list_version=10)
    original = recording.record_plan

    def die_at_the_sweep(*arguments: Any, **more: Any) -> Any:
        if more["plan"].swept:
            raise errors.UnknownOutcomeError("killed between push and record", delay=0.0)
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "record_plan", die_at_the_sweep)
        world.drain(prod)
    assert world.states(prod)[-1] == "pending"
    if not left:
        with world.database.write() as connection:
            rules.save(connection, cluster="home", rules=[])
    world.change(prod, "kept", "2", version=20)
    world.drain(prod)
    assert world.states(prod) == ["pushed", "pushed", "unchanged", "pushed", "pushed"]
    assert world.recorded() == world.log()
    with world.database.read() as connection:
        change = commits.CommitChange
        assert connection.scalar(select(change.rule).where(change.operation == "DELETE")) == rule


def test_unknown_outcome_of_the_record_repeats_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database committed the record and its answer was lost: the next drain changes nothing twice."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    original = recording.record_plan

    def lose_the_answer(*arguments: Any, **more: Any) -> Any:
        original(*arguments, **more)
        raise errors.UnknownOutcomeError("no answer to COMMIT", delay=0.0)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "record_plan", lose_the_answer)
        world.drain(prod)
    world.drain(prod)
    assert (world.states(prod), len(world.log()), len(world.recorded())) == (["pushed"], 1, 1)


def test_a_frozen_holder_cannot_record(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A holder that slept past its lease pushes nothing unseen and records nothing; its successor's work stands."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "2", version=2)
    frozen, thaw = threading.Event(), threading.Event()
    original = pushing.Pusher._try

    def freeze(self: pushing.Pusher, *arguments: Any, **more: Any) -> Any:
        frozen.set()
        assert thaw.wait(30)
        return original(self, *arguments, **more)

    monkeypatch.setattr("app.drain.leasing.HeldBranch._renew", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(pushing.Pusher, "_try", freeze)
        outcomes: list[draining.Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(world.drain(prod)))
        thread.start()
        assert frozen.wait(10)
        patch.undo()
        monkeypatch.setattr("app.drain.leasing.HeldBranch._renew", lambda _: None)
        elsewhere = dataclasses.replace(world.options, node="worker-2", work_dir=tmp_path / "work-2")
        other = draining.Drainer(elsewhere, world.database)
        assert wait_until(lambda: other.drain(prod.ref).commits) == 1
        world.change(prod, "a", "3", version=3)
        thaw.set()
        thread.join(30)
        other.close()
    assert "taken over" in outcomes[0].note
    world.drain(prod)
    assert world.files() == {path_of("a"): "'3'"} or world.files() == {path_of("a"): '"3"'}
    assert world.states(prod) == ["pushed"] * 3
    assert world.recorded() == world.log()
    assert len(world.log()) == 3


def test_a_vanished_holder_counts_against_its_destination(world: World) -> None:
    """A lease whose holder neither recorded nor put off raises failed_drains; the next record ends the count."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    with world.database.write() as connection:
        taken = leases.take_branch(
            connection, branch_id=prod.branch_id, owner="dead", seconds=0.05, destination_id=prod.id
        )
    assert taken is not None
    counted = []

    def look(database: db.Database) -> int:
        with database.read() as connection:
            found = destinations.by_id(connection, prod.id)
        assert found is not None
        return found.failed_drains

    original = pushing.Pusher.push

    def spy(self: pushing.Pusher, *arguments: Any, **more: Any) -> Any:
        counted.append((look(world.database), more["limit"]))
        return original(self, *arguments, **more)

    pushing.Pusher.push = spy  # type: ignore[method-assign]
    try:
        world.drain(prod)
    finally:
        pushing.Pusher.push = original  # type: ignore[method-assign]
    assert counted == [(1, 1)]
    assert look(world.database) == 0


def test_a_row_that_kills_its_workers_is_left_out(world: World) -> None:
    """After enough deaths with one row alone, that row is dead and the next one is written."""
    prod = world.destination()
    world.change(prod, "killer", "1", version=1)
    world.change(prod, "b", "1", version=2)
    with world.database.write() as connection:
        for _ in range(6):
            destinations.note_crash(connection, prod.id)
    world.drain(prod)
    assert world.states(prod) == ["dead", "pushed"]
    assert "died" in str(world.reason(prod, 1))


def test_push_after_a_reset_branch_does_not_bring_commits_back(world: World) -> None:
    """The branch was reset to an ancestor: said as BranchDiverged, nothing forced, no removed commit restored."""
    prod = world.destination()
    for number in range(3):
        world.change(prod, "a", str(number), version=number + 1)
    world.drain(prod)
    first, _, last = world.log()
    world.git("update-ref", "refs/heads/main", first)
    world.change(prod, "b", "1", version=9)
    world.drain(prod)
    assert world.log() == [first]
    reason, message = world.error(prod)
    assert reason == "BranchDiverged"
    assert "rewritten" in str(message)
    world.drain(prod)
    assert last not in world.log()
    assert world.log()[0] == first
    assert path_of("b") in world.files()
    with world.database.write() as connection:
        assert wishes.take(connection, cluster="home", routed={prod.id}) == {prod.id: "the branch was rewritten"}


def test_a_deleted_branch_is_not_created_again(world: World, tmp_path: Path) -> None:
    """A branch deleted on the remote stays deleted; the message says what to do; nothing is lost."""
    prod = world.destination(branch="work")
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    head = world.log("work")[-1]
    world.git("update-ref", "-d", "refs/heads/work")
    world.change(prod, "a", "2", version=2)
    world.drain(prod)
    assert world.git("for-each-ref") == ""
    reason, message = world.error(prod)
    assert (reason, head in str(message)) == ("BranchDeleted", True)
    world.git("update-ref", "refs/heads/work", head)
    world.drain(prod)
    assert world.states(prod) == ["pushed", "pushed"]


def test_a_moved_remote_is_rebuilt_on(world: World, tmp_path: Path) -> None:
    """Somebody else pushed meanwhile: the pending rows are rebuilt on the new tip, both commits stand."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    theirs = world.somebody_pushes(tmp_path, "README", "hello\n")
    world.change(prod, "a", "2", version=2)
    world.drain(prod)
    assert world.log()[1] == theirs
    assert len(world.log()) == 3
    assert world.files()["README"] == "hello\n"


def test_a_file_edited_in_git_is_won_by_the_cluster(world: World, tmp_path: Path) -> None:
    """Somebody edited our file: the cluster wins at the object's next change, history keeps both."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.somebody_pushes(tmp_path, path_of("a"), "edited: true\n")
    world.change(prod, "a", "mine", version=2)
    world.drain(prod)
    assert world.files()[path_of("a")] == "mine"


def test_a_repository_that_is_missing_is_said_and_nothing_is_lost(world: World) -> None:
    """A refused repository puts the destination off with a reason; its rows stay pending."""
    prod = world.destination()
    away = world.repository.rename(world.repository.with_name("away.git"))
    world.change(prod, "a", "1", version=1)
    note = world.drain(prod).note
    assert world.states(prod) == ["pending"]
    assert world.error(prod)[0] == "RepositoryNotFound"
    assert note == world.error(prod)[1]
    away.rename(world.repository)
    world.drain(prod)
    assert world.states(prod) == ["pushed"]
    assert world.error(prod) == (None, None)
