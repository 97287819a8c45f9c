"""`reverser prune --retired`: remove the files that changed rules, moved and deleted destinations left behind.

Shows them first. The command only asks (`asking.py`), and names each file with the content that was shown.
"""

from __future__ import annotations

from pathlib import Path

import click

from app import errors, events
from app.cli import asking, counting, options, overviews, surveying, tables
from app.models import commands


@click.command(
    epilog=options.examples("reverser prune shop/prod --retired", "reverser prune shop/prod --retired --yes")
)
@options.destination
@click.option("--retired", is_flag=True, help="Files that no rule selects any more. Required: it says what goes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG.")
@click.option("--timeout", type=click.FloatRange(0.0), default=60.0, show_default=True, help="How long to wait.")
@options.data_dir
def prune(
    *, destination: events.Ref, retired: bool, yes: bool, kubeconfig: str, timeout: float, data_dir: Path
) -> None:
    """Remove the files that are kept although no rule selects their objects any more.

    At its place, and where destinations of this name wrote before they were moved or deleted. Shows them first, and
    asks. The history keeps what they were.
    """
    if not retired:
        raise click.UsageError("say what goes: --retired, the files that no rule selects any more")
    with surveying.view(data_dir, kubeconfig) as view:
        found = _left_over(view, destination)
    if not found:
        click.echo(f"{destination} keeps no file that no rule selects.")
        return
    for one in found:
        if one.placed.former or one.placed.deleted:
            asking.say_where(one.placed)
        asking.show([item.path for item in one.items])
    wanted = [(one.placed, [(item.path, str(item.blob_id)) for item in one.items]) for one in found]
    asking.remove(data_dir, wanted, verb=commands.PRUNE, timeout=timeout, confirmed=yes)


def _left_over(view: surveying.View, destination: events.Ref) -> list[counting.LeftOver]:
    """The files that no rule selects, by place. Raises PermanentError where that cannot be known for certain."""
    if view.survey.cluster is None or view.database is None or view.silent:
        raise errors.PermanentError(" ".join(view.silent) + " So nobody knows for certain what no rule selects.")
    with view.database.read() as connection:
        left_behind = counting.left_behind(connection, destination, cluster=view.settings.cluster)
    verdict = view.survey.compilation.destinations.get(destination)
    if left_behind and (verdict is None or not verdict.ready):
        # Nothing is selected, and nobody can tell what would be.
        return left_behind
    overviews.find(view, destination)
    try:
        return [*_left_over_now(view, destination), *left_behind]
    except errors.PermanentError as error:
        if not left_behind:
            raise
        click.echo(tables.printable(f"What stands at its place is left out: {error.message}"), err=True)
        return left_behind


def _left_over_now(view: surveying.View, destination: events.Ref) -> list[counting.LeftOver]:
    """Those at the current place."""
    for key, verdict in view.survey.rules_of(destination):
        if verdict.rule is None:
            raise errors.PermanentError(f"{key} is not ready, and may stand behind files: {verdict.message}")
    for key, error in view.survey.unreadable_of(destination):
        raise errors.PermanentError(f"{key} cannot be used, and may stand behind files: {error.message}")
    assert view.database is not None
    with view.database.read() as connection:
        placed = asking.find(connection, destination, cluster=view.settings.cluster)
        left = counting.left_over(connection, view.survey.compilation, placed)
    if left is None:
        raise errors.PermanentError(
            f"a seed of {destination} goes on, and says which files are kept: ask again after it"
        )
    return [left] if left.items else []
