"""What happens between two steps: a place that moves under a drain, versions that come back, hosts that go away."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from concurrent import futures
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from app import db, errors, events
from app.drain import draining, pacing, pushing
from app.events import Ref
from app.models import commits, destinations, leases, ledger, seeds
from tests.drain.world import World, path_of
from tests.models.records import Records


@pytest.fixture
def postgres(postgres_migrated_url: str) -> Iterator[Records]:
    """A migrated PostgreSQL database, which tells when a session of it waits for a lock."""
    found = Records(postgres_migrated_url)
    yield found
    found.close()


def test_a_drain_that_began_before_a_move_leaves_the_rows_of_the_new_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is raised while a drain is between reading its destination and its rows: the new rows are not ended."""
    old = world.destination(folder="clusters/old")
    world.change(old, "a", "1", version=1)
    original = pushing.Pusher._try
    moved: list[destinations.Destination] = []

    def move_first(self: pushing.Pusher, *arguments: Any, **more: Any) -> Any:
        if not moved:
            moved.append(world.destination(folder="clusters/new"))
            world.change(moved[0], "b", "1", version=2)
        return original(self, *arguments, **more)

    monkeypatch.setattr(pushing.Pusher, "_try", move_first)
    assert world.drain(old).rings == (old.ref,)
    assert world.states(old) == ["superseded", "pending"]
    world.drain(old)
    assert world.states(old) == ["superseded", "pushed"]
    assert set(world.files()) == {path_of("b", "clusters/new")}


def test_a_version_that_comes_back_keeps_its_objects(world: World) -> None:
    """A type goes from one version to another and back: the tombstones of the way there do not swallow the way back."""
    prod = world.destination()

    def seed(version: str, at: int) -> None:
        key = seeds.ScopeKey("", "configmaps", "shop")
        run = world.begin_seed(prod, key, served=version)
        entry = world.event(prod, "a", "1", version=30, seed=run)
        assert entry.event.identifier is not None
        identifier = dataclasses.replace(entry.event.identifier, version=version)
        event = dataclasses.replace(entry.event, identifier=identifier, id=f"{run[:30]}")
        world.write(dataclasses.replace(entry, event=event))
        world.close_seed(prod, run, listed=1, list_version=at)

    for version, at in (("v1", 100), ("v2", 200), ("v1", 300)):
        seed(version, at)
        world.drain(prod)
        assert set(world.files()) == {f"clusters/prod/{version}/configmaps/shop/a.yaml"}


def test_a_new_version_that_cannot_be_written_keeps_the_former_file(world: World) -> None:
    """The row of the new path is dead: the file at the old path is all that is there of the object, and stays."""
    prod = world.destination()
    world.change(prod, "a", "1", version=30)
    world.drain(prod)
    run = world.begin_seed(prod, served="v2")
    entry = world.event(prod, "a", "1", version=30, seed=run)
    assert entry.event.identifier is not None
    identifier = dataclasses.replace(entry.event.identifier, version="v2")
    event = dataclasses.replace(entry.event, identifier=identifier, id="one")
    world.write(dataclasses.replace(entry, event=event, body=b"[]"))
    world.close_seed(prod, run, listed=1, list_version=100)
    world.drain(prod)
    assert set(world.files()) == {path_of("a")}


def test_rows_never_reach_a_repository_that_their_place_does_not_name(world: World) -> None:
    """The config names another repository now, and the place was not moved: the rows wait, nothing is pushed."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    with world.database.write() as connection:
        connection.execute(
            update(destinations.GitRepoConfigRow).values(url="file:///elsewhere.git", url_key="elsewhere")
        )
    assert world.drain(prod).note == "nothing pending"
    assert world.states(prod) == ["pending"]


def test_a_seed_repairs_what_somebody_changed_in_git(world: World, tmp_path: Path) -> None:
    """A seed looks at the remote first: a file that somebody edited or removed is written again."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.change(prod, "b", "1", version=2)
    world.drain(prod)
    world.somebody_pushes(tmp_path, path_of("a"), "edited: true\n")
    world.seed(prod, [("a", "1", 1), ("b", "1", 2)], list_version=10)
    world.drain(prod)
    assert set(world.files().values()) == {"'1'"} or set(world.files().values()) == {'"1"'}
    assert world.states(prod) == ["pushed", "pushed", "pushed", "unchanged", "unchanged"]


def test_a_name_that_no_index_takes_is_dead_and_the_others_go_on(world: World) -> None:
    """A name of 3,500 characters, which RBAC allows, ends dead; it does not block its destination."""
    prod = world.destination()
    world.change(prod, "x" * 3_500, "1", version=1)
    world.change(prod, "a", "1", version=2)
    world.drain(prod)
    assert world.states(prod) == ["dead", "pushed"]


