"""The documents that clients read before they do anything: discovery, OpenAPI, tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.sandbox import columns, discovering, kinds, openapi, printing, problems
from tests.unit.sandbox import samples

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)


def test_groups_stand_in_the_order_of_a_real_server() -> None:
    """kubectl takes the first group that has a name, so the order is part of the answer."""
    names = [one["name"] for one in discovering.groups(samples.registry())["groups"]]
    assert names == [
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "apiextensions.k8s.io",
        "coordination.k8s.io",
        "configbutler.ai",
        "example.com",
    ]


def test_both_ways_of_discovery_say_the_same() -> None:
    """A client that walks groups finds what the aggregated document holds: names, kinds, verbs, subresources."""
    registry = samples.registry()
    walked = {
        (kind.group, kind.version, entry["name"]): (entry["kind"], tuple(entry["verbs"]))
        for kind in registry.kinds
        for entry in discovering.resources(registry, kind.group, kind.version)["resources"]
    }
    assert dict(aggregated(registry)) == walked


def aggregated(registry: kinds.Registry) -> Iterator[tuple[tuple[str, str, str], tuple[str, tuple[str, ...]]]]:
    """Every resource and subresource of the aggregated documents."""
    for core in (True, False):
        for group in discovering.aggregated(registry, core=core, version="v2")["items"]:
            for version, entry in itertools.chain.from_iterable(
                ((version["version"], entry) for entry in version["resources"]) for version in group["versions"]
            ):
                place = group["metadata"].get("name", ""), version
                yield (*place, entry["resource"]), (entry["responseKind"]["kind"], tuple(entry["verbs"]))
                for below in entry.get("subresources", ()):
                    name = f"{entry['resource']}/{below['subresource']}"
                    yield (*place, name), (below["responseKind"]["kind"], tuple(below["verbs"]))


def test_what_is_not_served_is_not_found() -> None:
    """A group, a version or a type that nobody defined is a 404."""
    registry = samples.registry()
    for ask in (
        lambda: discovering.group(registry, "no.example.com"),
        lambda: discovering.resources(registry, "apps", "v9"),
        lambda: openapi.document(registry, "apps", "v9"),
        lambda: registry.find("", "v1", "pods"),
    ):
        with pytest.raises(problems.Refused) as refused:
            ask()
        assert refused.value.code == 404


def test_versions_are_preferred_as_kubernetes_prefers_them() -> None:
    """Stable before beta before alpha, higher numbers first, other names last."""
    wanted = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(set(wanted), key=kinds.version_rank) == wanted


def test_only_established_definitions_are_served() -> None:
    """A definition whose names were not accepted adds no type, and a version that is not served is left out."""
    definition = samples.definition()
    assert kinds.Registry.of([definition]).kinds == kinds.BUILT_IN
    definition["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    assert [one.resource for one in kinds.Registry.of([definition]).kinds[len(kinds.BUILT_IN) :]] == ["foos"]
    definition["spec"]["versions"][0]["served"] = False
    assert kinds.Registry.of([definition]).kinds == kinds.BUILT_IN


def references(value: Any) -> Iterator[str]:
    """Every reference of a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/components/schemas/")
        for below in value.values():
            yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)


def test_every_document_of_openapi_is_complete() -> None:
    """Each path of the index has a document; each type has a schema and a patch that takes fieldValidation."""
    registry = samples.registry()
    for path in openapi.index(registry)["paths"]:
        group, _, version = path.removeprefix("apis/").removeprefix("api/").rpartition("/")
        document = openapi.document(registry, group, version)
        schemas = document["components"]["schemas"]
        assert set(references(document)) <= set(schemas)
        described = {
            one["kind"] for schema in schemas.values() for one in schema.get("x-kubernetes-group-version-kind", ())
        }
        members = [kind for kind in registry.kinds if (kind.group, kind.version) == (group, version)]
        assert described == {kind.kind for kind in members}
        patches = [one["patch"] for one in document["paths"].values() if "patch" in one]
        assert len(patches) == sum("patch" in kind.verbs for kind in members)
        assert all("fieldValidation" in {one["name"] for one in patch["parameters"]} for patch in patches)


def test_the_index_changes_with_a_definition() -> None:
    """Clients keep documents by their hash: a changed schema has another one."""
    definition = samples.definition()
    definition["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    before = openapi.index(kinds.Registry.of([definition]))
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "changed"
    after = openapi.index(kinds.Registry.of([definition]))
    changed = {path for path, entry in after["paths"].items() if before["paths"][path] != entry}
    assert changed == {"apis/example.com/v1"}


def table(resource: str, *objects: dict[str, Any], include_object: str = "") -> dict[str, Any]:
    """A table of objects at a fixed time."""
    return printing.table(
        samples.registry(),
        samples.kind(resource),
        objects,
        include_object=include_object,
        list_metadata={"resourceVersion": "7"},
        now=NOW,
    )


def test_custom_columns_are_those_of_the_definition() -> None:
    """Each column has its type; what an object lacks is null, and a date is an age."""
    found = samples.written(
        "foos",
        spec={"count": 3, "keyed": [{"type": "first", "value": "v"}], "time": "2026-11-23T15:58:30Z"},
        metadata={"annotations": {"example.com/x": "y"}},
    )
    shown = table("foos", found, samples.written("foos"))
    assert [one["name"] for one in shown["columnDefinitions"]] == ["Name", "Count", "First", "Dotted", "When"]
    assert [one["cells"] for one in shown["rows"]] == [["x", 3, "v", "y", "90s"], ["x", None, None, None, None]]


def test_built_in_columns_are_those_of_a_real_server() -> None:
    """`kubectl get deployments -o wide` shows what it shows elsewhere."""
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}
    spec["template"]["spec"] = {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}
    found = samples.admit("deployments", samples.written("deployments", spec=spec))
    found["metadata"]["creationTimestamp"] = "2026-11-21T15:00:00Z"
    shown = table("deployments", found)
    assert [one["name"] for one in shown["columnDefinitions"]] == [
        "Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector",
    ]  # fmt: skip
    assert shown["rows"][0]["cells"] == ["x", "0/1", 0, 0, "2d1h", "c,d", "i,j", "a=b"]


def test_every_type_has_a_table() -> None:
    """The columns of each built-in type can be made of an object with nothing but a name."""
    for kind in kinds.BUILT_IN:
        bare = {"metadata": {"name": "x"}, "roleRef": {}, "spec": {"scaleTargetRef": {}}}
        shown = table(kind.resource, bare)
        assert len(shown["rows"][0]["cells"]) == len(shown["columnDefinitions"])


@pytest.mark.parametrize(
    ("include", "shown"),
    [
        (
            "",
            {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"name": "x", "namespace": "team"},
            },
        ),
        ("Object", samples.written("foos")),
        ("None", None),
    ],
)
def test_a_row_holds_what_was_asked_for(include: str, shown: Any) -> None:
    """A watch with tables needs metadata, `-o yaml` the object, and some clients nothing."""
    found = table("foos", samples.written("foos"), include_object=include)
    assert found["rows"][0]["object"] == shown
    assert found["metadata"] == {"resourceVersion": "7"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (48 * 3600, "2d"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (731 * 86400, "2y1d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_read_as_kubectl_writes_them(seconds: int, text: str) -> None:
    """An age is exact while things are young, and short when they are old."""
    then = (NOW - timedelta(seconds=seconds)).isoformat()
    assert columns.since(then, NOW) == text
