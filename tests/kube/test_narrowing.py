"""The schema of what narrows a rule: accepted as people write it, refused by field where it can never work."""

from __future__ import annotations

from typing import Any

import pytest

from app import errors
from app.kube import client
from app.rules import kinds
from tests.kube.test_crds import NEEDS_RULES, refusal

TARGET = {"name": "prod", "namespace": "shop"}

NARROWED: dict[str, Any] = {
    "resources": ["*"],
    "labelSelector": {
        "matchLabels": {"tier": "front", "app.kubernetes.io/name": "web", "empty": ""},
        "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod", "qa"]},
            {"key": "env", "operator": "NotIn", "values": ["dev"]},
            {"key": "example.com/owner", "operator": "Exists"},
            {"key": "legacy", "operator": "DoesNotExist", "values": []},
        ],
    },
    "names": ["web-*", "system:controller:x", "a b", "[ab]?", "Ünder_score"],
    "excludeNames": ["*-tmp", "[!x]y*", "??*", "{a}"],
    "ignoreFields": [
        "/spec/replicas",
        "/metadata/annotations/example.com~1build",
        "/spec/*/image",
        "/a~0b",
        "/x/0a",
        "/data/8080",
        "/metadata/annotations/1",
        "/metadata/labels/1",
        "/metadata/finalizers/*",
        "/data/-",
        "/data/a/b",
        "/spec/hosts/*.example.com",
        "/spec/template/metadata/annotations/checksum~1config",
    ],
    "ignoreManagers": ["kube-controller-manager/scale", "*/scale", "vpa-*", "??*"],
}
CHOSEN: dict[str, Any] = {
    **NARROWED,
    "scope": "Namespaced",
    "namespaceSelector": {"matchLabels": {"team": "shop"}},
    "excludeNamespaces": ["kube-*", "team-[ab]", "x?", "[!a]b"],
}


def _wide(**changes: Any) -> dict[str, Any]:
    return {"spec": {"destinationRef": TARGET, "rules": [{"resources": ["*"], "scope": "Namespaced", **changes}]}}


def test_what_narrows_a_rule_is_accepted(our_kinds: client.Cluster) -> None:
    """Every field is in the schema of both kinds, and reads as it was written."""
    own = {"spec": {"destinationRef": {"name": "prod"}, "rules": [NARROWED]}}
    assert refusal(our_kinds, "WatchRule", own) == ""
    assert refusal(our_kinds, "ClusterWatchRule", _wide(**CHOSEN)) == ""
    read = kinds.ClusterWatchRule.from_object({"metadata": {"name": "all"}, **_wide(**CHOSEN)}).items[0]
    assert read.to_json().keys() >= CHOSEN.keys()


def test_an_item_of_the_cluster_scope_is_narrowed_by_objects(our_kinds: client.Cluster) -> None:
    """Labels and names narrow cluster-scoped types too."""
    assert refusal(our_kinds, "ClusterWatchRule", _wide(**NARROWED, scope="Cluster")) == ""


def _expression(operator: str, *values: str, key: str = "tier") -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


