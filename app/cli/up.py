"""`reverser up`: all of Reverser on one machine, under one data folder; `down.py` stops it.

`installation.py` says what runs, `supervising.py` runs it, `updata.py` keeps the folder. This module is the terminal's
side: one supervisor per folder, in the foreground or detached, and what is said to the person in front of it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click

from app import errors, settings
from app.cli import down, installation, logs, options, processes, supervising, terminal, updata
from app.kube import client, crds, discovery, kinds

# The detached supervisor decides that something is not ready; this is for one that hangs itself.
_MARGIN = 45.0

_NEXT = """\
Reverser runs in {folder} (supervisor: pid {supervisor}).
  cluster      {kubeconfig}
  repository   {repository_url}
  database     {database}
  Flower       {flower_url}
  logs         {logs}

What to type next, for example:
  kubectl --kubeconfig {kubeconfig} apply -f - <<'EOF'
  apiVersion: configbutler.ai/v1alpha1
  kind: GitRepoConfig
  metadata: {{name: local, namespace: default}}
  spec: {{repoUrl: "{repository_url}", allowedBranches: [main]}}
  ---
  apiVersion: configbutler.ai/v1alpha1
  kind: GitDestination
  metadata: {{name: prod, namespace: default}}
  spec: {{repoRef: {{name: local}}, branch: main, baseFolder: clusters/prod}}
  ---
  apiVersion: configbutler.ai/v1alpha1
  kind: WatchRule
  metadata: {{name: apps, namespace: default}}
  spec: {{destinationRef: {{name: prod}}, rules: [{{resources: [configmaps, services, deployments]}}]}}
  EOF
  git clone {repository_url} mirror
  reverser status --data-dir {folder}
  reverser down --data-dir {folder}"""


@click.command(
    epilog=options.examples(
        "reverser up --kubeconfig ~/.kube/config --apply-crds", "reverser up --detach --timeout 120"
    )
)
@options.own_data_dir
@click.option("--kubeconfig", default="", help="The cluster to mirror; KUBECONFIG when left out.")
@click.option("--apply-crds", is_flag=True, help="Apply the four kinds of Reverser to the cluster first.")
@click.option("--flower-port", type=click.IntRange(1, 65535), help="Port of Flower on the loopback; a free one.")
@click.option("--detach", is_flag=True, help="Return when everything is ready, and leave it running.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="With --detach: seconds until everything must be ready.",
)
@click.option("--ready-within", type=float, hidden=True, help="What --detach starts: give up after so many seconds.")
def up(
    *,
    data_dir: Path,
    kubeconfig: str,
    apply_crds: bool,
    flower_port: int | None,
    detach: bool,
    timeout: float,
    ready_within: float | None,
) -> None:
    """Run all of Reverser on this machine, with its own broker, database and repository.

    Nothing in the cluster is changed unless --apply-crds says so. Ctrl-C stops everything; so does `reverser down`.
    """
    folder = updata.DataFolder.at(data_dir)
    if folder.is_running():
        _say_running(folder, kubeconfig=kubeconfig, apply_crds=apply_crds)
        return
    # Everything below the folder holds the content of a cluster: for this user alone.
    os.umask(0o077)
    plan = installation.install(folder=folder, kubeconfig=kubeconfig, flower_port=flower_port)
    if detach:
        _detach(plan, flower_port=flower_port, apply_crds=apply_crds, timeout=timeout)
        return
    _run(plan, apply_crds=apply_crds, ready_within=ready_within)


def _run(plan: installation.Installation, *, apply_crds: bool, ready_within: float | None) -> None:
    plan.folder.make()
    with plan.folder.locked() as lock:
        if lock is None:
            raise errors.PermanentError(f"another `reverser up` has just started in {plan.folder.path}")
        down.end_leftovers(plan.folder)
        plan.folder.forget()
        try:
            _supervise(plan, lock, apply_crds=apply_crds, ready_within=ready_within)
        finally:
            plan.folder.forget()
    terminal.say("Stopped.")


def _supervise(
    plan: installation.Installation, lock: updata.Lock, *, apply_crds: bool, ready_within: float | None
) -> None:
    me = processes.identify(os.getpid())
    assert me
    record = _Record(plan, me)
    record.note({})
    _look_at_cluster(plan, apply_crds=apply_crds)
    supervisor = supervising.Supervisor(
        broker=plan.broker(),
        services=plan.services(),
        prepare=plan.prepare,
        say=terminal.say,
        noted=record.note,
        when_ready=record.ready,
        check_ground=lambda: _check_ground(lock),
        ready_within=ready_within,
    )
    supervisor.run()


class _Record:
    """Keeps `pids.json` and `up.json` up to date."""

    def __init__(self, plan: installation.Installation, me: processes.Identity) -> None:
        self._plan = plan
        self._identities = {"supervisor": me}
        self._announced = False

    def note(self, children: Mapping[str, processes.Identity]) -> None:
        """Called with every change of a process."""
        self._identities |= children
        with _full_disk_said():
            self._plan.folder.write_identities(self._identities)

    def ready(self) -> None:
        """Called when everything is ready, and again after each restart."""
        up = self._plan.describe({name: identity.pid for name, identity in self._identities.items()})
        with _full_disk_said():
            self._plan.folder.write_up(up)
        if not self._announced:
            terminal.say(describe(self._plan.folder, up))
        self._announced = True


@contextlib.contextmanager
def _full_disk_said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        terminal.say(f"cannot write {error.filename}: {error.strerror}; going on")


def describe(folder: updata.DataFolder, up: updata.Up) -> str:
    """What runs where, and what to type next."""
    return _NEXT.format(
        folder=folder.path,
        supervisor=up.pids.get("supervisor"),
        kubeconfig=up.kubeconfig,
        repository_url=up.repository_url,
        database=folder.database,
        flower_url=up.flower_url,
        logs=folder.logs,
    )


def _check_ground(lock: updata.Lock) -> None:
    if not lock.is_ours():
        raise errors.PermanentError(f"the data folder {lock.path.parent} was deleted: everything is stopped")


def _say_running(folder: updata.DataFolder, *, kubeconfig: str, apply_crds: bool) -> None:
    up = folder.read_up()
    if up is None:
        raise errors.PermanentError(f"`reverser up` is starting in {folder.path} just now: look again in a moment")
    if kubeconfig and installation.readable_kubeconfig(kubeconfig) != up.kubeconfig:
        raise errors.PermanentError(
            f"{folder.path} mirrors the cluster of {up.kubeconfig}: `reverser down` first, or give another --data-dir"
        )
    if apply_crds:
        with contextlib.closing(client.connect(replace(settings.Settings(), kubeconfig=up.kubeconfig))) as cluster:
            _apply_crds(cluster)
    terminal.say(describe(folder, up))


def _look_at_cluster(plan: installation.Installation, *, apply_crds: bool) -> None:
    """Apply the CRDs if told to; else say when they are missing. A cluster that is away is waited for."""
    try:
        with contextlib.closing(client.connect(plan.options)) as cluster:
            if apply_crds:
                _apply_crds(cluster)
                return
            missing = kinds.OUR_TYPES.keys() - discovery.discover(cluster).ours_served
    except errors.ReverserError as error:
        if apply_crds or isinstance(error, errors.PermanentError):
            raise
        terminal.say(f"The cluster cannot be asked yet: {error.message}")
        return
    if missing:
        terminal.say(
            f"The cluster does not serve {', '.join(sorted(missing))}. Type this, or start again with --apply-crds:\n"
            f"  reverser crds --allow-local | kubectl --kubeconfig {plan.options.kubeconfig} apply -f -\n"
            "Waiting for them."
        )


def _apply_crds(cluster: client.Cluster) -> None:
    crds.apply(cluster, allow_local=True)
    terminal.say("The kinds of Reverser are applied.")


def _detach(plan: installation.Installation, *, flower_port: int | None, apply_crds: bool, timeout: float) -> None:
    """Start the supervisor in a session of its own and repeat what it says until everything is ready."""
    plan.folder.make()
    log = plan.folder.log_of("supervisor")
    processes.rotate(log)
    tail = logs.Tail(log)
    words = ["up", "--data-dir", str(plan.folder.path), "--kubeconfig", plan.options.kubeconfig]
    # A port that nobody gave is chosen by the supervisor: until it starts, another process may take it.
    words += ["--flower-port", str(flower_port)] if flower_port else []
    words += ["--ready-within", str(timeout)]
    words += ["--apply-crds"] if apply_crds else []
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own command, no shell
            installation.own_command(*words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(supervisor, plan.folder, tail, deadline=time.monotonic() + timeout + _MARGIN)
    except BaseException:
        supervisor.terminate()
        raise


def _follow(
    supervisor: subprocess.Popen[bytes], folder: updata.DataFolder, tail: logs.Tail, *, deadline: float
) -> None:
    while True:
        ended = supervisor.poll() is not None
        ready = not ended and (up := folder.read_up()) is not None and up.pids.get("supervisor") == supervisor.pid
        for line in tail.lines():
            terminal.say(line)
        if ready:
            return
        if ended:
            raise errors.PermanentError("`reverser up` did not come up; its processes are stopped")
        if time.monotonic() > deadline:
            raise errors.PermanentError(f"`reverser up` hangs and is stopped; its logs are in {folder.logs}")
        time.sleep(0.05)
