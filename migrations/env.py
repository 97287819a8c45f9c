"""Alembic's entry: one connection, one transaction, guarded so that two migrations never run at once."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text

# Any constant serves; it only has to be the same in every process that migrates.
ADVISORY_LOCK = 726_573_766


def run() -> None:
    """Migrate the database that `app.db.alembic_config` names."""
    engine = create_engine(context.config.attributes["url"])
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # A migration waits for a lock no longer than the product tolerates a pause, and fails instead.
            connection.execute(text("SET lock_timeout = '5s'"))
            connection.execute(text("SET statement_timeout = '10min'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=context.config.attributes.get("metadata"),
            compare_type=True,
            render_as_batch=engine.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()
    engine.dispose()


run()