GLOBS = ("names", "excludeNames", "excludeNamespaces", "ignoreManagers")
CONTROL = "\0\n\x1b\x7f"
REFUSED_BY_BOTH = [
    ("labelSelector", {"matchLabels": {"tier": "a b"}}, "matchLabels"),
    ("labelSelector", {"matchLabels": {"tier": "x" * 64}}, "matchLabels"),
    ("labelSelector", _expression("Is", "a"), "operator"),
    # The server drops the field that it does not know; what is left would select everything.
    ("labelSelector", {"tier": "front"}, "labelSelector"),
    ("labelSelector", {"matchLabels": {}}, "matchLabels"),
    ("namespaceSelector", {}, "namespaceSelector"),
    ("namespaceSelector", {"matchExpressions": []}, "matchExpressions"),
    ("labelSelector", _expression("In", "a b"), "value"),
    ("labelSelector", _expression("Exists", key="a b"), "key"),
    ("labelSelector", _expression("Exists", key="a/b/c"), "key"),
    ("labelSelector", _expression("Exists", key="x" * 64), "key"),
    ("labelSelector", _expression("Exists", key=""), "key"),
    ("namespaceSelector", _expression("Is", "a"), "operator"),
    ("names", [""], "names"),
    ("names", ["a/b"], "names"),
    ("excludeNames", ["a%b"], "excludeNames"),
    ("excludeNames", ["x" * 254], "excludeNames"),
    *((field, ["a"] * 101, field) for field in ("names", "excludeNames", "excludeNamespaces")),
    ("excludeNamespaces", ["Team"], "excludeNamespaces"),
    ("excludeNamespaces", [""], "excludeNamespaces"),
    ("ignoreFields", [""], "ignoreFields"),
    ("ignoreFields", ["spec"], "ignoreFields"),
    ("ignoreFields", ["/a~2b"], "ignoreFields"),
    ("ignoreFields", ["/" + "x" * 512], "ignoreFields"),
    ("ignoreManagers", [""], "ignoreManagers"),
    *((field, [f"a{letter}b"], field) for field in GLOBS for letter in CONTROL),
    *(("ignoreFields", [f"/a{letter}b"], "ignoreFields") for letter in CONTROL),
    ("names", ["a\n"], "names"),
    ("ignoreFields", ["/a\n"], "ignoreFields"),
    ("ignoreManagers", ["/scale"], "ignoreManagers"),
    ("ignoreManagers", ["m/"], "ignoreManagers"),
    ("ignoreManagers", ["x" * 257], "ignoreManagers"),
]
NOT_BELOW = "nothing is below a key of annotations or labels: where the / belongs to the key, write"
REFUSED_BY_RULES = [
    ("labelSelector", {"matchLabels": {"a b": "x"}}, "matchLabels"),
    ("labelSelector", _expression("In"), "matchExpressions"),
    ("labelSelector", _expression("NotIn"), "matchExpressions"),
    ("labelSelector", _expression("Exists", "a"), "matchExpressions"),
    ("namespaceSelector", _expression("DoesNotExist", "a"), "matchExpressions"),
    *(
        ("ignoreFields", [pointer], "ignoreFields")
        for pointer in ("/*", "/apiVersion", "/kind", "/metadata", "/metadata/*", "/metadata/name", "/*/namespace")
    ),
    ("ignoreFields", ["/metadata/namespace"], "ignoreFields"),
    ("ignoreFields", ["/*/*"], "ignoreFields"),
    ("ignoreFields", ["/*/name"], "ignoreFields"),
    ("ignoreFields", ["/spec/containers/0"], "ignoreFields"),
    ("ignoreFields", ["/spec/containers/10"], "ignoreFields"),
    ("ignoreFields", ["/spec/data/1"], "ignoreFields"),
    ("ignoreFields", ["/spec/0/metadata/labels/1"], "ignoreFields"),
    ("ignoreFields", ["/spec/list/-"], "ignoreFields"),
    *(("ignoreFields", [pointer], "a part of it is empty") for pointer in ("/", "/spec/", "/spec//x")),
    ("ignoreFields", ["/spec.replicas"], "write it like /spec/replicas"),
    *(
        ("ignoreFields", [f"/{path}/x"], "tell which object it is")
        for path in ("kind", "apiVersion", "metadata/name", "metadata/namespace")
    ),
    ("ignoreFields", ["/spec/containers[0]/image"], "write it like /spec/containers/*/image"),
    ("ignoreFields", ["/spec/containers/[*]"], "write it like /spec/containers/*/image"),
    ("ignoreFields", ["/metadata/annotations/example.com/build"], NOT_BELOW),
    ("ignoreFields", ["/metadata/labels/a/b/c"], "nothing is below a key of annotations or labels"),
    ("ignoreFields", ["/metadata/annotations/example.com~1*"], "* stands for a whole part"),
    ("ignoreFields", ["/metadata/labels/*x"], "* stands for a whole part"),
    ("ignoreFields", ["/spec/**/image"], "write /*/* for two"),
    *(("ignoreManagers", [entry], "ignoreManagers") for entry in ("*", "**", "?*")),
    *(("excludeNames", [entry], "leaves nothing of what the entry selects") for entry in ("*", "?*", "*?")),
    ("excludeNamespaces", ["**"], "leaves nothing of what the entry selects"),
    *(
        (field, [glob], advice)
        for field in ("names", "excludeNames", "ignoreManagers")
        for glob, advice in (("[^a]*", "write [!ab]"), ("{web,api}", "as an entry of its own"))
    ),
]


@pytest.mark.parametrize(("field", "value", "said"), REFUSED_BY_BOTH)
def test_what_can_never_work_is_refused_when_applied(
    our_kinds: client.Cluster, field: str, value: Any, said: str
) -> None:
    """A value that no object could meet, or no server would take, is refused by the field's name."""
    message = refusal(our_kinds, "ClusterWatchRule", _wide(**{field: value}))
    assert f"spec.rules[0].{field}" in message
    assert said in message


@NEEDS_RULES
@pytest.mark.parametrize(("field", "value", "said"), REFUSED_BY_RULES)
def test_what_only_rules_can_say_is_refused_when_applied(
    our_kinds: client.Cluster, field: str, value: Any, said: str
) -> None:
    """What no pattern says, a rule of the schema refuses, by the field's name."""
    message = refusal(our_kinds, "ClusterWatchRule", _wide(**{field: value}))
    assert f"spec.rules[0].{field}" in message
    assert said in message


@NEEDS_RULES
@pytest.mark.parametrize("field", ["namespaceSelector", "excludeNamespaces"])
def test_cluster_scope_has_no_namespaces_to_choose_from(our_kinds: client.Cluster, field: str) -> None:
    """What chooses namespaces is refused with scope Cluster."""
    message = refusal(our_kinds, "ClusterWatchRule", _wide(scope="Cluster", **{field: CHOSEN[field]}))
    assert "narrow scope Namespaced only" in message


@pytest.mark.parametrize("field", ["namespaceSelector", "excludeNamespaces"])
def test_a_watch_rule_has_one_namespace(our_kinds: client.Cluster, field: str) -> None:
    """A WatchRule selects in its own namespace; the fields that choose others are not in its schema."""
    own = {"spec": {"destinationRef": {"name": "prod"}, "rules": [{"resources": ["*"], field: CHOSEN[field]}]}}
    assert "unknown field" in refusal(our_kinds, "WatchRule", own)


@pytest.mark.parametrize(("field", "value", "said"), REFUSED_BY_BOTH + REFUSED_BY_RULES)
def test_the_compiler_refuses_what_the_schema_refuses(field: str, value: Any, said: str) -> None:
    """A server that does not evaluate rules lets some of it through: reading the rule refuses it, by the same path."""
    raw = {"metadata": {"name": "all"}, **_wide(**{field: value})}
    with pytest.raises(errors.PermanentError) as caught:
        kinds.ClusterWatchRule.from_object(raw)
    assert caught.value.reason == "InvalidSpec"
    assert caught.value.message.startswith(f"spec.rules[0].{field}")
    assert said in caught.value.message
