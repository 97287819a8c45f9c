"""The disk: whether the work directory can be written, and whether there is room for caches and for the database."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app import db, errors, settings
from app.cli import updata
from app.cli.checks import findings
from app.cli.checks.findings import Finding
from app.models import health

# SQLite, caches and packs fail in the middle of their work on a full disk: say so while there is time,
# long before `reverser up` refuses to start (`up.py`).
LITTLE, TOO_LITTLE = 1_000_000_000, 100_000_000
# SQLite needs some pages for each write.
NO_ROOM = 1_000_000


def examine(options: settings.Settings) -> Iterator[Finding]:
    """Look at the work directory, and at the folder of a SQLite database where that is another disk."""
    subject = findings.Subject("disk", f"work directory {options.work_dir}")
    existing = updata.existing(options.work_dir.absolute())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield subject.fail(
            f"{existing} cannot be written by this user", do="repair its owner or mode, or set REVERSER_WORK_DIR"
        )
        return
    state = "writable" if existing == options.work_dir.absolute() else "made when it is needed"
    yield _room(subject, existing, state, full="pushes fail", do="free some space, or set REVERSER_WORK_DIR")
    if (folder := _database_folder(options)) and folder.stat().st_dev != existing.stat().st_dev:
        subject = findings.Subject("disk", f"folder of the database {folder}")
        yield _room(subject, folder, "there", full="nothing is recorded", do="free some space")


def database_has_no_room(options: settings.Settings) -> str:
    """That the disk of the database is full, so that nobody can lead or record; empty where it is not.

    Only PostgreSQL itself knows its disk: it is asked for some pages, by a role that may make temporary tables.
    """
    folder = _database_folder(options)
    if folder is None:
        return _refused_for_room(options)
    if shutil.disk_usage(folder).free >= NO_ROOM:
        return ""
    return f"The disk of the database is full: free some space in {folder}, and all goes on by itself."


def _refused_for_room(options: settings.Settings) -> str:
    try:
        if db.is_sqlite(options.database_url):
            return ""
        opened = db.Database(options.database_url, statement_timeout=options.statement_timeout)
        with contextlib.closing(opened) as database, database.write() as connection:
            health.take_room(connection)
    except errors.ReverserError as error:
        return f"{error.message[0].upper()}{error.message[1:]}." if error.reason == db.FULL else ""
    return ""


def _database_folder(options: settings.Settings) -> Path | None:
    try:
        folder = db.sqlite_file(options.database_url).absolute().parent if db.is_sqlite(options.database_url) else None
    except errors.SettingsError:
        return None
    return folder if folder and folder.is_dir() else None


def _room(subject: findings.Subject, folder: Path, state: str, *, full: str, do: str) -> Finding:
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free" if free >= LITTLE else f"{free / 1e6:.0f} MB free"
    if free < TOO_LITTLE:
        return subject.fail(f"{said}: {full} when it is full", do=do)
    if free < LITTLE:
        return subject.warn(f"{said} is little", do="free some space; caches may be deleted while no worker runs")
    return subject.ok(f"{state}, {said}")
