"""Fixtures of the tests of tables and queries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.models.records import Records


@pytest.fixture
def records(database_url: str) -> Iterator[Records]:
    """A migrated database: the test runs once on SQLite and once on PostgreSQL."""
    found = Records(database_url)
    yield found
    found.close()


@pytest.fixture
def postgres_records(postgres_migrated_url: str) -> Iterator[Records]:
    """A migrated PostgreSQL database, for what SQLite cannot do: two writers at once."""
    found = Records(postgres_migrated_url)
    yield found
    found.close()


@pytest.fixture
def sqlite_records(sqlite_url: str) -> Iterator[Records]:
    """A migrated SQLite database."""
    found = Records(sqlite_url)
    yield found
    found.close()
