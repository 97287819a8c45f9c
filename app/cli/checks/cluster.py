"""The cluster: reachable, the one that was recorded, with our four kinds and the rights that our rules need.

The rights are those of the account that asks: run this where a process runs to see that process's. Neighbours:
`objects.py` reads the status of our objects, `repositories.py` the Secrets of this cluster.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

from app import errors, settings
from app.cli.checks import findings, objects
from app.cli.checks.facts import Facts
from app.cli.checks.findings import Finding
from app.kube import client, discovery, kinds, rights
from app.watch import ours

_CHECK = "cluster"
_UNREACHABLE = "the cluster cannot be asked"


def examine(options: settings.Settings, known: Facts | None) -> tuple[bool, list[Finding]]:
    """Whether the cluster answers us, and the findings."""
    if options.credentials_dir and not options.kubeconfig:
        return False, [findings.Subject(_CHECK, "cluster").skip("a worker with REVERSER_CREDENTIALS_DIR needs none")]
    try:
        opened = client.connect(options)
    except errors.ReverserError as error:
        subject = findings.Subject(_CHECK, "cluster")
        return False, [
            subject.fail(findings.words(error), do="export KUBECONFIG=FILE, and try it: kubectl get nodes"),
            *_unknown(),
        ]
    with contextlib.closing(opened) as cluster:
        return _ask(cluster, options, known)


def _ask(cluster: client.Cluster, options: settings.Settings, known: Facts | None) -> tuple[bool, list[Finding]]:
    subject = findings.Subject(_CHECK, f"cluster {options.cluster} at {cluster.server}")
    try:
        uid, version, account = cluster.uid(), rights.version(cluster), rights.account(cluster)
    except errors.TemporaryError as error:
        do = "start it, or correct the server in the kubeconfig"
        return False, [subject.fail(findings.words(error), do=do), *_unknown()]
    except errors.ReverserError as error:
        return False, [subject.fail(findings.words(error), do="correct the account or its kubeconfig"), *_unknown()]
    if known and known.cluster_uid not in {"", uid}:
        return False, [_wrong(subject, uid, known.cluster_uid), *_unknown("it is another cluster")]
    said = f"Kubernetes {version} answers{f', to us as {account}' if account else ''}"
    same = ", and it is the recorded one" if known and known.cluster_uid else ""
    found = [subject.ok(said + same), *_kinds(cluster)]
    if not any(one.level is findings.Level.FAIL for one in found):
        found += objects.examine(cluster, options)
    return True, [*found, *_rights(cluster, options, known)]


def _wrong(subject: findings.Subject, uid: str, recorded: str) -> Finding:
    return subject.fail(
        f"it is another cluster than the recorded one (kube-system has the uid {uid}, recorded is {recorded}): "
        "nothing is watched",
        do="correct the kubeconfig, or set REVERSER_CLUSTER to a new name",
    )


def _unknown(why: str = _UNREACHABLE) -> list[Finding]:
    return [findings.Subject("kinds", "our four kinds").skip(why), findings.Subject("rights", "rights").skip(why)]


def _kinds(cluster: client.Cluster) -> Iterator[Finding]:
    subject = findings.Subject("kinds", "our four kinds")
    try:
        found = discovery.discover(cluster)
    except errors.ReverserError as error:
        yield subject.fail(findings.words(error), do="repair what the message names, then ask again")
        return
    absent = sorted(kinds.OUR_TYPES.keys() - found.ours_served)
    if absent:
        yield subject.fail(f"{', '.join(absent)} not served", do="reverser crds | kubectl apply -f -")
    else:
        yield subject.ok("served")
    for group in sorted(found.failed_groups):
        yield findings.Subject("kinds", f"API group {group}").warn(
            "it is registered and does not answer: its types are not watched until it does",
            do=f"kubectl get apiservices | grep {group}",
        )


def _rights(cluster: client.Cluster, options: settings.Settings, known: Facts | None) -> Iterator[Finding]:
    subject = findings.Subject("rights", "rights of this account")
    if known is None:
        yield subject.skip("the database does not say what the rules select")
        return
    watching = [*rights.of_our_kinds(), *rights.of_streams(known.scopes)]
    reading = [] if options.credentials_dir else _secrets(known)
    noticing = rights.of_streams((one.group, one.resource, "") for one in ours.TRIGGERS)
    try:
        refused, unread, unnoticed = (rights.missing(cluster, wanted) for wanted in (watching, reading, noticing))
    except errors.ReverserError as error:
        yield subject.fail(findings.words(error), do="repair what the message names, then ask again")
        return
    if not refused and not unread:
        yield subject.ok(_enough(known, reading))
    yield from (_refused(missing, "the watch daemon") for missing in _grouped(refused))
    yield from (_refused(missing, "a worker") for missing in _grouped(unread))
    for missing in _grouped(unnoticed):
        yield findings.Subject("rights", _named(missing)).warn(
            "forbidden: new types are noticed within REVERSER_DISCOVERY_INTERVAL, not at once", do=_grant(missing)
        )


def _secrets(known: Facts) -> list[rights.Access]:
    """What a worker needs for the Secrets that GitRepoConfigs name."""
    return [
        rights.Access("", "secrets", one.repo_config.namespace, "get", one.secret_name)
        for one in known.placed.values()
        if one.secret_name
    ]


def _enough(known: Facts, reading: list[rights.Access]) -> str:
    types = len({(group, resource) for group, resource, _ in known.scopes})
    parts = ["our kinds", f"{types} {'type' if types == 1 else 'types'} of the rules"]
    if reading:
        parts.append(f"{len(set(reading))} {'Secret' if len(set(reading)) == 1 else 'Secrets'}")
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
