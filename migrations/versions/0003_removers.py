"""Which rule removes each file: the one that selected the deletion of its object when it was last written or listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Of what was written before, the rule that selected it is asked, until a listing says more. Null where no rule is
# named: nobody knows, and any rule there may. A worker of the version before leaves in a row what stood there: it has
# to end before this version's watch daemon starts. Readers begin with the inventory, and so do these locks.
TABLES = ("inventory", "event")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("remover", sa.Text(), nullable=True))
    op.execute("UPDATE inventory SET remover = rule WHERE rule IS NOT NULL")
    op.execute("UPDATE event SET remover = rule WHERE state = 'pending' AND operation <> 'DELETE' AND rule <> ''")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "remover")
