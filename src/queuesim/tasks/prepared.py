"""Prepared statements: built and compiled once, for what is asked for every job or every page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.sql import ClauseElement


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
