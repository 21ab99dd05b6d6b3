"""The store: transactions on the task database, in real time on threads and in a simulation inline."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert

from queuesim.error import QueuesimError
from queuesim.extras import need
from queuesim.tasks.cost import DatabaseModel
from queuesim.tasks.model import Status
from queuesim.tasks.tables import Prepared, tasks

need("sqlalchemy", "tasks", "task stores")

from sqlalchemy import Engine, create_engine, event  # noqa: E402
from sqlalchemy.engine import URL, make_url  # noqa: E402
from sqlalchemy.exc import ArgumentError  # noqa: E402
from sqlalchemy.pool import StaticPool  # noqa: E402

T = TypeVar("T")
Work = Callable[[Connection], T]
"""What a transaction does. It commits when this returns, and is rolled back when it raises."""

BUSY = 10.0
"""Seconds for which a transaction waits for SQLite's only writer."""


class StoreError(QueuesimError):
    """The database can't be used: a wrong URL, a driver that is not installed."""


class TaskStore:
    """The database of the task service.

    Args:
        url: SQLAlchemy's; ``sqlite://`` is a database in memory, ``sqlite:///tasks.db`` a file,
            ``postgresql://user@host/name`` a server.
        connections: in the pool.
        cost: what transactions cost in a simulation; None: no time.

    Raises:
        StoreError: the URL is wrong, or its driver is not installed.
    """

    def __init__(self, url: str = "sqlite://", *, connections: int = 5, cost: DatabaseModel | None = None) -> None:
        self.url = database_url(url)
        self.cost = cost
        self.in_memory = self.url.get_backend_name() == "sqlite" and self.url.database in (None, "", ":memory:")
        self.engine = _engine(self.url, self.in_memory, connections)
        # a database in memory has a single connection, which stays open
        self._turn = threading.Lock() if self.in_memory else nullcontext()
        self._only: Connection | None = None

    def __repr__(self) -> str:
        return f"<TaskStore {self.url.render_as_string(hide_password=True)}>"

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return what it returned, once that has committed.

        Raises what `work` raises and what the database raises; nothing has changed then.
        """
        if self.cost is None:
            return await asyncio.to_thread(self.run_now, work)
        # as asyncio.to_thread, which makes a coroutine around it
        loop, context = asyncio.get_running_loop(), copy_context()
        return await self.cost.transact(lambda: loop.run_in_executor(None, context.run, self.run_now, work))

    def run_now(self, work: Work[T]) -> T:
        """As `run`, for callers outside an event loop."""
        if not self.in_memory:
            with self.engine.begin() as connection:
                return work(connection)
        with self._turn:
            if self._only is None:
                self._only = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return _transact(self._only, work)

    def prepare(self) -> None:
        """Bring the database to the present state. In memory the tables are made at once: there was none before."""
        from queuesim.tasks import migrations, tables

        self.run_now(tables.metadata.create_all if self.in_memory else migrations.upgrade)

    def close(self) -> None:
        """Close all connections. A database in memory is gone then."""
        with self._turn:
            if self._only is not None:
                self._only.close()
                self._only = None
        self.engine.dispose()

    @contextmanager
    def opened(self) -> Iterator[TaskStore]:
        """Prepare it, and close it at the end of the block."""
        try:
            self.prepare()
            yield self
        finally:
            self.close()


def database_url(text: str) -> URL:
    """A database's URL, with the driver that we use. Raises StoreError if the text is not one."""
    try:
        url = make_url(text)
    except ArgumentError:
        right = "write it as sqlite:///tasks.db or postgresql://host/name"
        raise StoreError(f'"{text}" is not a database URL: {right}') from None
    if url.drivername in ("postgres", "postgresql"):
        need("psycopg", "postgres", "PostgreSQL databases")
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f'there is no database "{url.drivername}": choose sqlite or postgresql')
    return url


def _engine(url: URL, in_memory: bool, connections: int) -> Engine:
    options: dict[str, Any] = {"pool_size": connections, "max_overflow": 0, "pool_pre_ping": True}
    if in_memory:
        options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(url, **options)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _configure)
        if not in_memory:
            event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, record: object) -> None:
    """SQLite: transactions are begun by us, writers don't block readers, and wait for each other."""
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"busy_timeout = {int(BUSY * 1000)}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _transact(connection: Connection, work: Work[T]) -> T:
    """A transaction on a database in memory, begun and ended by the driver: SQLAlchemy takes ten times as long, and
    counts it as one of those that need none."""
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE")
    try:
        value = work(connection)
        driver.commit()
    except BaseException:
        driver.rollback()
        raise
    return value


def _begin(connection: Connection) -> None:
    # at once for writing: a reader that becomes a writer can't wait for another, and fails
    connection.exec_driver_sql("BEGIN IMMEDIATE")


# -- Databases that are gone when they are no longer needed: a SQLite file, or a schema in PostgreSQL


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


# -- Filling a store with tasks, in batches, for simulations and benchmarks

ROWS = 10_000
ASSIGNEES = 100


def fill(connection: Connection, due: Iterable[float]) -> int:
    """Add an open task for each due date. Returns how many."""
    rows, count = _rows(due), 0
    while batch := list(islice(rows, ROWS)):
        _FILL.run(connection, batch)
        count += len(batch)
    return count


_FILL = Prepared(
    insert(tasks)
    .inline()
    .values(
        title=bindparam("what"),
        assignee=bindparam("who"),
        status=Status.PENDING.value,
        due_at=bindparam("due"),
        notify_at=bindparam("due"),
        version=1,
        created_at=0.0,
        updated_at=0.0,
    )
)


def _rows(due: Iterable[float]) -> Iterator[dict[str, object]]:
    for n, due_at in enumerate(due):
        yield {
            "what": f"task {n}",
            "who": f"user-{n % ASSIGNEES}",
            "due": due_at,
        }
