"""What a version of a rule says of the one before it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models import differences

Json = dict[str, Any]


def scope(resource: str, namespace: str = "shop", group: str = "", **more: Any) -> Json:
    """One type in one namespace, as the compiler writes it."""
    return {
        "group": group,
        "version": "v1",
        "resource": resource,
        "kind": "Kind",
        "namespace": namespace,
        "operations": ["CREATE", "DELETE", "UPDATE"],
        "wildcard": False,
        **more,
    }


def members(selector: Json, *names: str, **more: Any) -> Json:
    """Who belongs to a namespaceSelector."""
    return {"namespaceSelector": selector, **more, "members": list(names)}


def spec(*scopes: Json, **more: Any) -> Json:
    """A compiled rule."""
    place = {"destination": "shop/prod", "repository": "https://x/y", "branch": "main", "baseFolder": "clusters/prod"}
    return {**place, "rules": [], "scopes": list(scopes), **more}


def filtered(**fields: Any) -> Json:
    """A rule on ConfigMaps that a filter narrows."""
    return spec(scope("configmaps", filter=fields))


MAPS, WEB = scope("configmaps"), scope("deployments", group="apps", namespace="")
EDITION = "* (edition 1 of what it leaves out)"
APP, TIER = (
    {"matchLabels": {"app": "web"}},
    {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]},
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, spec(MAPS), "first version"),
        (spec(MAPS), spec(MAPS), ""),
        (spec(WEB), spec(MAPS), "+ v1/configmaps; - apps/v1/deployments"),
        (
            spec(WEB),
            spec(scope("configmaps", operations=["CREATE"], filter={"names": ["a", "b-*"]}, ignoreFields=["/data/a"])),
            "+ v1/configmaps (operations CREATE; names a, b-*; ignoreFields /data/a); - apps/v1/deployments",
        ),
        (
            spec(WEB),
            spec(WEB, scope("configmaps", filter={"labelSelector": APP}), scope("configmaps", wildcard=True)),
            (
                "+ v1/configmaps (selected by [operations CREATE, DELETE, UPDATE, resources by name, "
                "labelSelector app=web] or by [operations CREATE, DELETE, UPDATE, resources *])"
            ),
        ),
        (spec(MAPS), spec(MAPS, branch="prod"), "branch main -> prod"),
        (
            spec(MAPS),
            spec(MAPS, destination="shop/dev", repository="https://x/z", baseFolder="dev"),
            "destination shop/prod -> shop/dev; repository https://x/y -> https://x/z; baseFolder clusters/prod -> dev",
        ),
        (
            spec(MAPS, WEB),
            spec(scope("configmaps", operations=["CREATE"]), WEB),
            "operations CREATE, DELETE, UPDATE -> CREATE (v1/configmaps)",
        ),
        (
            spec(MAPS, WEB),
            spec(*(one | {"operations": ["CREATE"]} for one in (MAPS, WEB))),
            "operations CREATE, DELETE, UPDATE -> CREATE",
        ),
        (filtered(labelSelector=APP), filtered(labelSelector=TIER), "labelSelector app=web -> tier in (a, b)"),
        (spec(MAPS), filtered(names=["web-*"]), "names (none) -> web-*"),
        (spec(MAPS), spec(scope("configmaps", ignoreFields=["/data/a"])), "ignoreFields (none) -> /data/a"),
        (
            spec(scope("configmaps", ignoreFields=["/data/a", "/data/b"])),
            spec(scope("configmaps", ignoreFields=["/data/a", "/data/c", "/data/d"])),
            "ignoreFields + /data/c + /data/d - /data/b",
        ),
        (
            spec(MAPS, namespaces=[members(APP, "a", "b")]),
            spec(MAPS, namespaces=[members(APP, "b", "c")]),
            "namespaces + c - a",
        ),
        (
            spec(MAPS, namespaces=[members(APP, "a"), members(TIER, "a", excludeNamespaces=["x-*"])]),
            spec(MAPS, namespaces=[members(APP, "a"), members(TIER, "a", "b", excludeNamespaces=["x-*"])]),
            "namespaces + b (namespaceSelector tier in (a, b); excludeNamespaces x-*)",
        ),
        (
            spec(scope("configmaps", filter={"namespaceSelector": APP}), namespaces=[members(APP, "a")]),
            spec(scope("configmaps", filter={"namespaceSelector": TIER}), namespaces=[members(TIER, "b")]),
            "namespaceSelector app=web -> tier in (a, b)",
        ),
        (spec(MAPS), spec(scope("configmaps", wildcard=True)), "resources by name -> *"),
        (spec(scope("configmaps", wildcard=True, noise=1)), spec(MAPS), f"resources {EDITION} -> by name"),
        (
            spec(*(scope(name, wildcard=True) for name in ("configmaps", "services"))),
            spec(*(scope(name, wildcard=True, noise=1) for name in ("configmaps", "services"))),
            f"resources * -> {EDITION}",
        ),
        (
            spec(scope("configmaps", operations=["DELETE"])),
            spec(
                scope("configmaps", operations=["DELETE"]),
                scope("configmaps", operations=["CREATE"], filter={"names": ["b"]}),
            ),
            (
                "selected by [operations DELETE, resources by name] -> [operations DELETE, resources by name] "
                "or by [operations CREATE, resources by name, names b]"
            ),
        ),
        (spec(MAPS), spec(MAPS, rules=[{"resources": ["unicorns"]}]), differences.SAME),
        (spec(MAPS), spec(scope("configmaps", kind="Map")), "kind Kind -> Map"),
        (
            spec(MAPS, WEB),
            spec(scope("configmaps", kind="Map", operations=["CREATE"]), WEB),
            "kind Kind -> Map (v1/configmaps); operations CREATE, DELETE, UPDATE -> CREATE (v1/configmaps)",
        ),
        (
            spec(MAPS, scope("configmaps", wildcard=True)),
            spec(scope("configmaps", kind="Map"), scope("configmaps", wildcard=True, kind="Map")),
            "kind Kind -> Map",
        ),
    ],
)
def test_a_difference_reads_as_what_somebody_changed(before: Json | None, after: Json, expected: str) -> None:
    """Types come and go, places and filters change from one thing to another, and namespaces are counted one by one."""
    assert differences.describe(before, after) == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, "everything"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, "a notin (x)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
    ],
)
def test_a_selector_reads_as_kubectl_takes_it(selector: Json, expected: str) -> None:
    """A person can paste what the history says into `kubectl get -l`."""
    told = differences.describe(spec(MAPS), filtered(namespaceSelector=selector))
    assert told == f"namespaceSelector (none) -> {expected}"


SCOPES = st.builds(
    scope,
    st.sampled_from(["configmaps", "services"]),
    namespace=st.sampled_from(["", "shop"]),
    operations=st.lists(st.sampled_from(["CREATE", "DELETE"]), unique=True),
    wildcard=st.booleans(),
    filter=st.fixed_dictionaries(
        {}, optional={"names": st.lists(st.text(max_size=3), max_size=2), "labelSelector": st.just(APP)}
    ),
)
MEMBERS = st.builds(
    lambda selector, names: members(selector, *sorted(names)),
    st.sampled_from([APP, TIER]),
    st.sets(st.sampled_from("abc")),
)
SPECS = st.builds(
    lambda scopes, branch, namespaces: spec(*scopes, branch=branch, namespaces=namespaces),
    st.lists(SCOPES, max_size=3),
    st.sampled_from(["main", "dev"]),
    st.lists(MEMBERS, max_size=2, unique_by=lambda one: str(one["namespaceSelector"])),
)


@given(SPECS, SPECS)
def test_it_is_silent_exactly_when_nothing_changed(before: Json, after: Json) -> None:
    """Equal specs have no difference, and any others have one."""
    assert (differences.describe(before, after) == "") == (before == after)
