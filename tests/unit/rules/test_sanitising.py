"""Sanitising: what goes is taken out with its reason, once and for all, and nothing else is touched."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.rules import fields, ignoring, sanitising
from app.rules.ignoring import Ignored
from app.rules.sanitising import NOTHING_LEFT, Removal
from tests.unit.rules import strategies
from tests.unit.rules.live import CASES, live

GONE = object()


def plain(of: str, **content: Any) -> dict[str, Any]:
    """An object of `group/Kind` that was on no server."""
    obj = live(of, **content)
    del obj["metadata"]["uid"]
    return obj


def stripped(value: Any) -> Any:
    """A copy without what is marked as gone."""
    if isinstance(value, dict):
        return {key: stripped(child) for key, child in value.items() if child is not GONE}
    return [stripped(item) for item in value if item is not GONE] if isinstance(value, list) else value


def taking(obj: dict[str, Any], pointers: list[str]) -> Any:
    """An object without what stands at these places, and nothing more."""
    # By way of JSON: a deep copy would keep one map for two places where the case has one.
    obj = json.loads(json.dumps(obj))
    for pointer in pointers:
        *above, last = ignoring.segments(pointer)
        inner: Any = obj
        for key in above:
            inner = inner[int(key) if isinstance(inner, list) else key]
        inner[int(last) if isinstance(inner, list) else last] = GONE
    return stripped(obj)


def test_status_and_server_metadata_go_everything_else_stays() -> None:
    """A deny-list: data, rules and fields that nobody has heard of stay."""
    server = {row.path[1]: "x" for row in fields.EVERYWHERE if row.path[0] == "metadata" and len(row.path) == 2}
    assert {"uid", "resourceVersion", "managedFields", "ownerReferences", "generation"} <= server.keys()
    kept = {"labels": {"a": "b"}, "finalizers": ["f"], "generateName": "a-", "unheard": 1}
    obj = live("example.com/Order", metadata={**server, **kept}, status={"x": 1}, spec={"status": 2}, rules=[])
    assert sanitising.sanitise(obj) == plain("example.com/Order", metadata=kept, spec={"status": 2}, rules=[])


def test_tool_annotations_go() -> None:
    """The copy that kubectl keeps holds the data once more; it never leaves the process."""
    last_applied = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"canary":"s3cr3t"}}'}
    clean = sanitising.sanitise(live("ConfigMap", metadata={"annotations": {**last_applied, "mine": "x"}}))
    assert clean["metadata"]["annotations"] == {"mine": "x"}
    assert b"s3cr3t" not in sanitising.body(clean)


def test_what_got_empty_goes_and_what_was_empty_stays() -> None:
    """Nothing is left of a map whose content was the server's; an empty one that somebody wrote is kept."""
    obj = live(
        "Namespace",
        metadata={"labels": {"kubernetes.io/metadata.name": "a"}, "annotations": {}, "finalizers": []},
        spec={"finalizers": ["kubernetes"]},
    )
    assert sanitising.sanitise(obj) == plain("Namespace", metadata={"annotations": {}, "finalizers": []})
    assert sanitising.removals(obj) == (
        Removal("/metadata/uid", "written by the API server"),
        Removal("/metadata/labels/kubernetes.io~1metadata.name", "the name once more"),
        Removal("/metadata/labels", NOTHING_LEFT),
        Removal("/spec/finalizers/0", "added by the API server"),
        Removal("/spec/finalizers", NOTHING_LEFT),
        Removal("/spec", NOTHING_LEFT),
    )


def test_an_item_that_got_empty_stays() -> None:
    """The position of an item means something; only `*` takes items."""
    obj = plain("x.io/Order", spec={"list": [{"a": 1}, {"a": 2, "b": 3}, 4]})
    clean = sanitising.sanitise(obj, Ignored(("/spec/list/*/a",)))
    assert clean["spec"] == {"list": [{}, {"b": 3}, 4]}
    assert "spec" not in sanitising.sanitise(obj, Ignored(("/spec/list/*",)))
    assert sanitising.sanitise(obj, Ignored(("/spec/list/0", "/spec/list/1/a"))) == obj


