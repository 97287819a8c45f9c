"""Tables: what `kubectl get` shows, as the server prepares it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract import manifests
from tests.contract.client import TABLE, Client, Object
from tests.contract.manifests import CONFIG_MAPS, NAMESPACES, SECRETS, WIDGETS, Type

SAMPLES = [*manifests.samples(), (WIDGETS, {"spec": {"size": "small"}})]
AGE = re.compile(r"\d+s")

# The columns of each type with the cells of its sample; None is the object's name. Those of a priority above 0 are
# shown by `-o wide` alone.
COLUMNS: dict[str, list[tuple[str, object, int]]] = {
    "configmaps": [("Name", None, 0), ("Data", 2, 0), ("Age", AGE, 0)],
    "secrets": [("Name", None, 0), ("Type", "Opaque", 0), ("Data", 1, 0), ("Age", AGE, 0)],
    "services": [
        ("Name", None, 0),
        ("Type", "ClusterIP", 0),
        ("Cluster-IP", re.compile(r"[\d.]+"), 0),
        ("External-IP", "<none>", 0),
        ("Port(s)", "80/TCP", 0),
        ("Age", AGE, 0),
        ("Selector", "app=web", 1),
    ],
    "deployments.apps": [
        ("Name", None, 0),
        ("Ready", "0/1", 0),
        ("Up-to-date", 0, 0),
        ("Available", 0, 0),
        ("Age", AGE, 0),
        ("Containers", "web", 1),
        ("Images", "nginx:1.27", 1),
        ("Selector", "app=web", 1),
    ],
    "statefulsets.apps": [
        ("Name", None, 0),
        ("Ready", "0/1", 0),
        ("Age", AGE, 0),
        ("Containers", "web", 1),
        ("Images", "nginx:1.27", 1),
    ],
    "roles.rbac.authorization.k8s.io": [("Name", None, 0), ("Created At", "created", 0)],
    "rolebindings.rbac.authorization.k8s.io": [
        ("Name", None, 0),
        ("Role", "ClusterRole/view", 0),
        ("Age", AGE, 0),
        ("Users", "alice", 1),
        ("Groups", "", 1),
        ("ServiceAccounts", "", 1),
    ],
    "clusterroles.rbac.authorization.k8s.io": [("Name", None, 0), ("Created At", "created", 0)],
    "clusterrolebindings.rbac.authorization.k8s.io": [
        ("Name", None, 0),
        ("Role", "ClusterRole/view", 0),
        ("Age", AGE, 0),
        ("Users", "alice", 1),
        ("Groups", "", 1),
        ("ServiceAccounts", "", 1),
    ],
    "namespaces": [("Name", None, 0), ("Status", "Active", 0), ("Age", AGE, 0)],
    "widgets.contract.example.com": [
        ("Name", None, 0),
        ("Size", "small", 0),
        ("Count", None, 0),
        ("Ready", None, 0),
        ("Colour", "blue", 1),
        ("Age", AGE, 0),
    ],
}


def table(client: Client, path: str, **query: Any) -> Object:
    """A list or an object as a table."""
    answer = client.call("GET", path, accept=TABLE, **query)
    found = answer.done(200)
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    return found


@pytest.mark.parametrize(("type_", "fields"), SAMPLES, ids=[type_.qualified for type_, _ in SAMPLES])
def test_the_columns_of_a_type(client: Client, place: str, type_: Type, fields: Object) -> None:
    """A type has the columns that its users know, and an object's cells fit them."""
    name = manifests.unique("one")
    made = client.create(type_.all(place), type_.new(name, **fields))
    found = table(client, type_.one(place, name))
    expected = COLUMNS[type_.qualified]
    told = [(column["name"], column["priority"]) for column in found["columnDefinitions"]]
    assert told == [(title, priority) for title, _, priority in expected]
    [row] = found["rows"]
    for (title, wanted, _), cell in zip(expected, row["cells"], strict=True):
        assert fits(cell, name if title == "Name" else wanted, made), title


def fits(cell: object, wanted: object, made: Object) -> bool:
    """Whether a cell is what is wanted: a value, a pattern, or the object's time."""
    if isinstance(wanted, re.Pattern):
        return isinstance(cell, str) and bool(wanted.fullmatch(cell))
    return cell == (made["metadata"]["creationTimestamp"] if wanted == "created" else wanted)


