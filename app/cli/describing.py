"""What `reverser up` says once everything is ready: what runs where, and one thing to type next.

For somebody who sees Reverser for the first time: what is shown can be typed as it stands, in the folder where `up` was
started. Neighbours: `up.py` prints it, also for a second `up`.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from app import db, errors
from app.cli import demo, updata
from app.models import reports

# Flush left: a here-document ends at a line that holds nothing but its mark.
_CHANGE = """\
{apply} -f - <<'EOF'
apiVersion: v1
kind: ConfigMap
metadata: {{name: app-config, namespace: shop}}
data: {{colour: green}}
EOF"""

_CHANGE_KUBECTL = """\
kubectl --kubeconfig {kubeconfig} -n shop patch configmap app-config --type merge -p '{{"data":{{"colour":"red"}}}}'"""

_MIRROR = """\
{apply} -f - <<'EOF'
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: configbutler.ai/v1alpha1
kind: GitRepoConfig
metadata: {{name: local, namespace: shop}}
spec: {{repoUrl: "{repository_url}", allowedBranches: [main]}}
---
apiVersion: configbutler.ai/v1alpha1
kind: GitDestination
metadata: {{name: prod, namespace: shop}}
spec: {{repoRef: {{name: local}}, branch: main, baseFolder: clusters/prod}}
---
apiVersion: configbutler.ai/v1alpha1
kind: WatchRule
metadata: {{name: apps, namespace: shop}}
spec: {{destinationRef: {{name: prod}}, rules: [{{resources: [configmaps, services, deployments]}}]}}
EOF"""


def describe(folder: updata.DataFolder, up: updata.Up, *, already: bool = False) -> str:
    """What runs where, and what to type next; `already` when it ran before this command."""
    here = _Here(folder, up)
    return "\n".join([here.headline(already=already), "", *here.places(), "", *here.next_steps()])


class _Here:
    """One running installation, as the person in front of it would name its parts."""

    def __init__(self, folder: updata.DataFolder, up: updata.Up) -> None:
        self._folder = folder
        self._up = up
        self._sandbox = up.kubeconfig == str(folder.sandbox_kubeconfig)
        self._has_destinations = _has_destinations(up)
        self._demo = self._sandbox and demo.is_made(folder)

    def headline(self, *, already: bool) -> str:
        """That it runs, and since when."""
        pid = f"(supervisor: pid {self._up.pids.get('supervisor')})"
        if already:
            return f"Reverser runs in {self._folder.path} already {pid}, and shows commits where it was started."
        return f"Reverser runs in {self._folder.path} {pid}."

    def places(self) -> list[str]:
        """The parts, aligned."""
        rows = [
            ("cluster", f"{'a sandbox on this machine; ' if self._sandbox else ''}kubeconfig {self._up.kubeconfig}"),
            ("repository", f"git clone {shlex.quote(self._up.repository_url)} mirror"),
            *self._demo_rows(),
            ("Flower", f"{self._up.flower_url}  queues, workers, tasks"),
            ("database", f"{self._folder.database}  what changed, when, in which commit"),
            ("logs", str(self._folder.logs)),
        ]
        return [f"  {click.style(f'{name:12}', bold=True)}{text}" for name, text in rows]

    def _demo_rows(self) -> Iterator[tuple[str, str]]:
        if self._demo:
            yield "demo", "namespace shop, mirrored into that repository by two destinations:"
            yield "", "shop/prod  workloads, Services, ConfigMaps  -> branch main, folder clusters/prod"
            yield "", "shop/dev   ConfigMaps only                  -> branch dev, folder clusters/dev"

    def next_steps(self) -> Iterator[str]:
        """What to type, flush left."""
        if self._demo:
            yield "Change something: in a second terminal, in this folder, type"
            yield from ["", *self._activate(), _CHANGE.format(apply=self._apply)]
            yield from ["", "or, with kubectl,", "", _CHANGE_KUBECTL.format(kubeconfig=self._kubeconfig)]
            yield from ["", "and see it become a commit on both branches. Also worth a look:"]
        elif self._has_destinations:
            yield from ["Worth a look, in a second terminal, in this folder:", "", *self._activate()]
        else:
            yield "Say what goes where: in a second terminal, in this folder, type"
            yield from ["", *self._activate(), self._mirror()]
            yield from ["", f"(or `kubectl --kubeconfig {self._kubeconfig} apply` with the same), and then:"]
        if self._demo or not self._has_destinations:
            yield ""
        yield from [self._command("status"), self._command("audit log"), self._command("down")]

    def _mirror(self) -> str:
        return _MIRROR.format(apply=self._apply, repository_url=self._up.repository_url)

    @property
    def _kubeconfig(self) -> str:
        return shlex.quote(self._up.kubeconfig)

    @property
    def _apply(self) -> str:
        """It names the folder always: another shell may have a KUBECONFIG of its own."""
        here = self._folder.path == Path.cwd() / updata.DEFAULT
        return f"reverser apply --data-dir {updata.DEFAULT if here else shlex.quote(str(self._folder.path))}"

    def _command(self, words: str) -> str:
        """A command of ours that finds this folder."""
        if self._folder.path == Path.cwd() / updata.DEFAULT:
            return f"reverser {words}"
        return f"reverser {words} --data-dir {shlex.quote(str(self._folder.path))}"

    def _activate(self) -> Iterator[str]:
        """How `reverser` gets onto the PATH, where it is not."""
        script = Path(sys.prefix, "bin", "activate")
        if not shutil.which("reverser") and script.exists():
            inside = script.is_relative_to(Path.cwd())
            yield f". {shlex.quote(str(script.relative_to(Path.cwd()) if inside else script))}"


def _has_destinations(up: updata.Up) -> bool:
    with (
        contextlib.suppress(errors.ReverserError),
        contextlib.closing(db.Database(up.database_url, read_only=True)) as database,
        database.read() as connection,
    ):
        return bool(reports.destination_statuses(connection))
    return False
