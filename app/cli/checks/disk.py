"""The disk: whether the work directory can be written, and whether there is room for caches and for the database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app import db, errors, settings
from app.cli import updata
from app.cli.checks import findings
from app.cli.checks.findings import Finding

# SQLite, caches and packs fail in the middle of their work on a full disk: say so while there is time,
# long before `reverser up` refuses to start (`up.py`).
LITTLE, TOO_LITTLE = 1_000_000_000, 100_000_000


def examine(options: settings.Settings) -> Iterator[Finding]:
    """Look at the work directory, and at the folder of a SQLite database where that is another disk."""
    subject = findings.Subject("disk", f"work directory {options.work_dir}")
    existing = updata.existing(options.work_dir.absolute())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield subject.fail(
            f"{existing} cannot be written by this user", do="repair its owner or mode, or set REVERSER_WORK_DIR"
        )
        return
    yield _room(subject, existing, "writable" if existing == options.work_dir.absolute() else "made when it is needed")
    if (folder := _database_folder(options)) and folder.stat().st_dev != existing.stat().st_dev:
        yield _room(findings.Subject("disk", f"folder of the database {folder}"), folder, "there")


def _database_folder(options: settings.Settings) -> Path | None:
    try:
        folder = db.sqlite_file(options.database_url).absolute().parent if db.is_sqlite(options.database_url) else None
    except errors.SettingsError:
        return None
    return folder if folder and folder.is_dir() else None


def _room(subject: findings.Subject, folder: Path, state: str) -> Finding:
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free" if free >= LITTLE else f"{free / 1e6:.0f} MB free"
    if free < TOO_LITTLE:
        return subject.fail(f"{said}: pushes fail when it is full", do="free some space, or set REVERSER_WORK_DIR")
    if free < LITTLE:
        return subject.warn(f"{said} is little", do="free some space; caches may be deleted while no worker runs")
    return subject.ok(f"{state}, {said}")
