"""Seeds: closed only when every complete scope is wholly in the ledger, superseded as a whole."""

from __future__ import annotations

import time

import pytest

from app.models import destinations, seeds
from tests.models.records import Records

PODS = seeds.ScopeKey("", "pods", "shop")
MAPS = seeds.ScopeKey("", "configmaps", "shop")


def start(records: Records, destination: destinations.Destination, *keys: seeds.ScopeKey) -> str:
    """Begin a seed of some scopes."""
    with records.database.write() as connection:
        return seeds.start(
            connection,
            destination_id=destination.id,
            place_id=destination.place_id,
            cause="a new rule",
            scopes=[(key, "v1", True) for key in keys],
        )


def is_ready(records: Records, run: str) -> bool:
    """Whether SEED_SYNC may be written."""
    with records.database.read() as connection:
        return seeds.ready(connection, run)


def write(records: Records, run: str, key: seeds.ScopeKey, count: int) -> None:
    """Count rows of a scope."""
    with records.database.write() as connection:
        seeds.add_written(connection, run, key, count)


def complete(records: Records, run: str, key: seeds.ScopeKey, *, listed: int) -> None:
    """List a scope to its end."""
    with records.database.write() as connection:
        seeds.complete(connection, run, key, listed=listed, resource_version="42")


def test_a_seed_is_ready_only_when_written_equals_listed(records: Records) -> None:
    """Listed to the end is not enough: every listed object has to stand in the ledger first."""
    run = start(records, records.destination(), MAPS)
    assert not is_ready(records, run)
    write(records, run, MAPS, 2)
    assert not is_ready(records, run)
    complete(records, run, MAPS, listed=3)
    assert not is_ready(records, run)
    write(records, run, MAPS, 1)
    assert is_ready(records, run)


def test_more_written_than_listed_is_not_ready_either(records: Records) -> None:
    """A count that does not match is no evidence, in whichever direction."""
    run = start(records, records.destination(), MAPS)
    write(records, run, MAPS, 4)
    complete(records, run, MAPS, listed=3)
    assert not is_ready(records, run)


def test_every_scope_has_to_end(records: Records) -> None:
    """One scope that is still being listed holds the whole seed open; one that failed does not, for it has ended."""
    run = start(records, records.destination(), MAPS, PODS)
    complete(records, run, MAPS, listed=0)
    assert not is_ready(records, run)
    with records.database.write() as connection:
        seeds.fail(connection, run, PODS, reason="Forbidden")
    assert is_ready(records, run)
    with records.database.read() as connection:
        outcomes = {scope.key: scope.outcome for scope in seeds.scopes_of(connection, run)}
    assert outcomes == {MAPS: seeds.COMPLETE, PODS: "Forbidden"}


def test_a_failed_scope_counts_no_more_although_rows_of_it_were_written(records: Records) -> None:
    """Half a page and then 410: the scope is not swept, and it does not keep the others from being closed."""
    run = start(records, records.destination(), MAPS, PODS)
    write(records, run, PODS, 250)
    with records.database.write() as connection:
        seeds.fail(connection, run, PODS, reason="Expired")
    complete(records, run, MAPS, listed=0)
    assert is_ready(records, run)


@pytest.mark.parametrize("state", [seeds.SYNCED, seeds.SWEPT, seeds.SUPERSEDED])
def test_a_seed_that_ended_is_never_ready_again(records: Records, state: str) -> None:
    """SEED_SYNC is written once: a run that is closed, swept or superseded is not ready, nor is an unknown one."""
    run = start(records, records.destination(), MAPS)
    complete(records, run, MAPS, listed=0)
    with records.database.write() as connection:
        seeds.finish(connection, run, state=state)
    assert not is_ready(records, run)
    assert not is_ready(records, "unknown")


def test_a_new_seed_supersedes_the_open_one(records: Records) -> None:
    """A destination has one open seed: a new cause gives up the old run, which then cannot be closed."""
    prod = records.destination()
    first = start(records, prod, MAPS)
    complete(records, first, MAPS, listed=0)
    second = start(records, prod, MAPS, PODS)
    assert not is_ready(records, first)
    with records.database.read() as connection:
        assert seeds.state_of(connection, first) == seeds.SUPERSEDED
        (found,) = seeds.open_runs(connection, [prod.id])
    assert (found.id, found.destination_id, found.place_id, found.cause) == (
        second,
        prod.id,
        prod.place_id,
        "a new rule",
    )
    assert [scope.key for scope in found.scopes] == [MAPS, PODS]


