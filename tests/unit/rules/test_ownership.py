"""Who manages a field: sets of fields as API servers write them, and as nobody should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import ownership, sanitising
from app.rules.ignoring import NOTHING, Ignored
from app.rules.ownership import Owner
from tests.unit.rules import naive, strategies
from tests.unit.rules.live import managed

PORTS = [{"port": 80, "protocol": "TCP", "node": 1}, {"port": 80, "protocol": "UDP", "node": 2}]
TCP, UDP = 'k:{"port":80,"protocol":"TCP"}', 'k:{"protocol":"UDP","port":80}'
UNKNOWN = Owner("", "")
MINE = Ignored(managers=("robot", "*/scale"))


def order(*sets: tuple[str, str, dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """An object of nobody's kind with field managers."""
    return {"apiVersion": "x.io/v1", "kind": "Order", "metadata": {"name": "a", **managed(*sets)}, "spec": spec}


def robot(**spec: Any) -> tuple[str, str, dict[str, Any]]:
    """What the ignored manager owns of a spec."""
    return "robot", "", {"f:spec": spec}


def person(**spec: Any) -> tuple[str, str, dict[str, Any]]:
    """What somebody else owns of a spec."""
    return "kubectl", "", {"f:spec": spec}


def owners(obj: dict[str, Any], path: ownership.Path) -> list[Owner] | None:
    """Who owns a field, in the order of their names."""
    found = ownership.Managed(obj).owners(path)
    return None if found is None else sorted(found, reverse=True)


def left(obj: dict[str, Any]) -> Any:
    """What is left of a spec."""
    return sanitising.sanitise(obj, MINE).get("spec")


OWNERS: dict[str, tuple[dict[str, Any], ownership.Path, list[Owner] | None]] = {
    "nobody is known": (order(a=1), ("spec", "a"), None),
    "nobody of this field": (order(person(**{"f:b": {}}), a=1), ("spec", "a"), []),
    "one": (order(person(**{"f:a": {}}), a=1), ("spec", "a"), [Owner("kubectl", "")]),
    "two, one through a subresource": (
        order(person(**{"f:a": {}}), ("hpa", "scale", {"f:spec": {"f:a": {}}}), a=1),
        ("spec", "a"),
        [Owner("kubectl", ""), Owner("hpa", "scale")],
    ),
    "of all it stands in": (order(person(), a=1), ("spec", "a"), [Owner("kubectl", "")]),
    "of a map by a part of it": (order(person(**{"f:a": {}}), a=1), ("spec",), [Owner("kubectl", "")]),
    "of the map alone": (order(person(**{".": {}, "f:b": {}}), a=1), ("spec", "a"), []),
    "of an item by its keys": (
        order(person(**{"f:p": {UDP: {"f:node": {}}}}), p=PORTS),
        ("spec", "p", 1, "node"),
        [Owner("kubectl", "")],
    ),
    "not of another item": (order(person(**{"f:p": {UDP: {"f:node": {}}}}), p=PORTS), ("spec", "p", 0, "node"), []),
    "of an item by its value": (
        order(person(**{"f:l": {'v:"b"': {}}}), l=["a", "b"]),
        ("spec", "l", 1),
        [Owner("kubectl", "")],
    ),
    "of an item by its position": (
        order(person(**{"f:l": {"i:1": {}}}), l=["a", "b"]),
        ("spec", "l", 1),
        [Owner("kubectl", "")],
    ),
    "of an item elsewhere": (order(person(**{"f:l": {"i:0": {}}}), l=["a", "b"]), ("spec", "l", 1), []),
    "a field that is no field": (order(person(**{"f:a": 5}), a=1), ("spec", "a"), None),
    "a set without names": (order(person(x={}), a=1), ("spec", "a"), None),
    "of an item like another": (order(person(**{"f:l": {'v:"a"': {}}}), l=["a", "a"]), ("spec", "l", 1), [UNKNOWN]),
    "a key that cannot be read": (order(person(**{"f:p": {"k:{": {}}}), p=PORTS), ("spec", "p", 0), None),
}


