"""Who owns which field: updates take, applies share, conflict and let go. Documents as a real server writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sandbox import managing, owning, problems
from tests.unit.sandbox import samples

STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.sets(st.lists(STEPS, min_size=1, max_size=4).map(tuple))


@given(PATHS)
def test_a_set_of_fields_survives_its_document(paths: set[owning.Path]) -> None:
    """What is written as FieldsV1 reads back as the same fields."""
    assert owning.read(owning.write(paths)) == paths


# An object whose first write sets no field has no notes, and gets none until it is applied.
@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
)
def test_every_changed_key_has_one_owner(before: dict[str, str], after: dict[str, str]) -> None:
    """After an update each key belongs to who wrote its value last, and to nobody else."""
    history = samples.History("configmaps")
    history.update(samples.written("configmaps", data=before), manager="first")
    history.update(samples.written("configmaps", data=after), manager="second")
    owned = {
        name: {path[-1] for path in owning.read(history.fields(name) or {}) if len(path) == 2}
        for name in ("first", "second")
    }
    changed = {key for key in after if before.get(key) != after[key]}
    assert owned["second"] == {f"f:{key}" for key in changed}
    assert owned["first"] == {f"f:{key}" for key in after.keys() - changed}


def data(**values: Any) -> dict[str, Any]:
    """A ConfigMap."""
    return samples.written("configmaps", data=values)


def test_an_update_owns_what_it_changes() -> None:
    """The document of an update is the one of a real server: time, manager, and the fields it took."""
    history = samples.History("configmaps")
    history.update(data(a="1", b="2"), manager="one")
    history.update(data(a="1", b="3"), manager="two")
    assert history.object
    assert history.object["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:00:01Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
        },
        {
            "manager": "two",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:00:02Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:b": {}}},
        },
    ]


def test_an_unchanged_object_changes_no_owner() -> None:
    """Writing what is there already leaves managedFields as they are, times included."""
    history = samples.History("configmaps")
    history.update(data(a="1"), manager="one")
    assert history.object
    before = history.object["metadata"]["managedFields"]
    history.update(data(a="1"), manager="two")
    assert history.object["metadata"]["managedFields"] == before


def test_a_removed_field_belongs_to_nobody() -> None:
    """Who loses the last field has no entry any more."""
    history = samples.History("configmaps")
    history.update(data(a="1"), manager="one")
    history.update(samples.written("configmaps"), manager="two")
    assert history.object
    assert history.object["metadata"]["managedFields"] == []


def test_items_of_a_list_with_keys_have_their_own_owners() -> None:
    """Two writers of conditions own one each, of built-in and custom types alike."""
    history = samples.History("foos")
    history.update(samples.written("foos", spec={"keyed": [{"type": "a", "value": "1"}]}), manager="one")
    both = [{"type": "a", "value": "1"}, {"type": "b", "value": "2"}]
    history.update(samples.written("foos", spec={"keyed": both}), manager="two")
    assert history.fields("two") == {"f:spec": {"f:keyed": {'k:{"type":"b"}': {".": {}, "f:type": {}, "f:value": {}}}}}


def test_a_status_writer_owns_status() -> None:
    """The status subresource has entries of its own."""
    history = samples.History("foos")
    history.update(samples.written("foos", spec={}), manager="one")
    history.update(samples.written("foos", status={"n": 1}), manager="one", subresource="status")
    assert history.object
    entry = history.object["metadata"]["managedFields"][-1]
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {".": {}, "f:n": {}}})


def test_an_apply_owns_what_it_lists() -> None:
    """An apply claims values, not the maps that hold them, so that others may add to the same map."""
    history = samples.History("configmaps")
    history.apply(samples.written("configmaps", data={"a": "1"}, metadata={"labels": {"l": "1"}}), manager="one")
    assert history.fields("one") == {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}
    history.apply(data(b="2"), manager="two")
    assert history.object
    assert history.object["data"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (data(a="x"), 'Apply failed with 1 conflict: conflict with "one": .data.a'),
        (data(a="x", b="y"), 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'),
        (
            data(a="x", b="y", c="z"),
            (
                'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\n'
                'conflicts with "upd" using v1:\n- .data.c'
            ),
        ),
    ],
)
def test_an_apply_does_not_take_what_others_own(config: dict[str, Any], message: str) -> None:
    """A conflict names every field and its owner; force takes them, and takes them from the others."""
    history = samples.History("configmaps")
    history.apply(data(a="1", b="2"), manager="one")
    history.update(data(a="1", b="2", c="3"), manager="upd")
    with pytest.raises(problems.Refused) as refused:
        history.apply(config, manager="two")
    assert (refused.value.code, str(refused.value)) == (409, message)
    assert {one["reason"] for one in refused.value.status["details"]["causes"]} == {"FieldManagerConflict"}
    history.apply(config, manager="two", force=True)
    assert history.object
    assert history.object["data"].items() >= config["data"].items()
    assert owning.read(history.fields("two")) == {("f:data", f"f:{key}") for key in config["data"]}
    assert not owning.read(history.fields("one") or {}) & owning.read(history.fields("two"))


def test_the_same_value_is_shared() -> None:
    """Two appliers that say the same own the field together; it goes when the last of them lets go."""
    history = samples.History("configmaps")
    history.apply(data(a="1"), manager="one")
    history.apply(data(a="1"), manager="two")
    history.apply(samples.written("configmaps"), manager="one")
    assert history.object
    assert history.object["data"] == {"a": "1"}
    history.apply(samples.written("configmaps"), manager="two")
    assert history.object is not None
    assert "data" not in history.object


def deployment(*names: str, **container: Any) -> dict[str, Any]:
    """A Deployment with containers of these names."""
    containers = [{"name": name, "image": "i:1", **container} for name in names]
    return samples.written(
        "deployments",
        spec={
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}},
        },
    )


def test_an_apply_drops_the_items_it_no_longer_lists() -> None:
    """A container, a port or a variable that is gone from the configuration goes from the object."""
    history = samples.History("deployments")
    history.apply(deployment("c", "d", ports=[{"containerPort": 80}]), manager="one")
    assert history.fields("one")["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}'] == {
        ".": {},
        "f:image": {},
        "f:name": {},
        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
    }
    history.apply(deployment("c", ports=[{"containerPort": 81}]), manager="one")
    assert history.object
    containers = history.object["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in containers] == ["c"]
    assert containers[0]["ports"] == [{"containerPort": 81, "protocol": "TCP"}]


def test_a_repeated_apply_changes_nothing() -> None:
    """Applying the same configuration again is no write: the object and its managedFields stay."""
    history = samples.History("deployments")
    history.apply(deployment("c"), manager="one")
    before = history.object
    history.apply(deployment("c"), manager="one")
    assert history.object == before


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
)
def test_a_forced_apply_gets_what_it_lists(first: dict[str, str], second: dict[str, str]) -> None:
    """After a forced apply the object holds its values, keeps those of others, and has dropped nobody else's."""
    history = samples.History("configmaps")
    history.apply(data(**first), manager="one")
    history.apply(data(**second), manager="two", force=True)
    assert history.object
    assert history.object.get("data", {}) == first | second


def test_what_is_not_in_the_schema_cannot_be_applied() -> None:
    """Fields without a schema have no owner, so an apply of them is refused, as a real server does."""
    config = samples.written("configmaps", spec={})
    with pytest.raises(problems.Refused) as refused:
        managing.applied(
            samples.registry(), samples.kind("configmaps"), None, config, manager="one", force=False, now="now"
        )
    assert str(refused.value) == (
        "failed to create typed patch object (team/x; /v1, Kind=ConfigMap): .spec: field not declared in schema"
    )
