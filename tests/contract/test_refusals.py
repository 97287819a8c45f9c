"""Refusals: each is a Status document that says what was wrong, with the code that clients expect."""

from __future__ import annotations

import pytest

from tests.contract import manifests
from tests.contract.client import JSON, TABLE, Client
from tests.contract.manifests import CONFIG_MAPS


@pytest.mark.parametrize(
    "path",
    ["/api/v1/unicorns", "/apis/apps/v1/unicorns", "/apis/apps/v1/namespaces/default/unicorns/one"],
)
def test_an_unknown_type(client: Client, path: str) -> None:
    """A type that is not served is a 404 that says so, not that an object is missing."""
    status = client.call("GET", path).refused(404, "NotFound")
    assert status["message"] == "the server could not find the requested resource"
    assert status["details"] == {}


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/configmaps/one/two/three"])
def test_an_unknown_path(client: Client, path: str) -> None:
    """A path that means nothing is a 404."""
    assert client.call("GET", path).code == 404


def test_an_unknown_path_of_a_custom_group(client: Client) -> None:
    """A custom group's path that means nothing is a plain 404: it is no Status document."""
    assert client.call("GET", "/apis/contract.example.com/v1/unicorns").code == 404


def test_a_collection_is_not_updated(client: Client, place: str) -> None:
    """A method that a path does not have is a 405."""
    for method in ("PUT", "PATCH"):
        answer = client.call(method, CONFIG_MAPS.all(place), {})
        status = answer.refused(405, "MethodNotAllowed")
        assert status["message"] == "the server does not allow this method on the requested resource"


def test_an_object_is_not_posted_to(client: Client, place: str) -> None:
    """A POST to a single object is a 405."""
    manifests.config_map(client, place, "one")
    client.call("POST", CONFIG_MAPS.one(place, "one"), CONFIG_MAPS.new("one")).refused(405, "MethodNotAllowed")


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"[]", b'"text"', b"\xff\xfe", b""])
def test_a_body_that_is_no_object(client: Client, place: str, body: bytes) -> None:
    """A body that cannot be read is a 400."""
    answer = client.call("POST", CONFIG_MAPS.all(place), body)
    assert answer.refused(400, "BadRequest")["message"]


def test_a_field_of_a_wrong_type(client: Client, place: str) -> None:
    """A field whose value is of another type than the schema's is a 400, for a built-in type."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", data={"key": 5}))
    message = answer.refused(400, "BadRequest")["message"]
    assert message.startswith('ConfigMap in version "v1" cannot be handled as a ConfigMap: ')
    assert "cannot unmarshal number" in message


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_a_body_of_an_unknown_kind(client: Client, place: str, kind: str) -> None:
    """A body in a format that nobody reads is a 415 that names the formats."""
    answer = client.call("POST", CONFIG_MAPS.all(place), b"data", kind=kind)
    status = answer.refused(415, "UnsupportedMediaType")
    assert "application/json" in status["message"]


@pytest.mark.parametrize("kind", [JSON, "text/plain"])
def test_a_patch_of_an_unknown_kind(client: Client, place: str, kind: str) -> None:
    """A patch says which kind of patch it is: plain JSON is none."""
    manifests.config_map(client, place, "one")
    client.call("PATCH", CONFIG_MAPS.one(place, "one"), b"{}", kind=kind).refused(415, "UnsupportedMediaType")


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml"])
def test_an_answer_of_an_unknown_kind(client: Client, place: str, accept: str) -> None:
    """An answer in a format that the server does not write is a 406 that names those it writes."""
    status = client.call("GET", CONFIG_MAPS.all(place), accept=accept).refused(406, "NotAcceptable")
    assert "application/json" in status["message"]


@pytest.mark.parametrize(
    "accept", ["*/*", "text/html, application/json", f"{TABLE},application/json", "application/json;q=0.9"]
)
def test_an_answer_of_a_known_kind(client: Client, place: str, accept: str) -> None:
    """A client that takes JSON among others gets it."""
    answer = client.call("GET", CONFIG_MAPS.all(place), accept=accept)
    assert answer.code == 200
    assert answer.headers["Content-Type"].startswith("application/json")


def test_a_body_that_is_too_large(client: Client, place: str) -> None:
    """A body over the limit of three megabytes is a 413, and the connection serves the next request."""
    body = CONFIG_MAPS.new("one", data={"key": "x" * 3_500_000})
    status = client.call("POST", CONFIG_MAPS.all(place), body).refused(413, "RequestEntityTooLarge")
    assert "limit is 3145728" in status["message"]
    assert client.names(CONFIG_MAPS.all(place)) == []


def test_a_config_map_that_is_too_large(client: Client, place: str) -> None:
    """A ConfigMap holds one mebibyte of data."""
    answer = client.call("POST", CONFIG_MAPS.all(place), CONFIG_MAPS.new("one", data={"key": "x" * 1_048_577}))
    assert "Too long: may not be more than 1048576 bytes" in answer.refused(422, "Invalid")["message"]


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Basic YTpi"])
def test_a_stranger_is_told_nothing(client: Client, token: str) -> None:
    """Who has no token, or a wrong one, reads nothing."""
    answer = client.call("GET", "/api/v1/secrets", authorization=token)
    assert answer.code in {401, 403}
