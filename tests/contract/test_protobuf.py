"""The messages that the sandbox reads are those of Kubernetes: a real API server's own bytes are the proof."""

from __future__ import annotations

import pytest

from app.sandbox import messages, protobuf
from tests.contract import manifests
from tests.contract.client import Object
from tests.contract.manifests import Type
from tests.contract.servers import Servers

# kubectl makes nothing of the other types by itself.
KNOWN = [
    (type_, fields)
    for type_, fields in [*manifests.samples(), *manifests.more_samples()]
    if type_.kind in messages.MESSAGES
]


@pytest.mark.kube
@pytest.mark.parametrize(("type_", "fields"), KNOWN, ids=[type_.qualified for type_, _ in KNOWN])
def test_a_real_object_is_read(servers: Servers, type_: Type, fields: Object) -> None:
    """What a real server writes in protobuf reads as what it writes in JSON."""
    client = servers.get("kube").client
    place, name = manifests.namespace(client), manifests.unique("one")
    client.create(type_.all(place), type_.new(name, **fields))
    answer = client.call("GET", type_.one(place, name), accept=protobuf.MEDIA)
    assert answer.code == 200
    read, written = protobuf.decode(answer.body), client.get(type_.one(place, name))
    # Zeroes and nulls of a status are left out; no client sends one.
    for found in (read, written):
        found["status"] = {key: value for key, value in found.get("status", {}).items() if value not in (0, None)}
    assert read == written


# An envelope of a ConfigMap, without its object: type (10), object (18), each with its length.
HEAD = b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12"


def test_an_object_is_read() -> None:
    """The envelope names the type; what was not set is left out, what is zero on purpose stays."""
    metadata = b"\n\x07\n\x03one\x1a\x00"
    data = b"\x12\x08\n\x03key\x12\x01x"
    immutable = b"\x20\x00"
    content = metadata + data + immutable
    assert protobuf.decode(HEAD + bytes([len(content)]) + content) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one"},
        "data": {"key": "x"},
        "immutable": False,
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"kind": "ConfigMap"}',
        b"k8s\x00",
        HEAD,
        HEAD + b"\x09\x0a",
        HEAD + b"\x05\x0a\xff\xff\xff\xff",
        HEAD + b"\x02\x08\x01",
        HEAD + b"\x03\x0a\x01\x0f",
        HEAD + b"\x0b" + b"\xff" * 11,
        b"k8s\x00\n\x0d\n\x02v1\x12\x07Unicorn",
    ],
    ids=["empty", "json", "no-type", "no-object", "cut", "length", "number", "wire-type", "varint", "kind"],
)
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    """A body that is broken, or of a type that is not known, is an error of the request and nothing worse."""
    with pytest.raises(protobuf.Unreadable):
        protobuf.decode(body)


def test_an_unknown_field_is_passed_over() -> None:
    """A client of a later version may know fields that this server does not."""
    assert protobuf.decode(HEAD + b"\x06\xf8\x01\x00\xfa\x01\x00")["kind"] == "ConfigMap"
