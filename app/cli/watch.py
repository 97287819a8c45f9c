"""`reverser watch`: the watch daemon of one cluster (`app/watch/daemon.py`)."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli import options
from app.watch import daemon


@click.command(epilog=options.examples("reverser watch", "KUBECONFIG=cluster.yaml reverser watch"))
@options.data_dir
def watch(*, data_dir: Path) -> None:
    """Follow one cluster and write its changes into the ledger.

    Run two or more for each cluster: one leads, the others stand by.
    """
    daemon.run(options.process_settings(data_dir))
