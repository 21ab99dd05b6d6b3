"""Where a staged job comes from, as a JSON list of the kind and its id: no longer a sentence."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        "UPDATE outbox SET source = '[\"overdue scan\",' || substr(source, 14) || ']' "
        "WHERE source LIKE 'overdue scan %'"
    )


def downgrade() -> None:
    op.execute(
        "UPDATE outbox SET source = 'overdue scan ' || substr(source, 17, length(source) - 17) "
        "WHERE source LIKE '[\"overdue scan\",%'"
    )
