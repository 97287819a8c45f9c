"""`reverser status`: how far each destination is, from the view `destination_lag` (`app/models/reports.py`)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from app.cli import options, records, tables
from app.models import reports

_COLUMNS = ("DESTINATION", "READY", "BRANCH", "FOLDER", "PENDING", "OLDEST", "COMMIT", "PUSHED", "NEXT TRY", "MESSAGE")


@click.command(epilog=options.examples("reverser status", "reverser status --output json"))
@options.data_dir
@options.output
def status(*, data_dir: Path, output: str) -> None:
    """Show each destination: whether it is ready, what pends, its last commit, its last error and the next try."""
    found = records.read(data_dir, reports.destination_statuses)
    if output == "json":
        tables.show_json([asdict(one) for one in found])
    elif found:
        now = datetime.now(UTC)
        tables.show_table(_COLUMNS, [_row(one, now) for one in found])
    else:
        click.echo("There is no destination yet: apply a GitRepoConfig, a GitDestination and a WatchRule.", err=True)


def _row(one: reports.DestinationStatus, now: datetime) -> tuple[str, ...]:
    ready = "deleted" if one.deleted_at else "yes" if one.ready else f"no ({one.reason})"
    pushed = (now - one.last_pushed_at).total_seconds() if one.last_pushed_at else None
    next_try = (one.not_before - now).total_seconds() if one.not_before and one.not_before > now else None
    return (
        one.destination,
        ready,
        one.branch or "",
        one.base_folder or "",
        str(one.pending),
        tables.age(one.lag_seconds),
        (one.last_sha or "")[:10],
        f"{tables.age(pushed)} ago" if pushed is not None else "",
        f"in {tables.age(next_try)}" if next_try is not None else "",
        one.last_error or ("" if one.ready else one.message),
    )