def test_ignored_fields_say_which_pointer_it_was() -> None:
    """The reason of the table comes first; of two pointers, one is named."""
    obj = plain("x.io/Order", status=1, spec={"a": {"b": 1, "c": 2}, "d~/e": 3})
    ignored = Ignored(("/status", "/spec/a/b", "/spec/*/c", "/spec/d~0~1e"))
    assert sanitising.removals(obj, ignored) == (
        Removal("/status", "what controllers observed"),
        Removal("/spec/a/b", "ignoreFields /spec/a/b"),
        Removal("/spec/a/c", "ignoreFields /spec/*/c"),
        Removal("/spec/a", NOTHING_LEFT),
        Removal("/spec/d~0~1e", "ignoreFields /spec/d~0~1e"),
        Removal("/spec", NOTHING_LEFT),
    )
    found = sanitising.removals(obj, Ignored(("/spec/a", "/spec/a/b", "/spec/*/c")))
    assert Removal("/spec/a", "ignoreFields /spec/a") in found
    assert not [one for one in found if one.pointer.startswith("/spec/a/")]
    assert Removal("/spec/a/b", "ignoreFields /spec/a/b") in sanitising.removals(
        obj, Ignored(("/spec/a/b", "/spec/*/b"))
    )


@pytest.mark.parametrize("pointer", ["/apiVersion", "/metadata", "/metadata/name", "/*/name", "/*", "/metadata/*"])
def test_the_identity_stays_whatever_is_ignored(pointer: str) -> None:
    """A rule cannot take an object its name, even one that nobody checked."""
    obj = plain("x.io/Order", metadata={"namespace": "n"})
    assert sanitising.sanitise(obj, Ignored((pointer,))) == obj


_kinds = st.sampled_from([f"{group}/{kind}".strip("/") for group, kind in fields.BY_KIND] + ["x.io/Order"])
_pointers = st.lists(
    st.sampled_from(
        [
            "/spec/*",
            "/*/*/a",
            "/spec/ports/*/nodePort",
            "/spec/0/a",
            "/spec/a",
            "/metadata/labels/*",
            "/spec/manualSelector",
            "/spec/ipFamilyPolicy",
            "/metadata/annotations",
            "/status",
            "/*/*/*/*",
        ]
    ),
    max_size=3,
)
_ignored = st.builds(lambda pointers: Ignored(tuple(pointers), ("*/scale", "kube*")), _pointers)
_cases = st.sampled_from(list(CASES.values())).map(lambda case: case[0])
_hostile = st.builds(
    lambda of, rest, metadata, spec: {**rest, **live(of, metadata={**metadata, "name": "a"}, spec=spec)},
    _kinds,
    strategies.objects,
    strategies.objects,
    strategies.objects,
)


@given(_cases | _hostile, _ignored)
def test_once_is_enough_and_the_list_is_complete(obj: dict[str, Any], ignored: Ignored) -> None:
    """Idempotent, without a trace in its input; what the list names is what is taken out, whatever the object holds."""
    before = copy.deepcopy(obj)
    clean = sanitising.sanitise(obj, ignored)
    removed = [one.pointer for one in sanitising.removals(obj, ignored)]
    assert obj == before
    assert sanitising.sanitise(clean, ignored) == clean
    assert sanitising.removals(clean, ignored) == ()
    assert json.dumps(taking(obj, removed)) == json.dumps(clean)
    assert len(removed) == len(set(removed))


# Keys that are made up are hardly ever these two.
_parts = st.fixed_dictionaries({"spec": strategies.objects, "status": strategies.objects})


@given(rest=strategies.objects, parts=_parts, is_live=st.booleans())
def test_an_unknown_kind_keeps_all_but_its_status(
    rest: dict[str, Any], parts: dict[str, Any], *, is_live: bool
) -> None:
    """No field of a custom resource is ever lost."""
    obj = {**rest, **(live if is_live else plain)("example.com/Order", **parts)}
    expected = {key: value for key, value in obj.items() if key != "status"}
    assert sanitising.sanitise(obj) == {**expected, "metadata": {"name": "a"}}


