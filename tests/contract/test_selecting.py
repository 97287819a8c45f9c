"""Label selectors and field selectors of lists."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import Client
from tests.contract.manifests import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, WIDGETS

OBJECTS = {
    "a": {"app": "web", "tier": "front"},
    "b": {"app": "web"},
    "c": {"app": "db", "example.com/owner": "alice"},
    "d": {},
    "e": {"app": ""},
}


@pytest.fixture
def labelled(client: Client, place: str) -> str:
    """The path of ConfigMaps with different labels."""
    for name, labels in OBJECTS.items():
        manifests.config_map(client, place, name, labels=labels)
    return CONFIG_MAPS.all(place)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", "abcde"),
        ("app=web", "ab"),
        ("app==web", "ab"),
        ("app=", "e"),
        ("app!=web", "cde"),
        ("app in (web,db)", "abc"),
        ("app in (web, db),tier", "a"),
        ("app notin (web)", "cde"),
        ("app", "abce"),
        ("!app", "d"),
        ("app,!tier", "bce"),
        ("app=web,tier=front", "a"),
        ("example.com/owner=alice", "c"),
        (" app = web , tier != front ", "b"),
        ("app=nobody", ""),
        ("app=web,app=db", ""),
    ],
)
def test_a_label_selector(client: Client, labelled: str, selector: str, names: str) -> None:
    """Each operator of label selectors selects what Kubernetes documents; several of them must all hold."""
    assert client.names(labelled, labelSelector=selector) == list(names)


@pytest.mark.parametrize("selector", ["app in web", "app in (", "=web", "app=web,", "a b", "app in (web", "-app", "!"])
def test_a_label_selector_that_nobody_understands(client: Client, labelled: str, selector: str) -> None:
    """A selector that cannot be read is an error, never everything."""
    status = client.call("GET", labelled, labelSelector=selector).refused(400, "BadRequest")
    assert status["message"]


def test_numbers_are_compared(client: Client, place: str) -> None:
    """`gt` and `lt` compare whole numbers."""
    for number in (1, 5, 10):
        manifests.config_map(client, place, f"n{number}", labels={"size": str(number)})
    manifests.config_map(client, place, "other", labels={"size": "big"})
    path = CONFIG_MAPS.all(place)
    assert client.names(path, labelSelector="size>1") == ["n10", "n5"]
    assert client.names(path, labelSelector="size<5") == ["n1"]
    assert client.names(path, labelSelector="size>1,size<10") == ["n5"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=a", "a"),
        ("metadata.name==a", "a"),
        ("metadata.name!=a", "bcde"),
        ("metadata.name=missing", ""),
        ("metadata.name!=a,metadata.name!=b", "cde"),
        ("", "abcde"),
    ],
)
def test_a_field_selector(client: Client, labelled: str, selector: str, names: str) -> None:
    """Every type can be selected by its name."""
    assert client.names(labelled, fieldSelector=selector) == list(names)


def test_a_field_selector_of_the_namespace(client: Client, labelled: str, place: str) -> None:
    """Every namespaced type can be selected by its namespace, over all of them."""
    path = CONFIG_MAPS.all()
    assert client.names(path, fieldSelector=f"metadata.namespace={place}") == list("abcde")
    assert client.names(path, fieldSelector=f"metadata.namespace={place},metadata.name=b") == ["b"]


def test_both_selectors_must_hold(client: Client, labelled: str) -> None:
    """A label selector and a field selector together select what both select."""
    assert client.names(labelled, labelSelector="app=web", fieldSelector="metadata.name!=a") == ["b"]


def test_custom_types_are_selected_too(client: Client, place: str) -> None:
    """Selectors work on custom types as on built-in ones."""
    for name in ("one", "two"):
        manifest = WIDGETS.new(name, metadata={"labels": {"n": name}}, spec={"size": "small"})
        client.create(WIDGETS.all(place), manifest)
    assert client.names(WIDGETS.all(place), labelSelector="n=one") == ["one"]
    assert client.names(WIDGETS.all(place), fieldSelector="metadata.name=two") == ["two"]


@pytest.mark.parametrize("type_", [CONFIG_MAPS, DEPLOYMENTS, WIDGETS], ids=lambda type_: type_.resource)
def test_an_unknown_field_selects_nothing(client: Client, place: str, type_: manifests.Type) -> None:
    """A field by which a type cannot be selected is an error that names it."""
    status = client.call("GET", type_.all(place), fieldSelector="spec.unknown=1").refused(400, "BadRequest")
    assert "spec.unknown" in status["message"]


def test_a_namespace_is_selected_by_its_label(client: Client, place: str) -> None:
    """Each namespace has its name as a label, which namespace selectors count on."""
    assert client.names(NAMESPACES.all(), labelSelector=f"kubernetes.io/metadata.name={place}") == [place]
