"""The tables, for SQLite and PostgreSQL alike, and statements that are prepared once.

Migrations make the tables; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Executable,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql import ClauseElement

metadata = MetaData()

BigId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite only counts upwards by itself in a column of the type INTEGER."""


def _id() -> Column[int]:
    return Column("id", BigId, primary_key=True, autoincrement=True)


tasks = Table(
    "tasks",
    metadata,
    _id(),
    Column("title", String(200), nullable=False),
    Column("assignee", String(100), nullable=False),
    Column("status", String(20), nullable=False),
    Column("due_at", Double),
    Column("notify_at", Double),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    sqlite_autoincrement=True,
)
Index(
    "tasks_to_notify",
    tasks.c.notify_at,
    tasks.c.id,
    sqlite_where=text("notify_at IS NOT NULL"),
    postgresql_where=text("notify_at IS NOT NULL"),
)
# the order of the overdue scan, with the tasks that it is about and no others

notifications = Table(
    "notifications",
    metadata,
    _id(),
    Column("task_id", BigInteger, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("assignee", String(100), nullable=False),
    Column("sent_at", Double, nullable=False),
    Column("job_id", String(200), nullable=False),
)
"""Notifications of assignees. To notify *is* to write a row here, in the transaction that changes the task."""
Index("notifications_of_task", notifications.c.task_id, notifications.c.kind, notifications.c.sent_at)

applied = Table(
    "applied",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("at", Double, nullable=False),
)
"""Keys of changes that were made, so that none is made twice."""
Index("applied_at", applied.c.at)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("name", String(200), nullable=False),
    Column("data", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("source", String(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("owner", String(100)),
    Column("leased_until", Double),
    sqlite_autoincrement=True,
)
"""Jobs that are to be added to the queue: written with the change that they belong to, leased by the relay that moves
them, and removed by it."""

scans = Table(
    "scans",
    metadata,
    _id(),
    Column("trigger", String(20), nullable=False),
    Column("tick", Double),
    Column("cutoff", Double, nullable=False),
    Column("began_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("cursor_at", Double),
    Column("cursor_id", BigInteger),
    Column("pages", Integer, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("enqueued", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("owner", String(100), nullable=False),
    Column("leased_until", Double, nullable=False),
    Column("key", String(32)),
    UniqueConstraint("tick", name="scans_tick"),
)
"""Overdue scans, with how far each got."""
Index("scans_began", scans.c.began_at)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Double, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", String(200), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("correlation_id", String(64), nullable=False),
    Column("detail", Text, nullable=False),
)
"""What administrators did, and what they were refused."""
Index("audit_at", audit.c.at)


# -- Prepared statements: built and compiled once, for what is asked for every job or every page


class Prepared:
    """A statement whose parameters are all named by `bindparam`.

    On SQLite the driver runs it, in SQLAlchemy's transaction: SQLAlchemy takes ten times as long as SQLite itself. What
    the driver raises is not wrapped there. On a server SQLAlchemy runs it.

    Args:
        statement: an update, an insert of one row, or a select.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement
        self._text = ""
        self._names: list[str] = []
        """The parameters in their order in the text."""
        self._fixed: Mapping[str, Any] = {}
        """Those that the statement itself gives."""

    def rows(self, connection: Connection, **values: Any) -> Sequence[Any]:
        """Run it and return all rows, as tuples."""
        if not _is_sqlite(connection):
            assert isinstance(self.statement, Executable)
            return connection.execute(self.statement, values).all()
        rows: list[Any] = self._driver(connection).execute(self._text, self._arguments(values)).fetchall()
        return rows

    def run(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each of the given rows of values; it returns none."""
        if not _is_sqlite(connection):
            assert isinstance(self.statement, Executable)
            connection.execute(self.statement, list(rows))
            return
        self._driver(connection).executemany(self._text, [self._arguments(values) for values in rows]).close()

    def _driver(self, connection: Connection) -> Any:
        """The driver's own connection, when the statement has its text."""
        if not self._text:
            compiled = self.statement.compile(dialect=connection.dialect)
            self._fixed = compiled.params
            self._names = list(getattr(compiled, "positiontup", None) or ())
            self._text = str(compiled)
        return connection.connection.dbapi_connection

    def _arguments(self, values: Mapping[str, Any]) -> list[Any]:
        fixed = self._fixed
        return [values[name] if name in values else fixed[name] for name in self._names]


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
