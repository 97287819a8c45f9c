"""`reverser down`: stops what `reverser up` runs in a data folder, or what a killed one left (`updata.py`)."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from app import errors
from app.cli import options, processes, terminal, updata

# The sum of all graces and a little more, before the supervisor itself is killed.
STOP_WITHIN = 45.0


@click.command(epilog=options.examples("reverser down", "reverser down --data-dir /var/lib/reverser"))
@options.own_data_dir
def down(*, data_dir: Path) -> None:
    """Stop what `reverser up` runs in a data folder. The data stays."""
    folder = updata.DataFolder.at(data_dir)
    if folder.is_running():
        _stop(folder)
        terminal.say(f"Stopped what ran in {folder.path}.")
    elif end_leftovers(folder):
        folder.forget()
    else:
        terminal.say(f"Nothing runs in {folder.path}.")


def end_leftovers(folder: updata.DataFolder) -> bool:
    """End children that a killed supervisor left, where the kernel did not do it. Whether there were any."""
    found = False
    for name, identity in folder.read_identities().items():
        if processes.end(identity, grace=5.0):
            terminal.say(f"Ended {name} (pid {identity.pid}), left over from a run that was killed.")
            found = True
    return found


def _stop(folder: updata.DataFolder) -> None:
    supervisor = folder.read_identities().get("supervisor")
    if supervisor is None or not processes.send(supervisor, signal.SIGTERM):
        raise errors.PermanentError(f"`reverser up` is starting or stopping in {folder.path}: try again in a moment")
    if not processes.wait_gone(supervisor, seconds=STOP_WITHIN):
        processes.send(supervisor, signal.SIGKILL)
        processes.wait_gone(supervisor, seconds=5.0)
        end_leftovers(folder)
        folder.forget()
