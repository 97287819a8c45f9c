"""`reverser adopt`: remove files of ours of which there is no record, after a look at them (promise P2).

They are left where the database was lost: an object that went meanwhile has a file that nobody knows. The command reads
cluster and Git as `verify` does (`verifying.py`), and only asks (`asking.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from app import errors, events
from app.cli import asking, options, overviews, rendering, surveying, tables, verifying
from app.kube import problems
from app.models import commands, destinations, states


@click.command(epilog=options.examples("reverser adopt shop/prod", "reverser adopt shop/prod --yes"))
@options.destination
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG.")
@click.option("--timeout", type=click.FloatRange(0.0), default=60.0, show_default=True, help="How long to wait.")
@options.data_dir
def adopt(*, destination: events.Ref, yes: bool, kubeconfig: str, timeout: float, data_dir: Path) -> None:
    """Remove the files that look like Reverser's, of which there is no record, and whose objects are gone.

    For the time after a database was lost: what is in the cluster is taken over by itself. Shows the files first, and
    asks. The history keeps what they were.
    """
    with surveying.view(data_dir, kubeconfig) as view:
        placed, strays = _strays(view, destination)
        gone = list(_gone(view, strays))
    asking.show([one.path for one in gone])
    if not gone:
        click.echo(f"{placed.ref} has no file at its place without a record, and without an object.")
        return
    files = [(one.path, one.blob, one.identifier.kind, one.identifier.name) for one in gone]
    asking.remove(data_dir, [(placed, files)], verb=commands.ADOPT, timeout=timeout, confirmed=yes)


def _strays(
    view: surveying.View, destination: events.Ref
) -> tuple[destinations.Destination, Sequence[verifying.Stray]]:
    """The files without a record. Raises PermanentError where that cannot be known for certain."""
    if view.survey.cluster is None or view.database is None or view.silent:
        raise errors.PermanentError(" ".join(view.silent) + " To know what is gone, all have to answer.")
    found = overviews.find(view, destination)
    if not found.ready:
        raise errors.PermanentError(f"{destination} is not ready: {found.message}", reason=found.reason)
    with view.database.read() as connection:
        placed = asking.find(connection, destination, cluster=view.settings.cluster)
        if states.in_seed(connection, [placed.id]):
            raise errors.PermanentError(
                f"a seed of {destination} goes on, and takes over what is in the cluster: ask again after it"
            )
    return placed, verifying.strays(view, view.database, view.survey.cluster, placed)


def _gone(view: surveying.View, strays: Sequence[verifying.Stray]) -> Iterator[verifying.Stray]:
    """Those whose objects are not in the cluster, in whatever version; what cannot be told is said, and stays."""
    assert view.survey.cluster is not None
    for one in strays:
        why = "its type is not served"
        if type_ := one.type_:
            ref = events.Ref(one.identifier.namespace, one.identifier.name)
            try:
                rendering.from_cluster(view.survey.cluster, type_, ref)
                why = "its object is in the cluster, and no rule selects it"
            except problems.NotServed:
                yield one
                continue
            except errors.ReverserError as error:
                why = error.message
        click.echo(tables.printable(f"{one.path} stays: {why}."), err=True)
