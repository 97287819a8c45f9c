"""Objects that cannot be written, as the status of their destination tells of them: on each database."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.models import destinations, states
from tests.drain.world import World, path_of


def break_(world: World, prod: destinations.Destination, name: str, *, version: int, namespace: str = "shop") -> None:
    """A version of an object that cannot be written."""
    world.write(dataclasses.replace(world.event(prod, name, "1", version=version, namespace=namespace), body=b"[]"))
    world.drain(prod)


def told(world: World, *of: destinations.Destination) -> list[str]:
    """The names of what cannot be written, the newest first."""
    with world.database.read() as connection:
        found = states.unwritable(connection, [one.id for one in of])
    assert all(one.reason for objects in found.values() for one in objects)
    return [one.identifier.name for objects in found.values() for one in objects]


def test_an_object_is_told_of_once_until_it_is_written(world: World) -> None:
    """Whichever of its versions cannot be written; the next one that can, or its removal, ends it."""
    prod = world.destination()
    for name in ("old", "a", "b"):
        world.change(prod, name, "1", version=1)
    world.drain(prod)
    assert told(world, prod) == []
    for name, version in (("a", 2), ("a", 3), ("b", 4), ("never", 5)):
        break_(world, prod, name, version=version)
    assert told(world, prod) == ["never", "b", "a"]
    world.change(prod, "a", "2", version=6)
    world.change(prod, "b", None, version=7)
    world.drain(prod)
    assert told(world, prod) == ["never"]


def test_a_seed_tells_anew(world: World) -> None:
    """What it does not find is gone, what it writes is written; of what it does not list it says nothing."""
    prod = world.destination()
    for version, name in enumerate(("gone", "mended", "broken"), start=1):
        break_(world, prod, name, version=version)
    break_(world, prod, "elsewhere", version=9, namespace="other")
    run = world.begin_seed(prod)
    broken = world.event(prod, "broken", "1", version=3, seed=run)
    world.write(world.event(prod, "mended", "1", version=2, seed=run), dataclasses.replace(broken, body=b"[]"))
    world.close_seed(prod, run, listed=2, list_version=10)
    assert told(world, prod) == ["elsewhere", "broken", "mended", "gone"]
    world.drain(prod)
    assert told(world, prod) == ["broken", "elsewhere"]


def test_half_a_listing_tells_nothing(world: World) -> None:
    """A type that answers 403 may still have the object."""
    prod = world.destination()
    break_(world, prod, "a", version=1)
    world.seed(prod, [], list_version=10, complete=False)
    world.drain(prod)
    assert told(world, prod) == ["a"]


def test_each_destination_tells_of_its_own_at_its_place(world: World) -> None:
    """What could not be written at a former place is nobody's trouble any more."""
    prod, dev = world.destination(), world.destination("dev", folder="clusters/dev")
    break_(world, prod, "a", version=1)
    break_(world, dev, "b", version=1)
    assert (told(world, prod), told(world, dev), told(world, prod, dev)) == (["a"], ["b"], ["a", "b"])
    world.destination(folder="clusters/moved")
    assert told(world, prod, dev) == ["b"]


def test_an_object_that_fails_all_the_time_hides_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one destination and of another; only so many of its rows are looked at, the newest."""
    prod, dev = world.destination(), world.destination("dev", folder="clusters/dev")
    break_(world, dev, "b", version=1)
    break_(world, prod, "seldom", version=1)
    for version in range(2, 30):
        break_(world, prod, "often", version=version)
    assert (told(world, prod), told(world, dev)) == (["often", "seldom"], ["b"])
    monkeypatch.setattr(states, "_DEAD_ROWS", 10)
    assert (told(world, prod), told(world, dev)) == (["often"], ["b"])


def test_a_file_that_cannot_be_removed_is_no_object(world: World, tmp_path: Path) -> None:
    """Its row says why; the object is gone, and nothing of it is left to change."""
    prod = world.destination()
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    world.somebody_pushes(tmp_path, f"{path_of('a')}/inside.txt", "a folder\n", replaces=path_of("a"))
    world.change(prod, "a", None, version=2)
    world.drain(prod)
    assert (world.states(prod)[-1], told(world, prod)) == ("dead", [])


def test_a_sweep_that_killed_its_workers_is_told_of_until_the_next_one(world: World) -> None:
    """It has no object."""
    prod = world.destination()
    world.seed(prod, [], list_version=10)
    with world.database.write() as connection:
        for _ in range(6):
            destinations.note_crash(connection, prod.id)
    world.drain(prod)
    assert told(world, prod) == [""]
    world.seed(prod, [], list_version=20)
    world.drain(prod)
    assert told(world, prod) == []
