"""What a command that works for a while says to the person in front of it."""

from __future__ import annotations

import contextlib

import click


def say(line: str) -> None:
    """Print a line; a terminal that is gone keeps nobody from stopping cleanly."""
    with contextlib.suppress(OSError):
        click.echo(line)
