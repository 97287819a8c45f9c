"""What the commands share that ask the watch daemon for something: who asks, for which destination, and of whom."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

import click

from app import db, errors, events
from app.models import commands, destinations, leases


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
