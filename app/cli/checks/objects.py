"""Our objects in the cluster that a person has to correct, in the words of their status.

Destinations are left out: `repositories.py` judges each of them. The leading watch daemon writes a status, so one that
is older than the spec says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app import errors, settings
from app.cli.checks import findings
from app.cli.checks.findings import Finding
from app.kube import client, kinds, listing

_KINDS = {"GitRepoConfig": "grc", "WatchRule": "wr", "ClusterWatchRule": "cwr"}
# Where the object is right, and something else has to change.
_ELSEWHERE = {
    "AccessDenied": "ask the owner of the GitRepoConfig",
    "NotReady": "repair its GitDestination: kubectl get gd -A -o wide",
    "Unreadable": "give the account of the watch daemon the rule that the message names",
}


def examine(cluster: client.Cluster, options: settings.Settings) -> Iterator[Finding]:
    """A finding for each object that is stalled, and one where none is."""
    seen, stalled = 0, []
    for kind in _KINDS:
        try:
            for page in listing.list_pages(cluster, kinds.OUR_TYPES[kind], "", page_size=options.page_size):
                seen += len(page.items)
                stalled += [item for item in page.items if _condition(item, "Stalled").get("status") == "True"]
        except errors.ReverserError as error:
            yield findings.Subject("objects", f"{kind}s").skip(findings.words(error))
            return
    if seen and not stalled:
        yield findings.Subject("objects", "GitRepoConfigs and rules").ok(f"none of {seen} needs a person")
    for item in stalled:
        yield _stalled(item)


def _stalled(item: Mapping[str, Any]) -> Finding:
    metadata, kind = item["metadata"], str(item["kind"])
    namespace = metadata.get("namespace", "")
    name = f"{namespace}/{metadata['name']}" if namespace else metadata["name"]
    subject = findings.Subject("objects", f"{kind} {name}")
    stalled = _condition(item, "Stalled")
    message = str(stalled.get("message", ""))
    edit = f"kubectl{f' -n {namespace}' if namespace else ''} edit {_KINDS[kind]} {metadata['name']}"
    do = _ELSEWHERE.get(str(stalled.get("reason", "")), edit)
    if _condition(item, "Ready").get("status") == "True":
        return subject.warn(f"works in part: {message}", do=do)
    return subject.fail(message, do=do)


def _condition(item: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """One condition as the present generation has it; empty before it was judged."""
    generation = item["metadata"].get("generation")
    conditions = (item.get("status") or {}).get("conditions") or ()
    fitting = (one for one in conditions if one.get("type") == type_ and one.get("observedGeneration") == generation)
    return next(fitting, {})
