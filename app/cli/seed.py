"""`reverser seed`: list everything that a destination selects anew, and wait until Git has it.

The command only asks, in the database: the leading watch daemon starts the seed within a second. `progress.py` of
`app/models` says how far it is.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import click
import rich.console
import rich.progress

from app import db, errors, events
from app.cli import asking, options, records
from app.models import commands, destinations, progress, seeds, wishes

_LOOK_AGAIN = 1.0


@click.command(epilog=options.examples("reverser seed shop/prod", "reverser seed shop/prod --wait"))
@options.destination
@click.option("--wait", is_flag=True, help="Until it is in Git, with its progress on a terminal.")
@click.option("--timeout", type=click.FloatRange(0.0), default=600.0, show_default=True, help="Of --wait, in seconds.")
@click.option(
    "--allow-prune",
    type=click.IntRange(0, seeds.MOST_FILES),
    default=0,
    metavar="N",
    help="Let it remove so many files, however many.",
)
@options.data_dir
def seed(*, destination: events.Ref, wait: bool, timeout: float, allow_prune: int, data_dir: Path) -> None:
    """List everything that a destination selects anew, write what differs, and remove what is gone.

    Needed after nothing: changes are followed, and what was missed is listed by itself. It is for the doubt.
    """
    cluster = options.settings_in(data_dir).cluster
    with records.opened(data_dir, writing=True) as database:
        found, command = _ask(database, destination, cluster=cluster, allow_prune=allow_prune)
        click.echo(f"A seed of {destination} is asked for.")
        asking.say_if_nobody_leads(database, cluster=cluster)
        if wait:
            click.echo(_wait(database, found, command, deadline=time.monotonic() + timeout))


def _ask(
    database: db.Database, ref: events.Ref, *, cluster: str, allow_prune: int
) -> tuple[destinations.Destination, int]:
    """The destination and the id of what is asked. Raises PermanentError where there is nothing to seed."""
    with database.write() as connection:
        found = asking.find(connection, ref, cluster=cluster)
        wishes.ask(connection, found.id, cause=f"asked for by {asking.who()}")
        return found, asking.ask(connection, found, verb=commands.SEED, arguments={"allow_prune": allow_prune})


def _wait(database: db.Database, found: destinations.Destination, command: int, *, deadline: float) -> str:
    """Wait for the end of the seed; how it ended, in words. Raises PermanentError when it takes too long."""
    with _shown() as bar:
        task = bar.add_task("waits for the watch daemon", total=None)
        now = None
        while True:
            # A database that is away comes back, and the seed goes on.
            with contextlib.suppress(errors.TemporaryError):
                with database.read() as connection:
                    outcome = commands.outcome(connection, command)
                    run = outcome.seed_run_id
                    now = progress.of_seed(connection, found.id, run) if run else None
                    one = destinations.by_id(connection, found.id)
                if said := _end(found, outcome, now, is_there=one is not None and not one.deleted):
                    return said
            if time.monotonic() > deadline:
                raise errors.PermanentError(_late(now))
            if now is not None:
                words, completed, total = _step(now)
                bar.update(task, description=words, completed=completed, total=total)
            time.sleep(_LOOK_AGAIN)


def _end(
    found: destinations.Destination, outcome: commands.Outcome, now: progress.SeedProgress | None, *, is_there: bool
) -> str:
    """How the seed ended, empty while it goes on. Raises PermanentError where it did not end well."""
    if outcome.words == commands.NOTHING_SELECTED:
        return f"{found.ref} has nothing to list: no rule selects anything for it."
    if outcome.words == commands.TOO_LATE:
        raise errors.PermanentError(
            "no watch daemon saw this within an hour: what it may remove is void by now, so ask again"
        )
    if now is not None and now.is_done:
        if now.held:
            raise errors.PermanentError(f"{found.ref} is seeded: {_figures(now)}; but {now.held}")
        return f"{found.ref} is seeded: {_figures(now)}."
    if not is_there or (now is not None and now.is_given_up):
        raise errors.PermanentError(
            f"the seed was given up, because {found.ref} has no place, or nothing to list, any more: see "
            f"`reverser status` and `reverser explain {found.ref}`"
        )
    return ""


def _shown() -> rich.progress.Progress:
    """A bar on standard error, where that is a terminal."""
    console = rich.console.Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _step(now: progress.SeedProgress) -> tuple[str, int, int]:
    """What goes on, how much of it is done, and how much there is."""
    if now.is_listing:
        return "types listed", now.scopes_ended, now.scopes
    return "objects in Git", now.objects - now.pending, now.objects


def _figures(now: progress.SeedProgress) -> str:
    """`41 objects, 3 pushed, 38 unchanged, 1 removed`, and what could not be listed."""
    counts = [f"{count} {state}" for state, count in sorted(now.states.items())]
    counts += [f"{now.removed} removed"] if now.removed else []
    refused = [f"{', '.join(types)} not listed ({reason})" for reason, types in sorted(now.refused.items())]
    return "; ".join([", ".join([f"{now.objects} objects", *counts]), *refused])


def _late(now: progress.SeedProgress | None) -> str:
    if now is None:
        return "the seed has not begun yet: it begins when a watch daemon leads, see `reverser status`"
    words, completed, total = _step(now)
    return f"the seed takes longer, and goes on ({completed} of {total} {words}): see `reverser status`"
