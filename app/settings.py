"""The one reader of the environment: every setting with its unit, default and reason.

`REVERSER_` + the upper-case field name is the variable; `KUBECONFIG` keeps the name that everybody knows.
`docs/reference/settings.md` lists them; a house test fails when one is missing there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from app import errors

PREFIX = "REVERSER_"


def _default_node() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. All durations are in seconds."""

    # Where the ledger stands: any SQLAlchemy URL of SQLite or PostgreSQL (psycopg). The default serves `reverser up`.
    database_url: str = "sqlite:///reverser-data/reverser.db"
    # The Celery broker: redis://, redis+socket:// or amqp://.
    broker_url: str = "redis://127.0.0.1:6379/0"
    # The management HTTP API of RabbitMQ, for `reverser doctor` alone; empty means the broker's host and user.
    rabbitmq_api: str = field(default="", repr=False)
    # Git caches, helper homes and lock files; may be deleted while no worker runs.
    work_dir: Path = Path("reverser-data/work")
    # A folder with failpoints (`app/failpoints.py`), for the tests of crashes; empty in earnest.
    failpoints: str = field(default="", metadata={"of_tests": True})
    # The name of the cluster that this process watches; in every row and Event.
    cluster: str = "home"
    # A kubeconfig file; empty means the service account of the pod.
    kubeconfig: str = field(default="", metadata={"variable": "KUBECONFIG"})
    # A directory with `<namespace>/<secret>/<key>` files, for workers without Kubernetes access; empty reads Secrets.
    credentials_dir: str = ""
    # Whether a GitRepoConfig may name a repository on this machine (file://). Off: it reads any path of the host.
    allow_local_repos: bool = False
    # Name of this process in leases and worker_node. Host and process id are unique enough on one broker.
    node: str = field(default_factory=_default_node)
    # Lease of a repository branch. Too short costs work, never truth.
    branch_lease: float = 4.0
    # Lease of a cluster's watch daemon.
    watch_lease: float = 8.0
    # Longest time of one drain, with a push that takes its time; a lease is not renewed beyond it, so that a hung call
    # loses it.
    drain_deadline: float = 60.0
    # Longest time of one network operation of Git before its helper process is killed.
    git_timeout: float = 30.0
    # Commits of one push where the GitRepoConfig does not say (`push.maxCommits`).
    max_commits: int = 100
    # Seed rows of one commit, and their rendered bytes: a commit of more is slow to read on every host.
    seed_commit_rows: int = 10_000
    seed_commit_bytes: int = 32_000_000
    # Pending rows of one destination, above which only the last state of each object is written.
    max_pending: int = 100_000
    # Rows of one ledger transaction; more gains nothing and holds the lock of the number longer.
    batch_rows: int = 1_000
    # The sweeper's beat, and the longest distance between two rings of one destination without progress.
    sweep_interval: float = 1.0
    ring_longest: float = 60.0
    # How often the API groups are discovered again when no CRD or APIService changed.
    discovery_interval: float = 30.0
    # A type that is not served any more counts as served for so long: its definition may be back in a moment.
    type_grace: float = 60.0
    # Each destination is listed anew this often, though nothing asks for it.
    seed_interval: float = 86_400.0
    # Days for which rows of the ledger stay after they ended; those that say why something is not in Git stay longer.
    keep_rows: float = 30.0
    keep_problems: float = 90.0
    # A watch request is ended by the server after a random time from half of this to all of it. A server says where it
    # stands shortly before, so that quiet streams come on too; one that says nothing is not there any more.
    watch_timeout: float = 60.0
    # Connect and read timeout of every other call to Kubernetes.
    kube_connect_timeout: float = 5.0
    kube_read_timeout: float = 30.0
    # Objects of one page of a list.
    page_size: int = 500
    # Least distance between two status writes of one object of ours, where nobody waits for them.
    status_interval: float = 5.0
    # Threads of a shared worker: destinations that it serves at the same time.
    worker_slots: int = 4
    # `user:password` of Flower; without it Flower listens on loopback only.
    flower_login: str = field(default="", repr=False)
    # Statement timeout in PostgreSQL; stays below the leases, so that a stuck transaction dies before its holder.
    statement_timeout: float = 3.0
    # `console` for people, `json` for machines, `auto` by whether standard error is a terminal.
    log_format: str = "auto"
    log_level: str = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Raises SettingsError that names the variable, and for a misspelt one."""
        source = os.environ if environment is None else environment
        known = {variable_of(name): name for name in (f.name for f in fields(cls))}
        unknown = sorted(key for key in source if key.startswith(PREFIX) and key not in known)
        if unknown:
            raise errors.SettingsError(f"{unknown[0]} is no setting of Reverser; see docs/reference/settings.md")
        values = {name: _read(name, source[variable]) for variable, name in known.items() if source.get(variable)}
        return cls(**values)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """The variables that give a child process these settings; `node` is left out, for it names one process."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "node"}
        return {variable_of(name): str(value) for name, value in values.items()}


def inherited_environment() -> dict[str, str]:
    """A copy of this process's environment, for those who start children."""
    return dict(os.environ)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    declared = {f.name: f.metadata for f in fields(Settings)}[name]
    return str(declared.get("variable", PREFIX + name.upper()))


_TYPES = {f.name: f.type for f in fields(Settings)}


def _read(name: str, text: str) -> object:
    kind = _TYPES[name]
    try:
        if kind == "bool":
            return _boolean(text)
        if kind == "float":
            return _positive(float(text))
        if kind == "int":
            return int(_positive(int(text)))
    except ValueError as error:
        raise errors.SettingsError(f"{variable_of(name)}={text!r}: {error}") from error
    return Path(text) if kind == "Path" else text


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("write true or false")
    return words[text.lower()]


def _positive(number: float) -> float:
    if not 0 < number < float("inf"):
        raise ValueError("write a number above 0")
    return number
