"""From an object to its file, as a drain would commit it: for `reverser render`.

The same three steps that the product takes: `app/rules` sanitises, names the path and writes the YAML. Neighbours:
`render.py` is the command, `offline.py` knows types without a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app import errors, events
from app.cli import tables
from app.kube import client, manifests, paths, problems
from app.rules import ignoring, matching, sanitising, types
from app.rules import paths as files
from app.rules import rendering as yaml


@dataclass(frozen=True, slots=True)
class Subject:
    """One object that is looked at. `source` says where it was read: `shop.yaml, line 12`, or the cluster."""

    source: str
    type: types.ResourceType
    content: Mapping[str, Any]

    @property
    def identifier(self) -> events.Identifier:
        """The object as Events name it; the version is the one in which it was read."""
        metadata = self.content["metadata"]
        return events.Identifier(
            group=self.type.group,
            version=self.type.version,
            resource=self.type.resource,
            namespace=str(metadata.get("namespace") or ""),
            name=str(metadata["name"]),
            kind=self.type.kind,
            uid=str(metadata.get("uid") or ""),
        )

    def __str__(self) -> str:
        """`deployments.apps/web in namespace shop`."""
        return named(self.type, self.identifier.namespace, self.identifier.name)


def named(type_: types.ResourceType, namespace: str, name: str) -> str:
    """An object for people: `deployments.apps/web in namespace shop`."""
    return f"{type_}/{name}{f' in namespace {namespace}' if namespace else ''}"


def from_manifest(manifest: manifests.Manifest, type_: types.ResourceType, *, namespace: str) -> Subject:
    """The object that a manifest makes. `namespace` is what `-n` says, for one that names none.

    Raises PermanentError for a manifest that names another namespace than `-n`, as `apply` does.
    """
    if manifest.api_version.count("/") > 1:
        raise errors.PermanentError(f"{manifest.api_version!r} is no apiVersion: write VERSION or GROUP/VERSION")
    if namespace and type_.namespaced and manifest.namespace not in {"", namespace}:
        raise errors.PermanentError(f"it names namespace {manifest.namespace}, and -n says {namespace}")
    metadata = {key: value for key, value in manifest.content["metadata"].items() if key != "namespace"}
    if type_.namespaced:
        # The API server leaves a namespace out where the type has none.
        metadata["namespace"] = manifest.namespace or namespace or manifests.DEFAULT_NAMESPACE
    return Subject(manifest.source, type_, {**manifest.content, "metadata": metadata})


def from_cluster(cluster: client.Cluster, type_: types.ResourceType, ref: events.Ref) -> Subject:
    """A live object. Raises EncryptionRequired for a Secret, which is never read, and as the cluster answers."""
    if type_.key == matching.SECRETS:
        raise refused_secret()
    try:
        found = cluster.get_json(paths.single(type_, ref))
    except problems.NotServed as error:
        raise problems.NotServed(f"{named(type_, ref.namespace, ref.name)} does not exist in the cluster") from error
    return Subject("the cluster", type_, {"apiVersion": type_.api_version, "kind": type_.kind, **found})


def refused_secret() -> errors.PermanentError:
    """What the sanitiser says of every Secret."""
    try:
        sanitising.sanitise({"apiVersion": "v1", "kind": "Secret", "metadata": {}})
    except errors.PermanentError as error:
        return error
    raise AssertionError("a Secret was sanitised")


def document(subject: Subject, *, folder: str, ignored: ignoring.Ignored, why: bool) -> Iterator[str]:
    """The lines of one document: its path and, with `why`, what was removed, as comments; then the YAML.

    Raises PermanentError for an object that cannot be mirrored. Without a destination the path begins below its folder.
    """
    clean = sanitising.sanitise(subject.content, ignored)
    path = files.object_path(folder, subject.identifier).removeprefix("/")
    # By way of the ledger, which keeps JSON: what that cannot hold is refused here as well.
    text = yaml.render(orjson.loads(sanitising.body(clean))).decode()
    yield f"# {path}"
    for removal in sanitising.removals(subject.content, ignored) if why else ():
        yield tables.printable(f"# removed {removal.pointer}: {removal.reason}")
    yield text.removesuffix("\n")
