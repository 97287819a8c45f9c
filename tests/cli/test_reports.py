"""The queries behind `reverser status` and `reverser audit log`."""

from __future__ import annotations

from contextlib import closing

from app import db
from app.models import reports


def test_views_answer_on_every_database(database_url: str) -> None:
    """Both views have every column that the commands show, on SQLite and on PostgreSQL, and take every filter."""
    with closing(db.Database(database_url)) as database, database.read() as connection:
        assert reports.destination_statuses(connection) == []
        assert reports.audit_entries(connection) == []
        assert reports.audit_entries(connection, destination="shop/prod", name="a\x00b", limit=1) == []
