"""Who has a folder, or had it, and the files at former places that a person wants gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_place_branch_id_base_folder", "place", ["branch_id", "base_folder"])
    # Few rows or none. The table is read once for it, as for `ix_event_dead`.
    unwanted = sa.text("state = 'pending' AND substr(seed_run_id, 1, 6) = 'prune-'")
    op.create_index(
        "ix_event_unwanted",
        "event",
        ["destination_id", "place_id", "sequence"],
        postgresql_where=unwanted,
        sqlite_where=unwanted,
    )


def downgrade() -> None:
    op.drop_index("ix_event_unwanted", "event")
    op.drop_index("ix_place_branch_id_base_folder", "place")
