"""What histories in one process begin with."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from tests.chaos import miniature
from tests.servers import processes


@pytest.fixture(scope="module")
def beginning(sqlite_template: Path) -> Iterator[miniature.Beginning]:
    """What each history begins with; and no log of what is meant to go wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(dir=processes.MEMORY) as folder:
        yield miniature.Beginning(Path(folder), sqlite_template)
    structlog.reset_defaults()


@pytest.fixture
def site(beginning: miniature.Beginning) -> Iterator[miniature.Site]:
    """One installation, at the beginning of its history."""
    site = beginning.site()
    with site.stood_in(), closing(site):
        yield site
