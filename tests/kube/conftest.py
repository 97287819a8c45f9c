"""The API servers for the tests of this folder, and a server that gives the answers which a real one gives rarely."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import settings
from app.kube import client, crds
from tests.kube import objects
from tests.kube.faults import FaultServer
from tests.servers.api import EACH, ApiServer, make


@pytest.fixture(scope="session", params=EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for all tests; each test works in a namespace of its own."""
    with make(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(server: ApiServer) -> Iterator[client.Cluster]:
    """The API server as its administrator sees it."""
    cluster = client.connect(settings.Settings(kubeconfig=str(server.kubeconfig())))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def our_kinds(cluster: client.Cluster) -> client.Cluster:
    """The cluster with our CRDs, without local repositories."""
    crds.apply(cluster, allow_local=False)
    return cluster


@pytest.fixture
def place(cluster: client.Cluster) -> str:
    """A namespace of this test's own."""
    return objects.namespace(cluster)


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    """A server that answers as it is told."""
    server = FaultServer()
    yield server
    server.stop()


@pytest.fixture
def faulty(faults: FaultServer, tmp_path: Path) -> Iterator[client.Cluster]:
    """A cluster that answers as the test says."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(faults.kubeconfig())
    cluster = client.connect(settings.Settings(kubeconfig=str(kubeconfig), kube_read_timeout=2))
    yield cluster
    cluster.close()