@pytest.mark.parametrize(("obj", "path", "expected"), OWNERS.values(), ids=OWNERS)
def test_owners(obj: dict[str, Any], path: ownership.Path, expected: list[Owner] | None) -> None:
    """All that own a field are named; an unreadable set tells nothing."""
    assert owners(obj, path) == expected


@pytest.mark.parametrize("listed", ["text", [1], [{"manager": 1}], [{"fieldsV1": []}], [{"subresource": {}}], {"a": 1}])
def test_entries_of_no_shape_tell_nothing(listed: Any) -> None:
    """Nobody is known then, which is not the same as nobody."""
    obj = order(a=1)
    obj["metadata"]["managedFields"] = listed
    assert owners(obj, ("spec", "a")) is None
    assert left(obj) == {"a": 1}


def test_an_entry_need_not_have_every_field() -> None:
    """A server leaves out what is empty."""
    obj = order(a=1)
    owned = {"fieldsV1": {"f:spec": {"f:a": {}}}}
    obj["metadata"]["managedFields"] = [{}, {"manager": "robot", **owned}, owned]
    assert owners(obj, ("spec", "a")) == [Owner("robot", ""), UNKNOWN]


SETS: dict[str, tuple[dict[str, Any], Any]] = {
    "theirs alone": (order(robot(**{"f:a": {}}), a=1, b=2), {"b": 2}),
    "theirs through a subresource": (order(("x", "scale", {"f:spec": {"f:a": {}}}), a=1, b=2), {"b": 2}),
    "of two of them": (order(robot(**{"f:a": {}}), ("x", "scale", {"f:spec": {"f:a": {}}}), a=1, b=2), {"b": 2}),
    "somebody's too": (order(robot(**{"f:a": {}}), person(**{"f:a": {}}), a=1), {"a": 1}),
    "somebody's map": (order(robot(**{"f:a": {"f:x": {}}}), person(**{"f:a": {}}), a={"x": 1}), {"a": {"x": 1}}),
    "nobody's": (order(robot(**{"f:a": {}}), a=1, b=2), {"b": 2}),
    "all of it": (order(robot(**{"f:a": {}}), a=1), None),
    "an atomic map": (order(robot(**{"f:a": {}}), a={"x": {"y": 1}}, b=1), {"b": 1}),
    "a map with a part of nobody": (order(robot(**{"f:a": {".": {}, "f:x": {}}}), a={"x": 1, "y": 2}), {"a": {"y": 2}}),
    "a map with a part of somebody": (
        order(robot(**{"f:a": {}}), person(**{"f:a": {"f:y": {}}}), a={"x": 1, "y": 2}),
        {"a": {"x": 1, "y": 2}},
    ),
    "a field that is not there": (order(robot(**{"f:gone": {}, "f:a": {"f:b": {}}}), a=1), {"a": 1}),
    "an item": (
        order(robot(**{"f:p": {TCP: {".": {}, "f:port": {}}}}), person(**{"f:p": {UDP: {".": {}}}}), p=PORTS),
        {"p": [PORTS[1]]},
    ),
    "an item with a part of somebody keeps its keys": (
        order(
            robot(**{"f:p": {TCP: {".": {}, "f:port": {}, "f:protocol": {}, "f:node": {}}}}),
            person(**{"f:p": {TCP: {"f:other": {}}}}),
            p=[{**PORTS[0], "other": 1}],
        ),
        {"p": [{"port": 80, "protocol": "TCP", "other": 1}]},
    ),
    "a part of an item": (
        order(robot(**{"f:p": {TCP: {"f:node": {}, "f:port": {}}}}), p=PORTS),
        {"p": [{"port": 80, "protocol": "TCP"}, PORTS[1]]},
    ),
    "all items": (order(robot(**{"f:p": {TCP: {".": {}}, UDP: {".": {}}}}), p=PORTS, b=1), {"b": 1}),
    "a value": (order(robot(**{"f:l": {'v:"b"': {}}}), l=["a", "b"]), {"l": ["a"]}),
    "a value that is another type": (order(robot(**{"f:l": {"v:1": {}}}), l=[True, 1.0, "1"]), {"l": [True, 1.0, "1"]}),
    "positions": (order(robot(**{"f:l": {"i:0": {}, "i:2": {}}}), l=["a", "b", "c"]), {"l": ["b"]}),
    "keys of a list of other things": (
        order(robot(**{"f:p": {TCP: {".": {}}}}), p=["a", {"port": 80}]),
        {"p": ["a", {"port": 80}]},
    ),
    "an unknown name": (order(robot(**{"f:a": {}, "x:b": {}}), a=1), {"a": 1}),
    "a field of a list": (order(robot(**{"f:b": {}, "f:l": {"f:x": {}}}), l=[1], b=1), {"l": [1], "b": 1}),
    "a set that is none": (order(robot(**{"f:a": {}, "f:b": 5}), a=1, b=2), {"a": 1, "b": 2}),
    "keys that are none": (order(robot(**{"f:b": {}, "f:p": {"k:[]": {}}}), p=PORTS, b=1), {"p": PORTS, "b": 1}),
    "keys that are a number": (order(robot(**{"f:b": {}, "f:p": {"k:5": {}}}), p=PORTS, b=1), {"p": PORTS, "b": 1}),
    "a value that is a map": (
        order(robot(**{"f:b": {}, "f:p": {'v:{"node":1}': {}}}), p=PORTS, b=1),
        {"p": PORTS, "b": 1},
    ),
    "keys that name nothing": (order(robot(**{"f:b": {}, "f:p": {"k:{}": {}}}), p=PORTS, b=1), {"p": PORTS, "b": 1}),
    "no JSON": (order(robot(**{"f:b": {}, "f:p": {"v:{": {}}}), p=PORTS, b=1), {"p": PORTS, "b": 1}),
    "a name of things": (order(robot(**{"f:b": {}, "f:l": {"v:[]": {}}}), l=[[]], b=1), {"l": [[]], "b": 1}),
    "things": (order(robot(**{"f:b": {}, "f:l": {"v:1": {}}}), l=[[1], {}], b=1), {"l": [[1], {}]}),
    "no Unicode": (order(robot(**{"f:b": {}, "f:l": {"v:1": {}}}), l=["\ud800"], b=1), {"l": ["\ud800"]}),
    "an item like another": (order(robot(**{"f:l": {'v:"a"': {}, 'v:"b"': {}}}), l=["a", "b", "a"]), {"l": ["a", "a"]}),
    "a part of an item like another": (
        order(robot(**{"f:p": {'k:{"port":80}': {"f:node": {}}}, "f:b": {}}), p=PORTS, b=1),
        {"p": PORTS},
    ),
    "a list with items alike": (order(robot(**{"f:l": {}}), l=["a", "a"], b=1), {"b": 1}),
    "an item that two name by other keys": (
        order(
            person(**{"f:p": {'k:{"node":1}': {".": {}, "f:node": {}}}}),
            robot(**{"f:p": {TCP: {".": {}}, UDP: {".": {}}}}),
            p=PORTS,
        ),
        {"p": [PORTS[0]]},
    ),
    "a list with as many kinds of keys as are read": (
        order(robot(**{"f:b": {}, "f:l": {f'k:{{"{key}":1}}': {} for key in "abcdefgh"}}), l=[{"a": 1}, 2], b=1),
        {"l": [2]},
    ),
    "a list with many kinds of keys": (
        order(robot(**{"f:b": {}, "f:l": {f'k:{{"{key}":1}}': {} for key in "abcdefghi"}}), l=[{"a": 1}], b=1),
        {"l": [{"a": 1}], "b": 1},
    ),
    "somebody unreadable": (order(robot(**{"f:a": {}}), person(x={}), a=1), {"a": 1}),
}


