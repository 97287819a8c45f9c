"""`reverser audit`: what changed, when, by whom and in which commit, as a list or as the answer to any SQL query.

The list is the view `audit_log` (`app/models/reports.py`); `docs/reference/tables.md` has queries to copy.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from app import errors
from app.cli import options, records, tables
from app.models import base, reports

# Of a query that a person wrote, in seconds: nothing waits for it but that person.
_PATIENCE = 60.0
_COLUMNS = ("PUSHED (UTC)", "DESTINATION", "OPERATION", "OBJECT", "NAMESPACE", "BY", "RULE", "COMMIT", "PATH")


@click.group()
def audit() -> None:
    """Ask the record of pushed changes."""


@audit.command(epilog=options.examples("reverser audit log --destination shop/prod", "reverser audit log --object web"))
@options.data_dir
@options.output
@click.option("--destination", default="", metavar="NAMESPACE/NAME", help="Only this destination.")
@click.option("--object", "name", default="", metavar="NAME", help="Only objects of this name.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
def log(*, data_dir: Path, output: str, destination: str, name: str, limit: int) -> None:
    """Show pushed changes, the newest first.

    BY is the manager of the object's newest field where nothing better is known.
    """
    if "/" in name:
        raise click.UsageError(f"{name!r} is no name: write the name alone, --object {name.rpartition('/')[2]}")
    found = records.read(data_dir, partial(_entries, destination=destination, name=name, limit=limit))
    if output == "json":
        tables.show_json([asdict(one) for one in found])
    elif found:
        tables.show_table(_COLUMNS, [_row(one) for one in found])
    else:
        click.echo("Nothing was pushed yet that fits.", err=True)


@audit.command(
    epilog=options.examples(
        """reverser audit sql "SELECT pushed_at, operation, user_name FROM audit_log WHERE name = 'web'\"""",
        'reverser audit sql --output json "SELECT destination, pending FROM destination_lag"',
    )
)
@options.data_dir
@options.output
@click.argument("query")
def sql(*, data_dir: Path, output: str, query: str) -> None:
    """Ask the tables and views anything, in SQL; nothing can be changed this way.

    For machines without a client of the database: `sqlite3` and `psql` do the same.
    """
    with records.opened(data_dir, statement_timeout=_PATIENCE) as database:
        columns, rows = database.ask(query)
    if output == "json":
        tables.show_json([dict(zip(columns, (tables.plain(one) for one in row), strict=True)) for row in rows])
    else:
        tables.show_table(columns, [["" if one is None else str(tables.plain(one)) for one in row] for row in rows])


def _entries(connection: base.Connection, *, destination: str, name: str, limit: int) -> list[reports.AuditEntry]:
    """Nothing is no answer to a name that is misspelt."""
    if destination and destination not in (known := reports.destinations_ever(connection)):
        raise errors.PermanentError(
            f"the database never had a GitDestination {destination}; it has or had: {', '.join(known) or 'none'}",
            reason="NoDestination",
        )
    return reports.audit_entries(connection, destination=destination, name=name, limit=limit)


def _row(one: reports.AuditEntry) -> tuple[str, ...]:
    return (
        tables.moment(one.pushed_at),
        one.destination,
        one.operation,
        one.object,
        one.namespace,
        one.user_name or "",
        one.rule,
        one.commit_sha[:10],
        one.path,
    )
