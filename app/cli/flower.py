"""`reverser flower`: the dashboard (`app/worker/flower.py`)."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli import options
from app.worker import flower as dashboard


@click.command(epilog=options.examples("reverser flower", "reverser flower --port 8080"))
@options.data_dir
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True, help="The port to listen on.")
@click.option("--address", default="127.0.0.1", show_default=True, help="The address to listen on.")
def flower(*, data_dir: Path, port: int, address: str) -> None:
    """Show queues, workers and tasks in a browser, and scale workers by destination."""
    dashboard.run(options.process_settings(data_dir), port=port, address=address)
