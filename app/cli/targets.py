"""Which cluster a command goes to that a person types, and how it is named in what the command says.

What is typed wins. A variable that a shell still has from somewhere else never decides against the data folder at hand:
where they differ, nothing is sent. Neighbours: `clusters.py` says which cluster a folder mirrors, `apply.py` sends,
`surveying.py` reads.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
from click.core import ParameterSource

from app import errors, settings
from app.cli import clusters, options, updata
from app.kube import client


class NoClusterError(errors.PermanentError):
    """Nothing says which cluster."""

    default_reason = "NoCluster"


class AmbiguousError(errors.PermanentError):
    """Two things that nobody typed name different clusters."""

    default_reason = "AmbiguousCluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One cluster. `sandbox` is the data folder whose sandbox it is, else None."""

    kubeconfig: str
    sandbox: Path | None

    def describe(self, server: str) -> str:
        """The cluster in words; `server` is its address."""
        return f"the sandbox of {self.sandbox}" if self.sandbox else f"the cluster at {server}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A cluster with its name for people."""

    client: client.Cluster
    where: str


@contextlib.contextmanager
def opened(data_dir: Path, kubeconfig: str) -> Iterator[Opened]:
    """The cluster of the options that were typed; nothing is sent yet. Raises as `choose` does."""
    source = click.get_current_context().get_parameter_source("data_dir")
    folder = updata.DataFolder.at(data_dir)
    target = choose(folder, named=kubeconfig, folder_named=source is not ParameterSource.DEFAULT)
    with contextlib.closing(
        client.connect(replace(options.settings_in(data_dir), kubeconfig=target.kubeconfig))
    ) as found:
        yield Opened(found, target.describe(found.server))


def choose(folder: updata.DataFolder, *, named: str, folder_named: bool) -> Target:
    """Decide by `--kubeconfig`, by a `--data-dir` that was typed, by KUBECONFIG, by the default data folder.

    Raises NoClusterError where none of them knows a cluster, AmbiguousError where the last two name different ones.
    """
    if named:
        return _target(folder, clusters.absolute(named))
    held, exported = _held(folder), settings.Settings.from_environment().kubeconfig
    if folder_named:
        exported = ""
    if held and exported and not _is_same(held, exported):
        raise AmbiguousError(
            f"which cluster? KUBECONFIG names that of {exported}, and {folder.path} mirrors "
            f"{clusters.describe(folder, held)}: add --kubeconfig {shlex.quote(exported)} for the first, or unset "
            "KUBECONFIG for the second"
        )
    if not (held or exported):
        raise NoClusterError(
            f"which cluster? Start `reverser up` in {folder.path}, give --kubeconfig FILE, or set KUBECONFIG"
        )
    return _target(folder, held or clusters.absolute(exported))


def _target(folder: updata.DataFolder, kubeconfig: str) -> Target:
    return Target(kubeconfig=kubeconfig, sandbox=folder.path if clusters.is_sandbox(folder, kubeconfig) else None)


def _held(folder: updata.DataFolder) -> str:
    """The kubeconfig of what runs in the folder, else of what it mirrored last."""
    # What a copied folder says of another one's processes is not believed.
    up = folder.read_up() if folder.is_running() else None
    return up.kubeconfig if up else folder.read_cluster()


def _is_same(one: str, other: str) -> bool:
    if clusters.absolute(one) == clusters.absolute(other):
        return True
    try:
        return _server(one) == _server(other)
    except errors.ReverserError:
        return False


def _server(kubeconfig: str) -> str:
    options = settings.Settings(kubeconfig=clusters.absolute(kubeconfig))
    with contextlib.closing(client.connect(options)) as cluster:
        return cluster.server
