"""`reverser verify`: whether cluster, record and Git agree about a destination (`verifying.py` compares)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from app import errors, events
from app.cli import options, overviews, surveying, tables, verifying
from app.models import destinations

# So many differences are named, the rest is counted.
_NAMED = 50


@click.command(epilog=options.examples("reverser verify shop/prod", "reverser verify shop/prod --output json"))
@options.destination
@click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG.")
@options.output
@options.data_dir
def verify(*, destination: events.Ref, kubeconfig: str, output: str, data_dir: Path) -> None:
    """Compare what the cluster has, what Git has and what is recorded, and change nothing.

    Reads every object that the destination selects, and the tip of its branch. The exit code is 1 where they differ in
    more than what is on its way.
    """
    with surveying.view(data_dir, kubeconfig) as view:
        if view.survey.cluster is None or view.database is None:
            raise errors.PermanentError(" ".join(view.silent) + " To compare them, all have to answer.")
        found = overviews.find(view, destination)
        with view.database.read() as connection:
            placed = destinations.by_id(connection, found.id) if found.id is not None else None
        if not found.ready or placed is None:
            raise errors.PermanentError(f"{destination} is not ready: {found.message}", reason=found.reason)
        verified = verifying.verify(view, view.database, view.survey.cluster, placed)
    if output == "json":
        tables.show_json({**asdict(verified), "equal": verified.is_equal})
    else:
        _show(verified)
    if not verified.is_equal:
        raise click.exceptions.Exit(1)


def _show(verified: verifying.Verified) -> None:
    where = (
        f"{verified.branch} at {verified.commit[:10]}" if verified.commit else f"{verified.branch}, which is missing"
    )
    click.echo(
        f"{verified.destination}: {verified.objects} objects in the cluster, {verified.files} files on {where}, "
        f"{verified.pending} changes on their way."
    )
    if verified.seeding:
        click.echo("A seed goes on, so that what differs may be on its way: ask again when it is done.")
    if not verified.differences:
        click.echo("Cluster, Git and record agree." if not verified.seeding else "Nothing differs so far.")
        return
    rows = [
        (one.path, one.what + (", and a change is on its way" if one.pending else "")) for one in verified.differences
    ]
    tables.show_table(("PATH", "DIFFERENCE"), rows[:_NAMED])
    if len(rows) > _NAMED:
        click.echo(f"... and {len(rows) - _NAMED} more; all of them with --output json.")
    counts = Counter(one.what for one in verified.differences)
    for what, count in sorted(counts.items()):
        click.echo(f"{count}: {what}.", err=True)
    if not verified.is_equal:
        command = f"`reverser seed {verified.destination} --wait`"
        click.echo(f"{command} writes what is missing or differs, and removes what is gone.", err=True)
