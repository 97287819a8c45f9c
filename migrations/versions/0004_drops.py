"""What the publisher of a leading watch daemon drops at the moment, for those who look from elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null is of a daemon that does not say.
    op.add_column("watch_lease", sa.Column("drops", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("watch_lease", "drops")
