"""`reverser apply` and `reverser delete`: change a cluster without kubectl (`app/kube/manifests.py` sends)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from app import errors
from app.cli import options, reading, tables, targets
from app.kube import manifests, problems

_Command = TypeVar("_Command", bound=Any)


def _what_and_where(command: _Command) -> _Command:
    """The options that both commands have."""
    for option in (
        click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG."),
        options.mirroring_data_dir,
        click.option("-n", "--namespace", default="", metavar="NS", help="For objects that name none; `default`."),
        click.option(
            "-f",
            "--filename",
            "names",
            multiple=True,
            required=True,
            metavar="FILE|DIR|-",
            help="YAML or JSON: a file, a folder of files, or - for standard input. May be given more than once.",
        ),
    ):
        command = option(command)
    return command


@click.command(
    epilog=options.examples("reverser apply -f app-config.yaml", "reverser apply -n shop -f - < app-config.yaml")
)
@_what_and_where
def apply(*, names: Sequence[str], namespace: str, data_dir: Path, kubeconfig: str) -> None:
    """Make objects in the cluster as files say, like `kubectl apply`.

    Definitions of kinds and namespaces go first. Fields that somebody else set otherwise are taken over.
    """
    found = manifests.in_order(reading.read(names))
    with targets.opened(data_dir, kubeconfig) as cluster:
        sender = manifests.Sender(cluster.client, namespace=namespace)
        _each(found, sender.apply, where=cluster.where)


@click.command(epilog=options.examples("reverser delete -f app-config.yaml"))
@_what_and_where
def delete(*, names: Sequence[str], namespace: str, data_dir: Path, kubeconfig: str) -> None:
    """Delete the objects that files name, the last one first, like `kubectl delete`.

    An object that is gone already is said and is no error.
    """
    found = manifests.in_order(reading.read(names))[::-1]
    with targets.opened(data_dir, kubeconfig) as cluster:
        sender = manifests.Sender(cluster.client, namespace=namespace, beside=found)
        _each(found, sender.delete, where=cluster.where)


def _each(found: Sequence[manifests.Manifest], send: Callable[[manifests.Manifest], str], *, where: str) -> None:
    """Send one after the other; what the cluster refuses does not keep the others from being sent."""
    failed = 0
    for manifest in found:
        try:
            click.echo(f"{manifest} {send(manifest)}")
        except problems.NoAnswer as error:
            raise errors.PermanentError(f"{where} does not answer ({error.how}): is it running?") from error
        except errors.ReverserError as error:
            failed += 1
            said = f"{manifest.source}: {manifest}: {error.answer or _cause(error)}"
            click.echo(f"Error: {tables.printable(said)}", err=True)
    if failed:
        raise errors.PermanentError(f"{failed} of {len(found)} objects failed in {where}")
    click.echo(f"in {where}", err=True)


def _cause(error: errors.ReverserError) -> str:
    """What happened; what our processes would do next is not done here."""
    return error.message.partition(";")[0] if isinstance(error, errors.TemporaryError) else error.message
