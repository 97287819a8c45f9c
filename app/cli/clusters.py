"""Which cluster `reverser up` mirrors, and that a data folder mirrors the same one for ever.

The one that is named, else the one that the folder mirrors already, else the sandbox; what kubectl would take by itself
(`~/.kube/config`) is never taken. A cluster is known by the uid of its namespace kube-system, which the watch daemon
records; the path of a kubeconfig only says where to find it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from app import db, errors, settings
from app.cli import updata
from app.kube import client
from app.models import leases

# What kubectl takes where nothing else is named.
_USUAL = Path("~/.kube/config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One cluster. `remark` says how it came to be chosen where nobody named it."""

    kubeconfig: str
    is_sandbox: bool
    remark: str = ""


def choose(folder: updata.DataFolder, options: settings.Settings, *, named: str) -> Choice:
    """Decide by `--kubeconfig`, by KUBECONFIG, by what the folder mirrors, in this order.

    Raises PermanentError for a kubeconfig that cannot be read, and for a sandbox where the folder mirrors a cluster, or
    the other way round.
    """
    held, wanted = folder.read_cluster(), named or options.kubeconfig
    if not wanted:
        return _unnamed(folder, options, held)
    kubeconfig = absolute(wanted)
    own = is_sandbox(folder, kubeconfig)
    if not own:
        kubeconfig = readable(wanted)
    if held and own != is_sandbox(folder, held):
        how = "leave --kubeconfig out" if named else "unset KUBECONFIG"
        raise errors.PermanentError(
            f"{folder.path} mirrors {describe(folder, held)}, not {describe(folder, kubeconfig)}: {how} to go on with "
            "it, or give the other one a --data-dir of its own"
        )
    return Choice(
        kubeconfig=kubeconfig, is_sandbox=own, remark="" if own or named or held else _of_variable(kubeconfig)
    )


def _of_variable(kubeconfig: str) -> str:
    """A variable may be set without its user thinking of it."""
    return f"Mirrors the cluster of {kubeconfig}, as KUBECONFIG says; without it, a sandbox with a demo comes along."


def _unnamed(folder: updata.DataFolder, options: settings.Settings, held: str) -> Choice:
    if held:
        own = is_sandbox(folder, held)
        remark = f"Going on with {'the sandbox of this folder' if own else describe(folder, held)}."
        return Choice(kubeconfig=held if own else readable(held), is_sandbox=own, remark=remark)
    if recorded_uid(folder, options):
        raise errors.PermanentError(
            f"{folder.path} mirrors a cluster already and does not know its kubeconfig: give it with --kubeconfig"
        )
    usual = Path(absolute(str(_USUAL)))
    remark = (
        f"{_USUAL} is left alone. To mirror that cluster: make up KUBECONFIG={_USUAL} ARGS='--data-dir my-cluster'"
        if usual.is_file()
        else ""
    )
    return Choice(kubeconfig=str(folder.sandbox_kubeconfig), is_sandbox=True, remark=remark)


def describe(folder: updata.DataFolder, kubeconfig: str) -> str:
    """A cluster in words."""
    return "its sandbox" if is_sandbox(folder, kubeconfig) else f"the cluster of {kubeconfig}"


def check_same(folder: updata.DataFolder, options: settings.Settings, cluster: client.Cluster) -> None:
    """Raises PermanentError when the folder mirrors another cluster, and what asking this one raises."""
    recorded = recorded_uid(folder, options)
    if recorded and cluster.uid() != recorded:
        held = folder.read_cluster()
        other = f", or go on with {describe(folder, held)}" if held not in {"", options.kubeconfig} else ""
        raise errors.PermanentError(
            f"{folder.path} mirrors another cluster than the one at {cluster.server} ({options.kubeconfig}; its "
            f"namespace kube-system has another uid): give this one a --data-dir of its own{other}"
        )


def recorded_uid(folder: updata.DataFolder, options: settings.Settings) -> str:
    """The uid of the cluster that the folder mirrors; empty before the first start, or for an unreadable database."""
    if not folder.database.exists():
        return ""
    with (
        contextlib.closing(db.Database(f"sqlite:///{folder.database}", read_only=True)) as database,
        contextlib.suppress(errors.ReverserError),
        database.read() as connection,
    ):
        return leases.recorded_uid(connection, cluster=options.cluster)
    return ""


def readable(text: str) -> str:
    """Absolute paths of kubeconfig files, `:` between them as in KUBECONFIG.

    Raises PermanentError when none can be read.
    """
    paths = absolute(text)
    if not any(os.access(path, os.R_OK) and Path(path).is_file() for path in paths.split(os.pathsep)):
        raise errors.PermanentError(f"the kubeconfig {text} cannot be read: give the path of a file")
    return paths


def absolute(text: str) -> str:
    """Absolute paths of kubeconfig files, `:` between them; `~` stays where nobody knows the home folder."""
    # Not pathlib: it would fail for a user without a home. Not resolved: a link stays as its user wrote it.
    return os.pathsep.join(os.path.abspath(os.path.expanduser(one)) for one in text.split(os.pathsep) if one)  # noqa: PTH100, PTH111


def is_sandbox(folder: updata.DataFolder, kubeconfig: str) -> bool:
    """Whether a kubeconfig is that of the folder's own sandbox."""
    return kubeconfig == str(folder.sandbox_kubeconfig)