def test_columns_are_described(client: Client, place: str) -> None:
    """Each column says what it is: type, format and a description."""
    name, *_ = table(client, CONFIG_MAPS.all(place))["columnDefinitions"]
    assert (name["type"], name["format"]) == ("string", "name")
    assert name["description"]
    widget = {column["name"]: column for column in table(client, WIDGETS.all(place))["columnDefinitions"]}
    assert (widget["Size"]["type"], widget["Size"]["description"]) == ("string", "How big it is.")
    assert widget["Count"]["type"] == "integer"


@pytest.mark.parametrize(
    ("include", "kind"),
    [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap"), (None, "PartialObjectMetadata")],
)
def test_a_row_carries_its_object(client: Client, place: str, include: str | None, *, kind: str | None) -> None:
    """`includeObject` says how much of the object comes with its row: by default its metadata."""
    made = manifests.config_map(client, place, "one", data={"key": "value"})
    [row] = table(client, CONFIG_MAPS.all(place), includeObject=include)["rows"]
    found = row.get("object") or {}
    assert found.get("kind") == kind
    if kind:
        assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert ("data" in found) == (kind == "ConfigMap")


def test_a_table_of_a_list(client: Client, place: str) -> None:
    """The table of a list has its version, its pages and its order."""
    for name in ("b", "a", "c"):
        manifests.config_map(client, place, name)
    found = table(client, CONFIG_MAPS.all(place), limit=2)
    assert [row["cells"][0] for row in found["rows"]] == ["a", "b"]
    assert found["metadata"]["resourceVersion"].isdigit()
    assert found["metadata"]["remainingItemCount"] == 1
    rest = table(client, CONFIG_MAPS.all(place), **{"limit": 2, "continue": found["metadata"]["continue"]})
    assert [row["cells"][0] for row in rest["rows"]] == ["c"]


def test_an_empty_table_has_columns(client: Client, place: str) -> None:
    """A table of nothing has its columns and no rows."""
    found = table(client, SECRETS.all(place))
    assert found["columnDefinitions"]
    assert found["rows"] == []


def test_a_table_is_selected(client: Client, place: str) -> None:
    """Selectors work on tables."""
    for name in ("a", "b"):
        manifests.config_map(client, place, name, labels={"n": name})
    [row] = table(client, CONFIG_MAPS.all(place), labelSelector="n=b")["rows"]
    assert row["cells"][0] == "b"


def test_a_stream_of_tables(client: Client, place: str) -> None:
    """A watch may be told in tables: one row for each event, and the columns with the first."""
    path = WIDGETS.all(place)
    with client.watch(path, accept=TABLE, resourceVersion=client.version(path)) as watch:
        manifests.widget(client, place, "one")
        client.merge(WIDGETS.one(place, "one"), {"spec": {"size": "large", "count": 3}})
        client.delete(WIDGETS.one(place, "one"))
        events = watch.take(3)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert {event["object"]["kind"] for event in events} == {"Table"}
    rows = [row for event in events for row in event["object"]["rows"]]
    assert [row["cells"][:3] for row in rows] == [["one", "small", None], ["one", "large", 3], ["one", "large", 3]]
    assert rows[0]["object"]["kind"] == "PartialObjectMetadata"
    assert [column["name"] for column in events[0]["object"]["columnDefinitions"]][:2] == ["Name", "Size"]
    assert not events[1]["object"].get("columnDefinitions")


def test_a_status_shows_in_its_column(client: Client, place: str) -> None:
    """A column may be about one condition of many."""
    manifests.widget(client, place, "one")
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    client.merge(f"{WIDGETS.one(place, 'one')}/status", {"status": {"conditions": conditions}})
    [row] = table(client, WIDGETS.all(place))["rows"]
    assert row["cells"][3] == "True"


def test_a_namespace_that_ends_says_so_in_its_table(client: Client, place: str) -> None:
    """The phase of a namespace is a column."""
    metadata = {"finalizers": ["example.com/hold"]}
    client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", metadata=metadata))
    client.delete(NAMESPACES.one("", place))
    [row] = table(client, NAMESPACES.one("", place))["rows"]
    assert row["cells"][:2] == [place, "Terminating"]
