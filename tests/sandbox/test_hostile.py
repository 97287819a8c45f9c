"""Whatever a client sends, it gets an answer of Kubernetes: nothing breaks inside, and every list can be shown."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import client as kinds_of_patches
from tests.contract import manifests
from tests.contract.client import TABLE, Client
from tests.servers.sandbox import SandboxServer

REQUESTS = 1_000
# What no field expects, and what some parsers take for something else.
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    3.5,
    10**30,
    "",
    ".",
    "x" * 300,
    "\u0000",
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"$patch": "replace"},
    [{"$patch": "delete", "name": "web"}],
)
ODD_FIELDS = ("finalizers", "managedFields", "unknown", "metadata", "status", "spec", "kind", "$patch")
OPERATIONS = ("add", "remove", "replace", "test", "move", "copy", "unknown")
POINTERS = ("", "/metadata", "/metadata/labels", "/spec", "/spec/template/spec/containers/-", "/data/key", "x", 5)


class Hostile:
    """Requests that a seed makes up from good manifests."""

    def __init__(self, seed: int, place: str) -> None:
        self._random = random.Random(seed)
        self._place = place
        self._samples = [*manifests.samples(), *manifests.more_samples()]

    def request(self) -> tuple[str, str, bytes, str]:
        """Method, path, body and content type."""
        type_, fields = self._random.choice(self._samples)
        name = f"name-{self._random.randrange(4)}"
        body = json.dumps(self._spoiled(type_.new(name, **copy.deepcopy(fields)))).encode()
        one, every = type_.one(self._place, name), type_.all(self._place)
        below = one + self._random.choice(["", "/status", "/scale"])
        return self._random.choice(
            [
                ("POST", every + self._random.choice(["", "?fieldValidation=Strict"]), body, "application/json"),
                ("PUT", below, body, "application/json"),
                ("PATCH", below, body, kinds_of_patches.MERGE),
                ("PATCH", below, body, kinds_of_patches.STRATEGIC),
                ("PATCH", f"{one}?fieldManager=a", body, kinds_of_patches.APPLY),
                ("PATCH", f"{one}?fieldManager=b&force=true", body, kinds_of_patches.APPLY),
                ("PATCH", below, json.dumps(self._operations()).encode(), kinds_of_patches.JSON_PATCH),
                ("DELETE", one, json.dumps(self._spoiled({"dryRun": ["All"], "preconditions": {}})).encode(), ""),
            ]
        )

    def _operations(self) -> list[dict[str, Any]]:
        return [
            {
                "op": self._random.choice(OPERATIONS),
                "path": self._random.choice(POINTERS),
                "from": self._random.choice(POINTERS),
                "value": self._random.choice(JUNK),
            }
            for _ in range(self._random.randrange(1, 4))
        ]

    def _spoiled(self, found: Any) -> Any:
        for _ in range(self._random.randrange(3)):
            holder, key = self._random.choice(list(places(found)))
            holder[key] = copy.deepcopy(self._random.choice(JUNK))
            if isinstance(holder, dict) and self._random.random() < 0.2:
                holder[self._random.choice(ODD_FIELDS)] = copy.deepcopy(self._random.choice(JUNK))
        return found


def places(found: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, as what holds it and where."""
    pairs = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in list(pairs):
        yield found, key
        yield from places(value)


@pytest.mark.parametrize("seed", [11, 12])
def test_nothing_breaks_inside(sandbox: SandboxServer, client: Client, seed: int) -> None:
    """Each request is answered with a success or a refusal with words; then every type can be listed as a table."""
    place = f"hostile-{seed}"
    client.create("/api/v1/namespaces", {"metadata": {"name": place}})
    hostile = Hostile(seed, place)
    codes = set()
    for _ in range(REQUESTS):
        method, path, body, content_type = hostile.request()
        answer = client.call(method, path, body, kind=content_type)
        codes.add(answer.code)
        assert b"the sandbox failed" not in answer.body, (method, path, body, content_type, answer.body)
    assert codes >= {200, 201, 400, 404, 409, 422}
    for type_, _ in [*manifests.samples(), *manifests.more_samples()]:
        assert client.call("GET", type_.all(place), accept=TABLE).done()["kind"] == "Table"
    assert "request_failed" not in sandbox.log.read_text()


@pytest.mark.parametrize("metadata", ["text", -1, [[]], {"resourceVersion": []}], ids=str)
def test_metadata_of_any_shape_is_answered(client: Client, place: str, metadata: object) -> None:
    """What is no metadata is refused with words wherever an object is made, by an update too."""
    namespace = place.split("/")[4]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
    for method, path in (("POST", place), ("PUT", f"{place}/one"), ("POST", roles), ("PUT", f"{roles}/one")):
        answer = client.call(method, path, {"metadata": metadata})
        assert b"the sandbox failed" not in answer.body, (method, path, answer.body)


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 9)}]" for depth in range(1, 9)]
)
MERGED = "\n".join(
    ["a0: &a0 {k: v}"] + [f"a{depth}: &a{depth} {{<<: [{', '.join([f'*a{depth - 1}'] * 9)}]}}" for depth in range(1, 9)]
)


@pytest.mark.parametrize("content", [BOMB, MERGED, "data: &itself {key: *itself}"], ids=["lists", "merges", "itself"])
def test_aliases_do_not_grow_without_bound(client: Client, place: str, content: str) -> None:
    """A short YAML body that stands for more than a machine holds is refused at once; a few aliases are read."""
    path = f"{place}/aliases?fieldManager=tests"
    started = time.monotonic()
    client.call("PATCH", path, content.encode(), kind=kinds_of_patches.APPLY).refused(400, "BadRequest")
    assert time.monotonic() - started < 3.0
    good = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: &name aliases}, data: {one: *name, two: *name}}"
    made = client.call("PATCH", path, good, kind=kinds_of_patches.APPLY).done(201)
    assert made["data"] == {"one": "aliases", "two": "aliases"}
