"""What streams do at the moment; removing files, and who allows it; rows that were left out under pressure."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No release before this one knows the table.
    op.create_table(
        "watch_stream",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_try", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "cluster", "api_group", "version", "resource", "namespace", name=op.f("pk_watch_stream")
        ),
    )

    # Null is of a process that does not say.
    op.add_column("git_destination", sa.Column("prune", sa.Text(), nullable=True))
    op.add_column("git_destination", sa.Column("max_prune_ratio", sa.Float(), nullable=True))
    op.add_column("git_destination", sa.Column("superseded", sa.BigInteger(), nullable=True))
    op.add_column("git_destination", sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("seed_run", sa.Column("allow_prune", sa.Integer(), nullable=True))
    op.add_column("command", sa.Column("destination_id", sa.BigInteger(), nullable=True))
    op.add_column("command", sa.Column("seed_run_id", sa.Text(), nullable=True))
    op.add_column("inventory", sa.Column("orphan", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("inventory", "orphan")
    op.drop_column("command", "seed_run_id")
    op.drop_column("command", "destination_id")
    op.drop_column("seed_run", "allow_prune")
    for name in ("checked_at", "superseded", "max_prune_ratio", "prune"):
        op.drop_column("git_destination", name)
    op.drop_table("watch_stream")
