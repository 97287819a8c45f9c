"""Objects that cannot be written, for the status: found without a look at the whole ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    dead = sa.text("state = 'dead'")
    op.create_index("ix_event_dead", "event", ["destination_id", "sequence"], postgresql_where=dead, sqlite_where=dead)


def downgrade() -> None:
    op.drop_index("ix_event_dead", "event")
