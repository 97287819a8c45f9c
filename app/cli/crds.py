"""`reverser crds`: prints the four kinds for kubectl (`app/kube/crds.py`)."""

from __future__ import annotations

import click

from app.cli import options
from app.kube import crds as definitions


@click.command(epilog=options.examples("reverser crds | kubectl apply -f -"))
@click.option("--allow-local", is_flag=True, help="Admit file:// repositories of the machine that runs the workers.")
def crds(*, allow_local: bool) -> None:
    """Print the CustomResourceDefinitions of Reverser as YAML."""
    click.echo(definitions.manifests(allow_local=allow_local), nl=False)
