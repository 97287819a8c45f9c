"""`reverser audit`: any question to the record, on both databases, and no change."""

from __future__ import annotations

import json
from contextlib import closing

import click.testing
import pytest

from app.cli import audit
from app.models import destinations
from tests.models.records import CLUSTER, Records


@pytest.fixture
def asked(database_url: str, monkeypatch: pytest.MonkeyPatch) -> click.testing.CliRunner:
    """The command on a database with a destination."""
    with closing(Records(database_url)) as records:
        records.destination("prod")
    monkeypatch.setenv("REVERSER_DATABASE_URL", database_url)
    return click.testing.CliRunner()


def ask(runner: click.testing.CliRunner, *words: str) -> click.testing.Result:
    """Run `reverser audit sql`."""
    return runner.invoke(audit.audit, ["sql", *words], standalone_mode=False)


def test_a_query_is_answered(asked: click.testing.CliRunner) -> None:
    """A query gives its columns and rows, as a table and as JSON; % is a sign like any other."""
    query = "SELECT destination, pending, last_sha FROM destination_lag WHERE destination LIKE 'shop/%'"
    assert ask(asked, query).stdout.splitlines() == ["destination\tpending\tlast_sha", "shop/prod\t0\t"]
    (found,) = json.loads(ask(asked, "--output", "json", query).stdout)
    assert found == {"destination": "shop/prod", "pending": 0, "last_sha": None}


@pytest.mark.parametrize(
    "query", ["DELETE FROM git_destination", "UPDATE ledger_head SET next = 0", "DROP VIEW audit_log"]
)
def test_nothing_is_changed(asked: click.testing.CliRunner, query: str) -> None:
    """A query that would change something is refused in the database's words."""
    refused = ask(asked, query)
    assert "the database refuses this query" in str(refused.exception)
    assert "read" in str(refused.exception)
    assert ask(asked, "SELECT count(*) AS n FROM git_destination").stdout.split() == ["n", "1"]


@pytest.mark.parametrize(
    "query",
    [
        "SET TRANSACTION READ WRITE; DELETE FROM ledger_head; COMMIT",
        "COMMIT; BEGIN READ WRITE; DELETE FROM ledger_head; COMMIT",
        "SELECT 1; DELETE FROM ledger_head",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM ledger_head; COMMIT; END $$",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM ledger_head; END $$",
    ],
)
def test_nobody_writes_by_asking_for_more(asked: click.testing.CliRunner, query: str) -> None:
    """A query that asks for the right to write, or brings a second statement, is refused and changes nothing."""
    assert "the database refuses this query" in str(ask(asked, query).exception)
    assert ask(asked, "SELECT count(*) AS n FROM ledger_head").stdout.split() == ["n", "1"]


def test_a_mistake_is_said(asked: click.testing.CliRunner) -> None:
    """A query that the database does not understand is answered in its words, not with a traceback."""
    assert "syntax error" in str(ask(asked, "SELCT 1").exception)


def test_nothing_is_no_answer_to_a_typo(asked: click.testing.CliRunner, database_url: str) -> None:
    """A destination that never was is refused with those there are or were; one that was deleted can be asked."""
    with closing(Records(database_url)) as records:
        other = records.destination("other", folder="other")
        with records.database.write() as connection:
            destinations.retire_destinations(connection, cluster=CLUSTER, keep={other.uid})
    for name in ("prod", "other"):
        done = asked.invoke(audit.audit, ["log", "--destination", f"shop/{name}"])
        assert (done.exit_code, done.stderr) == (0, "Nothing was pushed yet that fits.\n")
    for typo in ("shop/prd", "prod"):
        refused = asked.invoke(audit.audit, ["log", "--destination", typo]).exception
        assert str(refused) == f"the database never had a GitDestination {typo}; it has or had: shop/other, shop/prod"


def test_an_object_is_asked_by_its_name(asked: click.testing.CliRunner) -> None:
    """No name has a slash: who writes a type before it is told what to write."""
    refused = asked.invoke(audit.audit, ["log", "--object", "deploy/web"])
    assert refused.exit_code == 2
    assert "write the name alone, --object web" in refused.stderr
