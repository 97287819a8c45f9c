"""Which rule removes each file: the one that selected the deletion of its object when it was last written or listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Of what was written before, the rule that selected it is asked, until a listing says more. Null where no rule is
# named, and in what a process of the version before writes: nobody knows, and any rule there may.
TABLES = ("event", "inventory")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("remover", sa.Text(), nullable=True))
    op.execute("UPDATE inventory SET remover = rule")
    op.execute("UPDATE event SET remover = rule WHERE state = 'pending' AND operation <> 'DELETE' AND rule <> ''")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "remover")
