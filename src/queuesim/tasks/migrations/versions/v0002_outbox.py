"""The outbox, and the overdue scans with how far each got."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "scans",
        sa.Column("id", BigId, primary_key=True, autoincrement=True),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("tick", sa.Double),
        sa.Column("cutoff", sa.Double, nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("cursor_at", sa.Double),
        sa.Column("cursor_id", sa.BigInteger),
        sa.Column("pages", sa.Integer, nullable=False),
        sa.Column("found", sa.BigInteger, nullable=False),
        sa.Column("enqueued", sa.BigInteger, nullable=False),
        sa.Column("duplicates", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("leased_until", sa.Double, nullable=False),
        sa.UniqueConstraint("tick", name="scans_tick"),
    )
    op.create_index("scans_began", "scans", ["began_at"])


def downgrade() -> None:
    for table in ("scans", "outbox"):
        op.drop_table(table)
