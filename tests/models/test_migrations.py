"""Migrations: one head, equal to the models, all or nothing, one at a time, up and down, beside an older version.

`tests/test_house.py` holds that no migration imports anything of `app`.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import alembic.command
import alembic.script
import pytest
from sqlalchemy import Engine, MetaData, create_engine, inspect, select, text
from sqlalchemy.engine import make_url

from app import db, errors, models
from app.models import base
from tests.models.records import Records, entry
from tests.servers import postgres
from tests.waiting import wait_until

ADVISORY_LOCK = 726_573_766
REVISIONS = [one.revision for one in alembic.script.ScriptDirectory(str(db.MIGRATIONS)).walk_revisions()]
# Columns, as in `event.rule`, that no release which may still run writes or reads: a migration may remove them.
UNUSED: frozenset[str] = frozenset()
# One value of each type; a row of each table refers to the row 1 of the others.
VALUES: dict[type, object] = {
    int: 1, float: 1.0, bool: False, str: "x", bytes: b"x", object: {}, datetime: datetime(2026, 1, 31, tzinfo=UTC),
}  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a table, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """A plain engine on the empty database."""
    found = create_engine(empty_url)
    yield found
    found.dispose()


def load_models() -> None:
    """Import every module of the models, so that the metadata holds every table."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")


def indexes(engine: Engine) -> list[str]:
    """The definitions of all indexes, conditions included."""
    query = (
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        if engine.dialect.name == "sqlite"
        else "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    with engine.connect() as connection:
        return sorted(" ".join(one.replace('"', "").split()) for one in connection.execute(text(query)).scalars())


def set_revision(database: db.Database, revision: str) -> None:
    """Pretend that another version wrote the database."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_there_is_one_head() -> None:
    """Two branches that both add a revision are found before a release."""
    scripts = alembic.script.ScriptDirectory(str(db.MIGRATIONS))
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    """`alembic check` finds no table, column, type, key or index that differs."""
    load_models()
    config = db.alembic_config(database_url)
    config.attributes["metadata"] = base.Base.metadata
    alembic.command.check(config)


def test_a_model_that_differs_is_noticed(database_url: str) -> None:
    """The check above sees the metadata: with an empty one it reports every table as too much."""
    config = db.alembic_config(database_url)
    config.attributes["metadata"] = type(base.Base.metadata)()
    with pytest.raises(alembic.util.CommandError, match="remove_table"):
        alembic.command.check(config)


def test_indexes_have_the_conditions_of_the_models(engine: Engine, empty_url: str) -> None:
    """Partial indexes are partial in the same way, which `alembic check` does not compare."""
    load_models()
    base.Base.metadata.create_all(engine)
    wanted = indexes(engine)
    base.Base.metadata.drop_all(engine)
    db.upgrade(empty_url)
    assert indexes(engine) == wanted
    assert any("WHERE" in one for one in wanted)


def test_up_down_up_with_data(database_url: str) -> None:
    """A database in use can be taken down and up again; afterwards it works as a new one."""
    records = Records(database_url)
    records.append(entry(records.destination()))
    records.close()
    alembic.command.downgrade(db.alembic_config(database_url), "base")
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_view_names() == []
    engine.dispose()
    db.upgrade(database_url)
    records = Records(database_url)
    records.database.check_schema()
    assert records.append(entry(records.destination())) == [1]
    records.close()


@pytest.mark.parametrize(("revision", "known"), [("0001", {}), ("0002", {"rule": "WatchRule shop/r"})])
def test_an_existing_database_is_taken_on(database_url: str, revision: str, known: dict[str, str]) -> None:
    """What an earlier version wrote stands after the migration: its rule removes it, if any was written down."""
    records = Records(database_url)
    place = records.destination().place_id
    records.close()
    alembic.command.downgrade(db.alembic_config(database_url), revision)
    engine = create_engine(database_url)
    values = {
        "place_id": 1, "path": "a.yaml", "api_group": "", "version": "v1", "resource": "configmaps",
        "namespace": "shop", "name": "a", "kind": "ConfigMap", "uid": "u", "resource_version": "1",
        "source_epoch": 1, "removed": False, **known,
    }  # fmt: skip
    columns = ", ".join(values)
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO inventory ({columns}) VALUES ({', '.join(f':{name}' for name in values)})"),
            values | {"place_id": place},
        )
    db.upgrade(database_url)
    with engine.connect() as connection:
        (row,) = connection.execute(text("SELECT path, uid, selection, rule, remover FROM inventory"))
        assert tuple(row) == ("a.yaml", "u", None, known.get("rule"), known.get("rule"))
        assert connection.execute(text("SELECT difference, ended FROM rule_history")).all() == []
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_a_process_of_an_older_version_works_on_new_tables(database_url: str, revision: str) -> None:
    """What it writes and reads, naming the columns that it knows, is taken: no migration needs it stopped first."""
    engine = create_engine(database_url)
    alembic.command.downgrade(db.alembic_config(database_url), revision)
    known, views = MetaData(), MetaData()
    known.reflect(engine)
    known.remove(known.tables["alembic_version"])
    looked = inspect(engine)
    views.reflect(engine, views=True, only=looked.get_view_names())
    db.upgrade(database_url)
    with engine.begin() as connection:
        for table in known.sorted_tables:
            columns = [one for one in table.columns if f"{table.name}.{one.name}" not in UNUSED]
            row = {one.name: VALUES[one.type.python_type] for one in columns}
            connection.execute(table.insert().values(row))
            assert connection.execute(table.update().values(row)).rowcount == 1
            assert len(connection.execute(select(*columns)).all()) == 1
        for view in views.sorted_tables:
            connection.execute(select(*view.columns)).all()
    engine.dispose()


def test_what_grows_can_be_partitioned(sqlite_url: str) -> None:
    """The keys of the tables that grow with every change begin with what would part them; no table refers to them."""
    engine = create_engine(sqlite_url)
    looked = inspect(engine)
    keys = {"event": "destination_id", "event_body": "destination_id", "commit_change": "commit_id"}
    assert {name: looked.get_pk_constraint(name)["constrained_columns"][0] for name in keys} == keys
    referred = {key["referred_table"] for name in looked.get_table_names() for key in looked.get_foreign_keys(name)}
    assert not referred & keys.keys()
    engine.dispose()


def test_migrating_again_changes_nothing(records: Records) -> None:
    """`reverser migrate` may run at every deploy: data stays."""
    prod = records.destination()
    records.append(entry(prod))
    db.upgrade(records.url)
    assert records.states(prod) == [(1, "pending")]


def test_a_migration_is_made_whole_or_not_at_all(engine: Engine, empty_url: str) -> None:
    """A migration that fails or is killed half-way leaves nothing behind, on SQLite too, and can be run again."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE inventory (mine INTEGER)"))
    with pytest.raises(Exception, match="inventory"):
        db.upgrade(empty_url)
    assert set(inspect(engine).get_table_names()) - {"alembic_version"} == {"inventory"}
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE inventory"))
    engine.dispose()
    db.upgrade(empty_url)
    database = db.Database(empty_url)
    database.check_schema()
    database.close()


