"""One API server for this folder, with both IP families, and the round trips on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.roundtrip.travelling import Travelling, serve
from tests.servers import api


@pytest.fixture(scope="session", params=api.EACH)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[api.ApiServer]:
    """The API server."""
    with serve(request.param, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="session")
def travelling(server: api.ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Travelling]:
    """Round trips; each kind makes its one when it is first asked for."""
    with Travelling(server, tmp_path_factory.mktemp("files")) as found:
        yield found
