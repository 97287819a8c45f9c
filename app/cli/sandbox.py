"""`reverser sandbox`: a small Kubernetes API server for trying things (`app/sandbox`)."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli import logs, options, updata
from app.sandbox import running


@click.command(
    epilog=options.examples(
        "reverser sandbox",
        "KUBECONFIG=reverser-data/sandbox/kubeconfig kubectl get namespaces",
    )
)
@options.sandbox_data_dir
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The port to listen on; without it the last one, or a free one."
)
@click.option(
    "--fault-port",
    type=click.IntRange(0, 65535),
    help="For tests: a port that takes faults as JSON over plain HTTP; 0 takes a free one.",
)
def sandbox(*, data_dir: Path, port: int | None, fault_port: int | None) -> None:
    """Serve the part of the Kubernetes API that Reverser and its demo need.

    No cluster and no containers: objects are stored and watched, and nothing runs them. They survive kill -9.
    """
    folder = updata.DataFolder.at(data_dir)
    logs.configure(options.settings_in(folder.path))
    running.run(folder.path, port=port, fault_port=fault_port, ready=_say)


def _say(ready: running.Ready) -> None:
    if ready.port_lost:
        click.echo(f"port {ready.port_lost} is taken by another program: the kubeconfig names another one now")
    faults = f", faults at {ready.fault_url}" if ready.fault_url else ""
    click.echo(f"sandbox ready at {ready.url}{faults}: export KUBECONFIG={ready.kubeconfig}")
