"""What the account that asks may do in the cluster, and the RBAC rule for each right that is missing.

A watch daemon and a worker need different rights and may have different accounts: run this with the account of the one,
for the one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeAlias

from app import errors, settings
from app.cli.checks import findings
from app.cli.checks.facts import Facts
from app.cli.checks.findings import Finding, Role
from app.kube import client, rights
from app.watch import ours

_Needed: TypeAlias = tuple[list[rights.Access], list[rights.Access], list[rights.Access]]


def examine(
    cluster: client.Cluster, options: settings.Settings, known: Facts | None, *, role: Role
) -> Iterator[Finding]:
    """A finding for each target with a missing right, and one where none is missing."""
    subject = findings.Subject("rights", "rights of this account")
    if known is None:
        yield subject.skip("the database does not say what the rules select")
        return
    watching, reading, noticing = _needed(options, known, role)
    try:
        refused, unread, unnoticed = (rights.missing(cluster, wanted) for wanted in (watching, reading, noticing))
    except errors.ReverserError as error:
        yield subject.fail(findings.words(error), do="repair what the message names, then ask again")
        return
    if not refused and not unread:
        yield subject.ok(_enough(known, watching, reading))
    yield from (_refused(missing, "the watch daemon") for missing in _grouped(refused))
    yield from (_refused(missing, "a worker") for missing in _grouped(unread))
    for missing in _grouped(unnoticed):
        yield findings.Subject("rights", _named(missing)).warn(
            "forbidden: new types are noticed within REVERSER_DISCOVERY_INTERVAL, not at once", do=_grant(missing)
        )


def _needed(options: settings.Settings, known: Facts, role: Role) -> _Needed:
    """What a watch daemon needs, what a worker needs, and what a watch daemon would like to have."""
    watching, reading, noticing = [], [], []
    if role is not Role.WORKER:
        watching = [*rights.of_our_kinds(), *rights.of_streams(known.streams)]
        noticing = rights.of_streams((one.group, one.resource, "") for one in ours.TRIGGERS)
    if role is not Role.WATCH and not options.credentials_dir:
        named = {(one.repo_config.namespace, one.secret_name) for one in known.placed.values() if one.secret_name}
        reading = [rights.Access("", "secrets", namespace, "get", name) for namespace, name in sorted(named)]
    return watching, reading, noticing


def _enough(known: Facts, watching: list[rights.Access], reading: list[rights.Access]) -> str:
    types = len(known.streams)
    parts = ["our kinds", f"{types} {'type' if types == 1 else 'types'} of the rules"] if watching else []
    if reading or not watching:
        parts.append(f"{len(reading)} {'Secret' if len(reading) == 1 else 'Secrets'}")
    return f"enough for {', '.join(parts)}"


def _refused(missing: list[rights.Access], who: str) -> Finding:
    return findings.Subject("rights", _named(missing)).fail(
        f"forbidden for this account; {who} needs it", do=_grant(missing)
    )


def _grouped(missing: list[rights.Access]) -> list[list[rights.Access]]:
    return [list(group) for _, group in itertools.groupby(missing, key=lambda one: one.target)]


def _named(missing: list[rights.Access]) -> str:
    """`list and watch configmaps in namespace shop`."""
    verb, _, rest = str(missing[0]).partition(" ")
    return f"{' and '.join([verb, *(one.verb for one in missing[1:])])} {rest}"


def _grant(missing: list[rights.Access]) -> str:
    namespace = missing[0].namespace
    where = f"Role of namespace {namespace} (or a ClusterRole)" if namespace else "ClusterRole"
    return f"add to a {where} that the account is bound to: {rights.rule_for(missing)}"
