"""What selected each file, and how one version of a rule differs from the one before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# All of them may be null: rows of before do not say it, and a process of the version before may still write some.
COLUMNS = (
    ("event", "selection"),
    ("inventory", "selection"),
    ("inventory", "rule"),
    ("compiled_rule", "difference"),
    ("compiled_rule", "ended"),
)

RULE_HISTORY = """
CREATE VIEW rule_history AS
SELECT r.cluster, r.rule, r.version, r.valid_from, r.valid_to, d.namespace || '/' || d.name AS destination,
       p.branch, p.base_folder, {more}r.spec
FROM compiled_rule r
JOIN git_destination d ON d.id = r.destination_id
JOIN place p ON p.id = r.place_id
"""


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))
    op.execute("DROP VIEW rule_history")
    op.execute(RULE_HISTORY.format(more="r.difference, r.ended, "))


def downgrade() -> None:
    op.execute("DROP VIEW rule_history")
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column)
    op.execute(RULE_HISTORY.format(more=""))