@pytest.mark.parametrize(("obj", "expected"), SETS.values(), ids=SETS)
def test_fields_of_ignored_managers(obj: dict[str, Any], expected: Any) -> None:
    """What only they own goes; what cannot be read takes nothing away."""
    assert left(obj) == expected


def test_a_field_says_whose_it_was() -> None:
    """The reason is the entry of the rule, the first one where there are several."""
    obj = order(robot(**{"f:a": {}}), ("x", "scale", {"f:spec": {"f:a": {}, "f:b": {}}}), a=1, b=2, c=3)
    found = [(one.pointer, one.reason) for one in sanitising.removals(obj, MINE)]
    assert found == [
        ("/metadata/managedFields", "written by the API server"),
        ("/spec/a", "ignoreManagers */scale"),
        ("/spec/b", "ignoreManagers */scale"),
    ]


def test_labels_go_and_the_name_never() -> None:
    """Metadata is owned like the rest, but for what tells one object from another."""
    names = {"f:name": {}, "f:namespace": {}, "f:labels": {".": {}, "f:x": {}}}
    obj = order(("robot", "", {"f:metadata": names, "f:kind": {}, "f:apiVersion": {}}))
    obj["metadata"].update(namespace="n", labels={"x": "1"})
    assert sanitising.sanitise(obj, MINE) == {
        "apiVersion": "x.io/v1",
        "kind": "Order",
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {},
    }
    obj["metadata"]["managedFields"][0]["fieldsV1"] = {"f:metadata": {}}
    assert sanitising.sanitise(obj, MINE)["metadata"] == {"name": "a", "namespace": "n", "labels": {"x": "1"}}


