"""Migrations of the task service's database, by Alembic: the way from any older state to the present one."""

from __future__ import annotations

from alembic.config import Config
from sqlalchemy import Connection, text

LOCK = 7_130_541
"""PostgreSQL's advisory lock that lets one process migrate at a time."""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the database to the newest state, or to `revision`."""
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Bring the database back to `revision`, or to nothing with "base"."""
    from alembic import command

    command.downgrade(_config(connection), revision)


def differences(connection: Connection) -> list[object]:
    """What the tables in the database lack of those in `queuesim.tasks.tables`, or have beyond them."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from queuesim.tasks.tables import metadata

    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "queuesim:tasks/migrations")
    config.attributes["connection"] = connection
    return config
