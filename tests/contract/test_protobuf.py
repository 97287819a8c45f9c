"""Bodies in protobuf are read as a real API server reads them, and what it writes is read as its JSON."""

from __future__ import annotations

import pytest

from app.sandbox import protobuf
from tests.contract import manifests
from tests.contract.client import Client, Object
from tests.contract.manifests import CONFIG_MAPS, Type
from tests.contract.servers import Servers

SAMPLES = [*manifests.samples(), *manifests.more_samples()]


@pytest.mark.kube
@pytest.mark.parametrize(("type_", "fields"), SAMPLES, ids=[type_.qualified for type_, _ in SAMPLES])
def test_a_real_object_is_read(servers: Servers, type_: Type, fields: Object) -> None:
    """What a real server writes in protobuf reads as what it writes in JSON, with every zero that it says."""
    client = servers.get("kube").client
    place, name = manifests.namespace(client), manifests.unique("one")
    client.create(type_.all(place), type_.new(name, **fields))
    answer = client.call("GET", type_.one(place, name), accept=protobuf.MEDIA)
    assert answer.code == 200
    assert protobuf.decode(answer.body, wanted=type_.kind) == client.get(type_.one(place, name))


def envelope(message: bytes, kind: bytes = b"ConfigMap", version: bytes = b"v1") -> bytes:
    """An object as it is sent: the magic, its type (field 1), its message (field 2)."""
    head = field(1, version) + field(2, kind)
    return b"k8s\0" + field(1, head) + field(2, message)


def field(number: int, content: bytes) -> bytes:
    """A string or a message as a field; both numbers are small here."""
    return bytes([number << 3 | 2, len(content)]) + content


NAMED = field(1, field(1, b"settings"))
ENTRY = field(2, field(1, b"mode") + field(2, b"blue"))


def test_a_body_in_protobuf_makes_an_object(client: Client, place: str) -> None:
    """A client that sends protobuf and asks for JSON gets what it sent; an unknown field is passed over."""
    body = envelope(NAMED + ENTRY + b"\x20\x00" + b"\xf8\x01\x07")
    found = client.call("POST", CONFIG_MAPS.all(place), body, kind=protobuf.MEDIA).done(201)
    assert (found["metadata"]["name"], found["data"], found["immutable"]) == ("settings", {"mode": "blue"}, False)


def test_options_of_a_delete_are_read_in_protobuf(client: Client, place: str) -> None:
    """A delete's preconditions count in protobuf as they do in JSON."""
    client.create(CONFIG_MAPS.all(place), CONFIG_MAPS.new("settings"))
    # preconditions (2) with a uid (1) that is no object's.
    body = envelope(field(2, field(1, b"another")), kind=b"DeleteOptions")
    answer = client.call("DELETE", CONFIG_MAPS.one(place, "settings"), body, kind=protobuf.MEDIA)
    assert "the UID in the precondition (another) does not match" in answer.refused(409, "Conflict")["message"]


def test_a_body_may_leave_its_type_to_the_path(client: Client, place: str) -> None:
    """Kind and apiVersion are filled in where they are empty."""
    body = envelope(NAMED, kind=b"", version=b"")
    assert client.call("POST", CONFIG_MAPS.all(place), body, kind=protobuf.MEDIA).done(201)["kind"] == "ConfigMap"


def test_a_message_that_comes_twice_is_merged(client: Client, place: str) -> None:
    """The second metadata adds to the first, and of a key that comes twice the last value counts."""
    again = field(1, field(2, b"made-")) + field(2, field(1, b"mode") + field(2, b"green"))
    found = client.call("POST", CONFIG_MAPS.all(place), envelope(NAMED + ENTRY + again), kind=protobuf.MEDIA)
    assert found.done(201)["metadata"]["generateName"] == "made-"
    assert found.json["data"] == {"mode": "green"}


UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
UNREADABLE = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
CONVERTING = 'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): '
UNREGISTERED = 'no kind "{}" is registered for version "{}" in scheme "pkg/runtime/scheme.go:111"'
NO_MAGIC = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
DAMAGED = {
    "empty": (b"", f"{UNRECOGNIZED}empty data (<empty>)"),
    "magic": (b"k8s\0", f"{UNRECOGNIZED}empty body (6b387300)"),
    "json": (b"x" * 40, f"{UNRECOGNIZED}{NO_MAGIC} ({'78' * 30} ...)"),
    "cut": (envelope(NAMED)[:15], f"{UNRECOGNIZED}unexpected EOF (6b3873000a0f0a0276311209436f6e)"),
    "cut-within": (envelope(NAMED[:-2]), f"{UNREADABLE}unexpected EOF"),
    "wire-type": (envelope(NAMED + b"\x10\x05"), f"{UNREADABLE}proto: wrong wireType = 0 for field Data"),
    "bad-wire-type": (envelope(NAMED + b"\x7f"), f"{UNREADABLE}proto: illegal wireType 7"),
    "tag": (envelope(b"\x02\x00"), f"{UNREADABLE}proto: ConfigMap: illegal tag 0 (wire type 2)"),
    "varint": (envelope(b"\xff" * 11), f"{UNREADABLE}proto: integer overflow"),
    "other-version": (envelope(NAMED, version=b"apps/v1"), UNREADABLE + UNREGISTERED.format("ConfigMap", "apps/v1")),
    "other-kind": (envelope(NAMED, kind=b"Secret"), f"{CONVERTING}unknown conversion"),
    "unknown-kind": (
        envelope(NAMED, kind=b"Unicorn"),
        UNREADABLE.replace("ConfigMap", "Unicorn", 1) + UNREGISTERED.format("Unicorn", "v1"),
    ),
}


@pytest.mark.parametrize(("body", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_body_is_refused(client: Client, place: str, body: bytes, message: str) -> None:
    """The refusal says what is wrong with the bytes, in the real server's words."""
    answer = client.call("POST", CONFIG_MAPS.all(place), body, kind=protobuf.MEDIA)
    assert answer.refused(400, "BadRequest")["message"] == message