@pytest.mark.parametrize(("depth", "goes"), [(99, True), (100, False), (3_000, False)])
def test_a_set_without_end_is_left_alone(depth: int, *, goes: bool) -> None:
    """A hundred levels are read; a hostile set ends in nothing, not in the end of the process."""
    value, fields = {"x": 1, "y": 2}, {"f:x": {}}
    for _ in range(depth):
        value, fields = {"a": value}, {"f:a": fields}
    obj = order(("robot", "", {"f:spec": fields}))
    obj["spec"] = value
    found = ownership.Managed(obj).alone(MINE.managers)
    expected: Any = "ignoreManagers robot"
    for key in ["x", *["a"] * depth, "spec"]:
        expected = {key: expected}
    assert found == (expected if goes else {})


def test_more_managers_than_anybody_has_tell_nothing() -> None:
    """A hundred are read; more are no help, and would cost for each field of the object."""
    entries = [(f"m{number}", "", {"f:spec": {"f:a": {}}}) for number in range(101)]
    assert len(owners(order(*entries[1:], a=1), ("spec", "a")) or ()) == 100
    assert owners(order(*entries, a=1), ("spec", "a")) is None
    assert sanitising.sanitise(order(*entries, a=1), Ignored(managers=("m*",)))["spec"] == {"a": 1}


@pytest.mark.parametrize("ignored", [NOTHING, MINE], ids=["table", "managers"])
@pytest.mark.parametrize("odd", [0, 20], ids=["plain", "unreadable"])
def test_a_set_is_read_once(monkeypatch: pytest.MonkeyPatch, ignored: Ignored, odd: int) -> None:
    """However many fields of an object somebody asks about, each name of each set is read once at most."""
    read: list[str] = []
    real = ownership._slot
    monkeypatch.setattr(ownership, "_slot", lambda name: (read.append(name), real(name))[1])
    ports = [{"port": number, "protocol": "TCP", "nodePort": 30_000 + number} for number in range(50)]
    names = {f'k:{{"port":{port["port"]},"protocol":"TCP"}}': {".": {}, "f:port": {}} for port in ports}
    names |= {f'k:{{"x{number}":1}}': {".": {}} for number in range(odd)}
    sets = [(manager, "", {"f:spec": {"f:ports": names}}) for manager in ("kubectl", "robot")]
    obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "uid": "u", **managed(*sets)}}
    obj["spec"] = {"type": "NodePort", "ports": ports}
    clean = sanitising.sanitise(obj, ignored)
    assert [port for port in clean["spec"]["ports"] if "nodePort" in port] == (ports if odd else [])
    assert len(read) == 2 * len(names)


