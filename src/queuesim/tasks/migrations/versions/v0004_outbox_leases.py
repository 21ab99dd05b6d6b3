"""Leases in the outbox, so that of several relays one moves a job."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("owner", sa.String(100)))
    op.add_column("outbox", sa.Column("leased_until", sa.Double))


def downgrade() -> None:
    for column in ("leased_until", "owner"):
        op.drop_column("outbox", column)