def test_a_host_that_does_not_answer_lets_its_destinations_wait_with_a_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the host wait too and say why, never longer than a few minutes; when it answers nobody waits."""
    ours = [world.destination(f"d{number}", folder=f"f/{number}") for number in range(20)]
    with world.database.write() as connection:
        connection.execute(update(destinations.GitRepoConfigRow).values(host="git.example.com"))
    for one in ours:
        world.change(one, "a", "1", version=1)
    original = pushing.Pusher.push

    def no_answer(*_: Any, **__: Any) -> Any:
        raise errors.TemporaryError("git.example.com gave no answer", delay=30.0, reason="HostUnreachable")

    monkeypatch.setattr(pushing.Pusher, "push", no_answer)
    world.drain(ours[0])
    with world.database.read() as connection:
        row = destinations.GitDestinationRow
        waits = connection.execute(select(row.not_before, row.last_error_reason, row.stalled)).all()
    assert {(wait.last_error_reason, wait.stalled) for wait in waits} == {("HostUnreachable", False)}
    moments = [wait.not_before for wait in waits]
    assert None not in moments
    assert (max(moments) - min(moments)).total_seconds() <= destinations.LONGEST_SPREAD + 5
    monkeypatch.setattr(pushing.Pusher, "push", original)
    world.drain(ours[0])
    assert all(map(world.is_due, ours))


def test_a_database_that_is_away_is_no_death_of_a_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record failed because SQL was away: the lease is given back when SQL is there again, and nobody is blamed."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    original = db.Database.write
    away = {"left": 0}

    def write(self: db.Database) -> Any:
        if away["left"]:
            away["left"] -= 1
            raise errors.TemporaryError("the database is not available", reason="DatabaseAway")
        return original(self)

    def fail(*_: Any, **__: Any) -> Any:
        away["left"] = 3
        raise errors.TemporaryError("the database is not available", reason="DatabaseAway")

    monkeypatch.setattr("app.drain.leasing.RELEASE_PAUSE", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(db.Database, "write", write)
        patch.setattr("app.drain.recording.record_plan", fail)
        world.drain(prod)
    world.drain(prod)
    with world.database.read() as connection:
        found = destinations.by_id(connection, prod.id)
    assert found is not None
    assert found.failed_drains == 0
    assert world.states(prod) == ["pushed"]
    assert world.recorded() == world.log()


@pytest.mark.parametrize("reason", ["DatabaseAway", "DatabaseBusy"])
def test_what_the_database_says_is_not_said_of_the_repository(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """The connection check of a GitRepoConfig tells of Git: a deadlock in SQL leaves it as it was."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)

    def fail(*_: Any, **__: Any) -> Any:
        raise errors.TemporaryError("of the database", reason=reason)

    monkeypatch.setattr(pushing.Pusher, "push", fail)
    world.drain(prod)
    with world.database.read() as connection:
        assert connection.scalar(select(destinations.GitDestinationRow.last_error_reason)) == reason
        assert connection.scalar(select(destinations.GitRepoConfigRow.connection_check)) is None


def test_enough_commits_end_the_wait_for_the_interval(world: World) -> None:
    """The wait for push.interval that the first change began ends as soon as maxCommits are ready."""
    prod = world.destination(push_interval=3600.0, max_commits=3)
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    for number in range(2, 5):
        world.change(prod, "a", str(number), version=number)
        outcome = world.drainer.drain(prod.ref)
        assert outcome.commits == (3 if number == 4 else 0)


def test_an_interval_that_goes_while_a_drain_reads_it_holds_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change frees who waits already; who is about to wait sees it, and pushes."""
    prod = world.destination(push_interval=3600.0)
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "2", version=2)
    original = pacing.seconds_to_wait

    def change_first(**figures: Any) -> float:
        found = original(**figures)
        monkeypatch.undo()
        # From another thread, as another process does it: SQLite has one writer, and this drain only reads here.
        with futures.ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(world.destination).result()
        return found

    monkeypatch.setattr(pacing, "seconds_to_wait", change_first)
    assert world.drain(prod).commits == 1
    assert world.is_due(prod)


@pytest.mark.postgres
def test_a_wait_for_an_interval_and_its_change_never_wait_in_a_circle(postgres: Records, tmp_path: Path) -> None:
    """A watch daemon changes push.interval while a drain is about to wait for it: the drain sees the change."""
    world = World(tmp_path, postgres.url)
    prod = world.destination(push_interval=3600.0)
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "2", version=2)
    with world.database.write() as connection:
        destinations.lock_all(connection, cluster="home")
        later = postgres.blocked_call(lambda: world.drainer.drain(prod.ref))
        destinations.save_repo_config(connection, world.repo_config())
    assert later.result(timeout=10).commits == 1
    world.close()


@pytest.mark.postgres
def test_drains_of_one_host_that_goes_away_never_wait_in_a_circle(
    postgres: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each puts off the destinations of the other: in one order, so that both say it."""
    world = World(tmp_path, postgres.url)
    first, second = (world.destination(name, folder=name, host="git.example.com") for name in ("a", "b"))
    world.change(second, "a", "1", version=1)

    def lose(*_: Any, **__: Any) -> Any:
        raise errors.TemporaryError("no answer", delay=600.0, reason=destinations.HOST_UNREACHABLE)

    monkeypatch.setattr(pushing.Pusher, "push", lose)
    with world.database.write() as connection:
        destinations.put_off(connection, first.id, seconds=600.0)
        later = postgres.blocked_call(lambda: world.drainer.drain(second.ref))
        destinations.put_off(connection, second.id, seconds=600.0)
    later.result(timeout=10)
    assert world.error(second) == (destinations.HOST_UNREACHABLE, "no answer")
    world.close()


