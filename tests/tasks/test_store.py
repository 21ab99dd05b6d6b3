from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from queuesim.core.job import Origin, OriginKind
from queuesim.extras import MissingExtraError
from queuesim.simulation.runner import run
from queuesim.tasks import migrations, queries
from queuesim.tasks.cost import DatabaseModel
from queuesim.tasks.model import ConflictError, Status, TaskMissingError
from queuesim.tasks.outbox import staged_job
from queuesim.tasks.store import StoreError, TaskStore
from queuesim.tasks.tables import metadata, outbox, tasks

DAY = 24 * 3600.0


def plan(connection: Connection, cutoff: float, after: tuple[float, int] | None) -> str:
    page = queries.overdue_page(cutoff, after, 100)
    compiled = page.compile(connection, compile_kwargs={"literal_binds": True})
    prefix = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row[-1]) for row in connection.execute(text(f"{prefix} {compiled}")))


# -- transactions


def test_what_a_transaction_returns_is_committed(store: TaskStore) -> None:
    async def scene() -> None:
        task = await store.run(lambda c: queries.add_task(c, "write", "ann", 5.0, 1.0))
        assert task.status is Status.PENDING
        assert (task.version, task.notify_at) == (1, 5.0)
        assert await store.run(lambda c: queries.get_task(c, task.id)) == task

    asyncio.run(scene())


def test_a_transaction_that_raises_changes_nothing(store: TaskStore) -> None:
    def work(connection: Connection) -> None:
        queries.add_task(connection, "write", "ann", None, 1.0)
        raise KeyError("oh")

    with pytest.raises(KeyError):
        asyncio.run(store.run(work))
    assert store.run_now(lambda c: c.execute(select(tasks)).all()) == []


def test_many_transactions_at_once_in_real_time(store: TaskStore) -> None:
    async def scene() -> None:
        adds = [store.run(lambda c, n=n: queries.add_task(c, f"t{n}", "ann", None, 1.0)) for n in range(40)]
        made = await asyncio.gather(*adds)
        assert len({task.id for task in made}) == 40

    asyncio.run(scene())


# -- optimistic locking


def test_of_two_who_change_what_they_read_the_second_is_told(store: TaskStore) -> None:
    task = store.run_now(lambda c: queries.add_task(c, "write", "ann", None, 1.0))
    first = store.run_now(lambda c: queries.change_task(c, task, 2.0, title="write well"))
    assert (first.version, first.title, first.updated_at) == (2, "write well", 2.0)
    with pytest.raises(ConflictError, match="version 2, not 1"):
        store.run_now(lambda c: queries.change_task(c, task, 3.0, title="write fast"))
    assert store.run_now(lambda c: queries.get_task(c, task.id)) == first


def test_a_task_that_is_gone_is_missing(store: TaskStore) -> None:
    task = store.run_now(lambda c: queries.add_task(c, "write", "ann", None, 1.0))
    store.run_now(lambda c: queries.remove_task(c, task.id))
    with pytest.raises(TaskMissingError):
        store.run_now(lambda c: queries.change_task(c, task, 3.0, title="x"))
    with pytest.raises(TaskMissingError):
        store.run_now(lambda c: queries.remove_task(c, task.id))


def test_something_is_applied_once(store: TaskStore) -> None:
    assert store.run_now(lambda c: queries.apply_once(c, "k", 1.0))
    assert not store.run_now(lambda c: queries.apply_once(c, "k", 2.0))
    assert store.run_now(lambda c: queries.forget_applied(c, 1.5)) == 1
    assert store.run_now(lambda c: queries.apply_once(c, "k", 3.0))


# -- overdue


def test_nobody_is_told_twice_within_the_window(store: TaskStore) -> None:
    ids = [store.run_now(lambda c: queries.add_task(c, "t", "ann", 10.0, 1.0)).id for _ in range(3)]
    tell = lambda time: store.run_now(lambda c: queries.notify_overdue(c, [*ids, 999], "j", time, DAY))  # noqa: E731
    assert tell(5.0) == {"notified": 0, "skipped": 3, "gone": 1}
    assert tell(10.0) == {"notified": 3, "skipped": 0, "gone": 1}
    assert tell(9.0 + DAY) == {"notified": 0, "skipped": 3, "gone": 1}
    assert tell(10.0 + DAY)["notified"] == 3


def test_a_task_that_is_closed_and_opened_again_is_not_told_of_within_the_window(store: TaskStore) -> None:
    task = store.run_now(lambda c: queries.add_task(c, "t", "ann", 10.0, 1.0))
    store.run_now(lambda c: queries.notify_overdue(c, [task.id], "j", 20.0, DAY))
    for status in (Status.COMPLETED, Status.PENDING):
        now = store.run_now(lambda c, number=task.id: queries.get_task(c, number))
        task = store.run_now(lambda c, now=now, status=status: queries.set_status(c, now, status, 30.0, DAY))
        assert task.notify_at == (None if status is Status.COMPLETED else 20.0 + DAY)


