"""Lanes: groups of tests that need a server which not every machine has.

On a user's machine a missing server skips its lane, and the summary says how to have it; with `CI` set it is an error,
so that a lane cannot fall silent. `tests/conftest.py` applies this to the markers; a fixture may ask for itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

# Read once, before the environment is scrubbed.
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
KUBE_ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
POSTGRES_URL = os.environ.get("REVERSER_TEST_POSTGRES", "")

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


LANES = {
    "kube": Lane(find_kube, "set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd (the envtest binaries)"),
    "postgres": Lane(
        lambda: POSTGRES_URL or find_postgres(), "install PostgreSQL, or set REVERSER_TEST_POSTGRES to a server's URL"
    ),
    "rabbitmq": Lane(lambda: find_program("rabbitmq-server"), "install rabbitmq-server"),
    "sshd": Lane(lambda: find_program("sshd"), "install openssh-server"),
}


def missing(name: str) -> bool:
    """Whether the server of a lane is absent."""
    return not LANES[name].find()


def lane(name: str) -> None:
    """Let the test go on if its lane can run; else skip it, or fail it in CI."""
    if missing(name):
        leave_out(name)


def leave_out(name: str) -> NoReturn:
    """End the running test: its lane cannot run here."""
    sentence = f"lane {name} is left out: {LANES[name].how}"
    if IN_CI:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
