"""`reverser up`: all of Reverser on one machine, under one data folder; `down.py` stops it.

`installation.py` says what runs, `supervising.py` runs it, `updata.py` keeps the folder, `clusters.py` chooses the
cluster. This module is the terminal's side: one supervisor per folder, in the foreground or detached, and what is said
to the person in front of it (`describing.py`, `following.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click

from app import db, errors, settings
from app.cli import (
    clusters,
    describing,
    detaching,
    down,
    following,
    installation,
    options,
    preparing,
    processes,
    supervising,
    terminal,
    updata,
)
from app.kube import client

# How long the supervisor waits for the lock of another process on the database.
_BUSY = 0.2
# The disk counts as full below this: a database that cannot grow stops everything. `reverser doctor` complains earlier
# (`checks/disk.py`), while what runs still works.
_LITTLE_ROOM = 20_000_000
_LITTLE = f"less than {_LITTLE_ROOM // 1_000_000} MB are free"


@click.command(
    epilog=options.examples(
        "reverser up --kubeconfig ~/.kube/config --apply-crds", "reverser up --detach --timeout 120"
    )
)
@options.own_data_dir
@click.option(
    "--kubeconfig", default="", help="The cluster to mirror; else KUBECONFIG, else the one of before, else a sandbox."
)
@click.option("--apply-crds", is_flag=True, help="Apply the four kinds of Reverser to the cluster first.")
@click.option("--no-demo", is_flag=True, help="Leave a new sandbox without the demo.")
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
    no_demo: bool,
    flower_port: int | None,
    detach: bool,
    timeout: float,
    ready_within: float | None,
) -> None:
    """Run all of Reverser on this machine, with its own broker, database and repository.

    Without a cluster it brings a sandbox along, with a demo in it. Nothing in a cluster of yours is changed unless
    --apply-crds says so. Commits are shown as they are pushed. Ctrl-C stops everything; so does `reverser down`.
    """
    folder = updata.DataFolder.at(data_dir)
    if folder.is_running():
        _say_running(folder, kubeconfig=kubeconfig, apply_crds=apply_crds, flower_port=flower_port)
        return
    refuse_full_disk(folder)
    # Everything below the folder holds the content of a cluster: for this user alone.
    os.umask(0o077)
    plan = installation.install(folder=folder, kubeconfig=kubeconfig, flower_port=flower_port)
    wishes = preparing.Wishes(apply_crds=apply_crds, demo=not no_demo)
    if plan.cluster.remark:
        terminal.say(plan.cluster.remark)
    if detach:
        detaching.run(plan, wishes, flower_port=flower_port, timeout=timeout)
        return
    try:
        _run(plan, wishes, ready_within=ready_within)
    except KeyboardInterrupt:
        # Before anything was started.
        terminal.say("Stopped.")


def _run(plan: installation.Installation, wishes: preparing.Wishes, *, ready_within: float | None) -> None:
    plan.folder.make()
    with plan.folder.locked() as lock:
        if lock is None:
            raise _starting(plan.folder)
        down.end_leftovers(plan.folder)
        plan.folder.forget()
        try:
            _supervise(plan, wishes, lock, ready_within=ready_within)
        finally:
            plan.folder.forget()
    terminal.say("Stopped.")


def _supervise(
    plan: installation.Installation, wishes: preparing.Wishes, lock: updata.Lock, *, ready_within: float | None
) -> None:
    me = processes.identify(os.getpid())
    assert me
    # A log file is no terminal: who asks it later has `reverser audit log`.
    follows = ready_within is None
    record, ground = _Record(plan, me, follows=follows), Ground(lock)
    record.note({})
    ground.check()
    terminal.say(f"Starting in {plan.folder.path} ...")
    url, statement_timeout = plan.options.database_url, plan.options.statement_timeout
    # The loop has one thread and must not wait for a lock.
    with contextlib.closing(db.Database(url, statement_timeout=statement_timeout, busy_timeout=_BUSY)) as database:
        follower = following.Follower(database)

        def prepare() -> None:
            preparing.prepare(plan, wishes)
            follower.start()

        supervising.Supervisor(
            ground=plan.ground(),
            services=plan.services(database),
            prepare=prepare,
            say=terminal.say,
            noted=record.note,
            when_ready=record.ready,
            check_ground=ground.check,
            on_beat=follower.show if follows else lambda: None,
            ready_within=ready_within,
        ).run()


class _Record:
    """Keeps `pids.json` and `up.json` up to date."""

    def __init__(self, plan: installation.Installation, me: processes.Identity, *, follows: bool) -> None:
        self._plan = plan
        self._follows = follows
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
        if not self._announced:
            terminal.say(describing.describe(self._plan.folder, up))
            if self._follows:
                terminal.say("\nCommits, as they are pushed (Ctrl-C stops everything):")
        self._announced = True
        # Last: whoever started this one detached reads what it said until this file is there.
        with _full_disk_said():
            self._plan.folder.write_up(up)


@contextlib.contextmanager
def _full_disk_said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        terminal.say(f"Cannot write {error.filename}: {error.strerror}. Going on.")


class Ground:
    """What all of it stands on: the data folder, and room on its disk."""

    def __init__(self, lock: updata.Lock) -> None:
        self._lock = lock
        self._folder = lock.path.parent
        self._full = False

    def check(self) -> None:
        """Raises PermanentError when the folder was deleted; says when the disk gets full, and when it has room."""
        if not self._lock.is_ours():
            raise errors.PermanentError(f"the data folder {self._folder} was deleted: everything is stopped")
        full = _is_full(self._folder)
        if full and not self._full:
            terminal.say(
                f"The disk of {self._folder} is full ({_LITTLE}): make room. Nothing is lost; what cannot be written "
                "now is written then."
            )
        if self._full and not full:
            terminal.say(f"There is room on the disk of {self._folder} again: going on.")
        self._full = full


def refuse_full_disk(folder: updata.DataFolder) -> None:
    """Raises PermanentError where nothing could come up for want of room."""
    existing = updata.existing(folder.path)
    if _is_full(existing):
        raise errors.PermanentError(f"the disk of {existing} is full ({_LITTLE}): make room, then start again")


def _is_full(path: Path) -> bool:
    return shutil.disk_usage(path).free < _LITTLE_ROOM


def _starting(folder: updata.DataFolder) -> errors.PermanentError:
    return errors.PermanentError(
        f"another `reverser up` is starting in {folder.path} just now: look again in a moment, or give another "
        "--data-dir"
    )


def _say_running(folder: updata.DataFolder, *, kubeconfig: str, apply_crds: bool, flower_port: int | None) -> None:
    """What a second `up` says; an error where it asks for something else than what runs."""
    up = folder.read_up()
    if up is None:
        raise _starting(folder)
    _refuse_other_cluster(folder, up, kubeconfig)
    if flower_port and not up.flower_url.endswith(f":{flower_port}"):
        raise errors.PermanentError(
            f"Reverser runs in {folder.path} already, with Flower at {up.flower_url}: to move it, `reverser down` first"
        )
    if apply_crds:
        with contextlib.closing(client.connect(replace(settings.Settings(), kubeconfig=up.kubeconfig))) as cluster:
            preparing.install_kinds(cluster, up.kubeconfig)
    terminal.say(describing.describe(folder, up, already=True))


def _refuse_other_cluster(folder: updata.DataFolder, up: updata.Up, kubeconfig: str) -> None:
    options = settings.Settings.from_environment()
    if not kubeconfig and not options.kubeconfig:
        return
    wanted = clusters.choose(folder, options, named=kubeconfig)
    if wanted.kubeconfig == up.kubeconfig:
        return
    try:
        asked = replace(options, kubeconfig=wanted.kubeconfig)
        with contextlib.closing(client.connect(asked)) as cluster:
            clusters.check_same(folder, asked, cluster)
    except errors.ReverserError as error:
        raise errors.PermanentError(
            f"Reverser runs in {folder.path} already, for {clusters.describe(folder, up.kubeconfig)}, not for that of "
            f"{wanted.kubeconfig}: give the other one a --data-dir of its own"
        ) from error
