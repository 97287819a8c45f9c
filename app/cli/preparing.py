"""What `reverser up` does between its ground, a broker and perhaps the sandbox, and the processes that need both.

The database and the repository are brought into being, and the cluster gets what it lacks. A request to stop interrupts
all of it (`supervising.py`), so that each step can be taken again by the next start.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

from app import db, errors
from app.cli import clusters, demo, embedded, installation, terminal
from app.kube import client, crds, discovery, kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person asked for."""

    apply_crds: bool
    demo: bool


def prepare(plan: installation.Installation, wishes: Wishes) -> None:
    """Prepare everything. Raises ReverserError that says what is in the way."""
    migrate(plan.options.database_url)
    embedded.make_repository(plan.folder.repository)
    theirs = not plan.cluster.is_sandbox
    with contextlib.closing(client.connect(plan.options)) as cluster:
        try:
            clusters.check_same(plan.folder, plan.options, cluster)
            # Not before it answered: a cluster that nobody ever saw must not be what the folder goes on with.
            cluster.get_json("/version")
            plan.folder.note_cluster(plan.options.kubeconfig)
            if theirs and wishes.apply_crds:
                install_kinds(cluster, plan.options.kubeconfig)
            elif theirs:
                _say_missing_kinds(cluster, plan.options.kubeconfig)
        except errors.TemporaryError as error:
            if theirs and wishes.apply_crds:
                raise _away(cluster, plan.options.kubeconfig, error) from error
            # The watch daemon waits for it.
            terminal.say(f"The cluster at {cluster.server} cannot be asked yet: {_cause(error)}. It is waited for.")
        if not theirs:
            _fill_sandbox(cluster, plan, wishes)


def _fill_sandbox(cluster: client.Cluster, plan: installation.Installation, wishes: Wishes) -> None:
    crds.apply(cluster, allow_local=True)
    if wishes.demo:
        demo.make(plan.folder, cluster)
    else:
        demo.leave_out(plan.folder)
    if said := demo.follow_move(plan.folder, cluster):
        terminal.say(said)


def migrate(url: str) -> None:
    """Bring the database to this version, and say so where an older one wrote it. Raises PermanentError."""
    with contextlib.closing(db.Database(url)) as database:
        before = database.revision()
    db.upgrade(url)
    if before not in {None, db.head_revision()}:
        terminal.say(f"The database of an older version was migrated, from revision {before} to {db.head_revision()}.")


def install_kinds(cluster: client.Cluster, kubeconfig: str) -> None:
    """Apply our four kinds, with local repositories admitted. Raises PermanentError for a cluster that is away."""
    try:
        crds.apply(cluster, allow_local=True)
    except errors.TemporaryError as error:
        raise _away(cluster, kubeconfig, error) from error
    terminal.say("The kinds of Reverser are applied.")


def _away(cluster: client.Cluster, kubeconfig: str, error: errors.ReverserError) -> errors.PermanentError:
    return errors.PermanentError(
        f"the cluster at {cluster.server} cannot be asked: {_cause(error)}. Start it, or correct the server in "
        f"{kubeconfig}, and run this again"
    )


def _say_missing_kinds(cluster: client.Cluster, kubeconfig: str) -> None:
    missing = kinds.OUR_TYPES.keys() - discovery.discover(cluster).ours_served
    if missing:
        terminal.say(
            f"The cluster does not serve {', '.join(sorted(missing))}. Type this, or start again with --apply-crds:\n"
            f"  reverser crds --allow-local | reverser apply --kubeconfig {shlex.quote(kubeconfig)} -f -\n"
            "They are waited for. (--allow-local admits the repository of this folder, file://...)"
        )


def _cause(error: errors.ReverserError) -> str:
    """What happened, without the request and without what our processes would do next."""
    return error.message.partition(";")[0].rpartition(": ")[2]