@pytest.mark.parametrize("after", [None, (5.0, 3)])
def test_the_scan_goes_along_its_index(store: TaskStore, after: tuple[float, int] | None) -> None:
    def work(connection: Connection) -> str:
        rows = [
            {"title": "t", "assignee": "a", "status": "pending", "version": 1, "created_at": 0.0, "updated_at": 0.0,
             "notify_at": float(n) if n % 2 else None}
            for n in range(20_000)
        ]  # fmt: skip
        connection.execute(tasks.insert(), rows)
        connection.execute(text("ANALYZE"))
        return plan(connection, 15_000.0, after)

    shown = store.run_now(work)
    assert "tasks_to_notify" in shown
    assert "Sort" not in shown
    assert "TEMP B-TREE" not in shown


# -- migrations


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_migrations_make_the_tables_that_the_program_uses(store: TaskStore) -> None:
    assert store.run_now(migrations.differences) == []
    indexes = {index.name for table in metadata.tables.values() for index in table.indexes}
    name = "sqlite_master where type = 'index'" if "sqlite" in store.url.drivername else "pg_indexes"
    column = "name" if "sqlite" in store.url.drivername else "indexname"
    assert indexes <= set(store.run_now(lambda c: c.execute(text(f"SELECT {column} FROM {name}")).scalars().all()))


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_migrations_go_down_and_up_and_twice(store: TaskStore) -> None:
    store.run_now(lambda c: migrations.downgrade(c, "0001"))
    store.run_now(lambda c: queries.add_task(c, "kept", "ann", None, 1.0))
    assert store.run_now(migrations.differences)
    store.prepare()
    store.prepare()
    assert store.run_now(migrations.differences) == []
    assert [row.title for row in store.run_now(lambda c: c.execute(select(tasks)).all())] == ["kept"]
    store.run_now(lambda c: migrations.downgrade(c, "base"))


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_jobs_that_an_earlier_version_staged_keep_their_origin(store: TaskStore) -> None:
    store.run_now(lambda c: migrations.downgrade(c, "0005"))
    row = {"name": "told", "data": "{}", "options": "{}", "created_at": 0.0}
    rows = [{**row, "source": "overdue scan 42"}, {**row, "source": ""}]
    store.run_now(lambda c: c.execute(insert(outbox), rows))
    store.prepare()
    staged = store.run_now(lambda c: c.execute(select(outbox).order_by(outbox.c.id)).all())
    assert [staged_job(each).origin for each in staged] == [Origin(OriginKind.SCAN, 42), None]
    store.run_now(lambda c: migrations.downgrade(c, "0005"))
    assert store.run_now(lambda c: c.execute(select(outbox.c.source).order_by(outbox.c.id)).scalars().all()) == [
        "overdue scan 42",
        "",
    ]


def test_a_column_that_the_migrations_forgot_is_noticed(tmp_path: Path) -> None:
    with TaskStore(f"sqlite:///{tmp_path}/t.db").opened() as store:
        store.run_now(lambda c: c.execute(text("ALTER TABLE tasks DROP COLUMN assignee")))
        assert store.run_now(migrations.differences)


# -- in a simulation


def test_transactions_wait_for_a_connection_and_take_their_time() -> None:
    model = DatabaseModel(lambda: 2.0, connections=2)

    async def scene() -> list[float]:
        with TaskStore(cost=model).opened() as store:
            loop = asyncio.get_running_loop()
            ended = []

            async def one() -> None:
                await store.run(lambda c: queries.add_task(c, "t", "ann", None, 0.0))
                ended.append(loop.time())

            await asyncio.gather(*(one() for _ in range(5)))
            return ended

    assert run(scene()) == [2.0, 2.0, 4.0, 4.0, 6.0]
    assert (model.transactions, model.waited) == (5, 2.0 + 2.0 + 4.0)


def test_a_database_in_memory_can_be_shared_by_threads() -> None:
    async def scene() -> int:
        with TaskStore().opened() as store:
            await asyncio.gather(*(store.run(lambda c: queries.add_task(c, "t", "a", None, 0.0)) for _ in range(20)))
            return len(store.run_now(lambda c: c.execute(select(tasks)).all()))

    assert asyncio.run(scene()) == 20


# -- what can't be used


def test_what_is_no_database_is_refused() -> None:
    with pytest.raises(StoreError, match=r"tasks\.db"):
        TaskStore("tasks.db")
    with pytest.raises(StoreError, match='no database "oracel"'):
        TaskStore("oracel://host/name")
    assert "secret" not in repr(TaskStore("postgresql://ann:secret@127.0.0.1/x"))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises((MissingExtraError, ImportError)):
        TaskStore("postgresql://host/name")


def test_an_impossible_row_is_refused_for_good(store: TaskStore) -> None:
    from queuesim.core.errors import ErrorRules
    from queuesim.tasks.model import rules

    with pytest.raises(IntegrityError) as caught:
        store.run_now(lambda c: c.execute(tasks.insert().values(title=None)))
    assert ErrorRules(rules()).describe(caught.value).retryable is False
    assert ErrorRules(rules()).describe(sqlite3.OperationalError("locked")).retryable
