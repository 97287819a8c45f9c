"""The reference of tables is complete, and its queries are ones that a person can copy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from app.models import ledger
from tests.models.records import Records, entry

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "tables.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?);\n```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def documented() -> dict[str, set[str]]:
    """Table or view -> the columns that its section lists."""
    found = {}
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        name, _, rest = section.partition("\n")
        table = rest.partition("| column | holds |\n|---|---|\n")[2].partition("\n\n")[0]
        first = (line.split("|")[1] for line in table.splitlines())
        found[name.strip("`")] = {column for cell in first for column in re.findall(r"`(\w+)`", cell)}
    return found


def test_every_column_of_every_table_and_view_is_documented(database_url: str) -> None:
    """The page lists exactly the columns that the database has."""
    engine = create_engine(database_url)
    looked = inspect(engine)
    names = [*looked.get_table_names(), *looked.get_view_names()]
    columns = {name: {one["name"] for one in looked.get_columns(name)} for name in names if name != "alembic_version"}
    engine.dispose()
    assert documented() == columns


def test_every_state_of_a_row_is_explained() -> None:
    """Whoever reads `state` finds what it means."""
    assert {state for state in ledger.STATES if f"| `{state}` |" not in PAGE} == set()


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_page_runs(records: Records, query: str) -> None:
    """What the page offers to copy is accepted by both databases."""
    records.append(entry(records.destination()))
    with records.database.read() as connection:
        connection.execute(text(query)).all()


def test_the_page_has_queries() -> None:
    """The test above has something to run."""
    assert len(QUERIES) >= 10
