"""What a person has to see to: objects that cannot be written, and another installation in the same folder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The status looks for dead rows all the time, and there are few or none. The table is read once for it: a second or
    # so for a million rows, in which who writes Events is told that the database is busy, and tries again.
    dead = sa.text("state = 'dead'")
    op.create_index("ix_event_dead", "event", ["destination_id", "sequence"], postgresql_where=dead, sqlite_where=dead)
    op.add_column("git_destination", sa.Column("foreign_sha", sa.Text(), nullable=True))
    op.add_column("git_destination", sa.Column("foreign_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("git_destination", "foreign_at")
    op.drop_column("git_destination", "foreign_sha")
    op.drop_index("ix_event_dead", "event")
