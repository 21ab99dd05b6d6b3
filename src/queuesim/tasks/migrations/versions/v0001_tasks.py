"""Tasks, what their assignees were told, and the keys of changes that were made."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("assignee", sa.String(100), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("notify_at", sa.Double),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    where = sa.text("notify_at IS NOT NULL")
    op.create_index("tasks_to_notify", "tasks", ["notify_at", "id"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "notifications",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("assignee", sa.String(100), nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("job_id", sa.String(200), nullable=False),
    )
    op.create_index("notifications_of_task", "notifications", ["task_id", "kind", "sent_at"])
    op.create_table(
        "applied",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("applied_at", "applied", ["at"])


def downgrade() -> None:
    for table in ("applied", "notifications", "tasks"):
        op.drop_table(table)
