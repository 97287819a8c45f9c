"""Files without a record that a person wants gone (`reverser adopt`): only as they were seen (promise P2)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.git import objects
from app.models import destinations, inventory
from app.rules import pruning, rendering
from tests.drain.world import World, configmap, path_of

TEXT = rendering.render(configmap("a", "1")).decode()


def with_stray(world: World, tmp_path: Path, text: str = TEXT, **options: object) -> destinations.Destination:
    """A destination with one file of its own, and one without a record."""
    prod = world.destination(**options)  # type: ignore[arg-type]
    world.change(prod, "own", "1", version=1)
    world.drain(prod)
    world.somebody_pushes(tmp_path, path_of("a"), text)
    return prod


def adopt(world: World, prod: destinations.Destination, *names: str, text: str = TEXT) -> list[str]:
    """Have these files removed, which a person saw with this content; how the rows ended."""
    seed = f"adopt-{len(world.states(prod))}"
    entries = [world.event(prod, name, None, version=1, seed=seed) for name in names]
    for entry in entries:
        what = dataclasses.replace(entry.event.identifier, uid="")  # type: ignore[type-var]
        event = dataclasses.replace(entry.event, identifier=what, resource_version="")
        world.write(dataclasses.replace(entry, event=event, body=objects.blob_id(text.encode()).encode()))
    world.drain(prod)
    return world.states(prod)[-len(names) :]


@pytest.mark.parametrize("policy", list(pruning.Policy))
def test_a_file_goes_as_it_was_seen(world: World, tmp_path: Path, policy: pruning.Policy) -> None:
    """Under each policy, in one commit; the record tells of it, and no file of it stays behind."""
    prod = with_stray(world, tmp_path, pruned=pruning.Pruning(policy))
    before = world.log()
    assert adopt(world, prod, "a") == ["pushed"]
    assert set(world.files()) == {path_of("own")}
    assert len(world.log()) == len(before) + 1
    assert world.git("log", "-1", "--format=%s", "main").startswith("[PRUNE] 1 file of shop/prod")
    # The object comes back, at whatever version.
    world.change(prod, "a", "1", version=1)
    world.drain(prod)
    assert set(world.files()) == {path_of("own"), path_of("a")}


def test_a_file_that_is_another_by_now_stays(world: World, tmp_path: Path) -> None:
    """Somebody changed it since it was shown, or removed it."""
    prod = with_stray(world, tmp_path)
    assert adopt(world, prod, "a", "b", text="of before\n") == ["stale", "stale"]
    assert set(world.files()) == {path_of("own"), path_of("a")}


def test_a_file_that_is_recorded_stays(world: World, tmp_path: Path) -> None:
    """Its object is there: it was created after the person looked. So is one that has no uid."""
    prod = with_stray(world, tmp_path)
    world.change(prod, "a", "1", version=7)
    assert adopt(world, prod, "a") == ["stale"]
    with world.database.write() as connection:
        (item,) = inventory.by_paths(connection, prod.place_id, [path_of("a")]).values()
        nameless = dataclasses.replace(item, identifier=dataclasses.replace(item.identifier, uid=""))
        inventory.save(connection, prod.place_id, [nameless])
    assert adopt(world, prod, "a") == ["stale"]
    assert set(world.files()) == {path_of("own"), path_of("a")}


def test_a_file_of_something_else_stays(world: World, tmp_path: Path) -> None:
    """Whatever the request says: only a file that calls itself by this object's name is ours to remove."""
    prod = with_stray(world, tmp_path, text="notes: of a person\n")
    assert adopt(world, prod, "a", text="notes: of a person\n") == ["dead"]
    assert set(world.files()) == {path_of("own"), path_of("a")}
