"""The drain on a real repository and both databases: what pends becomes commits, in order, once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app import errors
from app.drain import building, draining, pushing, relieving
from app.models import base, destinations, ledger
from app.rules import rendering
from tests.drain.world import World, configmap, path_of


def test_each_change_is_one_commit_on_an_empty_repository(world: World) -> None:
    """An empty repository gets a root commit, and each Event one commit with author, subject and trailers."""
    prod = world.destination()
    world.change(prod, "a", "1", version=10)
    world.change(prod, "a", "2", version=11)
    outcome = world.drain(prod)
    assert (outcome.commits, outcome.rows, outcome.note) == (2, 2, "")
    assert world.files() == {path_of("a"): "'2'"} or world.files() == {path_of("a"): '"2"'}
    assert world.states(prod) == ["pushed", "pushed"]
    assert world.recorded() == world.log()
    message = world.git("log", "-1", "--format=%B", "main")
    assert message.startswith("[UPDATE] v1/configmaps/a by manager/kubectl\n")
    assert "Reverser-Destination: shop/prod" in message
    assert world.git("fsck", "--strict") == ""


def test_missing_branch_starts_from_the_default_branch(world: World, tmp_path: Path) -> None:
    """A missing branch starts from the remote's default branch, and main itself is not touched."""
    main = world.destination("main", folder="elsewhere")
    world.change(main, "x", "1", version=1)
    world.drain(main)
    before = world.log("main")
    dev = world.destination("dev", branch="dev", folder="clusters/dev")
    world.change(dev, "a", "1", version=2)
    world.drain(dev)
    assert world.log("dev")[: len(before)] == before
    assert world.log("main") == before
    assert set(world.files("dev")) == {path_of("x", "elsewhere"), path_of("a", "clusters/dev")}


def test_a_delete_removes_only_its_file(world: World) -> None:
    """A delete removes its file and leaves every other one."""
    prod = world.destination()
    world.write(world.event(prod, "a", "1", version=1), world.event(prod, "b", "1", version=2))
    world.drain(prod)
    world.change(prod, "a", None, version=3)
    world.drain(prod)
    assert set(world.files()) == {path_of("b")}


def test_rows_are_drained_once(world: World) -> None:
    """A second message for rows that are done is a no-op: no commit, no push."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    assert world.drain(prod).note == "nothing pending"
    assert len(world.log()) == 1


def test_a_drain_says_up_to_where_nothing_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that ends early says nothing of what it left; one that has nothing to do says what others did."""
    prod = world.destination(max_commits=1)
    for version in (1, 2):
        world.change(prod, f"a{version}", "1", version=version)
    monkeypatch.setattr(draining, "TURN", 0.0)
    assert world.drain(prod).done == ()
    assert world.drain(prod).done == ((prod.uid, 2),)
    assert world.drain(prod).done == ((prod.uid, 2),)
    world.change(prod, "a4", "1", version=4)
    assert world.drain(prod).done == ((prod.uid, 3),)


