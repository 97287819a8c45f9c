"""How the answers of commands are written: JSON for programs, a table for people, plain columns for a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import rich.console
import rich.table
import rich.text


def show_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a JSON list; points in time are ISO 8601 in UTC."""
    click.echo(json.dumps([*rows], indent=2, default=plain))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings: drawn on a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(printable(cell) for cell in row))
        return
    drawn = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        # As text: a name from a cluster is never read as markup.
        drawn.add_row(*(rich.text.Text(printable(cell)) for cell in row))
    rich.console.Console().print(drawn)


def printable(text: str) -> str:
    """Text from a cluster in one line, without anything that steers a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def age(seconds: float | None) -> str:
    """A duration for people: `3s`, `12m`, `5h`, `2d`; nothing for None."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def moment(when: datetime | None) -> str:
    """A point in time for people, in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if when else ""


def plain(value: object) -> object:
    """A value of a database as JSON has it: a point in time is ISO 8601, bytes are their text, or hexadecimal."""
    match value:
        case str() | int() | float() | None:
            return value
        case datetime():
            return value.astimezone(UTC).isoformat()
        case bytes():
            return _text(value)
    return str(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
