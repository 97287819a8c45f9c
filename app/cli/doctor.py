"""`reverser doctor`: looks at everything that Reverser needs, and says what to do about each thing that is wrong.

It changes nothing. The checks stand in `app/cli/checks`; this module is their order, in which each depends on those
before it, the terminal and the exit code.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import rich.console
import rich.text

from app import errors, settings
from app.cli import options, tables
from app.cli.checks import broker, cluster, configuration, database, disk, facts, findings, processes, repositories
from app.cli.checks.findings import Finding, Level, Role

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIP: "dim"}
_NO_DATABASE = "the database cannot be asked"


@click.command(epilog=options.examples("reverser doctor", "reverser doctor --for worker --output json"))
@options.data_dir
@options.output
@click.option(
    "--for",
    "role",
    type=click.Choice([role.value for role in Role]),
    default=Role.ALL.value,
    show_default=True,
    help="Look with the eyes of one kind of process, where accounts and hosts differ.",
)
def doctor(*, data_dir: Path, output: str, role: str) -> None:
    """Look at everything that Reverser needs, and say what to do about what is wrong.

    Settings, database, broker, processes, cluster and its rights, Git access of each destination, disk. Nothing is
    changed. Exit code 1 when anything failed, 0 otherwise, warnings included.
    """
    found = []
    for finding in examine(data_dir, Role(role)):
        found.append(finding)
        if output == "table":
            _show(finding)
    if output == "json":
        tables.show_json([asdict(one) for one in found])
    else:
        click.echo(_summary(found))
    sys.exit(int(any(one.level is Level.FAIL for one in found)))


def examine(data_dir: Path, role: Role) -> Iterator[Finding]:
    """All findings that matter to a role, as they come."""
    loaded = configuration.load(data_dir)
    yield from loaded.said
    if (found := loaded.settings) is None:
        yield findings.Subject("everything", "everything else").skip("the settings cannot be read")
    elif loaded.idle:
        yield from _safely("database", _Database(found).examine)
        yield from _safely("disk", lambda: disk.examine(found))
        yield findings.Subject("everything", "broker, processes, cluster and Git").skip("`reverser up` brings them")
    else:
        yield from _examine(found, role)


def _examine(found: settings.Settings, role: Role) -> Iterator[Finding]:
    if role is Role.FLOWER:
        # It knows the broker, and nothing else.
        yield from _safely("broker", lambda: broker.examine(found, None, role))
        return
    examined = _Database(found)
    yield from _safely("database", examined.examine)
    known = examined.known
    yield from _safely("broker", lambda: broker.examine(found, known.queues if known else None, role))
    if known is None:
        yield findings.Subject("processes", "processes").skip(_NO_DATABASE)
    else:
        yield from _safely("processes", lambda: processes.examine(found, known))
    asked = _Cluster(found, known, role)
    yield from _safely("cluster", asked.examine)
    if known is None:
        yield findings.Subject("destination", "destinations").skip(_NO_DATABASE)
    elif role is not Role.WATCH:
        yield from _safely("destination", lambda: repositories.examine(found, known, cluster_answers=asked.answers))
    yield from _safely("disk", lambda: disk.examine(found))


class _Database:
    """The check of the database, which leaves facts for the others."""

    def __init__(self, found: settings.Settings) -> None:
        self.known: facts.Facts | None = None
        self._settings = found

    def examine(self) -> list[Finding]:
        self.known, said = database.examine(self._settings)
        return said


class _Cluster:
    """The check of the cluster, which says whether Secrets can be read from it."""

    def __init__(self, found: settings.Settings, known: facts.Facts | None, role: Role) -> None:
        self.answers = False
        self._settings, self._known, self._role = found, known, role

    def examine(self) -> list[Finding]:
        self.answers, said = cluster.examine(self._settings, self._known, self._role)
        return said


def _safely(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """One check; what nobody foresaw is a finding too, by type and place, without a value."""
    try:
        yield from look()
    except errors.ReverserError as error:
        yield findings.Subject(check, check).fail(findings.words(error), do="as the message says")
    except Exception as error:  # noqa: BLE001 - the other checks are worth having all the same
        yield findings.Subject(check, check).fail(
            f"this check broke: {type(error).__name__} at {errors.trace(error)}",
            do="report it: that is a bug of Reverser",
        )


def _show(finding: Finding) -> None:
    console = rich.console.Console(highlight=False, soft_wrap=True)
    line = rich.text.Text(f"{finding.level:<5} ", style=_STYLES[finding.level])
    line.append(tables.printable(f"{finding.subject}: {finding.found}"), style="default")
    console.print(line)
    if finding.do:
        console.print(rich.text.Text(f"      -> {tables.printable(finding.do)}"))


def _summary(found: list[Finding]) -> str:
    counted = Counter(one.level for one in found)
    parts = [
        _count(counted[Level.FAIL], "failure", "failures"),
        _count(counted[Level.WARN], "warning", "warnings"),
        _count(counted[Level.SKIP], "skipped", "skipped"),
    ]
    bad = [part for part in parts if part]
    return f"{counted[Level.OK]} OK{''.join(f', {part}' for part in bad)}." if bad else "All is well."


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