@pytest.fixture
def pressed(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A world where more than six changes are too many."""
    world = World(tmp_path, database_url, max_pending=6, batch_rows=2)
    yield world
    world.close()


def superseded(world: World) -> int | None:
    """How many rows were left out under pressure."""
    with world.database.read() as connection:
        return connection.scalar(select(destinations.GitDestinationRow.superseded))


def test_under_pressure_only_the_last_state_of_an_object_is_written(
    pressed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit, what a later change of the object follows is left out and counted; the last ones come."""
    monkeypatch.setattr(relieving, "_ROWS_PER_READ", 3)
    prod = pressed.destination()
    for version in range(1, 4):
        pressed.change(prod, "a", str(version), version=version)
        pressed.change(prod, "b", str(version), version=version)
    assert pressed.drain(prod).commits == 6
    for version in range(4, 8):
        pressed.change(prod, "a", str(version), version=version)
    pressed.change(prod, "b", None, version=8)
    pressed.change(prod, "b", "new", version=9, uid="another")
    pressed.change(prod, "c", "1", version=10)
    assert pressed.drain(prod).commits == 4
    assert pressed.states(prod)[6:] == [*["superseded"] * 3, *["pushed"] * 4]
    assert {path: value.strip('"') for path, value in pressed.files().items()} == {
        path_of("a"): "7", path_of("b"): "new", path_of("c"): "1",
    }  # fmt: skip
    assert superseded(pressed) == 3


def test_under_pressure_a_version_that_is_repeated_late_does_not_win(pressed: World) -> None:
    """A stream that was resumed from further back repeats versions: the newest is written, wherever it stands."""
    prod = pressed.destination()
    for version in (1, 2, 9, 10):
        pressed.change(prod, "a", str(version), version=version)
    for version in (7, 8):
        pressed.change(prod, "a", str(version), version=version)
    pressed.change(prod, "b", "1", version=11)
    pressed.drain(prod)
    assert pressed.states(prod) == [*["superseded"] * 3, "pushed", "superseded", "superseded", "pushed"]
    assert pressed.files()[path_of("a")].strip('"') == "10"


def test_pressure_is_of_changes_and_not_of_seeds(pressed: World) -> None:
    """A seed has a row for each object. What it listed is older than the change that came before it: both stay."""
    prod = pressed.destination()
    pressed.seed(prod, [(f"n{number}", "1", number + 1) for number in range(8)], list_version=20)
    assert pressed.drain(prod).commits == 1
    for version in range(21, 27):
        pressed.change(prod, "a", str(version), version=version)
    pressed.seed(prod, [("a", "listed", 20)], list_version=20, complete=False)
    pressed.change(prod, "b", "1", version=28)
    pressed.drain(prod)
    assert pressed.states(prod)[9:] == [*["superseded"] * 5, "pushed", "stale", "unchanged", "pushed"]
    assert pressed.files()[path_of("a")].strip('"') == "26"


def test_where_each_change_is_of_another_object_nobody_looks_twice(
    pressed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to leave out, and looking for it costs."""
    looks = []
    before = ledger.changes_before
    monkeypatch.setattr(ledger, "changes_before", lambda *words, **more: looks.append(1) or before(*words, **more))
    prod = pressed.destination(max_commits=1)
    for number in range(9):
        pressed.change(prod, f"n{number}", "1", version=number)
    assert pressed.drain(prod).commits == 9
    assert (len(looks), superseded(pressed)) == (2, None)


def test_a_database_that_is_too_slow_for_relief_does_not_keep_changes_from_git(
    pressed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is written then, as it would be without pressure."""

    def slow(*_: object, **__: object) -> None:
        raise errors.TemporaryError("statement timeout")

    monkeypatch.setattr(ledger, "changes_before", slow)
    prod = pressed.destination()
    for version in range(1, 8):
        pressed.change(prod, "a", str(version), version=version)
    assert pressed.drain(prod).commits == 7


def test_an_unchanged_object_makes_no_commit(world: World) -> None:
    """A row whose file is right already ends as unchanged, without a commit."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "1", version=2)
    world.drain(prod)
    assert world.states(prod) == ["pushed", "unchanged"]
    assert len(world.log()) == 1


def test_an_older_version_never_wins(world: World) -> None:
    """A row that is not newer than what Git holds of the same object is stale."""
    prod = world.destination()
    world.change(prod, "a", "new", version=20)
    world.drain(prod)
    world.change(prod, "a", "old", version=19)
    world.drain(prod)
    assert world.files() == {path_of("a"): "new"}
    assert world.states(prod) == ["pushed", "stale"]


def test_a_new_epoch_of_the_source_wins_whatever_its_numbers(world: World) -> None:
    """After a restored backup the numbers start again lower: rows of the new epoch are newer, of the old one stale."""
    prod = world.destination()
    world.change(prod, "a", "before", version=900)
    world.drain(prod)
    world.change(prod, "a", "restored", version=500, epoch=2)
    world.change(prod, "a", "late", version=901, epoch=1)
    world.drain(prod)
    assert world.files() == {path_of("a"): "restored"}
    assert world.states(prod) == ["pushed", "pushed", "stale"]


def test_a_late_row_does_not_bring_a_deleted_object_back(world: World) -> None:
    """The tombstone of a deleted object keeps its older rows out."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.change(prod, "a", None, version=5)
    world.change(prod, "b", "1", version=6)
    world.drain(prod)
    world.change(prod, "a", "late", version=4)
    world.drain(prod)
    assert set(world.files()) == {path_of("b")}
    assert world.states(prod)[-1] == "stale"


def test_a_delete_of_the_old_object_spares_the_new_one(world: World) -> None:
    """A DELETE of one uid never removes the file of another that took its name."""
    prod = world.destination()
    world.change(prod, "a", "old", version=1, uid="one")
    world.change(prod, "a", "new", version=3, uid="two")
    world.change(prod, "a", None, version=2, uid="one")
    world.drain(prod)
    assert world.files() == {path_of("a"): "new"}
    assert world.states(prod) == ["pushed", "pushed", "stale"]


def test_a_late_row_of_the_old_object_spares_the_new_one(world: World) -> None:
    """Who took a name later has only later versions: what comes late of the former one is not written over it."""
    prod = world.destination()
    world.change(prod, "a", "new", version=3, uid="two")
    world.drain(prod)
    world.change(prod, "a", "old", version=1, uid="one")
    world.drain(prod)
    assert world.files() == {path_of("a"): "new"}
    assert world.states(prod) == ["pushed", "stale"]


@pytest.fixture
def follower(world: World) -> destinations.Destination:
    """A destination in the folder that another one had, which left `a`, removed `b`, and never saw `c`."""
    former = world.destination("former")
    world.change(former, "a", "at 20", version=20)
    world.change(former, "b", "at 1", version=1)
    world.change(former, "b", None, version=21)
    world.drain(former)
    with world.database.write() as connection:
        connection.execute(update(destinations.GitDestinationRow).values(deleted_at=base.now()))
    return world.destination("follower")


def test_what_comes_late_takes_nothing_back_from_who_had_the_folder(
    world: World, follower: destinations.Destination
) -> None:
    """A stream that is resumed from further back brings a new destination what its predecessor was past."""
    world.change(follower, "a", "at 10", version=10)
    world.change(follower, "b", "at 2", version=2)
    world.change(follower, "a", "of an object that had the name before", version=9, uid="one")
    world.change(follower, "c", "at 3", version=3)
    world.drain(follower)
    assert world.states(follower) == ["stale", "stale", "stale", "pushed"]
    assert world.files() == {path_of("a"): "at 20", path_of("c"): "at 3"}
    # What was not written is the follower's all the same: it goes with its object.
    world.change(follower, "a", None, version=22)
    world.change(follower, "b", "at 23", version=23)
    world.drain(follower)
    assert world.files() == {path_of("b"): "at 23", path_of("c"): "at 3"}


def test_a_file_that_was_changed_in_git_is_no_newer_state(
    world: World, follower: destinations.Destination, tmp_path: Path
) -> None:
    """It is not as the predecessor left it: what comes of its object is written."""
    world.somebody_pushes(tmp_path, path_of("a"), rendering.render(configmap("a", "by hand")).decode())
    world.change(follower, "c", "at 3", version=3)
    world.drain(follower)
    world.change(follower, "a", "at 10", version=10)
    world.drain(follower)
    assert world.files() == {path_of("a"): "at 10", path_of("c"): "at 3"}


def test_who_comes_back_to_a_folder_is_not_behind_who_had_it_meanwhile(
    world: World, follower: destinations.Destination
) -> None:
    """Its own record of a file is not the newest one."""
    world.change(follower, "a", "at 30", version=30)
    world.drain(follower)
    world.destination("follower", folder="clusters/elsewhere")
    other = world.destination("other")
    world.change(other, "a", "at 40", version=40)
    world.drain(other)
    world.destination("other", folder="clusters/other")
    back = world.destination("follower")
    world.change(back, "a", "at 35", version=35)
    world.drain(back)
    assert world.files() == {path_of("a"): "at 40"}
    assert world.states(back) == ["pushed", "stale"]


def test_a_seed_is_not_behind_who_had_the_folder(world: World, follower: destinations.Destination) -> None:
    """What it finds is written, and is the follower's from then on."""
    world.seed(follower, [("a", "at 20", 20), ("b", "at 9", 9)], list_version=30)
    world.drain(follower)
    assert world.states(follower) == ["unchanged", "pushed", "unchanged"]
    assert world.files() == {path_of("a"): "at 20", path_of("b"): "at 9"}


def test_numbers_of_another_cluster_say_nothing(world: World, follower: destinations.Destination) -> None:
    """A predecessor that mirrored another cluster counted otherwise."""
    with world.database.write() as connection:
        row = destinations.GitDestinationRow
        connection.execute(update(row).where(row.id != follower.id).values(cluster="away"))
    world.change(follower, "a", "at 10", version=10)
    world.drain(follower)
    assert world.files() == {path_of("a"): "at 10"}


def test_a_raised_place_supersedes_what_pends(world: World) -> None:
    """Rows of a former place never reach the new one, nor the old one after the move."""
    old = world.destination(folder="clusters/prod")
    world.change(old, "a", "1", version=1)
    new = world.destination(folder="clusters/moved")
    assert new.place_generation == old.place_generation + 1
    world.change(new, "b", "1", version=2)
    world.drain(new)
    assert world.states(new) == ["superseded", "pushed"]
    assert set(world.files()) == {path_of("b", "clusters/moved")}


def test_a_row_that_cannot_be_rendered_is_dead_and_the_others_go_on(world: World) -> None:
    """One object that cannot be written ends dead with its reason; nothing of it is quoted; the line goes on."""
    prod = world.destination()
    broken = world.event(prod, "broken", "1", version=1)
    body = b'["canary-4711"]'
    world.write(dataclasses.replace(broken, body=body), world.event(prod, "fine", "1", version=2))
    world.drain(prod)
    assert world.states(prod) == ["dead", "pushed"]
    assert "canary" not in str(world.reason(prod, 1))
    assert set(world.files()) == {path_of("fine")}


def test_two_destinations_on_two_branches_never_mix(world: World) -> None:
    """1,000 interleaved changes: each branch holds exactly its own."""
    prod = world.destination("prod", branch="main", folder="clusters/prod")
    dev = world.destination("dev", branch="dev", folder="clusters/dev")
    for number in range(0, 1_000, 20):
        world.write(
            *(
                world.event(dev if n % 2 else prod, f"o{n % 50}", f"v{n}", version=n + 1)
                for n in range(number, number + 20)
            )
        )
        if number % 100 == 80:
            world.drain(prod)
            world.drain(dev)
    for destination, branch, odd in ((prod, "main", 0), (dev, "dev", 1)):
        folder = destination.base_folder
        own = {path_of(f"o{n}", folder): f"v{950 + n}" for n in range(50) if n % 2 == odd}
        assert {path: value for path, value in world.files(branch).items() if path.startswith(folder)} == own
        assert set(world.states(destination)) == {ledger.PUSHED}
    assert not [path for path in world.files("main") if path.startswith("clusters/dev")]


def test_pace_waits_for_the_interval_and_pushes_when_enough_is_ready(world: World) -> None:
    """With push.interval a drain waits after a push, unless maxCommits are ready; nothing is lost by waiting."""
    prod = world.destination(push_interval=3600.0, max_commits=3)
    world.change(prod, "a", "1", version=1)
    assert world.drain(prod).commits == 1
    world.change(prod, "a", "2", version=2)
    outcome = world.drain(prod)
    assert (outcome.commits, outcome.note.startswith("waits")) == (0, True)
    assert world.states(prod) == ["pushed", "pending"]
    assert world.drainer.drain(prod.ref).note == "waits for its next try"
    world.change(prod, "a", "3", version=3)
    world.change(prod, "a", "4", version=4)
    assert world.drain(prod).commits == 3
    assert world.files() == {path_of("a"): "'4'"} or world.files() == {path_of("a"): '"4"'}


def test_a_drain_ends_although_changes_keep_coming(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain writes what pended when it began; what came meanwhile it rings for, and other destinations go first."""
    prod = world.destination()
    world.change(prod, "a", "0", version=1)
    push, versions = pushing.Pusher.push, itertools.count(2)

    def and_one_more(self: pushing.Pusher, *arguments: Any, **more: Any) -> pushing.Result:
        result = push(self, *arguments, **more)
        version = next(versions)
        world.change(prod, "a", str(version), version=version)
        return result

    monkeypatch.setattr(pushing.Pusher, "push", and_one_more)
    outcome = world.drain(prod)
    assert (outcome.commits, outcome.rings) == (1, (prod.ref,))
    assert world.states(prod) == ["pushed", "pending"]


def test_large_objects_are_read_one_after_the_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little may be read at a time, each change and each row of a seed is written as it is."""
    monkeypatch.setattr(building, "BYTES_PER_READ", 1)
    prod = world.destination()
    world.seed(prod, [(name, name * 9, number) for number, name in enumerate("abc", start=1)], list_version=9)
    for version, (name, value) in enumerate([("a", None), ("b", "1"), ("c", None), ("d", "2"), ("b", "3")], start=10):
        world.change(prod, name, value, version=version)
    while world.drain(prod).rows:
        pass
    assert set(world.states(prod)) == {"pushed", "unchanged"}
    assert {path: text.strip("'\"") for path, text in world.files().items()} == {path_of("b"): "3", path_of("d"): "2"}


def test_a_turn_ends_between_two_pushes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose turn is over rings for what is left; nothing is lost or written twice by taking turns."""
    prod = world.destination(max_commits=1)
    for version in (1, 2, 3):
        world.change(prod, "a", str(version), version=version)
    monkeypatch.setattr(draining, "TURN", 0.0)
    rings = [world.drain(prod).rings for _ in range(3)]
    assert rings == [(prod.ref,), (prod.ref,), ()]
    assert world.states(prod) == ["pushed"] * 3
    assert len(world.log()) == 3
