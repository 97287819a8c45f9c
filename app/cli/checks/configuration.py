"""The settings: whether they can be read, where they come from, and whether they fit each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app import errors, settings
from app.cli import logs, options, updata
from app.cli.checks import findings
from app.cli.checks.findings import Finding

_SUBJECT = findings.Subject("settings", "settings")
_FIX = "correct the variable; docs/reference/settings.md lists them all"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings that the processes would use, None when they cannot be read; and what is to say of them.

    `idle` says that they are those of an `up` that does not run: then there is nothing but its folder to look at.
    """

    settings: settings.Settings | None
    idle: bool
    said: list[Finding]


def load(data_dir: Path) -> Loaded:
    """Read the settings."""
    try:
        folder = updata.DataFolder.at(data_dir)
        found = options.settings_in(data_dir)
        logs.check(found)
    except errors.ReverserError as error:
        return Loaded(None, idle=False, said=[_SUBJECT.fail(findings.words(error), do=_FIX)])
    resting = _resting(folder)
    problems = [*resting, *_overridden(folder), *_contradictions(found)]
    return Loaded(found, idle=bool(resting), said=problems or [_SUBJECT.ok(_source(folder))])


def _resting(folder: updata.DataFolder) -> list[Finding]:
    """What there is to say of a folder of `reverser up` where nothing is ready."""
    own = settings.inherited_environment()
    elsewhere = any(own.get(settings.variable_of(name)) for name in ("database_url", "broker_url"))
    if elsewhere or not folder.lock.exists():
        return []
    if not folder.is_running():
        return [
            _SUBJECT.fail(f"`reverser up` does not run in {folder.path}", do=f"reverser up --data-dir {folder.path}")
        ]
    if folder.read_up() is None:
        return [_SUBJECT.fail(f"`reverser up` in {folder.path} is starting or stopping", do="ask again in a moment")]
    return []


def _source(folder: updata.DataFolder) -> str:
    if folder.read_up() is not None:
        return f"those of the running `reverser up` in {folder.path}"
    return "from variables and defaults"


def _overridden(folder: updata.DataFolder) -> Iterator[Finding]:
    """A variable wins over what runs in the folder: then all that follows is about something else."""
    if folder.read_up() is None:
        return
    own = settings.inherited_environment()
    for variable, value in folder.environment().items():
        if own.get(variable) and _absolute(own[variable]) != _absolute(value):
            yield _SUBJECT.warn(
                f"{variable} is set and wins over the running `reverser up` in {folder.path}",
                do=f"to look at that one, type: env -u {variable} reverser doctor",
            )


def _absolute(value: str) -> str:
    """A kubeconfig may be written relative to the current folder."""
    return value if "://" in value else os.pathsep.join(str(Path(one).absolute()) for one in value.split(os.pathsep))


def _contradictions(found: settings.Settings) -> Iterator[Finding]:
    if found.statement_timeout >= min(found.branch_lease, found.watch_lease):
        yield _SUBJECT.warn(
            f"REVERSER_STATEMENT_TIMEOUT ({found.statement_timeout:g} s) is not below the leases: a stuck transaction "
            "outlives its holder",
            do="set it below REVERSER_BRANCH_LEASE and REVERSER_WATCH_LEASE",
        )
    if found.git_timeout >= found.drain_deadline:
        yield _SUBJECT.warn(
            f"REVERSER_GIT_TIMEOUT ({found.git_timeout:g} s) is not below REVERSER_DRAIN_DEADLINE "
            f"({found.drain_deadline:g} s): one slow host uses up a whole drain",
            do="lower the first or raise the second",
        )
    if found.credentials_dir and not Path(found.credentials_dir).is_dir():
        yield _SUBJECT.fail(
            f"REVERSER_CREDENTIALS_DIR names {found.credentials_dir}, which is no folder",
            do="mount it, or unset the variable to read Secrets from the cluster",
        )
    if found.flower_login and not all(found.flower_login.partition(":")):
        yield _SUBJECT.fail("REVERSER_FLOWER_LOGIN is not user:password", do="write it so, or unset it")
