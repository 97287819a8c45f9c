"""`reverser status`: how far each destination is, from the view `destination_lag` (`app/models/reports.py`)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from app import db, errors, events
from app.cli import counting, dropping, options, records, tables, updata
from app.cli.checks import disk
from app.models import leases, nodes, reports, states, streams
from app.settings import Settings, inherited_environment, variable_of

_COLUMNS = (
    "DESTINATION",
    "READY",
    "BRANCH",
    "FOLDER",
    "EVENTS",
    "PENDING",
    "QUEUED",
    "RETAINED",
    "OLDEST",
    "COMMIT",
    "PUSHED",
    "NEXT TRY",
    "MESSAGE",
)


# So many places of deleted destinations are told of.
_LEFT_SHOWN = 10
_STREAM_COLUMNS = ("TYPE", "NAMESPACE", "STATE", "SINCE", "HEARD", "NEXT TRY", "MESSAGE")


@click.command(epilog=options.examples("reverser status", "reverser status --output json", "reverser status --streams"))
@click.option("--streams", "of_streams", is_flag=True, help="Show what is followed in the cluster instead.")
@options.data_dir
@options.output
def status(*, of_streams: bool, data_dir: Path, output: str) -> None:
    """Show each destination: whether it is ready, its Events, what pends, its last commit, error and next try.

    QUEUED counts messages on its queue; empty while the broker is away. The rows decide, not the messages. RETAINED
    counts files that are kept although no rule selects them; empty during a seed, and where counting takes too long.
    Says so when nothing runs, when no watch daemon or no worker is alive, or when messages to the broker are dropped.
    """
    settings = options.settings_in(data_dir)
    if of_streams:
        _show_streams(data_dir, settings, output)
        return
    with records.opened(data_dir) as database:
        with database.read() as connection:
            found, lives = reports.destination_statuses(connection), _lives(connection, settings)
            left = states.left_by_deleted(connection, cluster=settings.cluster)[:_LEFT_SHOWN]
        standings = _standings(database, found)
    shown = list(zip(found, standings, strict=True))
    nothing_runs = _nothing_runs(data_dir)
    depths = {} if nothing_runs else _queue_depths(settings, found)
    if output == "json":
        tables.show_json(
            [{**asdict(one), "queue_depth": depths.get(one.destination), **asdict(standing)} for one, standing in shown]
        )
    elif found:
        now = datetime.now(UTC)
        tables.show_table(
            _COLUMNS,
            [_row(one, (depths.get(one.destination), standing.retained), now) for one, standing in shown],
        )
    else:
        click.echo("There is no destination yet: apply a GitRepoConfig, a GitDestination and a WatchRule.", err=True)
    for one, standing in shown:
        for wanted in standing.wanting:
            click.echo(tables.printable(f"{one.destination}: {wanted.found}. To do: {wanted.do}."), err=True)
    for place, files in left:
        what, where = tables.counted(files, "file"), f"{place.base_folder} on {place.branch}"
        do = f"`reverser prune {place.ref} --retired` shows them, and removes them"
        click.echo(f"{place.ref} was deleted and left {what} in {where}: {do}.", err=True)
    for line in [nothing_runs] if nothing_runs else _not_well(lives, settings):
        click.echo(line, err=True)


def _show_streams(data_dir: Path, settings: Settings, output: str) -> None:
    with records.opened(data_dir) as database, database.read() as connection:
        found = streams.load(connection, cluster=settings.cluster)
        leads = leases.leader(connection, cluster=settings.cluster)
    if output == "json":
        tables.show_json([asdict(one) for one in found])
    elif found:
        now = datetime.now(UTC)
        tables.show_table(_STREAM_COLUMNS, [_stream_row(one, now) for one in found])
    else:
        click.echo("Nothing is followed: no rule selects anything.", err=True)
    if not leads:
        click.echo(f"No watch daemon leads cluster {settings.cluster}: this is what the last one did.", err=True)


def _stream_row(one: streams.StreamState, now: datetime) -> tuple[str, ...]:
    waits = (one.next_try - now).total_seconds() if one.next_try else None
    return (
        f"{one.resource}.{one.version}.{one.api_group}".removesuffix("."),
        one.namespace or "*",
        one.state,
        tables.age((now - one.since).total_seconds()),
        f"{tables.age((now - one.heard_at).total_seconds())} ago" if one.heard_at else "",
        f"in {tables.age(waits)}" if waits is not None else "",
        one.message,
    )


@dataclass(frozen=True, slots=True)
class _Lives:
    """Which processes the database has heard of within seconds, and what the watch daemon drops, by reason."""

    watch: bool
    worker: bool
    drops: Mapping[str, int]


def _lives(connection: db.Connection, settings: Settings) -> _Lives:
    return _Lives(
        watch=bool(leases.leader(connection, cluster=settings.cluster)),
        worker=bool(nodes.live(connection)),
        drops=leases.dropped(connection, cluster=settings.cluster),
    )


def _standings(database: db.Database, found: Sequence[reports.DestinationStatus]) -> list[counting.Standing]:
    """How each stands, of whatever cluster it is; nothing of a deleted one, whose name another may have by now."""
    known = {cluster: counting.standings(database, cluster=cluster) for cluster in {one.cluster for one in found}}
    nothing = counting.Standing()
    return [
        nothing if one.deleted_at else known[one.cluster].get(events.Ref.parse(one.destination), nothing)
        for one in found
    ]


def _nothing_runs(data_dir: Path) -> str:
    """What to say where the database is that of a data folder, and its `up` does not run; else nothing."""
    folder = updata.DataFolder.at(data_dir)
    elsewhere = inherited_environment().get(variable_of("database_url"))
    return "" if elsewhere or folder.is_running() else f"Nothing runs in {folder.path}: start it with `reverser up`."


def _not_well(lives: _Lives, settings: Settings) -> Iterator[str]:
    if full := disk.database_has_no_room(settings):
        yield full
    if not lives.watch:
        yield f"No watch daemon leads cluster {settings.cluster}: what changes there is not seen. See its log."
    if not lives.worker:
        yield "No worker is alive: nothing is pushed. See its log."
    for said in dropping.tell(lives.drops):
        yield f"{said.found[0].upper()}{said.found[1:]}. To do: {said.do}."


def _queue_depths(settings: Settings, found: Sequence[reports.DestinationStatus]) -> Mapping[str, int]:
    """Messages per destination; nothing while the broker is away, which is no reason to say nothing else."""
    if not found:
        return {}
    # Celery is loaded where it is needed: it costs as much time as all the rest.
    queues = importlib.import_module("app.queues")
    try:
        depths = queues.queue_depths(settings, [events.Ref.parse(one.destination) for one in found])
    except errors.TemporaryError:
        return {}
    return {str(destination): depth for destination, depth in depths.items()}


def _row(one: reports.DestinationStatus, counts: Iterable[int | None], now: datetime) -> tuple[str, ...]:
    ready = "deleted" if one.deleted_at else "yes" if one.ready else f"no ({one.reason})"
    pushed = (now - one.last_pushed_at).total_seconds() if one.last_pushed_at else None
    next_try = (one.not_before - now).total_seconds() if one.not_before and one.not_before > now else None
    return (
        one.destination,
        ready,
        one.branch or "",
        one.base_folder or "",
        str(one.events),
        str(one.pending),
        *("" if count is None else str(count) for count in counts),
        tables.age(one.lag_seconds),
        (one.last_sha or "")[:10],
        f"{tables.age(pushed)} ago" if pushed is not None else "",
        f"in {tables.age(next_try)}" if next_try is not None else "",
        one.last_error or ("" if one.ready else one.message),
    )
