"""The demo of `reverser up`: a few objects in the sandbox, and two destinations on the local repository.

The manifests stand in `deploy/demo`. They are applied once for each data folder, before anything follows the cluster:
what somebody changed or deleted since stays so. A start that was killed half-way is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from app import errors, events
from app.cli import updata
from app.git import urls
from app.kube import client, kinds, manifests, paths, problems

# `deploy` stands beside `app`, in a checkout and in a wheel alike.
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "demo"
# What says where the demo's repository is.
_CONFIG = events.Ref("shop", "local")
_MADE, _LEFT_OUT, _REMOVED = "made", "left out", "removed"


def make(folder: updata.DataFolder, cluster: client.Cluster) -> None:
    """Apply the demo, unless this folder had it, or its first start left it out. Raises what the requests raise."""
    if folder.demo.exists():
        return
    sender = manifests.Sender(cluster)
    for manifest in manifests.in_order(_read(folder.repository.as_uri())):
        sender.apply(manifest)
    # Last: without this file, the next start applies all of it again, which changes nothing that is there.
    _note(folder, _MADE)


def follow_move(folder: updata.DataFolder, cluster: client.Cluster) -> str:
    """Lead the demo of a folder that was moved to the repository that moved with it; what was done, in one sentence.

    A repository that stands where the demo names it is left alone: a copied folder goes on with that of the first one,
    and is told so. Raises what the requests raise.
    """
    if not is_made(folder):
        return ""
    path = paths.single(kinds.OUR_TYPES["GitRepoConfig"], _CONFIG)
    try:
        config = cluster.get_json(path)
    except problems.NotServed:
        # Its user deleted it, and is not told of it any more.
        _note(folder, _REMOVED)
        return ""
    named, here = str((config.get("spec") or {}).get("repoUrl")), folder.repository.as_uri()
    former = urls.local_path(named) if named.startswith("file:") else None
    if named == here or former is None or former.name != folder.repository.name:
        return ""
    if former.exists():
        return (
            f"GitRepoConfig {_CONFIG} of this sandbox names {named}, the repository of another folder. To write into "
            f"that of this one, set its spec.repoUrl to {here}"
        )
    patch = orjson.dumps({"spec": {"repoUrl": here}})
    cluster.request("PATCH", path, body=patch, content_type=client.MERGE_PATCH)
    return f"This folder was moved: GitRepoConfig {_CONFIG} named {named}, and names {here} now."


def leave_out(folder: updata.DataFolder) -> None:
    """Note that the sandbox of this folder is its user's own."""
    if not folder.demo.exists():
        _note(folder, _LEFT_OUT)


def is_made(folder: updata.DataFolder) -> bool:
    """Whether the demo was made here."""
    return folder.demo.exists() and folder.demo.read_text().strip() == _MADE


def _note(folder: updata.DataFolder, text: str) -> None:
    # Written beside and moved: a file that is there is whole.
    fresh = folder.demo.with_suffix(".new")
    fresh.write_text(f"{text}\n")
    fresh.replace(folder.demo)


def _read(repository_url: str) -> list[manifests.Manifest]:
    files = sorted(FOLDER.glob("*.yaml"))
    if not files:
        raise errors.PermanentError(f"this installation is damaged: the demo is not in {FOLDER}; install it again")
    found = [one for file in files for one in manifests.read(file.read_text(encoding="utf-8"), source=file.name)]
    return [manifests.Manifest(one.source, _placed(one.content, repository_url)) for one in found]


def _placed(content: Mapping[str, Any], repository_url: str) -> Mapping[str, Any]:
    if content["kind"] != "GitRepoConfig":
        return content
    return {**content, "spec": {**content["spec"], "repoUrl": repository_url}}
