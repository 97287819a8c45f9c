"""How the answers of commands are written: JSON for programs, a table for people, plain columns for a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import rich.cells


def show_json(answer: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
    """Print a JSON list or object; points in time are ISO 8601 in UTC."""
    click.echo(json.dumps(answer if isinstance(answer, Mapping) else [*answer], indent=2, default=plain))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings: aligned on a terminal, tab-separated in a pipe.

    A row that is too wide goes on in the next line, as with kubectl: a name in pieces can be neither read nor copied.
    """
    table = [[printable(cell) for cell in row] for row in (columns, *rows)]
    if not sys.stdout.isatty():
        lines = ["\t".join(row) for row in table]
    else:
        widths = [max(map(rich.cells.cell_len, column)) for column in zip(*table, strict=True)]
        padded = ([rich.cells.set_cell_size(*cell) for cell in zip(row, widths, strict=True)] for row in table)
        lines = ["   ".join(row).rstrip() for row in padded]
    click.echo("\n".join(lines))


def printable(text: str) -> str:
    """Text from a cluster in one line, without anything that steers a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


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
