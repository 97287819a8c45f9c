"""A raw client: what the contract says about an API server is said about its answers, so nothing is hidden here.

`Client.call` is one request, `Watch` one stream of events with a deadline for each of them. The library that the
product uses would retry, decode and map errors; here every code, header and message is the test's to judge.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]

JSON, YAML = "application/json", "application/yaml"
JSON_PATCH, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

# `299 - "sentence"`; several are joined by a comma.
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')

# How long an answer, or the next event of a stream, may take.
DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Object:
        """The document."""
        return cast("Object", json.loads(self.body))

    def done(self, code: int | None = None) -> Object:
        """The document of a request that succeeded, with this code if one is given."""
        assert self.code in ({code} if code else {200, 201}), self.body.decode()
        return self.json

    def refused(self, code: int, reason: str) -> Object:
        """The Status document of a request that was refused: its code and reason, and the shape that clients need."""
        status = self.json
        assert (self.code, status.get("code"), status.get("reason", "")) == (code, code, reason), self.body.decode()
        shape = {key: status[key] for key in ("apiVersion", "kind", "metadata", "status")}
        assert shape == {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"}
        return status

    def warnings(self) -> list[str]:
        """The sentences of its Warning headers."""
        quoted = _WARNING.findall(self.headers.get("Warning", ""))
        return [text.replace('\\"', '"') for text in quoted]


class Client:
    """One user's requests to one API server."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url = cluster["server"]
        self._headers = {"Authorization": f"Bearer {user['token']}"}
        trust = ssl.create_default_context(cadata=_authority(cluster))
        self._pool = urllib3.PoolManager(ssl_context=trust, retries=False, maxsize=16, timeout=DEADLINE)

    def close(self) -> None:
        """Close its connections."""
        self._pool.clear()

    def call(
        self,
        method: str,
        path: str,
        content: object = None,
        *,
        kind: str = JSON,
        accept: str = JSON,
        authorization: str | None = None,
        **query: Any,
    ) -> Answer:
        """One request. `content` is sent as it is when it is bytes, or an iterator of them, as JSON otherwise.

        A query of None is left out.
        """
        headers = {**self._headers, "Accept": accept}
        if authorization is not None:
            headers["Authorization"] = authorization
        if content is not None:
            headers["Content-Type"] = kind
        answer = self._pool.request(method, self._address(path, query), body=_body(content), headers=headers)
        return Answer(answer.status, answer.headers, answer.data)

    def get(self, path: str, **query: Any) -> Object:
        """Read what is there."""
        return self.call("GET", path, **query).done(200)

    def create(self, path: str, content: object, **query: Any) -> Object:
        """Create an object in a collection."""
        return self.call("POST", path, content, **query).done(201)

    def update(self, path: str, content: object, **query: Any) -> Object:
        """Replace an object."""
        return self.call("PUT", path, content, **query).done(200)

    def merge(self, path: str, content: object, **query: Any) -> Object:
        """Merge fields into an object."""
        return self.call("PATCH", path, content, kind=MERGE, **query).done(200)

    def delete(self, path: str, content: object = None, **query: Any) -> Object:
        """Delete an object."""
        return self.call("DELETE", path, content, **query).done(200)

    def items(self, path: str, **query: Any) -> list[Object]:
        """The objects of a collection."""
        return cast("list[Object]", self.get(path, **query)["items"])

    def names(self, path: str, **query: Any) -> list[str]:
        """The names of the objects of a collection, in the server's order."""
        return [item["metadata"]["name"] for item in self.items(path, **query)]

    def version(self, path: str) -> str:
        """The resourceVersion that a collection has now."""
        return cast("str", self.get(path, limit=1)["metadata"]["resourceVersion"])

    def watch(self, path: str, *, accept: str = JSON, **query: Any) -> Watch:
        """A stream of the events of a collection. It ends by itself, so that none outlives its test."""
        query = {"watch": "1", "timeoutSeconds": 60, **query}
        headers = {**self._headers, "Accept": accept}
        address = self._address(path, query)
        return Watch(self._pool.request("GET", address, headers=headers, preload_content=False))

    def _address(self, path: str, query: Mapping[str, object]) -> str:
        words = {name: _word(value) for name, value in query.items() if value is not None}
        return f"{self.url}{path}{'?' if words else ''}{urlencode(words)}"


class Watch(AbstractContextManager["Watch"]):
    """The events of one stream; each read fails after DEADLINE seconds of silence."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._lines = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    @property
    def code(self) -> int:
        """The status code with which the stream began."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers with which the stream began."""
        return self._response.headers

    def take(self, count: int) -> list[Object]:
        """The next events."""
        return [self.next() for _ in range(count)]

    def next(self) -> Object:
        """The next event: `type` and `object`."""
        return next(self._lines)

    def rest(self) -> list[Object]:
        """The events up to the end of the stream."""
        return list(self._lines)

    def steps(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next events, bookmarks left out."""
        told = (event for event in self._lines if event["type"] != "BOOKMARK")
        return [(event["type"], event["object"]["metadata"]["name"]) for event in itertools.islice(told, count)]

    def _read(self) -> Iterator[Object]:
        rest = b""
        for chunk in self._response.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line)
        assert not rest, rest


def _authority(cluster: Object) -> str:
    """The certificate that a kubeconfig trusts, inline or as a file."""
    if "certificate-authority" in cluster:
        return Path(cluster["certificate-authority"]).read_text()
    return base64.b64decode(cluster["certificate-authority-data"]).decode()


def _body(content: object) -> bytes | Iterator[bytes] | None:
    if content is None or isinstance(content, (bytes, Iterator)):
        return content
    return json.dumps(content).encode()


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