def test_a_database_that_was_never_migrated_says_what_to_do(empty_url: str) -> None:
    """A process on an empty database ends with the command that helps."""
    database = db.Database(empty_url)
    with pytest.raises(errors.PermanentError, match="run `reverser migrate`") as caught:
        database.check_schema()
    assert caught.value.reason == "DatabaseNotMigrated"
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(records: Records) -> None:
    """An older process neither works on nor migrates what a newer version wrote, and says so."""
    set_revision(records.database, "9999")
    with pytest.raises(errors.PermanentError, match="newer version of Reverser") as caught:
        records.database.check_schema()
    assert caught.value.reason == "DatabaseTooNew"
    with pytest.raises(errors.PermanentError, match="newer version of Reverser") as caught:
        db.upgrade(records.url)
    assert caught.value.reason == "DatabaseTooNew"


def test_a_migrated_database_is_accepted(records: Records) -> None:
    """The check passes on what `reverser migrate` made."""
    records.database.check_schema()


def migrate(url: str) -> subprocess.Popen[bytes]:
    """Migrate in a process of its own."""
    code = "import sys; from app import db; db.upgrade(sys.argv[1])"
    root = Path(db.__file__).parents[1]
    return subprocess.Popen([sys.executable, "-c", code, url], cwd=root, stderr=subprocess.PIPE)


@pytest.mark.postgres
def test_two_migrations_at_once_go_one_after_the_other(postgres_url: str) -> None:
    """Two deploys that migrate at the same moment both succeed: the second waits on the advisory lock."""
    with postgres.connect(make_url(postgres_url)) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        both = [migrate(postgres_url), migrate(postgres_url)]
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: admin.execute(waiting).fetchone() == (2,), timeout=60.0, what="both migrations")
        assert admin.execute("SELECT to_regclass('event')").fetchone() == (None,)
        admin.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK,))
        assert [(one.communicate(timeout=60)[1], one.returncode) for one in both] == [(b"", 0), (b"", 0)]
    database = db.Database(postgres_url)
    database.check_schema()
    database.close()


def test_two_migrations_of_one_sqlite_file_both_succeed(tmp_path: Path) -> None:
    """Two processes that start on a new file at the same moment both find it migrated."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    both = [migrate(url), migrate(url)]
    assert [(one.communicate(timeout=60)[1], one.returncode) for one in both] == [(b"", 0), (b"", 0)]
    database = db.Database(url)
    database.check_schema()
    database.close()