SECRET = "a Secret is mirrored only encrypted, and no encryption is configured"


@pytest.mark.parametrize("metadata", [{"name": "a"}, {}, None])
def test_a_secret_is_refused_whatever_a_rule_says(metadata: Any) -> None:
    """Promise P12: the last door before the ledger; the message holds nothing of it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": "czNjcjN0"}}
    for door in (sanitising.sanitise, sanitising.removals):
        with pytest.raises(errors.PermanentError, match=f"^{SECRET}$") as caught:
            door(secret)
        assert caught.value.reason == "EncryptionRequired"
        assert "czNjcjN0" not in repr(caught.value)


def test_a_secret_of_another_group_is_no_secret_of_ours() -> None:
    """A kind is a group and a name."""
    obj = plain("example.com/Secret", data={"a": "b"})
    assert sanitising.sanitise(obj) == obj


WITHOUT_KIND, WITHOUT_NAME = "without kind and metadata", "without a name"


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({}, "without apiVersion"),
        ({"kind": "A", "metadata": {"name": "a"}}, "without apiVersion"),
        ({"apiVersion": 1}, "without apiVersion"),
        ({"apiVersion": "", "kind": "A", "metadata": {"name": "a"}}, "without apiVersion"),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, WITHOUT_KIND),
        ({"apiVersion": "v1", "kind": "", "metadata": {"name": "a"}}, WITHOUT_KIND),
        ({"apiVersion": "v1", "kind": ["A"], "metadata": {"name": "a"}}, WITHOUT_KIND),
        ({"apiVersion": "v1", "kind": "A"}, WITHOUT_KIND),
        ({"apiVersion": "v1", "kind": "A", "metadata": ["name"]}, WITHOUT_KIND),
        ({"apiVersion": "v1", "kind": "A", "metadata": {}}, WITHOUT_NAME),
        ({"apiVersion": "v1", "kind": "A", "metadata": {"name": ""}}, WITHOUT_NAME),
        ({"apiVersion": "v1", "kind": "A", "metadata": {"name": 1}}, WITHOUT_NAME),
    ],
)
def test_what_is_no_object_is_refused(obj: dict[str, Any], message: str) -> None:
    """It becomes a dead row with a reason."""
    with pytest.raises(errors.PermanentError, match=f"^an object {message} cannot be mirrored$") as caught:
        sanitising.sanitise(obj)
    assert caught.value.reason == "InvalidObject"


@given(strategies.objects, strategies.objects)
def test_anything_is_sanitised_or_refused_with_a_reason(rest: dict[str, Any], metadata: dict[str, Any]) -> None:
    """No object that JSON can hold ends the process."""
    for obj in (
        rest,
        {"apiVersion": "v1", "kind": "Service", **rest},
        {**rest, "apiVersion": "v1", "metadata": metadata},
    ):
        with contextlib.suppress(errors.PermanentError):
            sanitising.sanitise(obj, Ignored(("/*/*/a",), ("*/scale",)))


def test_equal_objects_have_equal_hashes() -> None:
    """The order of keys makes no change; a value does (promise P3)."""
    one, same, other = ({"a": 1, "b": [1, {"c": 2, "d": 3}]}, {"b": [1, {"d": 3, "c": 2}], "a": 1}, {"a": 2})
    hashes = [sanitising.content_hash(sanitising.body(obj)) for obj in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(text) == 32 for text in hashes)
    assert sanitising.body(one) == b'{"a":1,"b":[1,{"c":2,"d":3}]}'


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, 2**64, object()])
def test_what_cannot_be_written_is_refused_without_its_content(value: Any) -> None:
    """It becomes a dead row with a reason."""
    with pytest.raises(errors.PermanentError) as caught:
        sanitising.body({"a": value})
    said = "the object holds text that is no Unicode, or is nested too deep: it cannot be written"
    assert (caught.value.reason, caught.value.message) == ("NotWritable", said)


def test_a_nesting_without_end_is_refused() -> None:
    """A hostile object ends in a reason, not in the end of the process."""
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(errors.PermanentError, match="nested too deep"):
        sanitising.body({"a": deep})
