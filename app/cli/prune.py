"""`reverser prune --retired`: remove the files that changed rules left behind, after a look at them.

The command only asks, in the database, and names each file with the content that was shown: the leading watch daemon
writes the rows that remove them, and a worker makes one commit of it.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import click

from app import db, errors, events
from app.cli import asking, counting, options, overviews, records, surveying, tables
from app.models import commands, destinations, ledger, progress

# So many files are named, the rest is counted.
_NAMED = 20
# What one request names: it is one value of a table.
_MOST = 10_000
_LOOK_AGAIN = 0.5


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

    Shows them first, and asks. The history keeps what they were.
    """
    if not retired:
        raise click.UsageError("say what goes: --retired, the files that no rule selects any more")
    with surveying.view(data_dir, kubeconfig) as view:
        placed, left = _left_over(view, destination)
    _show(left, placed)
    if not left.items:
        return
    shown = left.items[:_MOST]
    if not yes:
        click.confirm(f"Remove these {len(shown)} files from {placed.branch}?", abort=True, err=True)
    with records.opened(data_dir, writing=True) as database:
        files = sorted((item.path, str(item.blob_id)) for item in shown)
        with database.write() as connection:
            command = asking.ask(connection, placed, verb=commands.PRUNE, arguments={"files": files})
        asking.say_if_nobody_leads(database, cluster=placed.cluster)
        found = _wait(database, placed, command, deadline=time.monotonic() + timeout)
    gone = sum(found.get(state, 0) for state in (ledger.PUSHED, ledger.UNCHANGED))
    click.echo(f"{gone} files are removed from {placed.branch}.")
    if len(left.items) > len(shown):
        click.echo(f"{len(left.items) - len(shown)} more are left over: run it again.", err=True)
    if gone < len(shown):
        raise errors.PermanentError(
            f"{len(shown) - gone} files stay: they were changed meanwhile, in the cluster or in Git, or a rule may "
            f"stand behind them; see `reverser explain {destination}`"
        )


def _left_over(view: surveying.View, destination: events.Ref) -> tuple[destinations.Destination, counting.LeftOver]:
    """The files that no rule selects. Raises PermanentError where that cannot be known for certain."""
    if view.survey.cluster is None or view.database is None or view.silent:
        raise errors.PermanentError(" ".join(view.silent) + " So nobody knows for certain what no rule selects.")
    overviews.find(view, destination)
    for key, verdict in view.survey.rules_of(destination):
        if verdict.rule is None:
            raise errors.PermanentError(f"{key} is not ready, and may stand behind files: {verdict.message}")
    for key, error in view.survey.unreadable_of(destination):
        raise errors.PermanentError(f"{key} cannot be used, and may stand behind files: {error.message}")
    with view.database.read() as connection:
        placed = asking.find(connection, destination, cluster=view.settings.cluster)
        left = counting.left_over(connection, view.survey.compilation, placed)
    if left is None:
        raise errors.PermanentError(
            f"a seed of {destination} goes on, and says which files are kept: ask again after it"
        )
    return placed, left


def _show(left: counting.LeftOver, placed: destinations.Destination) -> None:
    for item in left.items[:_NAMED]:
        click.echo(tables.printable(item.path))
    if len(left.items) > _NAMED:
        click.echo(f"... and {len(left.items) - _NAMED} more")
    if not left.items:
        click.echo(f"{placed.ref} keeps no file at its place that no rule selects.")
    if left.elsewhere:
        click.echo(
            f"{left.elsewhere} files stand where {placed.ref} pointed before: nothing is written there any more, so "
            "remove them with git.",
            err=True,
        )


def _wait(database: db.Database, placed: destinations.Destination, command: int, *, deadline: float) -> progress.States:
    """Wait until the rows are done; how many ended in which state. Raises PermanentError."""
    while True:
        with contextlib.suppress(errors.TemporaryError), database.read() as connection:
            outcome = commands.outcome(connection, command)
            found = progress.states_of(connection, placed.id, outcome.seed_run_id) if outcome.seed_run_id else {}
            if outcome.words is not None and outcome.words != commands.STARTED:
                raise errors.PermanentError(f"nothing is removed: {outcome.words}")
            if outcome.words == commands.STARTED and not found.get(ledger.PENDING):
                return found
        if time.monotonic() > deadline:
            raise errors.PermanentError(
                "it takes longer: see `reverser status`. What is not begun within an hour is not done"
            )
        time.sleep(_LOOK_AGAIN)
