"""Bodies in protobuf become what the same bodies are in JSON; whatever else comes is refused."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.sandbox import kinds, problems, protobuf, wire

FOLDER = Path(__file__).parent
# What kubectl 1.32 sends, byte by byte, and what it says with --dry-run=client -o json.
SENT: list[dict[str, Any]] = json.loads((FOLDER / "kubectl.json").read_text())
# What Kubernetes tests itself with: every field of every type is set.
WHOLE: list[dict[str, Any]] = json.loads((FOLDER / "kubernetes.json").read_text())["objects"]


@pytest.mark.parametrize("sent", SENT, ids=[one["command"] for one in SENT])
def test_what_kubectl_sends_is_read(sent: dict[str, Any]) -> None:
    """A command of kubectl gives the object that kubectl itself shows for it."""
    found = protobuf.decode(bytes.fromhex(sent["body"]), wanted=sent["object"]["kind"])
    assert without_time(found) == sent["object"]


@pytest.mark.parametrize("whole", WHOLE, ids=[one["name"] for one in WHOLE])
def test_every_field_of_every_type_is_read(whole: dict[str, Any]) -> None:
    """No field of a built-in type is lost or misread."""
    assert protobuf.decode(base64.b64decode(whole["body"]), wanted=whole["object"]["kind"]) == whole["object"]


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=[kind.qualified for kind in kinds.BUILT_IN])
def test_every_built_in_type_has_a_message(kind: kinds.Kind) -> None:
    """A type that is added to the table of types is also read in protobuf, and held to Kubernetes' own object."""
    found = protobuf.decode(envelope(b"", kind=kind.kind, version=kind.api_version), wanted=kind.kind)
    assert (found["kind"], found["apiVersion"]) == (kind.kind, kind.api_version)
    assert (kind.api_version, kind.kind) in {(one["object"]["apiVersion"], one["object"]["kind"]) for one in WHOLE}


def without_time(found: Any) -> Any:
    """Without the `creationTimestamp: null` that older clients write."""
    if isinstance(found, dict):
        return {key: without_time(value) for key, value in found.items() if (key, value) != ("creationTimestamp", None)}
    return [without_time(one) for one in found] if isinstance(found, list) else found


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])


def number(field: int, value: int) -> bytes:
    """A number as a field; a negative one has 64 bits."""
    return varint(field << 3) + varint(value & (2**64 - 1))


def content(field: int, *parts: bytes) -> bytes:
    """A text or a message as a field."""
    return varint(field << 3 | 2) + varint(len(b"".join(parts))) + b"".join(parts)


def envelope(message: bytes, *, kind: str, version: str) -> bytes:
    """An object as it is sent."""
    return b"k8s\0" + content(1, content(1, version.encode()), content(2, kind.encode())) + content(2, message)


def decode(kind: str, *parts: bytes) -> dict[str, Any]:
    """What the fields of one object are in JSON."""
    return protobuf.decode(envelope(b"".join(parts), kind=kind, version=""), wanted=kind)


class TestZeroes:
    """What is said in JSON of a field that is zero, or absent."""

    def test_a_zero_behind_a_pointer_stays(self) -> None:
        """`replicas: 0` and `suspend: false` are wishes; a field that was not sent is not there."""
        assert decode("Deployment", content(2, number(1, 0)))["spec"]["replicas"] == 0
        assert "replicas" not in decode("Deployment", content(2))["spec"]
        assert decode("CronJob", content(2, number(4, 0)))["spec"]["suspend"] is False

    def test_a_zero_of_its_own_is_left_out(self) -> None:
        """Go leaves an empty field out where its tag says so, and writes it where it does not."""
        spec = decode("Deployment", content(2, number(5, 0), number(7, 0), content(3, content(2, content(2)))))["spec"]
        assert "minReadySeconds" not in spec
        assert "paused" not in spec
        assert spec["template"]["spec"]["containers"] == [{"name": "", "resources": {}}]

    def test_a_list_that_must_be_there_is_null(self) -> None:
        """A Role without rules says `rules: null`, as Go does; labels that are not there are not said."""
        role = decode("Role", content(1, content(1, b"none")))
        assert role == {"kind": "Role", "metadata": {"name": "none"}, "rules": None}


