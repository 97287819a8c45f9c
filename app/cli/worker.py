"""`reverser worker`: drains destinations into Git (`app/worker/main.py`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from app import errors
from app.cli import options
from app.worker import main


@click.command(epilog=options.examples("reverser worker", "reverser worker --destinations 'team-*/prod'"))
@options.data_dir
@click.option(
    "--destinations",
    multiple=True,
    metavar="GLOB",
    help="Serve only these NAMESPACE/NAME, one at a time; may be given more than once. All of them when left out.",
)
@click.option("--slots", type=click.IntRange(min=1), help="Destinations at the same time in a shared worker.")
def worker(*, data_dir: Path, destinations: tuple[str, ...], slots: int | None) -> None:
    """Turn pending changes into commits and push them.

    Without --destinations a worker shares all destinations with the other shared workers. With it, the worker is
    dedicated: the pool leaves these destinations to it.
    """
    for glob in destinations:
        if glob.count("/") != 1:
            raise click.BadParameter(f"{glob!r} is no NAMESPACE/NAME", param_hint="--destinations")
    if destinations and slots:
        raise errors.SettingsError("a dedicated worker has one slot: leave --slots or --destinations out")
    settings = options.process_settings(data_dir)
    sys.exit(main.run(settings, destinations=destinations, slots=slots, dedicated=bool(destinations)))