def test_superseding_is_for_open_seeds_of_one_destination(records: Records) -> None:
    """Closed and swept seeds keep their state, and so do the seeds of other destinations."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    closed = start(records, prod, MAPS)
    with records.database.write() as connection:
        seeds.finish(connection, closed, state=seeds.SYNCED)
    first, second = start(records, prod, MAPS), start(records, other, MAPS)
    with records.database.write() as connection:
        assert seeds.supersede(connection, prod.id) == 1
        assert seeds.supersede(connection, prod.id) == 0
        states = [seeds.state_of(connection, run) for run in (closed, first, second)]
        assert [run.id for run in seeds.open_runs(connection, [prod.id, other.id])] == [second]
        assert seeds.state_of(connection, "unknown") is None
    assert states == [seeds.SYNCED, seeds.SUPERSEDED, seeds.LISTING]


def queue(records: Records, destination: destinations.Destination, *keys: seeds.ScopeKey) -> None:
    """Let scopes wait for the end of the open seed."""
    with records.database.write() as connection:
        seeds.queue(
            connection,
            destination_id=destination.id,
            place_id=destination.place_id,
            cause="later",
            scopes=[(key, "v1", True) for key in keys],
        )


def test_what_is_queued_is_one_seed_that_opens_later(records: Records) -> None:
    """It is no open seed until then, holds each scope once, and opens for its own destination only."""
    prod, other = records.destination("prod"), records.destination("other", folder="o")
    first = start(records, prod, MAPS)
    queue(records, prod, MAPS)
    queue(records, prod, PODS, MAPS)
    queue(records, other, PODS)
    second = start(records, prod, MAPS)
    with records.database.write() as connection:
        assert [run.id for run in seeds.open_runs(connection, [prod.id])] == [second]
        assert seeds.state_of(connection, first) == seeds.SUPERSEDED
        seeds.finish(connection, second, state=seeds.SYNCED)
        assert seeds.open_queued(connection, prod.id)
        assert not seeds.open_queued(connection, prod.id)
        (opened,) = seeds.open_runs(connection, [prod.id])
        assert [run.destination_id for run in seeds.open_runs(connection, [prod.id, other.id], state=seeds.QUEUED)] == [
            other.id
        ]
    assert ([scope.key for scope in opened.scopes], opened.cause) == ([MAPS, PODS], "later")


def test_superseding_everything_takes_what_is_queued(records: Records) -> None:
    """A destination without a place waits for nothing."""
    prod = records.destination()
    start(records, prod, MAPS)
    queue(records, prod, PODS)
    with records.database.write() as connection:
        assert seeds.supersede(connection, prod.id) == 2
        assert seeds.open_runs(connection, [prod.id], state=seeds.QUEUED) == []


def test_counts_belong_to_one_scope(records: Records) -> None:
    """The same type in another namespace, or over all, is another scope."""
    everywhere = seeds.ScopeKey("", "configmaps", "")
    run = start(records, records.destination(), MAPS, everywhere)
    write(records, run, MAPS, 3)
    complete(records, run, everywhere, listed=7)
    with records.database.read() as connection:
        counts = {scope.key: (scope.written, scope.listed) for scope in seeds.scopes_of(connection, run)}
    assert counts == {MAPS: (3, 0), everywhere: (0, 7)}


def test_a_seed_of_nothing_is_ready_at_once(records: Records) -> None:
    """A destination that no rule leads to has nothing to list."""
    assert is_ready(records, start(records, records.destination()))


def test_the_places_that_were_ever_seeded_are_known(records: Records) -> None:
    """A place was seeded when a run of it was closed; open and superseded runs and other places do not count."""
    prod, other = records.destination(), records.destination("other", folder="o")
    first = start(records, prod, MAPS)
    with records.database.write() as connection:
        assert seeds.synced_places(connection, [prod.id, other.id]) == set()
        seeds.finish(connection, first, state=seeds.SWEPT)
    start(records, prod, MAPS)
    moved = records.destination(folder="elsewhere")
    assert moved.place_id != prod.place_id
    with records.database.write() as connection:
        assert seeds.synced_places(connection, [prod.id, other.id]) == {prod.place_id}
        assert seeds.synced_places(connection, [other.id]) == set()


def test_what_a_person_allowed_holds_until_a_seed_ends(records: Records) -> None:
    """A seed that starts again may remove as much; the next one may not."""
    prod = records.destination()
    words = {"destination_id": prod.id, "place_id": prod.place_id, "cause": "asked for", "scopes": []}
    with records.database.write() as connection:
        first = seeds.start(connection, **words, allow_prune=30)  # type: ignore[arg-type]
        second = seeds.start(connection, **words)  # type: ignore[arg-type]
        assert [seeds.allowed(connection, run) for run in (first, second, "unknown")] == [30, 30, 0]
        seeds.finish(connection, second, state=seeds.SYNCED)
        assert seeds.allowed(connection, seeds.start(connection, **words)) == 0  # type: ignore[arg-type]


def test_what_a_person_allowed_is_of_one_place(records: Records) -> None:
    """A seed of another place that takes over from an open one removes nothing by it."""
    prod = records.destination("prod")
    moved = records.destination("prod", folder="moved")
    words = {"destination_id": prod.id, "cause": "asked for", "scopes": []}
    with records.database.write() as connection:
        seeds.start(connection, **words, place_id=prod.place_id, allow_prune=30)  # type: ignore[arg-type]
        again = seeds.start(connection, **words, place_id=moved.place_id)  # type: ignore[arg-type]
        assert seeds.allowed(connection, again) == 0


def test_what_took_the_place_of_a_seed_is_found(records: Records) -> None:
    """The next that began; what is queued has not begun, and what began before is none."""
    prod = records.destination("prod")
    words = {"destination_id": prod.id, "place_id": prod.place_id, "cause": "test", "scopes": []}
    runs = []
    for _ in range(3):
        with records.database.write() as connection:
            runs.append(seeds.start(connection, **words))  # type: ignore[arg-type]
        # The clock of SQLite counts milliseconds.
        time.sleep(0.002)
    with records.database.write() as connection:
        seeds.queue(connection, **words)  # type: ignore[arg-type]
        assert [seeds.next_of(connection, prod.id, run) for run in runs] == [runs[1], runs[2], None]
        assert seeds.next_of(connection, prod.id, "unknown") is None
