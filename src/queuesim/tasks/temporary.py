"""Databases that are gone when they are no longer needed: a SQLite file, or a schema in PostgreSQL."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from queuesim.tasks.store import StoreError, TaskStore, database_url


@contextmanager
def temporary_database(url: str | None) -> Iterator[str]:
    """The URL of an empty database.

    Args:
        url: of a PostgreSQL database; None: a SQLite file.

    Raises:
        StoreError: the server can't be used.
        MissingExtraError: what it takes is not installed.
    """
    if url is None:
        with tempfile.TemporaryDirectory(prefix="queuesim-tasks-") as directory:
            yield f"sqlite:///{Path(directory, 'tasks.db')}"
        return
    schema = f"queuesim_{secrets.token_hex(4)}"
    _command(url, f"CREATE SCHEMA {schema}")
    try:
        # tables are made in, and looked for in, the first schema of the path
        within = database_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
        yield within.render_as_string(hide_password=False)
    finally:
        _command(url, f"DROP SCHEMA {schema} CASCADE")


def _command(url: str, command: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    store = TaskStore(url)
    try:
        store.run_now(lambda connection: connection.execute(text(command)))
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise StoreError(f"the task database {store.url.render_as_string()} can't be used: {reason}") from None
    finally:
        store.close()
