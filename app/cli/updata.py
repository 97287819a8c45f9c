"""The data folder of `reverser up`: who may use it, where each part stands, and the files that tell others.

`up.lock` is held by the running supervisor; `pids.json` knows every process from its start on; `up.json` is for
scripts and for the other commands, and exists while everything is ready; `cluster.json` outlives them all. Neighbours:
`up.py`, `clusters.py`, `options.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app import errors, settings
from app.cli import processes

DEFAULT = Path("reverser-data")
# In `pids.json`, beside the names of processes.
_PLACE = "place"
# These have a meaning in the URLs of the database and the broker; nobody needs them in a path.
_UNFIT = re.compile(r"[%?#;\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Up:
    """The content of `up.json`."""

    kubeconfig: str
    repository: str
    repository_url: str
    database_url: str
    broker_url: str
    flower_url: str
    # By process name: supervisor, redis, sandbox where there is one, watch, worker, flower.
    pids: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder; `path` is absolute."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> DataFolder:
        """The folder at a path as a user writes it. Raises PermanentError for a path that no URL can hold."""
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link to another disk stays as the user wrote it
        if _UNFIT.search(str(absolute)):
            raise errors.PermanentError(
                f"the data folder {str(absolute)!r} may not hold %, ?, #, ; or control characters"
            )
        return cls(absolute)

    @property
    def lock(self) -> Path:
        """Locked by the supervisor as long as it lives."""
        return self.path / "up.lock"

    @property
    def logs(self) -> Path:
        """One log file for each process."""
        return self.path / "logs"

    @property
    def redis(self) -> Path:
        """The append-only file and the socket of the embedded Redis."""
        return self.path / "redis"

    @property
    def repository(self) -> Path:
        """The local bare repository."""
        return self.path / "repository.git"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "reverser.db"

    @property
    def sandbox_kubeconfig(self) -> Path:
        """What clients of the sandbox are given (`app/sandbox`)."""
        return self.path / "sandbox" / "kubeconfig"

    @property
    def demo(self) -> Path:
        """Says whether this folder had its demo (`demo.py`)."""
        return self.path / "demo"

    def log_of(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make the folder, for this user alone. Raises PermanentError for a folder that holds other things."""
        if self.path.is_dir() and not self._is_ours():
            raise errors.PermanentError(f"{self.path} holds other files: give a new or an empty folder as --data-dir")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            # Marks the folder as ours.
            self.lock.touch(mode=0o600)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise errors.PermanentError(f"the data folder {self.path} cannot be used: {error.strerror}") from error

    def _is_ours(self) -> bool:
        names = {entry.name for entry in self.path.iterdir()}
        # `reverser sandbox` may have been here before any `up`.
        sandbox = self.sandbox_kubeconfig
        return not names or bool(names & {self.lock.name, self.database.name}) or (sandbox.parent / "token").is_file()

    def environment(self) -> dict[str, str]:
        """The settings of this folder as variables: where its files stand, and what the running `up` uses.

        Local repositories are allowed where `up` runs, and nowhere else by the mere name of a folder.
        """
        values = {"database_url": f"sqlite:///{self.database}", "work_dir": str(self.path / "work")}
        if up := self.read_up():
            values["database_url"] = up.database_url
            values |= {"broker_url": up.broker_url, "kubeconfig": up.kubeconfig, "allow_local_repos": "true"}
        return {settings.variable_of(name): value for name, value in values.items()}

    @contextlib.contextmanager
    def locked(self) -> Iterator[Lock | None]:
        """Hold the folder while this process lives; None when another supervisor holds it."""
        handle = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield Lock(self.lock, handle) if _try_lock(handle) else None
        finally:
            os.close(handle)

    def is_running(self) -> bool:
        """Whether a supervisor holds the folder now."""
        if not self.lock.exists():
            return False
        with self.locked() as lock:
            return lock is None

    def write_up(self, up: Up) -> None:
        """Tell scripts that everything is ready."""
        _write(self.path / "up.json", asdict(up))

    def read_up(self) -> Up | None:
        """What runs here, or None; a file of another user is not believed."""
        content = _read(self.path / "up.json")
        try:
            return Up(**content) if content else None
        except TypeError:
            return None

    def write_identities(self, identities: Mapping[str, processes.Identity]) -> None:
        """Note every process, so that a later command finds exactly these."""
        content = {name: asdict(identity) for name, identity in identities.items()}
        _write(self.path / "pids.json", {_PLACE: self._place(), **content})

    def read_identities(self) -> dict[str, processes.Identity]:
        """The processes of the last `up`, whether or not they live; a copied folder does not answer for the first."""
        content = _read(self.path / "pids.json") or {}
        if content.pop(_PLACE, None) != self._place():
            return {}
        try:
            return {name: processes.Identity(**value) for name, value in content.items()}
        except TypeError:
            return {}

    def _place(self) -> str:
        """Tells this folder from a copy of it, and stays when it is moved on its disk."""
        try:
            return str(self.path.stat().st_ino)
        except OSError:
            return ""

    def note_cluster(self, kubeconfig: str) -> None:
        """Mirror the cluster of this kubeconfig from now on, also where none is named."""
        # Without a path: the sandbox of a folder that was moved or copied is its own.
        own = kubeconfig == str(self.sandbox_kubeconfig)
        if self.read_cluster() != kubeconfig:
            _write(self._cluster, {"sandbox": True} if own else {"kubeconfig": kubeconfig})

    def read_cluster(self) -> str:
        """The kubeconfig of the cluster that this folder mirrors; empty before the first start."""
        content = _read(self._cluster) or {}
        return str(self.sandbox_kubeconfig) if content.get("sandbox") is True else str(content.get("kubeconfig", ""))

    @property
    def _cluster(self) -> Path:
        return self.path / "cluster.json"

    def forget(self) -> None:
        """Nothing runs here any more."""
        for name in ("up.json", "pids.json"):
            (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Lock:
    """A held lock."""

    path: Path
    handle: int

    def is_ours(self) -> bool:
        """False when the folder was deleted or replaced under the running supervisor."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.handle))
        except FileNotFoundError:
            return False


def existing(path: Path) -> Path:
    """The folder itself, or the one above it in which it would be made."""
    return next(one for one in (path, *path.parents) if one.exists())


def _try_lock(handle: int) -> bool:
    """Tried for a moment: a command that only looks holds the lock for an instant, too."""
    deadline = time.monotonic() + 0.3
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file in one step; mkstemp makes it 0600."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        # A write that fails does not say where.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_uid != os.geteuid():
            return None
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