class TestValues:
    """What one value is in JSON."""

    def test_negative_numbers(self) -> None:
        """Both widths of numbers have a sign."""
        spec = decode("Deployment", content(2, number(1, -1)))["spec"]
        metadata = decode("ConfigMap", content(1, number(7, -(2**63))))["metadata"]
        assert (spec["replicas"], metadata["generation"]) == (-1, -(2**63))

    def test_numbers_that_are_written_together(self) -> None:
        """A list of numbers may come as one field for all, or as one for each."""
        codes = b"".join([number(3, 1), content(3, varint(2), varint(300))])
        spec = decode("Job", content(2, content(11, content(1, content(2, codes)))))["spec"]
        assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2, 300]

    def test_times(self) -> None:
        """Seconds in UTC, and microseconds for a lease; the year 1 and nothing at all are no time."""
        assert created(number(1, 1_700_000_000), number(2, 5)) == "2023-11-14T22:13:20Z"
        assert created(number(1, -62_135_596_800)) is None
        lease = decode("Lease", content(2, content(3, number(1, 0), number(2, 1_999))))
        assert lease["spec"]["acquireTime"] == "1970-01-01T00:00:00.000001Z"
        assert refusal("ConfigMap", content(1, content(8, number(1, 2**62)))).endswith("outside of range [1,9999]")

    def test_bytes_that_are_no_text(self) -> None:
        """A ConfigMap's binary data is base64; a text that is not UTF-8 keeps what can be read of it."""
        found = decode("ConfigMap", *(content(at, content(1, b"a"), content(2, b"\xffx")) for at in (2, 3)))
        assert (found["data"], found["binaryData"]) == ({"a": "\ufffdx"}, {"a": "/3g="})

    def test_schemas(self) -> None:
        """A schema's wrappers are what they hold: a limit, a choice, a permission, a dependency."""
        found = schema(
            content(30, number(1, 1)),
            content(33, content(2, content(5, b"string"))),
            content(24, content(2, content(5, b"string"))),
            content(32, content(1, b"a"), content(2, content(2, b"b"))),
            content(8, content(1, b'{"deep": [1]}')),
            varint(9 << 3 | 1) + struct.pack("<d", 5.0),
            varint(11 << 3 | 1) + struct.pack("<d", 0.5),
        )
        assert found == {
            "additionalProperties": True,
            "additionalItems": {"type": "string"},
            "items": [{"type": "string"}],
            "dependencies": {"a": ["b"]},
            "default": {"deep": [1]},
            "maximum": 5,
            "minimum": 0.5,
        }

    @pytest.mark.parametrize(
        ("kind", "message", "words"),
        [
            ("Service", content(2, content(1, content(4, number(1, 5)))), "impossible IntOrString.Type"),
            ("ConfigMap", content(1, content(17, content(7, content(1, b"{")))), "json parse error: "),
            ("Deployment", content(2, content(1, b"3")), "proto: wrong wireType = 2 for field Replicas"),
            ("ConfigMap", content(2, number(1, 3)), "proto: wrong wireType = 0 for field Data"),
        ],
        ids=["int-or-string", "json", "number", "entry"],
    )
    def test_values_that_cannot_be(self, kind: str, message: bytes, words: str) -> None:
        """A value that JSON could not say is refused, and the refusal says what it is."""
        assert words in refusal(kind, message)


def created(*time: bytes) -> str | None:
    """The time of a creation; None where there is none."""
    found: str | None = decode("ConfigMap", content(1, content(8, *time)))["metadata"].get("creationTimestamp")
    return found


def schema(*parts: bytes) -> Any:
    """The schema of the first version of a CustomResourceDefinition."""
    definition = decode("CustomResourceDefinition", content(2, content(7, content(4, content(1, *parts)))))
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def refusal(kind: str, message: bytes) -> str:
    """Why an object is refused, which is always the client's fault."""
    with pytest.raises(problems.Refused) as caught:
        decode(kind, message)
    assert caught.value.code == 400
    return str(caught.value.status["message"])


class TestBounds:
    """A small body cannot become a huge object."""

    @staticmethod
    def nested(depth: int) -> bytes:
        """A schema that says `not` so many times; the definition around it is five messages deep."""
        found = b""
        for _ in range(depth):
            found = content(28, found)
        return content(2, content(7, content(4, content(1, found))))

    def test_messages_in_each_other(self) -> None:
        """Sixty messages deep is read, and can be written as JSON; one more is refused."""
        assert orjson.dumps(decode("CustomResourceDefinition", self.nested(55)))
        assert "messages in each other" in refusal("CustomResourceDefinition", self.nested(56))

    def test_many_messages(self) -> None:
        """A body of nothing but empty messages is refused before it fills the memory."""
        assert "a body of more than" in refusal("Role", content(2, b"") * 100_001)


def test_custom_resources_have_no_protobuf() -> None:
    """Nobody has given a custom resource's fields numbers, so it comes as JSON or YAML."""
    with pytest.raises(problems.Refused) as caught:
        protobuf.decode(envelope(b"", kind="Widget", version="example.com/v1"), wanted="Widget")
    assert caught.value.code == 415
    assert caught.value.status["message"].endswith("accepted media types include: application/json, application/yaml")


BODIES = [(bytes.fromhex(one["body"]), one["object"]["kind"]) for one in SENT] + [
    (base64.b64decode(one["body"]), one["object"]["kind"]) for one in WHOLE if len(one["body"]) < 12_000
]


def read_or_refuse(body: bytes, kind: str) -> None:
    """Anything but an object that JSON can say, or a refusal, fails the test."""
    code, found = 0, {}
    try:
        found = protobuf.decode(body, wanted=kind)
    except problems.Refused as refused:
        code = refused.code
    assert code in {0, 400}
    assert orjson.loads(orjson.dumps(found)) == found


@given(st.sampled_from(BODIES), st.lists(st.tuples(st.integers(0, 12_000), st.binary(max_size=3), st.integers(0, 3))))
def test_damaged_bytes_are_read_or_refused(sent: tuple[bytes, str], damages: list[tuple[int, bytes, int]]) -> None:
    """Whatever is cut out of a body or put into it, it is an object or a refusal, and never an error of ours."""
    body, kind = sent
    for at, put, cut in damages:
        place = at % (len(body) + 1)
        body = body[:place] + put + body[place + cut :]
    read_or_refuse(body, kind)


@given(st.binary(), st.sampled_from(sorted(wire.KINDS)))
@example(b"\x0a\x05\x0a\x03\x08\x80\x80", "ConfigMap")
def test_random_messages_are_read_or_refused(message: bytes, kind: str) -> None:
    """The same of bytes that never were an object."""
    read_or_refuse(b"k8s\0" + content(2, message), kind)
    read_or_refuse(b"k8s\0" + message, kind)
    read_or_refuse(message, kind)