def test_sets_are_left_unread_where_none_of_the_managers_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that ignores a manager costs nothing for objects that this manager never wrote."""
    obj = order(person(**{"f:p": {TCP: {".": {}}}}), p=PORTS)
    monkeypatch.setattr(ownership, "_slot", lambda name: pytest.fail(f"{name} was read"))
    assert not ownership.Managed(obj).alone(("robot",))


_scalars = st.sampled_from([1, True, 1.0, None, "x", "y", ""])
_keyed = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["x", "y", 1, True])}, optional={"a": _scalars, "b": _scalars}),
    max_size=3,
)
_values = st.recursive(
    _scalars | _keyed,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("ab0"), children, max_size=3),
    max_leaves=6,
)
_specs = st.dictionaries(st.sampled_from("abc"), _values, max_size=3)
_pointers = st.lists(st.sampled_from(["a", "b", "c", "0", "1", "*", "name"]), min_size=1, max_size=4).map(
    lambda path: "/spec/" + "/".join(path)
)


@st.composite
def _sets(draw: st.DrawFn, spec: dict[str, Any]) -> dict[str, Any]:
    """A set of some places of a spec."""
    fields: dict[str, Any] = {}
    for path, _ in naive.every_place({"spec": spec}):
        if draw(st.booleans()):
            node, value = fields, {"spec": spec}
            for key in path:
                node = node.setdefault(_name(draw, value, key), {})
                value = value[key]  # type: ignore[index]
            if draw(st.booleans()):
                node["."] = {}
    return fields


def _name(draw: st.DrawFn, value: Any, key: str | int) -> str:
    if isinstance(key, str):
        return f"f:{key}"
    item = value[key]
    if isinstance(item, dict) and "name" in item and draw(st.integers(0, 3)):
        return "k:" + naive.json.dumps({"name": item["name"]}, separators=(",", ":"))
    if isinstance(item, dict | list) or not draw(st.integers(0, 3)):
        return f"i:{key}"
    return "v:" + naive.json.dumps(item)


@given(st.data(), _specs, st.lists(_pointers, max_size=3))
def test_ignoring_is_what_the_naive_way_gives(data: st.DataObject, spec: dict[str, Any], pointers: list[str]) -> None:
    """Pointers and managers together leave out exactly what the obvious way leaves out, and twice is once."""
    managers = [("robot", ""), ("kubectl", ""), ("kubectl", "scale")]
    sets = [(name, through, data.draw(_sets(spec))) for name, through in managers if data.draw(st.booleans())]
    obj = {**order(*sets), "spec": spec}
    ignored = Ignored(tuple(pointers), MINE.managers)
    clean = sanitising.sanitise(obj, ignored)
    assert naive.json.dumps(clean) == naive.json.dumps(naive.sanitised(obj, ignored.fields, ignored.managers))
    assert sanitising.sanitise(clean, ignored) == clean


_anything = strategies.objects | st.lists(strategies.objects | strategies.texts, max_size=3) | strategies.texts


@given(_anything, _anything)
def test_no_managed_fields_are_too_odd(listed: Any, fields: Any) -> None:
    """Anything may stand there in an object of a stranger: nothing is raised, and the spec is left."""
    for odd in (
        listed,
        [{"manager": "robot", "fieldsV1": fields}],
        [{"manager": "robot", "fieldsV1": {"f:spec": fields}}],
    ):
        obj = order(a=1)
        obj["metadata"]["managedFields"] = odd
        assert left(obj) in ({"a": 1}, None)
        owners(obj, ("spec", "a"))
