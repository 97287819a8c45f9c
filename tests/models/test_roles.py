"""The roles of `deploy/postgresql` on a live server: who makes the tables, who works on them, who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import alembic.command
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from app import db, errors
from app.models import health
from tests.models.records import Records, entry
from tests.models.test_reference import QUERIES
from tests.servers import postgres

pytestmark = pytest.mark.postgres

SCRIPTS = Path(__file__).parents[2] / "deploy" / "postgresql"
DDL = (
    "CREATE TABLE mine (id INTEGER)",
    "CREATE TEMPORARY TABLE mine (id INTEGER)",
    "CREATE SCHEMA mine",
    "ALTER TABLE event ADD COLUMN mine TEXT",
    "CREATE INDEX ix_mine ON event (name)",
    "TRUNCATE event",
    "DROP VIEW audit_log",
    "DROP TABLE event_body",
)


@dataclass(frozen=True, slots=True)
class Roles:
    """A database of this test's own, and its three roles, which have its name: a server has its roles in common."""

    admin: URL

    def name(self, role: str) -> str:
        return f"{self.admin.database}_{role}"

    def url(self, role: str) -> str:
        return self.admin.set(username=self.name(role)).render_as_string(hide_password=False)

    def run(self, script: str, *, by: URL | None = None) -> None:
        """Run a script of ours as psql -1 does: all of it, or nothing."""
        statements = (SCRIPTS / script).read_text()
        for role in ("owner", "app", "auditor"):
            statements = statements.replace(f"reverser_{role}", self.name(role))
        with postgres.connect(by or self.admin) as connection:
            connection.execute(statements.encode())

    def drop(self) -> None:
        with postgres.connect(self.admin) as connection:
            for (name,) in connection.execute(
                "SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (self.name("%"),)
            ).fetchall():
                connection.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'.encode())


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Roles]:
    """A database without a table, whose roles go after the test."""
    found = Roles(make_url(postgres_url))
    yield found
    found.drop()


@pytest.fixture
def roles(empty: Roles) -> Roles:
    """A database that was set up as the scripts say."""
    empty.run("roles.sql")
    db.upgrade(empty.url("owner"))
    empty.run("auditor.sql")
    return empty


@pytest.fixture
def app(roles: Roles) -> Iterator[Records]:
    """The product at work in the application's role."""
    found = Records(roles.url("app"))
    yield found
    found.close()


@pytest.fixture
def auditor(roles: Roles) -> Iterator[db.Database]:
    """What `reverser audit sql` asks, in the auditor's role."""
    found = db.Database(roles.url("auditor"), read_only=True)
    yield found
    found.close()


def test_the_application_works_in_a_role_that_owns_nothing(roles: Roles, app: Records) -> None:
    """All that the product writes, it may write, as soon as the owner has migrated: nobody grants anything after it."""
    app.database.check_schema()
    assert app.append(entry(app.destination())) == [1]
    with app.database.read() as connection:
        assert health.missing_rights(connection) == []
        owners = connection.execute(text("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"))
        assert owners.scalars().all() == [roles.name("owner")]


def test_the_application_changes_no_table(app: Records) -> None:
    """DDL is refused, with the sentence of the server and what to do; the tables stand."""
    for statement in DDL:
        refused = pytest.raises(errors.StalledError, match=r"refuses this role .*: grant it the right")
        with refused as caught, app.database.write() as connection:
            connection.execute(text(statement))
        assert caught.value.reason == "DatabaseForbidden"
    assert app.append(entry(app.destination())) == [1]


def test_only_the_owner_migrates(roles: Roles) -> None:
    """`reverser migrate` in the role of the application says whose work it is; where nothing is to do it is well."""
    config = db.alembic_config(roles.url("owner"))
    alembic.command.downgrade(config, "0002")
    with pytest.raises(errors.StalledError, match=r"must be owner of .*: run `reverser migrate` as the role that owns"):
        db.upgrade(roles.url("app"))
    alembic.command.upgrade(config, "head")
    db.upgrade(roles.url("app"))


