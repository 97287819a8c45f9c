"""Manifests: what is read from files, in which order it is sent, and what the cluster makes of it."""

from __future__ import annotations

import secrets

import pytest

from app import errors, events
from app.kube import client, manifests, paths, problems
from tests.kube import objects

WIDGETS = """
apiVersion: {group}/v1
kind: Widget
metadata: {{name: first, namespace: {place}}}
spec: {{size: 1}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  names: {{plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}
"""


def read(text: str) -> list[manifests.Manifest]:
    """The objects of a text."""
    return manifests.read(text, source="a.yaml")


def config_map(name: str, **data: str) -> manifests.Manifest:
    """A ConfigMap that names no namespace."""
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    return manifests.Manifest("a.yaml", content)


def stored(cluster: client.Cluster, place: str, name: str) -> dict[str, object]:
    """A ConfigMap as the cluster has it."""
    return cluster.get_json(paths.single(objects.CONFIG_MAPS, events.Ref(place, name)))


def test_each_object_knows_its_line() -> None:
    """Documents are told apart, empty ones left out, Lists taken apart; each object says where it stands."""
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
---
# nothing but a comment
---
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: three}}
"""
    assert [(str(one), one.source) for one in read(text)] == [
        ("configmap/one", "a.yaml, line 1"),
        ("configmap/two", "a.yaml, line 7, item 1"),
        ("deployment.apps/three", "a.yaml, line 7, item 2"),
    ]


def test_json_with_tabs_is_read() -> None:
    """JSON is read as JSON, whose tabs YAML would refuse."""
    (found,) = read('{"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"metadata": {"name": "a"}}')
    assert str(found) == "configmap/a"


def test_values_are_read_as_kubernetes_reads_them() -> None:
    """A date in a ConfigMap is text: it arrives as it was written."""
    (found,) = read(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {day: 2026-01-02, at: 2026-01-02T03:04:05Z}"
    )
    assert found.content["data"] == {"day": "2026-01-02", "at": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "a.yaml, line 2: this is no YAML"),
        ("a: \x01", "a.yaml: this is no YAML"),
        ("- 1", "a.yaml, line 1: an object of Kubernetes is expected"),
        ("--- \n\n---\nkind: ConfigMap", "a.yaml, line 4: the object has no apiVersion"),
        ("apiVersion: v1", "a.yaml, line 1: the object has no kind"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a}", "the ConfigMap has no metadata.name"),
        ("apiVersion: v1\nkind: List\nitems: [5]", "a.yaml, line 1, item 1: an object of Kubernetes is expected"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    """A document that is no object is refused with the file, the line and what is missing."""
    with pytest.raises(errors.PermanentError) as caught:
        read(text)
    assert message in str(caught.value)


def test_what_others_need_goes_first() -> None:
    """Definitions of kinds come first, then namespaces; everything else keeps its order."""
    text = "\n---\n".join(
        f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}"
        for kind, name in [("B", "b"), ("Namespace", "place"), ("A", "a"), ("CustomResourceDefinition", "c")]
    )
    assert [one.name for one in manifests.in_order(read(text))] == ["c", "place", "b", "a"]


def test_an_object_is_made_changed_and_deleted(cluster: client.Cluster, place: str) -> None:
    """Applying makes an object and then changes it, as the manager that a commit will name; a field left out goes."""
    sender = manifests.Sender(cluster, namespace=place)
    assert sender.apply(config_map("app-config", colour="blue", size="1")) == "applied"
    assert sender.apply(config_map("app-config", colour="green")) == "applied"
    found = stored(cluster, place, "app-config")
    assert found["data"] == {"colour": "green"}
    metadata = found["metadata"]
    assert isinstance(metadata, dict)
    assert [entry["manager"] for entry in metadata["managedFields"]] == ["reverser-apply"]
    assert sender.delete(config_map("app-config")) == "deleted"
    assert sender.delete(config_map("app-config")) == "is gone already"


def test_fields_of_others_are_taken_over(cluster: client.Cluster, place: str) -> None:
    """What another manager set is set anew without a conflict, as `kubectl apply` does."""
    cluster.request(
        "POST",
        paths.collection(objects.CONFIG_MAPS, place),
        query={"fieldManager": "somebody"},
        body=b'{"metadata": {"name": "app-config"}, "data": {"colour": "red", "size": "1"}}',
    )
    manifests.Sender(cluster, namespace=place).apply(config_map("app-config", colour="green"))
    assert stored(cluster, place, "app-config")["data"] == {"colour": "green", "size": "1"}


def test_a_kind_and_its_object_in_one_go(cluster: client.Cluster, place: str) -> None:
    """An object may stand beside, and before, the definition of its kind; deleting both again is no error twice."""
    group = f"{secrets.token_hex(4)}.example.com"
    found = manifests.in_order(read(WIDGETS.format(group=group, place=place)))
    sender = manifests.Sender(cluster)
    assert [sender.apply(one) for one in found] == ["applied", "applied"]
    assert cluster.get_json(f"/apis/{group}/v1/namespaces/{place}/widgets/first")["spec"] == {"size": 1}
    assert [sender.delete(one) for one in found[::-1]] == ["deleted", "deleted"]


def test_refusals_carry_the_words_of_the_cluster(cluster: client.Cluster, place: str) -> None:
    """Whoever sent an object reads why it was refused: the kind, the namespace, the name, an unknown field."""
    sender = manifests.Sender(cluster)
    with pytest.raises(problems.NotServed, match=r"serves no Widget of example.com/v9: check the spelling"):
        sender.apply(
            manifests.Manifest("", {"apiVersion": "example.com/v9", "kind": "Widget", "metadata": {"name": "a"}})
        )
    with pytest.raises(problems.NotServed) as missing:
        manifests.Sender(cluster, namespace=f"{place}-not").apply(config_map("a"))
    assert f'namespaces "{place}-not" not found' in missing.value.answer
    with pytest.raises(errors.PermanentError) as invalid:
        manifests.Sender(cluster, namespace=place).apply(config_map("no name"))
    assert 'metadata.name: Invalid value: "no name"' in invalid.value.answer
    other = manifests.Manifest("", {**config_map("a").content, "metadata": {"name": "a", "namespace": "shop"}})
    with pytest.raises(errors.PermanentError, match=f"it names namespace shop, and -n says {place}"):
        manifests.Sender(cluster, namespace=place).apply(other)
