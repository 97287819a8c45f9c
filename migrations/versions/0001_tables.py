"""The tables and views of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

AUDIT_LOG = """
CREATE VIEW audit_log AS
SELECT c.pushed_at, d.cluster, d.namespace || '/' || d.name AS destination, f.operation,
       CASE f.api_group WHEN '' THEN '' ELSE f.api_group || '/' END
         || f.version || '/' || f.resource || '/' || f.name AS object,
       f.namespace, f.name, f.api_group, f.version, f.resource, f.user_name, f.user_source, f.rule,
       p.branch, p.base_folder, f.path, c.sha AS commit_sha, c.subject, f.observed_at, f.sequence,
       f.resource_version, f.uid
FROM commit_change f
JOIN "commit" c ON c.id = f.commit_id
JOIN place p ON p.id = c.place_id
JOIN git_destination d ON d.id = c.destination_id
"""

# Seconds since the oldest pending row was observed.
LAG_SQLITE = "(julianday('now') - julianday(e.oldest)) * 86400.0"
LAG_POSTGRESQL = "CAST(EXTRACT(EPOCH FROM clock_timestamp() - e.oldest) AS double precision)"

DESTINATION_LAG = """
CREATE VIEW destination_lag AS
SELECT d.namespace || '/' || d.name AS destination, d.cluster, p.url_key AS repository, p.branch, p.base_folder,
       d.ready, d.reason, d.message, COALESCE(e.pending, 0) AS pending, e.oldest AS oldest_pending,
       {lag} AS lag_seconds, d.last_sha, d.last_pushed_at, d.not_before, d.last_error, d.last_error_reason,
       d.last_error_at, d.failed_drains, d.deleted_at,
       'dest.' || d.namespace || '.' || d.name AS queue, h.next - 1 AS events
FROM git_destination d
JOIN ledger_head h ON h.destination_id = d.id
LEFT JOIN place p ON p.id = d.place_id
LEFT JOIN (
  SELECT destination_id, COUNT(*) AS pending, MIN(observed_at) AS oldest
  FROM event WHERE state = 'pending' GROUP BY destination_id
) e ON e.destination_id = d.id
"""

RULE_HISTORY = """
CREATE VIEW rule_history AS
SELECT r.cluster, r.rule, r.version, r.valid_from, r.valid_to, d.namespace || '/' || d.name AS destination,
       p.branch, p.base_folder, r.spec
