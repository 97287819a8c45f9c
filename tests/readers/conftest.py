"""The readers that are programs, each made once: one is built, the other needs a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.readers import go, kubectl
from tests.servers.sandbox import SandboxServer


@pytest.fixture(scope="session")
def yaml_v3(tmp_path_factory: pytest.TempPathFactory) -> go.YamlV3:
    """The program that reads with yaml.v3."""
    return go.YamlV3(tmp_path_factory.mktemp("yamlv3"))


@pytest.fixture(scope="session")
def kubectl_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubectl.Kubectl]:
    """kubectl, with a sandbox of its own to ask for types."""
    with SandboxServer(tmp_path_factory.mktemp("sandbox")) as server:
        yield kubectl.Kubectl(server, tmp_path_factory.mktemp("kubectl"))
