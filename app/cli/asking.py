"""What the commands share that ask the watch daemon for something: who asks, for which destination, and of whom.

`remove` is for those that want files gone: the leading watch daemon writes the rows that remove them, and a worker
makes one commit of it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from app import db, errors, events
from app.cli import records, tables
from app.models import commands, destinations, leases, ledger, progress

# So many files are named, the rest is counted.
_NAMED = 20
# What one request names: it is one value of a table.
_MOST = 10_000
_LOOK_AGAIN = 0.5


def who() -> str:
    """Who asks; a container may run as a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def find(connection: db.Connection, ref: events.Ref, *, cluster: str) -> destinations.Destination:
    """The live destination of this name. Raises PermanentError where there is none that is ready."""
    for one in destinations.by_ref(connection, ref):
        if one.cluster == cluster and not one.deleted:
            return one
    raise errors.PermanentError(
        f"cluster {cluster} has no destination {ref} that is ready: see `reverser status`, and "
        f"`reverser explain {ref}`; one that gets ready is seeded by itself"
    )


def ask(
    connection: db.Connection, destination: destinations.Destination, *, verb: str, arguments: Mapping[str, object]
) -> int:
    """Write down what is asked for a destination as it stands; the id of the request."""
    return commands.ask(
        connection,
        verb=verb,
        by=who(),
        target=str(destination.ref),
        destination_id=destination.id,
        place=(destination.place_id, destination.place_generation),
        arguments=arguments,
    )


def say_if_nobody_leads(database: db.Database, *, cluster: str) -> None:
    """Say on standard error that what was asked for begins later."""
    with database.read() as connection:
        if not leases.leader(connection, cluster=cluster):
            click.echo(f"No watch daemon leads cluster {cluster}: it begins when one does.", err=True)


def show(paths: Sequence[str]) -> None:
    """Name the first of some files, and count the others."""
    for path in paths[:_NAMED]:
        click.echo(tables.printable(path))
    if len(paths) > _NAMED:
        click.echo(f"... and {len(paths) - _NAMED} more")


def say_where(placed: destinations.Destination) -> None:
    """Name a place that a destination had before."""
    once = "was, before it was deleted" if placed.deleted else "pointed before"
    click.echo(f"On {placed.branch} of {placed.url_key}, where {placed.ref} {once}:")


# What is to go at one place: path, blob and what else the verb wants of each file.
Wanted = tuple[destinations.Destination, Sequence[tuple[str, ...]]]


def remove(data_dir: Path, wanted: Sequence[Wanted], *, verb: str, timeout: float, confirmed: bool) -> None:
    """Have files removed, once a person agrees.

    Raises PermanentError where some of them stay, or where it takes longer than `timeout` seconds.
    """
    asked = [(placed, sorted(files)[:_MOST]) for placed, files in wanted]
    count, branches = sum(len(files) for _, files in asked), _branches([placed for placed, _ in asked])
    if not confirmed:
        these = "this file" if count == 1 else f"these {count} files"
        click.confirm(f"Remove {these} from {' and '.join(branches)}?", abort=True, err=True)
    stay = []
    with records.opened(data_dir, writing=True) as database:
        with database.write() as connection:
            numbers = [ask(connection, placed, verb=verb, arguments={"files": files}) for placed, files in asked]
        say_if_nobody_leads(database, cluster=asked[0][0].cluster)
        deadline = time.monotonic() + timeout
        for number, (placed, files) in zip(numbers, asked, strict=True):
            try:
                _follow(database, placed, number, verb=verb, asked=len(files), deadline=deadline)
            except errors.PermanentError as error:
                stay.append(error.message)
    if left := sum(len(files) for _, files in wanted) - count:
        click.echo(f"{left} more are left over: run it again.", err=True)
    if stay:
        raise errors.PermanentError("; ".join(stay))


def _branches(places: Sequence[destinations.Destination]) -> Sequence[str]:
    """The branches of some places, with the repository of each where there are several."""
    several = len({one.url_key for one in places}) > 1
    return list(dict.fromkeys(f"{one.branch} of {one.url_key}" if several else one.branch for one in places))


def _follow(
    database: db.Database,
    placed: destinations.Destination,
    command: int,
    *,
    verb: str,
    asked: int,
    deadline: float,
) -> None:
    """Wait until the files of one place are gone, and say so. Raises PermanentError where some of them stay."""
    found, reasons = _wait(database, placed, command, deadline=deadline)
    # A worker of before leaves alone what there is no record of, and says that there is nothing to do.
    ends = (ledger.PUSHED, ledger.UNCHANGED) if verb == commands.PRUNE else (ledger.PUSHED,)
    gone = sum(found.get(state, 0) for state in ends)
    click.echo(f"{'1 file is' if gone == 1 else f'{gone} files are'} removed from {placed.branch}.")
    if gone == asked:
        return
    why = "; ".join(reasons) or "they were changed meanwhile, or a rule may stand behind them"
    raise errors.PermanentError(
        f"{asked - gone} of {asked} files stay on {placed.branch}: {why}; see `reverser explain {placed.ref}`"
    )


def _wait(
    database: db.Database, placed: destinations.Destination, command: int, *, deadline: float
) -> tuple[progress.States, Sequence[str]]:
    """Wait until the rows are done: how many ended in which state, and why some changed nothing.

    Raises PermanentError where nobody does it.
    """
    while True:
        with contextlib.suppress(errors.TemporaryError), database.read() as connection:
            outcome = commands.outcome(connection, command)
            run = outcome.seed_run_id
            found = progress.states_of(connection, placed.id, run) if run else {}
            if outcome.words is not None and outcome.words != commands.STARTED:
                raise errors.PermanentError(f"nothing is removed from {placed.branch}: {outcome.words}")
            if outcome.words == commands.STARTED and not found.get(ledger.PENDING):
                return found, progress.reasons_of(connection, placed.id, run) if run else ()
        if time.monotonic() > deadline:
            raise errors.PermanentError(
                "it takes longer: see `reverser status`. What is not begun within an hour is not done"
            )
        time.sleep(_LOOK_AGAIN)
