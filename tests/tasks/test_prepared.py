"""Prepared statements do what SQLAlchemy would do with the same statements."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, insert, select, update

from queuesim.tasks import queries
from queuesim.tasks.store import TaskStore, fill
from queuesim.tasks.tables import Prepared, applied, tasks

DUE = [5.0, 1.0, 3.0, 1.0, 9.0]

BY_TIME = select(tasks.c.id, tasks.c.notify_at).where(tasks.c.notify_at <= bindparam("until")).order_by(tasks.c.id)
MOVE = (
    update(tasks)
    .where(tasks.c.id == bindparam("one"))
    .values(version=tasks.c.version + 1, notify_at=bindparam("at"))
    .returning(tasks.c.id, tasks.c.version)
)


def test_rows_are_those_of_the_statement(store: TaskStore) -> None:
    store.run_now(lambda c: fill(c, DUE))
    prepared = Prepared(BY_TIME)
    for until in (0.0, 1.0, 4.0, 100.0):
        plain = store.run_now(lambda c, until=until: c.execute(BY_TIME, {"until": until}).all())
        assert [tuple(row) for row in store.run_now(lambda c, u=until: prepared.rows(c, until=u))] == [
            *map(tuple, plain)
        ]


def test_a_parameter_that_the_statement_gives_itself_is_kept(store: TaskStore) -> None:
    store.run_now(lambda c: fill(c, DUE))
    prepared = Prepared(MOVE)
    for version in (2, 3):
        ((task, changed),) = store.run_now(lambda c: prepared.rows(c, one=2, at=7.0))
        assert (task, changed) == (2, version)
    assert store.run_now(lambda c: queries.get_task(c, 2)).notify_at == 7.0
    assert store.run_now(lambda c: queries.get_task(c, 4)).version == 1


def test_what_fails_is_undone_with_its_transaction(store: TaskStore) -> None:
    once = Prepared(insert(applied).inline().values(key=bindparam("what"), at=bindparam("when")))
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.run_now(lambda c: once.run(c, [{"what": "a", "when": 1.0}, {"what": "a", "when": 2.0}]))
    assert store.run_now(lambda c: c.execute(select(applied)).all()) == []
    store.run_now(lambda c: once.run(c, [{"what": "a", "when": 1.0}, {"what": "b", "when": 2.0}]))
    assert store.run_now(lambda c: c.execute(select(applied.c.key).order_by(applied.c.key)).scalars().all()) == [
        "a",
        "b",
    ]


def test_a_store_in_memory_can_be_used_again_after_a_transaction_failed() -> None:
    with TaskStore().opened() as store:
        with pytest.raises(ZeroDivisionError):
            store.run_now(lambda c: (fill(c, DUE), 1 / 0))
        assert store.run_now(lambda c: queries.count_to_notify(c, 100.0)) == 0
        store.run_now(lambda c: fill(c, DUE))
        assert store.run_now(lambda c: queries.count_to_notify(c, 3.0)) == 3


def test_pages_hold_each_task_once(store: TaskStore) -> None:
    store.run_now(lambda c: fill(c, DUE))
    seen: list[int] = []
    after = None
    while page := store.run_now(lambda c, after=after: queries.read_page(c, 5.0, after, 2)):
        planned = store.run_now(lambda c, after=after: c.execute(queries.overdue_page(5.0, after, 2)).all())
        assert [*map(tuple, page)] == [*map(tuple, planned)]
        seen += [task for task, _ in page]
        after = (page[-1][1], page[-1][0])
    assert seen == [2, 4, 3, 1]
