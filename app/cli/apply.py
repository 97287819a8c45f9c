"""`reverser apply` and `reverser delete`: change a cluster without kubectl (`app/kube/manifests.py` sends)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from app import errors
from app.cli import options, tables
from app.kube import client, manifests

_Command = TypeVar("_Command", bound=Any)

_SUFFIXES = {".yaml", ".yml", ".json"}
_STDIN = "-"


def _what_and_where(command: _Command) -> _Command:
    """The options that both commands have."""
    for option in (
        click.option("--kubeconfig", default="", help="The cluster; else KUBECONFIG, else that of the running `up`."),
        options.data_dir,
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
    found = manifests.in_order(_read(names))
    with _cluster(data_dir, kubeconfig) as cluster:
        sender = manifests.Sender(cluster, namespace=namespace)
        _each(found, sender.apply, server=cluster.server)


@click.command(epilog=options.examples("reverser delete -f app-config.yaml"))
@_what_and_where
def delete(*, names: Sequence[str], namespace: str, data_dir: Path, kubeconfig: str) -> None:
    """Delete the objects that files name, the last one first, like `kubectl delete`.

    An object that is gone already is said and is no error.
    """
    found = manifests.in_order(_read(names))[::-1]
    with _cluster(data_dir, kubeconfig) as cluster:
        sender = manifests.Sender(cluster, namespace=namespace)
        _each(found, sender.delete, server=cluster.server)


def _read(names: Sequence[str]) -> list[manifests.Manifest]:
    """All objects of all files. Raises PermanentError for one that cannot be read: nothing was sent then."""
    found = [one for text, source in _texts(names) for one in manifests.read(text, source=source)]
    if not found:
        raise errors.PermanentError(f"there is no object in {', '.join(names)}")
    return found


def _texts(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == _STDIN:
            yield sys.stdin.read(), "standard input"
            continue
        path = Path(name)
        files = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES) if path.is_dir() else [path]
        for file in files:
            try:
                yield file.read_text(encoding="utf-8"), str(file)
            except UnicodeDecodeError as error:
                raise errors.PermanentError(f"{file} is no text in UTF-8") from error


@contextlib.contextmanager
def _cluster(data_dir: Path, kubeconfig: str) -> Iterator[client.Cluster]:
    settings = options.settings_in(data_dir)
    settings = replace(settings, kubeconfig=str(Path(kubeconfig).expanduser()) if kubeconfig else settings.kubeconfig)
    if not settings.kubeconfig:
        raise errors.PermanentError(
            f"which cluster? Start `reverser up` in {data_dir}, give --kubeconfig FILE, or set KUBECONFIG"
        )
    with contextlib.closing(client.connect(settings)) as cluster:
        yield cluster


def _each(found: Sequence[manifests.Manifest], send: Callable[[manifests.Manifest], str], *, server: str) -> None:
    """Send one after the other; what the cluster refuses does not keep the others from being sent."""
    failed = 0
    for manifest in found:
        try:
            click.echo(f"{manifest} {send(manifest)}")
        except errors.ReverserError as error:
            if isinstance(error, errors.TemporaryError) and not error.answer:
                raise errors.PermanentError(f"the cluster at {server} does not answer: is it running?") from error
            failed += 1
            said = f"{manifest.source}: {manifest}: {error.answer or error.message}"
            click.echo(f"Error: {tables.printable(said)}", err=True)
    if failed:
        raise errors.PermanentError(f"{failed} of {len(found)} objects failed")
