"""The cluster: reachable, the one that was recorded, and serving our four kinds.

Neighbours: `access.py` asks what the account may do, `objects.py` reads the status of our objects,
`repositories.py` the Secrets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app import errors, settings
from app.cli.checks import access, findings, objects
from app.cli.checks.facts import Facts
from app.cli.checks.findings import Finding, Role
from app.kube import client, discovery, kinds, rights

_CHECK = "cluster"
_UNREACHABLE = "the cluster cannot be asked"


def examine(options: settings.Settings, known: Facts | None, role: Role) -> tuple[bool, list[Finding]]:
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
        return _ask(cluster, options, known, role=role)


def _ask(
    cluster: client.Cluster, options: settings.Settings, known: Facts | None, *, role: Role
) -> tuple[bool, list[Finding]]:
    subject = findings.Subject(_CHECK, f"cluster {options.cluster} at {cluster.server}")
    try:
        version, account = rights.version(cluster), rights.account(cluster)
        # A worker reads Secrets and nothing else of the cluster.
        uid = "" if role is Role.WORKER else cluster.uid()
    except errors.TemporaryError as error:
        do = "start it, or correct the server in the kubeconfig"
        return False, [subject.fail(findings.words(error), do=do), *_unknown()]
    except errors.ReverserError as error:
        return False, [subject.fail(findings.words(error), do="correct the account or its kubeconfig"), *_unknown()]
    recorded = known.cluster_uid if known and uid else ""
    if recorded not in {"", uid}:
        return False, [_wrong(subject, uid, recorded), *_unknown("it is another cluster")]
    said = f"Kubernetes {version} answers{f', to us as {account}' if account else ''}"
    found = [subject.ok(f"{said}, and it is the recorded one" if recorded else said)]
    if role is not Role.WORKER:
        found += _ours(cluster, options)
    return True, [*found, *access.examine(cluster, options, known, role=role)]


def _wrong(subject: findings.Subject, uid: str, recorded: str) -> Finding:
    return subject.fail(
        f"it is another cluster than the recorded one (kube-system has the uid {uid}, recorded is {recorded}): "
        "nothing is watched",
        do="correct the kubeconfig, or set REVERSER_CLUSTER to a new name",
    )


def _unknown(why: str = _UNREACHABLE) -> list[Finding]:
    return [findings.Subject("kinds", "our four kinds").skip(why), findings.Subject("rights", "rights").skip(why)]


def _ours(cluster: client.Cluster, options: settings.Settings) -> list[Finding]:
    found = [*_kinds(cluster)]
    served = not any(one.level is findings.Level.FAIL for one in found)
    return [*found, *objects.examine(cluster, options)] if served else found


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