def test_a_wait_after_an_error_does_not_end_early(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much pends, a destination whose repository refused waits for its next try."""
    prod = world.destination(max_commits=1)
    away = world.repository.rename(world.repository.with_name("away.git"))
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.change(prod, "a", "2", version=2)
    assert world.drainer.drain(prod.ref).note == "waits for its next try"
    away.rename(world.repository)


def test_a_host_that_is_away_for_a_moment_is_soon_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait is short, each further one twice as long, up to what the error says; a success begins anew."""
    prod = world.destination()

    reasons = itertools.cycle(["HostUnreachable", "UnknownOutcome"])

    def no_answer(*_: Any, **__: Any) -> Any:
        raise errors.TemporaryError("git.example.com gave no answer", delay=30.0, reason=next(reasons))

    def waits(times: int) -> list[int]:
        with monkeypatch.context() as patch:
            patch.setattr(pushing.Pusher, "push", no_answer)
            return [wait_after(world, prod) for _ in range(times)]

    world.change(prod, "a", "1", version=1)
    assert waits(6) == [2, 4, 8, 16, 30, 30]
    world.drainer.drain(prod.ref)
    assert world.states(prod) == ["pending"], "it is not its time yet"
    make_due(world, prod)
    world.drainer.drain(prod.ref)
    assert world.states(prod) == ["pushed"]
    world.change(prod, "a", "2", version=2)
    assert waits(2) == [2, 4]


def wait_after(world: World, destination: destinations.Destination) -> int:
    """Drain at once, and see for how long it is put off then, in seconds."""
    make_due(world, destination)
    world.drainer.drain(destination.ref)
    row = destinations.GitDestinationRow
    with world.database.read() as connection:
        until, since = connection.execute(select(row.not_before, row.last_error_at)).one()
    return round((until - since).total_seconds())


def make_due(world: World, destination: destinations.Destination) -> None:
    """Let the time pass for which a destination waits: it began so much earlier."""
    row = destinations.GitDestinationRow
    with world.database.write() as connection:
        until, since = connection.execute(select(row.not_before, row.last_error_at)).one()
        if until and since:
            passed = {"not_before": until - timedelta(hours=1), "last_error_at": since - timedelta(hours=1)}
            connection.execute(update(row).where(row.id == destination.id).values(**passed))


def test_a_zombie_does_not_put_its_successor_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that lost its lease writes nothing on the destination, not even an error."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)

    def lose(self: pushing.Pusher, held: Any, *_: Any, **__: Any) -> Any:
        with world.database.write() as connection:
            connection.execute(update(leases.RepositoryBranch).values(token=99))
        raise errors.TemporaryError("no answer", delay=600.0, reason="HostUnreachable")

    with monkeypatch.context() as patch:
        patch.setattr(pushing.Pusher, "push", lose)
        world.drainer.drain(prod.ref)
    assert world.error(prod) == (None, None)
    assert isinstance(world.drainer, draining.Drainer)


def test_nothing_of_an_object_stands_in_a_database_error(world: World) -> None:
    """A refused statement does not quote its parameters, which may be an object."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    entry = world.event(prod, "a", "canary-8123", version=2)
    with pytest.raises(IntegrityError) as caught, world.database.write() as connection:
        ledger.append(connection, [entry], {prod.id: 1})
    assert "canary" not in str(caught.value)


def test_a_commit_is_recorded_once(world: World) -> None:
    """The same commit recorded again is passed over: unique on its branch."""
    prod = world.destination()
    identifier = events.Identifier("", "v1", "configmaps", "shop", "a", "ConfigMap", "uid")
    change = commits.Change("p.yaml", "CREATE", identifier, "1", None, "rule", 1, None, None)
    commit, other = (commits.NewCommit(sha * 40, "A <a@b>", "message", 1, 1, (change,)) for sha in "ab")
    with world.database.write() as connection:
        where = {"destination_id": prod.id, "place_id": prod.place_id, "branch_id": prod.branch_id}
        (first,) = commits.record(connection, [commit], **where)
        assert first is not None
        assert commits.record(connection, [commit, other], **where) == [None, first + 1]
        assert commits.record(connection, [commit, other], **where) == [None, None]
    assert Ref("shop", "prod") == prod.ref
