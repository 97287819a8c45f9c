"""What a command that works for a while says to the person in front of it."""

from __future__ import annotations

import contextlib
import select
import sys

import click
import rich.console
import rich.text


def say(line: str) -> None:
    """Print a line; a terminal that is gone keeps nobody from stopping cleanly."""
    with contextlib.suppress(OSError):
        click.echo(line)


def say_styled(*words: tuple[str, str]) -> None:
    """Print a line of words, each with its style: coloured at a terminal, plain in a pipe, never wrapped by us."""
    console = rich.console.Console(highlight=False)
    with console.capture() as capture:
        console.print(rich.text.Text(" ").join(rich.text.Text(*word) for word in words), soft_wrap=True)
    # Not printed by rich, which ends the process when nobody reads.
    say(capture.get().rstrip("\n"))


def takes_more() -> bool:
    """Whether standard output takes a line now: not while a pager rests, or Ctrl-S holds the terminal."""
    try:
        _, ready, _ = select.select([], [sys.stdout], [], 0)
    except (OSError, ValueError):
        # No file behind it, or one that is closed: nothing to wait for.
        return True
    return bool(ready)
