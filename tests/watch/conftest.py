"""A desk with a writer on each database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.watch.desk import Desk


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A leading writer without a cluster."""
    desk = Desk(database_url)
    yield desk
    desk.close()
