"""The two servers of the contract: every test of this folder runs against both, in a namespace of its own.

The real kube-apiserver is the judge of what a test may say. Where it has no controllers to show something, such as the
end of a namespace's deletion, the test is not part of the contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import manifests
from tests.contract.client import Client
from tests.contract.servers import Pair, Servers
from tests.servers import api


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both servers; each is started by the first test that asks for it."""
    with Servers(tmp_path_factory.mktemp("contract")) as found:
        yield found


@pytest.fixture(scope="session", params=api.EACH)
def pair(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    """One of the two servers, with a client."""
    return servers.get(request.param)


@pytest.fixture(scope="session")
def server(pair: Pair) -> api.ApiServer:
    """The server itself: it can be killed, started, and made to forget."""
    return pair.server


@pytest.fixture(scope="session")
def client(pair: Pair) -> Client:
    """The server as its administrator sees it, with the contract's own type."""
    return pair.client


@pytest.fixture
def place(client: Client) -> str:
    """A namespace of this test's own."""
    return manifests.namespace(client)
