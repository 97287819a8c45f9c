"""The database: reachable, ours, of this version, private, and with a clock that agrees. Opened to read only."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from app import db, errors, settings
from app.cli.checks import disk, facts, findings
from app.cli.checks.findings import Finding
from app.models import health

# Leases are judged by the database's clock alone, so a difference is harmful to readers of times only.
CLOCK_DIFFERENCE = 3.0
_NAMES_SHOWN = 3
_GRANT = (
    "as the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO role; "
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO role; or all of it by deploy/postgresql/roles.sql"
)
_PRIMARY = (
    "promote it, or name every server in REVERSER_DATABASE_URL (...?host=db1:5432&host=db2:5432): the primary is found"
)
_WRITER = "name the role of the processes in REVERSER_DATABASE_URL; people read with `reverser status` and `audit`"
_ELSEWHERE = "run this in the folder of `reverser up`, give --data-dir, or set REVERSER_DATABASE_URL"


def examine(
    options: settings.Settings, *, clock: Callable[[], float] = time.time
) -> tuple[facts.Facts | None, list[Finding]]:
    """What the database says of the installation, None when it cannot be asked; and the findings."""
    subject = findings.Subject("database", "database")
    try:
        subject = findings.Subject("database", db.describe(options.database_url))
        if absent := _absent(subject, options.database_url):
            return None, [absent]
        opened = db.Database(options.database_url, statement_timeout=options.statement_timeout, read_only=True)
        with contextlib.closing(opened) as database:
            return _ask(subject, database, options, clock=clock)
    except errors.TemporaryError as error:
        return None, [subject.fail(findings.words(error), do="start it, or correct REVERSER_DATABASE_URL")]
    except errors.ReverserError as error:
        forbidden = error.reason == db.FORBIDDEN
        return None, [subject.fail(findings.words(error), do=_GRANT if forbidden else "correct REVERSER_DATABASE_URL")]


def _absent(subject: findings.Subject, url: str) -> Finding | None:
    if not db.is_sqlite(url) or db.sqlite_file(url).exists():
        return None
    return subject.fail("there is no such file", do=_ELSEWHERE)


def _ask(
    subject: findings.Subject, database: db.Database, options: settings.Settings, *, clock: Callable[[], float]
) -> tuple[facts.Facts | None, list[Finding]]:
    with database.read() as connection:
        product = health.product(connection)
        foreign = health.foreign_tables(connection)
        standby, reader = health.refuses_writes(connection), health.role_only_reads(connection)
    if reader:
        return None, [
            subject.fail("this role may only read, as those of auditors: no process works with it", do=_WRITER)
        ]
    if standby:
        return None, [subject.fail("this server is a standby, or refuses writes: all processes wait", do=_PRIMARY)]
    if problem := _schema_problem(subject, database, foreign):
        return None, [problem]
    with database.read() as connection:
        away = (health.clock(connection) - datetime.fromtimestamp(clock(), UTC)).total_seconds()
        missing = health.missing_rights(connection)
    problems = [*_file_problems(subject, options.database_url), *_clock_problem(subject, away)]
    if not db.is_sqlite(options.database_url) and disk.database_has_no_room(options):
        full = "it has no room left on its disk: nothing is recorded"
        problems.append(subject.fail(full, do="free some space there, and all goes on by itself"))
    if missing:
        return None, [*problems, _grant(subject, missing)]
    return facts.read(database, options), [subject.ok(f"{product} answers, migrated to this version"), *problems]


def _schema_problem(subject: findings.Subject, database: db.Database, foreign: list[str]) -> Finding | None:
    if foreign:
        shown = ", ".join(foreign[:_NAMES_SHOWN])
        return subject.fail(
            f"it belongs to something else: it has {len(foreign)} tables ({shown}), and none of ours",
            do="name a database of Reverser's own in REVERSER_DATABASE_URL, then run `reverser migrate`",
        )
    try:
        database.check_schema()
    except errors.PermanentError as error:
        newer = error.reason == "DatabaseTooNew"
        advice = "upgrade this program, or restore a backup of before that upgrade" if newer else "`reverser migrate`"
        return subject.fail(error.message.partition(":")[0], do=advice)
    return None


def _file_problems(subject: findings.Subject, url: str) -> Iterator[Finding]:
    if not db.is_sqlite(url):
        return
    path = db.sqlite_file(url)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield subject.warn(
            f"other users of this machine may open it (mode {mode:04o}), and it holds objects of the cluster",
            do=f"chmod 600 {path}",
        )
    if not _writable(path):
        yield subject.fail(
            "this user may not write it", do=f"run Reverser as the owner of the file, or: chown $(id -un) {path}"
        )


def _writable(path: Path) -> bool:
    # SQLite makes its side files beside the database.
    return os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)


def _clock_problem(subject: findings.Subject, away: float) -> Iterator[Finding]:
    if abs(away) > CLOCK_DIFFERENCE:
        ahead = "ahead of" if away > 0 else "behind"
        yield subject.warn(
            f"its clock is {abs(away):.0f} s {ahead} the one of this machine: leases hold, times in tables and logs "
            "do not fit together",
            do="let both machines follow the same time server (NTP)",
        )


def _grant(subject: findings.Subject, missing: list[str]) -> Finding:
    more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    return subject.fail(f"this role misses rights: {', '.join(missing[:_NAMES_SHOWN])}{more}", do=_GRANT)
