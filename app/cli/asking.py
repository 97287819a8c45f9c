"""What the commands share that ask the watch daemon for something: who asks, and about which destination."""

from __future__ import annotations

import getpass
import os

from app import db, errors, events
from app.models import destinations


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
