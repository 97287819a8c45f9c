"""Which types the cluster serves, and which API groups could not say.

Aggregated discovery (KEP-3352) answers in two requests; older servers are walked group by group. A group whose server
is down is named in `failed_groups`, so that its types are kept as they were and never taken for removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app import errors
from app.kube import client, problems
from app.kube import kinds as our_kinds
from app.rules import types

_AGGREGATED = ",".join(
    [f"application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in ("v2", "v2beta1")]
    + [client.JSON]
)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Every served version of every resource, without subresources; `preferred` marks one version of each."""

    types: tuple[types.ResourceType, ...]
    # Groups that are registered and do not answer; none of their types stands in `types`.
    failed_groups: frozenset[str]
    # Those of our four kinds that the cluster serves.
    ours_served: frozenset[str]
    # What people call a type beside its plural, by group and plural: `deployment` and `deploy`.
    names: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Group:
    """One API group: its versions, the most preferred first, each with its resources as JSON."""

    name: str
    versions: Mapping[str, list[dict[str, Any]]]
    failed: bool


def discover(cluster: client.Cluster) -> Discovery:
    """Ask the cluster what it serves. Raises StalledError, TemporaryError; one failed group raises nothing."""
    groups = [group for path in ("/api", "/apis") for group in _read(cluster, path)]
    found = [one for group in groups if not group.failed for one in _types(group)]
    ours = {(one.group, one.version, one.resource): kind for kind, one in our_kinds.OUR_TYPES.items()}
    return Discovery(
        types=tuple(found),
        failed_groups=frozenset(group.name for group in groups if group.failed),
        ours_served=frozenset(
            ours[key] for key in ((one.group, one.version, one.resource) for one in found) if key in ours
        ),
        names={key: names for group in groups for key, names in _names(group)},
    )


def _read(cluster: client.Cluster, path: str) -> list[_Group]:
    document = cluster.get_json(path, accept=_AGGREGATED)
    try:
        match document.get("kind"):
            case "APIGroupDiscoveryList":
                return [_aggregated(item) for item in document["items"]]
            case "APIVersions":
                return [_walk(cluster, "", {version: f"/api/{version}" for version in document["versions"]})]
            case "APIGroupList":
                return [_walk(cluster, item["name"], _versions(item)) for item in document["groups"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise problems.incomplete(f"get {path}", f"the discovery document is damaged ({error!r:.80})") from error
    raise problems.incomplete(f"get {path}", "the answer is no discovery document")


def _aggregated(item: dict[str, Any]) -> _Group:
    """One group of an aggregated document. A stale version was not heard from: its group has failed."""
    versions = item["versions"]
    return _Group(
        name=item["metadata"].get("name", ""),
        versions={
            version["version"]: [
                {
                    "name": resource["resource"],
                    "kind": (resource.get("responseKind") or {}).get("kind", ""),
                    "namespaced": resource.get("scope") == "Namespaced",
                    "verbs": resource.get("verbs") or (),
                    "singularName": resource.get("singularResource", ""),
                    "shortNames": resource.get("shortNames") or (),
                }
                for resource in version.get("resources") or ()
            ]
            for version in versions
        },
        failed=any(version.get("freshness", "Current") != "Current" for version in versions),
    )


def _versions(item: dict[str, Any]) -> dict[str, str]:
    """The paths of a group's versions, the preferred one first."""
    names = [version["version"] for version in item["versions"]]
    preferred = (item.get("preferredVersion") or {}).get("version")
    names.sort(key=lambda name: name != preferred)
    return {name: f"/apis/{item['name']}/{name}" for name in names}


def _walk(cluster: client.Cluster, group: str, paths: Mapping[str, str]) -> _Group:
    """Read a group version by version, as servers before 1.26 need it; one without an answer fails the group."""
    versions = {}
    try:
        for version, path in paths.items():
            versions[version] = cluster.get_json(path)["resources"] or []
    except (problems.NotServed, errors.TemporaryError):
        return _Group(name=group, versions={}, failed=True)
    return _Group(name=group, versions=versions, failed=False)


def _types(group: _Group) -> Iterator[types.ResourceType]:
    """The resource types of a group. Of each resource, the first version that has it is the preferred one."""
    seen = set()
    for version, resources in group.versions.items():
        for resource in resources:
            name = resource["name"]
            if "/" in name or not resource["kind"]:
                continue
            yield types.ResourceType(
                group=group.name,
                version=version,
                resource=name,
                kind=resource["kind"],
                namespaced=bool(resource["namespaced"]),
                verbs=frozenset(resource["verbs"]),
                preferred=name not in seen,
            )
            seen.add(name)


def _names(group: _Group) -> Iterator[tuple[tuple[str, str], frozenset[str]]]:
    """The singular and the short names of each resource of a group."""
    for resources in group.versions.values():
        for resource in resources:
            names = {resource.get("singularName", ""), *(resource.get("shortNames") or ())} - {""}
            yield (group.name, resource["name"]), frozenset(names)
