"""Alembic's entry: one connection, one transaction, guarded so that two migrations never run at once."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text

# Any constant serves; it only has to be the same in every process that migrates.
ADVISORY_LOCK = 726_573_766
# Whoever comes second waits until the first is done.
LONGEST_MIGRATION_SECONDS = 600


def run() -> None:
    """Migrate the database that `app.db.alembic_config` names."""
    url = context.config.attributes["url"]
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite(url) if is_sqlite else create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        if not is_sqlite:
            _lock(connection)
        context.configure(
            connection=connection,
            target_metadata=context.config.attributes.get("metadata"),
            compare_type=True,
            render_as_batch=is_sqlite,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


def _sqlite(url: str) -> Engine:
    """Left alone, the driver starts no transaction for DDL: a process that is killed would leave half a schema."""
    arguments = {"timeout": LONGEST_MIGRATION_SECONDS, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _lock(connection: Connection) -> None:
    """Begin the transaction: the lock ends with it, however it ends, and behind any pooler."""
    connection.execute(text(f"SET LOCAL statement_timeout = '{LONGEST_MIGRATION_SECONDS}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    # Those who use the tables are let wait no longer than the product tolerates a pause; the migration fails instead.
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))


run()
