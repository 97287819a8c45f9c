"""Lanes: groups of tests that need a server which not every machine has.

A run has the lanes that `--lanes` names. Of these, one whose server is missing is skipped on a user's machine, and the
summary says how to have it; with `CI` set it is an error, so that a lane cannot fall silent, but for one that is
optional. `tests/conftest.py` applies this to the markers; a fixture may ask for itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

# Read once, before the environment is scrubbed. The whole of it is for builders, which keep their caches in it.
ENVIRONMENT = dict(os.environ)
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
KUBE_ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
POSTGRES_URL = os.environ.get("REVERSER_TEST_POSTGRES", "")
# What `--lanes` may say instead of names.
ALL = "all"

# Debian keeps the servers of PostgreSQL and OpenSSH off the PATH of users.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin")


def find_program(name: str) -> Path | None:
    """A program on the PATH or in the folders where distributions keep servers."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    found = shutil.which(name, path=search)
    return Path(found) if found else None


def find_postgres() -> Path | None:
    """The folder of `initdb` and `postgres`; the newest version where several are installed."""
    on_path = find_program("initdb")
    if on_path:
        return on_path.resolve().parent
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


def find_kube() -> Path | None:
    """The folder of `kube-apiserver` and `etcd`."""
    folder = Path(KUBE_ASSETS)
    programs = [folder / name for name in ("kube-apiserver", "etcd")]
    return folder if KUBE_ASSETS and all(os.access(program, os.X_OK) for program in programs) else None


@dataclass(frozen=True, slots=True)
class Lane:
    """One marker: what it needs, and how a person gets it."""

    find: Callable[[], object]
    how: str
    # Whether CI does without it where it is missing.
    optional: bool = False


LANES = {
    "go": Lane(lambda: find_program("go"), "install Go", optional=True),
    "kube": Lane(find_kube, "set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd (the envtest binaries)"),
    "kubectl": Lane(lambda: find_program("kubectl"), "install kubectl"),
    "postgres": Lane(
        lambda: POSTGRES_URL or find_postgres(), "install PostgreSQL, or set REVERSER_TEST_POSTGRES to a server's URL"
    ),
    "rabbitmq": Lane(lambda: find_program("rabbitmq-server"), "install rabbitmq-server"),
    "sshd": Lane(lambda: find_program("sshd"), "install openssh-server"),
}

# The lanes of this run. All of them, unless `--lanes` chose before the first test.
_chosen = set(LANES)


def choose(text: str) -> None:
    """Run these lanes only: names with spaces or commas between them, `all`, or none. Raises UsageError."""
    names = set(LANES) if text.strip() == ALL else set(text.replace(",", " ").split())
    if unknown := names - set(LANES):
        raise pytest.UsageError(f"no lane is called {', '.join(sorted(unknown))}: there are {', '.join(LANES)}")
    _chosen.clear()
    _chosen.update(names)


def lane(name: str) -> None:
    """Let the test go on if its lane runs here; else skip it, or fail it where CI asked for it."""
    if name not in _chosen or not LANES[name].find():
        leave_out(name)


def leave_out(name: str) -> NoReturn:
    """End the running test: its lane does not run."""
    sentence = f"lane {name} is left out: {how(name)}"
    if IN_CI and name in _chosen and not LANES[name].optional:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def how(name: str) -> str:
    """What to do to have a lane."""
    steps = [] if LANES[name].find() else [LANES[name].how]
    if name not in _chosen:
        steps.append(f"make test LANES={name}, or LANES=all")
    return ", then ".join(steps)