FROM compiled_rule r
JOIN git_destination d ON d.id = r.destination_id
JOIN place p ON p.id = r.place_id
"""

VIEWS = (
    {"sqlite": AUDIT_LOG, "postgresql": AUDIT_LOG},
    {
        "sqlite": DESTINATION_LAG.format(lag=LAG_SQLITE),
        "postgresql": DESTINATION_LAG.format(lag=LAG_POSTGRESQL),
    },
    {"sqlite": RULE_HISTORY, "postgresql": RULE_HISTORY},
)


def upgrade() -> None:
    op.create_table(
        "command",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command")),
    )
    op.create_table(
        "event_body",
        sa.Column("destination_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("destination_id", "sequence", name=op.f("pk_event_body")),
    )
    op.create_table(
        "git_destination",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place_id", ROW_ID, nullable=True),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_drains", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_reason", sa.Text(), nullable=True),
        sa.Column("stalled", sa.Boolean(), nullable=False),
        sa.Column("last_error_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_sha", sa.Text(), nullable=True),
        sa.Column("last_pushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("branch_exists", sa.Boolean(), nullable=True),
        sa.Column("seed_wanted", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_git_destination")),
        sa.UniqueConstraint("uid", name=op.f("uq_git_destination_uid")),
    )
    op.create_index(op.f("ix_git_destination_namespace_name"), "git_destination", ["namespace", "name"], unique=False)

    op.create_table(
        "git_repo_config",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("url_key", sa.Text(), nullable=False),
        sa.Column("transport", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("secret_name", sa.Text(), nullable=True),
        sa.Column("push_interval", sa.Float(), nullable=True),
        sa.Column("max_commits", sa.Integer(), nullable=True),
        sa.Column("connection_check", sa.Text(), nullable=True),
        sa.Column("branch_count", sa.Integer(), nullable=True),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_git_repo_config")),
        sa.UniqueConstraint("uid", name=op.f("uq_git_repo_config_uid")),
    )
    op.create_table(
        "repository_branch",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("url_key", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("head", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destination_id", ROW_ID, nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository_branch")),
        sa.UniqueConstraint("url_key", "branch", name=op.f("uq_repository_branch_url_key_branch")),
    )
    op.create_table(
        "watch_cursor",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("resource_version", sa.Text(), nullable=False),
        sa.Column("source_epoch", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "api_group", "resource", "namespace", name=op.f("pk_watch_cursor")),
    )
    op.create_table(
        "watch_lease",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("cluster_uid", sa.Text(), nullable=False),
        sa.Column("source_epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_watch_lease")),
    )
    op.create_table(
        "worker_node",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("globs", sa.JSON(), nullable=False),
        sa.Column("dedicated", sa.Boolean(), nullable=False),
        sa.Column("serves", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker_node")),
    )
    op.create_table(
        "ledger_head",
        sa.Column("destination_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("ledger_uuid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["git_destination.id"], name=op.f("fk_ledger_head_destination_id_git_destination")
        ),
        sa.PrimaryKeyConstraint("destination_id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "place",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("destination_id", ROW_ID, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("repo_config_id", ROW_ID, nullable=False),
        sa.Column("branch_id", ROW_ID, nullable=False),
        sa.Column("url_key", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("base_folder", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["branch_id"], ["repository_branch.id"], name=op.f("fk_place_branch_id_repository_branch")
        ),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["git_destination.id"], name=op.f("fk_place_destination_id_git_destination")
        ),
        sa.ForeignKeyConstraint(
            ["repo_config_id"], ["git_repo_config.id"], name=op.f("fk_place_repo_config_id_git_repo_config")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_place")),
        sa.UniqueConstraint("destination_id", "generation", name=op.f("uq_place_destination_id_generation")),
    )
    op.create_index(op.f("ix_place_destination_id"), "place", ["destination_id"], unique=False)

    op.create_table(
        "commit",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("destination_id", ROW_ID, nullable=False),
        sa.Column("place_id", ROW_ID, nullable=False),
        sa.Column("branch_id", ROW_ID, nullable=False),
        sa.Column("sha", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["branch_id"], ["repository_branch.id"], name=op.f("fk_commit_branch_id_repository_branch")
        ),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["git_destination.id"], name=op.f("fk_commit_destination_id_git_destination")
        ),
        sa.ForeignKeyConstraint(["place_id"], ["place.id"], name=op.f("fk_commit_place_id_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commit")),
        sa.UniqueConstraint("branch_id", "sha", name=op.f("uq_commit_branch_id_sha")),
    )
    op.create_index(op.f("ix_commit_destination_id_id"), "commit", ["destination_id", "id"], unique=False)

    op.create_table(
        "compiled_rule",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", ROW_ID, nullable=False),
        sa.Column("place_id", ROW_ID, nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["git_destination.id"], name=op.f("fk_compiled_rule_destination_id_git_destination")
        ),
        sa.ForeignKeyConstraint(["place_id"], ["place.id"], name=op.f("fk_compiled_rule_place_id_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compiled_rule")),
    )
    op.create_index(op.f("ix_compiled_rule_cluster_rule"), "compiled_rule", ["cluster", "rule"], unique=False)

    op.create_table(
        "event",
        sa.Column("destination_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("place_id", ROW_ID, nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("source_epoch", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("resource_version", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=True),
        sa.Column("user_source", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("seed_run_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("commit_id", ROW_ID, nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("destination_id", "sequence", name=op.f("pk_event")),
        sa.UniqueConstraint("id", name=op.f("uq_event_id")),
    )
    op.create_index(
        "ix_event_pending",
        "event",
        ["destination_id", "sequence"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_event_seed_run_id",
        "event",
        ["seed_run_id"],
        unique=False,
        postgresql_where=sa.text("seed_run_id IS NOT NULL"),
        sqlite_where=sa.text("seed_run_id IS NOT NULL"),
    )

    op.create_table(
        "inventory",
        sa.Column("place_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("resource_version", sa.Text(), nullable=False),
        sa.Column("source_epoch", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("blob_id", sa.Text(), nullable=True),
        sa.Column("seed_run_id", sa.Text(), nullable=True),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["place_id"], ["place.id"], name=op.f("fk_inventory_place_id_place")),
        sa.PrimaryKeyConstraint("place_id", "path", name=op.f("pk_inventory")),
    )
    op.create_index(
        op.f("ix_inventory_place_id_api_group_resource_namespace_name"),
        "inventory",
        ["place_id", "api_group", "resource", "namespace", "name"],
        unique=False,
    )

    op.create_table(
        "seed_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("destination_id", ROW_ID, nullable=False),
        sa.Column("place_id", ROW_ID, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["destination_id"], ["git_destination.id"], name=op.f("fk_seed_run_destination_id_git_destination")
        ),
        sa.ForeignKeyConstraint(["place_id"], ["place.id"], name=op.f("fk_seed_run_place_id_place")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seed_run")),
    )
    op.create_index(op.f("ix_seed_run_destination_id"), "seed_run", ["destination_id"], unique=False)

    op.create_table(
        "commit_change",
        sa.Column("commit_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("resource_version", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=True),
        sa.Column("user_source", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("blob_id", sa.Text(), nullable=True),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["commit_id"], ["commit.id"], name=op.f("fk_commit_change_commit_id_commit")),
        sa.PrimaryKeyConstraint("commit_id", "path", name=op.f("pk_commit_change")),
    )
    op.create_index(
        op.f("ix_commit_change_resource_namespace_name"),
        "commit_change",
        ["resource", "namespace", "name"],
        unique=False,
    )
    op.create_index(op.f("ix_commit_change_user_name"), "commit_change", ["user_name"], unique=False)

    op.create_table(
        "seed_scope",
        sa.Column("seed_run_id", sa.Text(), nullable=False),
        sa.Column("api_group", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sweepable", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("written", sa.Integer(), nullable=False),
        sa.Column("list_resource_version", sa.Text(), nullable=False),
        sa.Column("source_epoch", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seed_run_id"], ["seed_run.id"], name=op.f("fk_seed_scope_seed_run_id_seed_run")),
        sa.PrimaryKeyConstraint("seed_run_id", "api_group", "resource", "namespace", name=op.f("pk_seed_scope")),
    )

    for view in VIEWS:
        op.execute(view[op.get_bind().dialect.name])


def downgrade() -> None:
    for view in ("rule_history", "destination_lag", "audit_log"):
        op.execute(f"DROP VIEW {view}")
    op.drop_table("seed_scope")
    op.drop_table("commit_change")
    op.drop_table("seed_run")
    op.drop_table("inventory")
    op.drop_table("event")
    op.drop_table("compiled_rule")
    op.drop_table("commit")
    op.drop_table("place")
    op.drop_table("ledger_head")
    op.drop_table("worker_node")
    op.drop_table("watch_lease")
    op.drop_table("watch_cursor")
    op.drop_table("repository_branch")
    op.drop_table("git_repo_config")
    op.drop_table("git_destination")
    op.drop_table("event_body")
    op.drop_table("command")
