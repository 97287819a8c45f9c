"""Where a stream was that may not resume: it says whether the cluster was restored meanwhile."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("watch_cursor", sa.Column("suspended", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    # The version before would resume from them.
    op.execute(sa.text("DELETE FROM watch_cursor WHERE suspended"))
    op.drop_column("watch_cursor", "suspended")
