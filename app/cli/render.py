"""`reverser render`: the path and the YAML of manifests and live objects, as they would be committed (`rendering.py`).

With `-f` alone it needs nothing: no cluster, no database, no data folder, no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from app import errors, events
from app.cli import naming, offline, options, reading, rendering, surveying, tables, targets, weighing
from app.kube import client, discovery, manifests
from app.rules import types

# A subject, or where it was meant to come from and why there is none.
_Found = rendering.Subject | str


@click.command(
    epilog=options.examples(
        "reverser render -f deployment.yaml",
        "kubectl create --dry-run=server -o yaml -f deployment.yaml | reverser render --why -f -",
        "reverser render cm/app-config -n shop --rule shop/prod-apps",
    )
)
@click.option(
    "-f",
    "--filename",
    "names",
    multiple=True,
    metavar="FILE|DIR|-",
    help="YAML or JSON: a file, a folder of files, or - for standard input. May be given more than once.",
)
@click.argument("objects", nargs=-1, metavar="[TYPE/NAME]...")
@click.option("-n", "--namespace", default="", metavar="NS", help="For objects that name none; `default`.")
@click.option(
    "--rule",
    default="",
    metavar="[NS/]NAME",
    help="As this rule mirrors it: a WatchRule, or without NS/ a ClusterWatchRule. Says why where it does not.",
)
@click.option("--why", is_flag=True, help="Add a comment for each field that is removed: where it stood, and why.")
@click.option("--kubeconfig", default="", help="The cluster; else that of --data-dir, or of KUBECONFIG.")
@options.mirroring_data_dir
def render(
    *,
    names: Sequence[str],
    objects: Sequence[str],
    namespace: str,
    rule: str,
    why: bool,
    kubeconfig: str,
    data_dir: Path,
) -> None:
    """Print manifests and live objects as they would be committed: the path as a comment, then the YAML.

    With -f alone nothing else is needed: neither a cluster nor a database; what the API server would fill in is missing
    then. TYPE/NAME is read from the cluster.
    """
    if not names and not objects:
        raise click.UsageError("Give -f FILE, or objects of the cluster as TYPE/NAME.")
    if not objects and not rule:
        _refuse_a_cluster()
    found, bad = reading.read_each(names) if names else ([], [])
    printer = _Printer(why=why)
    printer.show(error.message for error in bad)
    if rule:
        with surveying.view(data_dir, kubeconfig) as view:
            for line in view.silent:
                click.echo(line, err=True)
            printer.scale = weighing.by_rule(view.survey, rule)
            served, held = view.survey.types, printer.scale.held
            printer.show(_of_files(found, served, namespace=namespace))
            live = _of_cluster(objects, served, cluster=view.survey.cluster, namespace=namespace, held=held)
            printer.show(live)
    elif objects:
        with targets.opened(data_dir, kubeconfig) as cluster:
            served = naming.Types.of(discovery.discover(cluster.client))
            printer.show(_of_files(found, served, namespace=namespace))
            printer.show(_of_cluster(objects, served, cluster=cluster.client, namespace=namespace))
    else:
        printer.show(_of_files(found, naming.Types(()), namespace=namespace))
    printer.end()


def _refuse_a_cluster() -> None:
    """Raises UsageError where a cluster was typed that nobody would ask: whoever did expects something of it."""
    context = click.get_current_context()
    for name in ("kubeconfig", "data_dir"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"-f alone asks no cluster: leave {option} out, or add --rule or TYPE/NAME.")


class _Printer:
    """Prints documents as they come; what cannot be mirrored is said and does not keep the others from it."""

    def __init__(self, *, why: bool) -> None:
        self.scale: weighing.RuleScale | None = None
        self._why = why
        self._printed = self._failed = 0

    def show(self, found: Iterable[_Found]) -> None:
        """Print each object."""
        for one in found:
            if isinstance(one, rendering.Subject):
                self._subject(one)
            else:
                self._refuse(one)

    def end(self) -> None:
        """Raises PermanentError where something was not printed."""
        if self._failed:
            raise errors.PermanentError(f"{self._failed} of {self._failed + self._printed} objects cannot be rendered")

    def _subject(self, one: rendering.Subject) -> None:
        frame = self.scale.frame(one) if self.scale else weighing.NO_RULE
        try:
            lines = list(rendering.document(one, folder=frame.base_folder, ignored=frame.ignored, why=self._why))
        except errors.ReverserError as error:
            self._refuse(f"{one.source}: {one}: {error.message}")
            return
        if frame.remark:
            click.echo(tables.printable(frame.remark), err=True)
        if self._printed:
            click.echo("---")
        click.echo("\n".join(lines))
        self._printed += 1

    def _refuse(self, said: str) -> None:
        self._failed += 1
        click.echo(tables.printable(f"Error: {said}"), err=True)


def _of_files(found: Sequence[manifests.Manifest], served: naming.Types, *, namespace: str) -> Iterator[_Found]:
    """The objects of manifests, with the types that a cluster serves where one was asked."""
    known = offline.Kinds(found)
    for one in found:
        type_ = served.of_kind(one.api_version, one.kind) or known.type_of(one)
        try:
            yield rendering.from_manifest(one, type_, namespace=namespace)
        except errors.PermanentError as error:
            yield f"{one.source}: {one}: {error.message}"
    for kind, type_ in known.guessed.items():
        scope = "namespaced" if type_.namespaced else "cluster-scoped"
        said = f"{kind} is no built-in kind: guessed as {scope}, plural {type_.resource}"
        click.echo(tables.printable(f"{said}. Add its definition with -f to be sure."), err=True)


def _of_cluster(
    objects: Sequence[str],
    served: naming.Types,
    *,
    cluster: client.Cluster | None,
    namespace: str,
    held: Callable[[types.ResourceType], types.ResourceType] = lambda type_: type_,
) -> Iterator[_Found]:
    """Live objects; `held` gives a type in the version in which a destination has it."""
    for text in objects:
        try:
            if cluster is None:
                raise errors.PermanentError("the cluster does not answer: it is not known what the object says")
            type_, name = served.parse(text)
            type_ = held(type_)
            place = (namespace or manifests.DEFAULT_NAMESPACE) if type_.namespaced else ""
            yield rendering.from_cluster(cluster, type_, events.Ref(place, name))
        except errors.ReverserError as error:
            yield f"{text}: {error.message}"
