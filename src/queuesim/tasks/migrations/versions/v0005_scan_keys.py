"""A key for each scan, in the ids of its jobs: its number comes again when the database is restored."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("scans", sa.Column("key", sa.String(32)))


def downgrade() -> None:
    op.drop_column("scans", "key")
