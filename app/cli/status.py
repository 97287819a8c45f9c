"""`reverser status`: how far each destination is, from the view `destination_lag` (`app/models/reports.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from app import errors, events, queues
from app.cli import options, records, tables
from app.models import reports

_COLUMNS = (
    "DESTINATION",
    "READY",
    "BRANCH",
    "FOLDER",
    "EVENTS",
    "PENDING",
    "QUEUED",
    "OLDEST",
    "COMMIT",
    "PUSHED",
    "NEXT TRY",
    "MESSAGE",
)


@click.command(epilog=options.examples("reverser status", "reverser status --output json"))
@options.data_dir
@options.output
def status(*, data_dir: Path, output: str) -> None:
    """Show each destination: whether it is ready, its Events, what pends, its last commit, error and next try.

    QUEUED counts messages on its queue; empty while the broker is away. The rows decide, not the messages.
    """
    found = records.read(data_dir, reports.destination_statuses)
    depths = _queue_depths(data_dir, found)
    if output == "json":
        tables.show_json([{**asdict(one), "queue_depth": depths.get(one.destination)} for one in found])
    elif found:
        now = datetime.now(UTC)
        tables.show_table(_COLUMNS, [_row(one, depths.get(one.destination), now) for one in found])
    else:
        click.echo("There is no destination yet: apply a GitRepoConfig, a GitDestination and a WatchRule.", err=True)


def _queue_depths(data_dir: Path, found: Sequence[reports.DestinationStatus]) -> Mapping[str, int]:
    """Messages per destination; nothing while the broker is away, which is no reason to say nothing else."""
    try:
        depths = queues.queue_depths(
            options.settings_in(data_dir), [events.Ref.parse(one.destination) for one in found]
        )
    except errors.TemporaryError:
        return {}
    return {str(destination): depth for destination, depth in depths.items()}


def _row(one: reports.DestinationStatus, depth: int | None, now: datetime) -> tuple[str, ...]:
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
        "" if depth is None else str(depth),
        tables.age(one.lag_seconds),
        (one.last_sha or "")[:10],
        f"{tables.age(pushed)} ago" if pushed is not None else "",
        f"in {tables.age(next_try)}" if next_try is not None else "",
        one.last_error or ("" if one.ready else one.message),
    )
