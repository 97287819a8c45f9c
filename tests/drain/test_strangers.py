"""Two installations that write to one folder: each goes on, and says that the other one is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import update

from app import db
from app.git import cache as caches
from app.git import commits as git_commits
from app.git import problems
from app.models import base, destinations, states
from tests.drain.world import World, run_git


@pytest.fixture
def stranger(world: World, tmp_path: Path) -> Iterator[World]:
    """Another installation on the same repository."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    url = f"sqlite:///{folder}/other.db"
    db.upgrade(url)
    made = World(folder, url)
    made.repository = world.repository
    yield made
    made.close()


def foreign(world: World, destination: destinations.Destination) -> str | None:
    """The commit of another installation, as the status tells of it."""
    with world.database.read() as connection:
        return states.of_destinations(connection, cluster="home")[destination.uid].foreign_sha


def push(world: World, destination: destinations.Destination, name: str, version: int) -> str:
    """Write one object; the commit."""
    world.change(destination, name, "1", version=version)
    world.drain(destination)
    return world.log()[-1]


def test_each_is_told_of_the_other(world: World, stranger: World) -> None:
    """What was there before is history; what comes since is another writer, in whose folder it is."""
    prod, dev = world.destination(), world.destination("dev", folder="clusters/dev")
    push(world, prod, "a", 1)
    theirs = stranger.destination()
    seen = push(stranger, theirs, "b", 1)
    assert foreign(stranger, theirs) is None
    push(world, dev, "d", 1)
    assert (foreign(world, prod), foreign(world, dev)) == (seen, None)
    last = push(world, prod, "c", 2)
    push(stranger, theirs, "e", 2)
    assert foreign(stranger, theirs) == last
    assert foreign(world, prod) == seen
    assert len(world.files()) == 5


def test_it_is_told_for_a_while(world: World, stranger: World) -> None:
    """Whoever stopped the other one need not say so."""
    prod = world.destination()
    push(world, prod, "a", 1)
    push(stranger, stranger.destination(), "b", 1)
    push(world, prod, "c", 2)
    assert foreign(world, prod)
    with world.database.write() as connection:
        connection.execute(
            update(destinations.GitDestinationRow).values(foreign_at=base.now(-states.FOREIGN_SHOWN - 1))
        )
    assert foreign(world, prod) is None


def test_own_commits_and_those_of_people_are_no_strangers(world: World, tmp_path: Path) -> None:
    """Another destination of this database on the same branch, and whoever commits by hand."""
    prod, dev = world.destination(), world.destination("dev", folder="clusters/dev")
    push(world, prod, "a", 1)
    push(world, dev, "b", 1)
    world.somebody_pushes(tmp_path, "clusters/prod/notes.txt", "hello\n")
    push(world, prod, "c", 2)
    assert (foreign(world, prod), foreign(world, dev)) == (None, None)


def test_what_a_merge_brings_in_was_pushed_elsewhere(world: World, stranger: World, tmp_path: Path) -> None:
    """Another installation's branch, merged by a person: its commits are none of a second writer, however many."""
    prod = world.destination()
    push(world, prod, "a", 1)
    theirs = stranger.destination(branch="staging")
    for number in range(30):
        push(stranger, theirs, f"s{number}", number + 1)
    clone = str(tmp_path / "merging")
    run_git("clone", "--quiet", str(world.repository), clone)
    run_git("-C", clone, "merge", "--quiet", "--no-ff", "-m", "merge staging", "origin/staging")
    run_git("-C", clone, "push", "--quiet", "origin", "HEAD:main")
    push(world, prod, "b", 2)
    assert world.error(prod) == (None, None)
    assert world.states(prod) == ["pushed", "pushed"]
    assert foreign(world, prod) is None


def test_behind_the_boundary_of_a_fetch_nobody_can_tell(
    world: World, stranger: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose parent was not fetched has no changes to look at: the drain goes on without."""
    prod = world.destination()
    push(world, prod, "a", 1)
    push(stranger, stranger.destination(), "b", 1)
    monkeypatch.setattr(caches.Cache, "has", lambda *_: False)
    monkeypatch.setattr(git_commits, "changes", never)
    push(world, prod, "c", 2)
    assert (world.error(prod), foreign(world, prod)) == ((None, None), None)
    assert world.states(prod) == ["pushed", "pushed"]


def never(*_: object) -> NoReturn:
    """As the cache answers where a parent is missing."""
    raise problems.CacheDamagedError("the parent is not there")
