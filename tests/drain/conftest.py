"""What tests of drains share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drain.world import World


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A fresh world on each database."""
    made = World(tmp_path, database_url)
    yield made
    made.close()
