"""Namespaces: what exists from the start, what a namespace holds, and what its deletion means for a writer.

The real API server leaves the end of a namespace's deletion to a controller that does not run here: only its beginning
is part of the contract.
"""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import Client
from tests.contract.manifests import CONFIG_MAPS, NAMESPACES, WIDGETS, Type


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-node-lease"])
def test_some_namespaces_are_there(client: Client, name: str) -> None:
    """A cluster begins with the namespaces that tools count on."""
    assert client.get(NAMESPACES.one("", name))["status"] == {"phase": "Active"}


def test_a_new_namespace_is_active(client: Client) -> None:
    """A new namespace is active, labelled with its name, and held by its finalizer."""
    name = manifests.unique("new")
    made = client.create(NAMESPACES.all(), NAMESPACES.new(name))
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


@pytest.mark.parametrize("type_", [CONFIG_MAPS, WIDGETS], ids=lambda type_: type_.resource)
def test_nothing_is_created_in_a_namespace_that_is_not_there(client: Client, type_: Type) -> None:
    """An object in a namespace that does not exist is a 404 about the namespace."""
    name = manifests.unique("missing")
    answer = client.call("POST", type_.all(name), type_.new("one", spec={"size": "small"}))
    status = answer.refused(404, "NotFound")
    assert status["message"] == f'namespaces "{name}" not found'
    assert status["details"] == {"name": name, "kind": "namespaces"}


def test_a_namespace_that_is_not_there_is_empty(client: Client) -> None:
    """A list in a namespace that does not exist is empty, and no error."""
    assert client.items(CONFIG_MAPS.all(manifests.unique("missing"))) == []


def test_a_name_is_a_label(client: Client) -> None:
    """The name of a namespace is a DNS label: no dots."""
    client.call("POST", NAMESPACES.all(), NAMESPACES.new("a.b")).refused(422, "Invalid")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_stay(client: Client, name: str) -> None:
    """Nobody deletes the namespaces that the cluster itself needs."""
    status = client.call("DELETE", NAMESPACES.one("", name)).refused(403, "Forbidden")
    assert status["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def test_a_namespace_that_is_being_deleted_says_so(client: Client, place: str) -> None:
    """While a namespace is held, it is Terminating, and takes no new objects; what it has can still be read."""
    metadata = {"finalizers": ["example.com/hold"]}
    client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", metadata=metadata))
    answer = client.delete(NAMESPACES.one("", place))
    assert (answer["kind"], answer["status"]["phase"]) == ("Namespace", "Terminating")
    found = client.get(NAMESPACES.one("", place))
    assert found["metadata"]["deletionTimestamp"]
    assert found["status"]["phase"] == "Terminating"
    status = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("two")).refused(403, "Forbidden")
    why = f"unable to create new content in namespace {place} because it is being terminated"
    assert status["message"] == f'configmaps "two" is forbidden: {why}'
    sentence = f"namespace {place} is being terminated"
    cause = {"reason": "NamespaceTerminating", "message": sentence, "field": "metadata.namespace"}
    assert status["details"]["causes"] == [cause]
    assert client.names(CONFIG_MAPS.all(place)) == ["one"]


def test_a_namespace_is_changed_while_it_lives(client: Client, place: str) -> None:
    """A namespace can be labelled; its own label stays what it is."""
    label = "kubernetes.io/metadata.name"
    found = client.merge(NAMESPACES.one("", place), {"metadata": {"labels": {"team": "a", label: "other"}}})
    assert found["metadata"]["labels"] == {"team": "a", label: place}
