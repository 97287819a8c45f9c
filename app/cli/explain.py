"""`reverser explain`: what a destination mirrors, and why an object is in Git for it, or is not.

Asks the cluster for rules and objects and the database for what is in Git; the broker is not needed. Neighbours:
`surveying.py` asks, `overviews.py` and `answering.py` judge, `telling.py` has the words.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from app import events
from app.cli import answering, options, overviews, surveying, tables, telling
from app.rules import types


@click.command(
    epilog=options.examples(
        "reverser explain shop/prod",
        "reverser explain shop/prod deployments.apps/web",
        "reverser explain shop/prod cm/app-config -n other --output json",
    )
)
@options.destination
@click.argument("object_", default="", metavar="[TYPE/NAME]")
@click.option("-n", "--namespace", default="", metavar="NS", help="Of the object; that of the destination.")
@click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG.")
@options.output
@options.data_dir
def explain(
    *, destination: events.Ref, object_: str, namespace: str, kubeconfig: str, output: str, data_dir: Path
) -> None:
    """Say what a destination mirrors, through which rules; or, of one object, whether it is in Git, and why or why not.

    Asks the cluster and the database, and goes on with one of them where the other does not answer.
    """
    with surveying.view(data_dir, kubeconfig) as view:
        for line in view.silent:
            click.echo(tables.printable(line), err=True)
        found = overviews.find(view, destination)
        said: overviews.Overview | answering.Answer
        if object_:
            type_, name = view.survey.types.parse(object_)
            place = _place(type_, namespace, destination)
            said = answering.answer(view, found, type_, events.Ref(place, name))
        else:
            said = overviews.overview(view, found)
    if output == "json":
        click.echo(json.dumps(asdict(said), indent=2, default=tables.plain))
    else:
        click.echo("\n".join(telling.tell(said, width=telling.width())))


def _place(type_: types.ResourceType, namespace: str, destination: events.Ref) -> str:
    """Where the object stands: most rules select what stands beside them."""
    return (namespace or destination.namespace) if type_.namespaced else ""
