"""The processes, as their rows in SQL say: a watch daemon that leads, workers that live, destinations without one."""

from __future__ import annotations

from collections.abc import Iterator

from app import settings
from app.cli import dropping
from app.cli.checks import findings
from app.cli.checks.facts import Facts
from app.cli.checks.findings import Finding
from app.worker import assignment

_LISTED = 5


def examine(options: settings.Settings, known: Facts) -> Iterator[Finding]:
    """Look at the rows."""
    yield _watch(options, known)
    yield from _drops(options, known)
    yield _workers(known)
    yield from _unserved(known)


def _watch(options: settings.Settings, known: Facts) -> Finding:
    subject = findings.Subject("watch", f"watch daemon of cluster {options.cluster}")
    if known.leader:
        return subject.ok(f"{known.leader} leads")
    return subject.fail(
        "nobody leads: changes in the cluster are not noticed",
        do="start `reverser watch` (or `reverser up`), and read its log if it runs already",
    )


def _drops(options: settings.Settings, known: Facts) -> Iterator[Finding]:
    for said in dropping.tell(known.drops):
        yield findings.Subject("watch", f"watch daemon of cluster {options.cluster}").warn(said.found, do=said.do)


def _workers(known: Facts) -> Finding:
    subject = findings.Subject("workers", "workers")
    if not known.workers:
        return subject.fail(
            "none lives: changes are recorded and not pushed",
            do="start `reverser worker` (or `reverser up`), and read its log if it runs already",
        )
    return subject.ok(f"{len(known.workers)} alive: {_listed([one.name for one in known.workers])}")


def _unserved(known: Facts) -> Iterator[Finding]:
    if not known.workers:
        return
    alone = [str(one) for one in known.queues if assignment.server_of(one, known.workers) is None]
    if alone:
        yield findings.Subject("workers", "destinations without a worker").fail(
            f"{_listed(alone)}: the --destinations of no worker names them",
            do=f"start `reverser worker` without --destinations, or one with --destinations '{alone[0]}'",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
