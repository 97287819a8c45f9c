"""`reverser migrate`: brings the database to this version (`app/db.py`)."""

from __future__ import annotations

from pathlib import Path

import click

from app import db
from app.cli import options


@click.command(epilog=options.examples("REVERSER_DATABASE_URL=postgresql://owner@db/reverser reverser migrate"))
@options.data_dir
def migrate(*, data_dir: Path) -> None:
    """Bring the database to this version; once for each deploy, before the processes start.

    In PostgreSQL as the role that owns the tables. Of two that migrate at once, one waits.
    """
    db.upgrade(options.process_settings(data_dir).database_url)
    click.echo("The database is migrated.")
