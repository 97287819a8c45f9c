"""What patches make of objects: the laws of their RFCs, and strategic merges as a real server was seen to answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sandbox import patching, problems
from tests.unit.sandbox import samples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


def without_nulls(value: Any) -> Any:
    """A document as a merge patch can express it: `null` means absence there."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(one) for key, one in value.items() if one is not None}


@given(MAPS, MAPS)
def test_a_merge_patch_is_idempotent(current: dict[str, Any], change: dict[str, Any]) -> None:
    """Sending a merge patch twice is the same as sending it once (RFC 7386)."""
    once = patching.merged(current, change)
    assert patching.merged(once, change) == once


@given(MAPS, MAPS)
def test_a_merge_patch_leaves_the_rest_alone(current: dict[str, Any], change: dict[str, Any]) -> None:
    """Keys that a merge patch does not name stay as they are, and its input is not changed."""
    before = copy.deepcopy(current)
    result = patching.merged(current, change)
    assert {key: result[key] for key in current.keys() - change.keys()} == {
        key: current[key] for key in current.keys() - change.keys()
    }
    assert current == before


@given(MAPS)
def test_a_merge_patch_onto_nothing_is_itself(change: dict[str, Any]) -> None:
    """A merge patch on an empty object gives the patch, without what it removes."""
    assert patching.merged({}, change) == without_nulls(change)


def pod(**parts: Any) -> dict[str, Any]:
    """A Deployment's change of its pod template."""
    return {"spec": {"template": {"spec": parts}}}


CURRENT = samples.written(
    "deployments",
    spec={
        "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {"name": "b", "image": "i", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}
                ],
                "volumes": [{"name": "v", "configMap": {"name": "x"}}],
            },
        },
    },
)


def containers(change: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers after a strategic merge patch."""
    found = samples.patch("deployments", CURRENT, change, patching.STRATEGIC_PATCH)
    spec: list[dict[str, Any]] = found["spec"]["template"]["spec"]["containers"]
    return spec


def test_containers_merge_by_name() -> None:
    """A container that is named keeps what the patch leaves out; one with a new name is added before the others."""
    assert containers(pod(containers=[{"name": "b", "image": "j"}]))[0]["env"] == [{"name": "X", "value": "1"}]
    assert [one["name"] for one in containers(pod(containers=[{"name": "c", "image": "j"}]))] == ["c", "b"]


def test_ports_and_variables_merge_by_their_keys() -> None:
    """Lists inside of lists merge too, each by its own key."""
    change = {"name": "b", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "name": "web"}]}
    found = containers(pod(containers=[change]))[0]
    assert sorted(one["name"] for one in found["env"]) == ["X", "Y"]
    assert found["ports"] == [{"containerPort": 80, "name": "web"}]


def test_directives_remove_replace_and_retain() -> None:
    """The directives that kubectl writes do what they say."""
    gone = containers(pod(containers=[{"name": "b", "$patch": "delete"}, {"name": "z", "image": "q"}]))
    assert gone == [{"name": "z", "image": "q"}]
    replaced = containers(pod(containers=[{"$patch": "replace"}, {"name": "n", "image": "j"}]))
    assert replaced == [{"name": "n", "image": "j"}]
    change = pod(volumes=[{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}])
    found = samples.patch("deployments", CURRENT, change, patching.STRATEGIC_PATCH)
    assert found["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    found = samples.patch("deployments", CURRENT, change, patching.STRATEGIC_PATCH)
    assert found["spec"]["strategy"] == {"type": "Recreate"}


def test_items_stand_in_the_order_that_is_asked_for() -> None:
    """`$setElementOrder` arranges a merged list, also when nothing else of it changes."""
    change = pod(**{"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}], "containers": [{"name": "n"}]})
    assert [one["name"] for one in containers(change)] == ["b", "n"]
    change = pod(**{"$setElementOrder/containers": [{"name": "n"}, {"name": "b"}], "containers": [{"name": "n"}]})
    assert [one["name"] for one in containers(change)] == ["n", "b"]


def test_plain_values_join_a_list_and_leave_it() -> None:
    """Finalizers merge as a set; one of them is taken out by name."""
    current = samples.written("configmaps", metadata={"finalizers": ["a.b/c", "d.e/f"]})
    joined = samples.patch("configmaps", current, {"metadata": {"finalizers": ["g.h/i"]}}, patching.STRATEGIC_PATCH)
    assert sorted(joined["metadata"]["finalizers"]) == ["a.b/c", "d.e/f", "g.h/i"]
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}}
    left = samples.patch("configmaps", current, change, patching.STRATEGIC_PATCH)
    assert left["metadata"]["finalizers"] == ["d.e/f"]


@given(st.permutations(["p", "q", "b"]))
def test_a_strategic_merge_changes_no_input(names: list[str]) -> None:
    """The stored object is never changed by a patch that is made of it."""
    before = copy.deepcopy(CURRENT)
    containers(pod(containers=[{"name": name, "image": "z"} for name in names]))
    assert before == CURRENT


def test_a_json_patch_does_what_it_says() -> None:
    """Operations apply in their order, with tests in between (RFC 6902)."""
    change = [
        {"op": "test", "path": "/metadata/name", "value": "x"},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
        {"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/c"},
        {"op": "remove", "path": "/spec/strategy"},
    ]
    found = samples.patch("deployments", CURRENT, change, patching.JSON_PATCH)
    assert found["metadata"]["labels"] == {"a": "b", "c": "x"}
    assert "strategy" not in found["spec"]
    assert "strategy" in CURRENT["spec"]


@pytest.mark.parametrize(
    ("resource", "change", "content_type", "code", "message"),
    [
        (
            "configmaps",
            [{"op": "test", "path": "/metadata/name", "value": "no"}],
            patching.JSON_PATCH,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            "configmaps",
            [{"op": "remove", "path": "/data/no"}],
            patching.JSON_PATCH,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            "configmaps",
            {"op": "bogus"},
            patching.JSON_PATCH,
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            "configmaps",
            [1],
            patching.MERGE_PATCH,
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "configmaps",
            {},
            "application/json",
            415,
            (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, "
                "application/apply-patch+yaml"
            ),
        ),
        (
            "gitdestinations",
            {},
            patching.STRATEGIC_PATCH,
            415,
            (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            ),
        ),
        (
            "deployments",
            pod(containers=[{"image": "j"}]),
            patching.STRATEGIC_PATCH,
            400,
            "map: map[image:j] does not contain declared merge key: name",
        ),
        (
            "configmaps",
            {"data": {"a": 1}},
            patching.MERGE_PATCH,
            422,
            (
                ' "" is invalid: patch: Invalid value: "{\\"apiVersion\\":\\"v1\\",\\"kind\\":\\"ConfigMap\\",'
                '\\"metadata\\":{\\"name\\":\\"x\\",\\"namespace\\":\\"team\\"},\\"data\\":{\\"a\\":1}}": json: '
                "cannot unmarshal number into "
                "Go struct field ConfigMap.data of type string"
            ),
        ),
    ],
)
def test_a_bad_patch_is_refused_with_the_servers_words(
    resource: str, change: Any, content_type: str, code: int, message: str
) -> None:
    """A patch that cannot be applied gets the code and the text of a real server."""
    current = CURRENT if resource == "deployments" else samples.written(resource)
    with pytest.raises(problems.Refused) as refused:
        samples.patch(resource, current, change, content_type)
    assert (refused.value.code, str(refused.value)) == (code, message)
