"""What travels: the manifests of `manifests/`, which of them a server serves, and which types have a reason not to.

The types themselves are not listed anywhere: a server says what it serves, so a type that a newer one brings along
fails the round trip until it has a manifest, or a reason here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.contract.client import Client
from tests.contract.manifests import Type

MANIFESTS = Path(__file__).parent / "manifests"
# What the other manifests lean on; not taken away during a run.
GIVEN = "given.yaml"
Object = dict[str, Any]


class Kind(NamedTuple):
    """What a manifest says about its type."""

    api_version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.api_version} {self.kind}"


@dataclass(frozen=True, slots=True)
class Served:
    """A type as discovery tells of it."""

    type_: Type
    verbs: frozenset[str]


_NO_OBJECT = "a question to the server: it is answered, and nothing is stored that could be listed"
# The types that do not travel.
REASONS: Mapping[Kind, str] = {
    Kind("v1", "Secret"): "mirrored only encrypted; a rule that names Secrets gets EncryptionRequired for this type",
    Kind("v1", "Binding"): "an order to the server: it is carried out, and nothing is stored that could be listed",
    Kind("v1", "ComponentStatus"): "made by the server on demand: it cannot be created, nor watched",
    Kind("authentication.k8s.io/v1", "SelfSubjectReview"): _NO_OBJECT,
    Kind("authentication.k8s.io/v1", "TokenReview"): _NO_OBJECT,
    Kind("authorization.k8s.io/v1", "LocalSubjectAccessReview"): _NO_OBJECT,
    Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview"): _NO_OBJECT,
    Kind("authorization.k8s.io/v1", "SelfSubjectRulesReview"): _NO_OBJECT,
    Kind("authorization.k8s.io/v1", "SubjectAccessReview"): _NO_OBJECT,
}
# What a person may write and no file says: kind and field -> the reason.
_SERVERS_OWN = "a default for the kind, which the server fills in: left out where it says no more than that"
NEVER_SAID: Mapping[tuple[Kind, str], str] = {
    (Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "spec.names.listKind"): _SERVERS_OWN,
    (Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "spec.names.singular"): _SERVERS_OWN,
    (Kind("v1", "Namespace"), "metadata.labels.kubernetes.io/metadata.name"): "the server gives it to each Namespace",
}
# What a type needs for being mirrored, and for having been created.
NEEDED = frozenset({"list", "watch", "create", "delete", "get"})


def given() -> list[Object]:
    """What has to be there before anything else."""
    return _documents(MANIFESTS / GIVEN)


def by_kind() -> dict[Kind, list[Object]]:
    """The manifests that travel."""
    found: dict[Kind, list[Object]] = defaultdict(list)
    for file in sorted(MANIFESTS.glob("*.yaml")):
        for manifest in _documents(file) if file.name != GIVEN else ():
            found[kind_of(manifest)].append(manifest)
    return dict(sorted(found.items()))


def is_custom(kind: Kind) -> bool:
    """Whether a type is one of the manifests' own."""
    return kind.api_version.partition("/")[0].endswith(".example.com")


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of an object."""
    return Kind(obj["apiVersion"], obj["kind"])


def named(kind: Kind, name: str) -> Object:
    """The manifest of this name."""
    return next(one for one in by_kind()[kind] if one["metadata"]["name"] == name)


def served(client: Client) -> dict[Kind, Served]:
    """Every type that a server serves, in the version it prefers; no subresources."""
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in client.get("/apis")["groups"])]
    found = {}
    for version in versions:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for one in client.get(root)["resources"]:
            if "/" not in one["name"]:
                type_ = Type(version, one["name"], one["kind"], namespaced=one["namespaced"])
                found[Kind(version, one["kind"])] = Served(type_, frozenset(one["verbs"]))
    return found


def _documents(file: Path) -> list[Object]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one]
