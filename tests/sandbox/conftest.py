"""A sandbox of its own for each module, and what a test says to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.contract.client import Client
from tests.servers.sandbox import SandboxServer

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A running sandbox; the tests of a module share it."""
    with SandboxServer(tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[Client]:
    """Its administrator; faults are taken back after each test."""
    found = Client(sandbox.kubeconfig())
    yield found
    found.close()
    sandbox.clear_faults()


@pytest.fixture
def place(client: Client) -> str:
    """The path of the ConfigMaps in a namespace of this test's own."""
    name = f"test-{next(_NUMBERS)}"
    client.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return f"/api/v1/namespaces/{name}/configmaps"