def test_a_later_migration_needs_no_grant(roles: Roles, app: Records, auditor: db.Database) -> None:
    """A view that is made anew and a table that was not there before are the roles' like those of the first day."""
    config = db.alembic_config(roles.url("owner"))
    alembic.command.downgrade(config, "0001")
    alembic.command.upgrade(config, "head")
    owner = db.Database(roles.url("owner"))
    with owner.write() as connection:
        connection.execute(text("CREATE TABLE later (id BIGSERIAL PRIMARY KEY, name TEXT)"))
    owner.close()
    with app.database.write() as connection:
        connection.execute(text("INSERT INTO later (name) VALUES ('new')"))
    assert auditor.ask("SELECT name FROM later")[1] == [("new",)]
    assert auditor.ask("SELECT count(*) FROM rule_history")[1] == [(0,)]


def test_an_auditor_reads_what_there_is_to_ask(app: Records, auditor: db.Database) -> None:
    """Every query of the reference is answered, and the version of the tables can be checked."""
    app.append(entry(app.destination()))
    auditor.check_schema()
    for query in QUERIES:
        auditor.ask(query)
    assert auditor.ask("SELECT name FROM event")[1] == [("app-config",)]


def test_an_auditor_reads_no_object(app: Records, auditor: db.Database) -> None:
    """What stands in an object is for those whom the Git host lets read it."""
    app.append(entry(app.destination()))
    with pytest.raises(errors.PermanentError, match="permission denied for table event_body"):
        auditor.ask("SELECT * FROM event_body")


def test_an_auditor_writes_nothing(roles: Roles, app: Records) -> None:
    """Not even one that takes read-only off: it has no right to."""
    app.append(entry(app.destination()))
    with postgres.connect(make_url(roles.url("auditor"))) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in (*DDL, "DELETE FROM event", "UPDATE event SET name = ''", "SELECT 1 FROM event FOR UPDATE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    with app.database.read() as opened:
        assert opened.execute(text("SELECT name FROM event")).all() == [("app-config",)]


def test_the_scripts_may_be_run_again(roles: Roles, app: Records, auditor: db.Database) -> None:
    """A second run changes nothing, and gives nobody more."""
    for script in ("roles.sql", "auditor.sql", "roles.sql"):
        roles.run(script)
    assert app.append(entry(app.destination())) == [1]
    with pytest.raises(errors.PermanentError, match="permission denied for table event_body"):
        auditor.ask("SELECT * FROM event_body")


def test_an_auditor_who_comes_too_early_gets_nothing(empty: Roles) -> None:
    """Before there is a table to keep from it, its script ends without a grant: later on it would be forgotten."""
    empty.run("roles.sql")
    with pytest.raises(psycopg.errors.UndefinedTable, match="event_body"):
        empty.run("auditor.sql")
    with postgres.connect(empty.admin) as connection:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (empty.name("auditor"),))
        assert found.fetchone() is None


def test_a_hosted_database_without_a_superuser_is_set_up_too(empty: Roles) -> None:
    """Who owns the database and may create roles has all that the scripts need."""
    name = empty.name("admin")
    with postgres.connect(empty.admin) as connection:
        connection.execute(f'CREATE ROLE "{name}" LOGIN CREATEROLE'.encode())
        connection.execute(f'ALTER DATABASE "{empty.admin.database}" OWNER TO "{name}"'.encode())
    admin = empty.admin.set(username=name)
    empty.run("roles.sql", by=admin)
    db.upgrade(empty.url("owner"))
    empty.run("auditor.sql", by=admin)
    records = Records(empty.url("app"))
    assert records.append(entry(records.destination())) == [1]
    records.close()
    with postgres.connect(empty.admin) as connection:
        connection.execute(f'ALTER DATABASE "{empty.admin.database}" OWNER TO CURRENT_USER'.encode())
