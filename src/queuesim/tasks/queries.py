"""Queries of the tables, on a connection inside a transaction. The time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from queuesim.tasks.model import ConflictError, Status, Task, TaskMissingError, read_task
from queuesim.tasks.tables import Prepared, applied, notifications, tasks


def add_task(connection: Connection, title: str, assignee: str, due_at: float | None, now: float) -> Task:
    """A new task, pending."""
    row = {
        "title": title,
        "assignee": assignee,
        "status": Status.PENDING.value,
        "due_at": due_at,
        "notify_at": due_at,
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
    task_id = connection.execute(insert(tasks).values(row).returning(tasks.c.id)).scalar_one()
    return read_task(connection.execute(select(tasks).where(tasks.c.id == task_id)).one())


def find_task(connection: Connection, task_id: int) -> Task | None:
    """The task; None if there is none of that id."""
    row = connection.execute(select(tasks).where(tasks.c.id == task_id)).one_or_none()
    return None if row is None else read_task(row)


def get_task(connection: Connection, task_id: int) -> Task:
    """The task. Raises TaskMissingError."""
    task = find_task(connection, task_id)
    if task is None:
        raise TaskMissingError(task_id)
    return task


def existing(connection: Connection, task_ids: Iterable[int]) -> set[int]:
    """Those of the tasks that are there."""
    return set(connection.execute(select(tasks.c.id).where(tasks.c.id.in_(list(task_ids)))).scalars())


def change_task(connection: Connection, task: Task, now: float, **changes: Any) -> Task:
    """Change a task that was read as `task`. Raises ConflictError if it was changed since, TaskMissingError if it is
    gone."""
    values = {**changes, "version": task.version + 1, "updated_at": now}
    changed = connection.execute(
        update(tasks).where(tasks.c.id == task.id, tasks.c.version == task.version).values(values)
    )
    if changed.rowcount == 0:
        raise ConflictError(task.id, task.version, get_task(connection, task.id).version)
    return get_task(connection, task.id)


def remove_task(connection: Connection, task_id: int) -> None:
    """Delete a task. Raises TaskMissingError."""
    if connection.execute(delete(tasks).where(tasks.c.id == task_id)).rowcount == 0:
        raise TaskMissingError(task_id)


def set_status(connection: Connection, task: Task, status: Status, now: float, window: float) -> Task:
    """Give a task a status. One that is closed is never overdue; one that is opened again is, when it is due."""
    if status is task.status:
        return task
    notify_at = task.notify_at
    if not status.is_open:
        notify_at = None
    elif not task.status.is_open:
        notify_at = next_notice(connection, task.id, task.due_at, window)
    return change_task(connection, task, now, status=status.value, notify_at=notify_at)


def next_notice(connection: Connection, task_id: int, due_at: float | None, window: float) -> float | None:
    """When the assignee of an open task is to be notified: when it is due, but not within `window` seconds of the last
    notification."""
    if due_at is None:
        return None
    last = connection.execute(
        select(func.max(notifications.c.sent_at)).where(
            notifications.c.task_id == task_id, notifications.c.kind == "overdue"
        )
    ).scalar_one()
    return due_at if last is None else max(due_at, last + window)


# -- once only


def apply_once(connection: Connection, key: str, now: float) -> bool:
    """Note that the change of this key is made in this transaction. False if it was made before."""
    return insert_unless_there(connection, applied, {"key": key, "at": now}, applied.c.key) is not None


def insert_unless_there(connection: Connection, table: Table, row: Mapping[str, Any], returned: Column[Any]) -> Any:
    """Insert a row and return one of its columns; None if a unique column has the value already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(row).on_conflict_do_nothing().returning(returned)
    return connection.execute(statement).scalar_one_or_none()


def forget_applied(connection: Connection, before: float) -> int:
    """Forget the keys of changes made before then. Returns how many."""
    return connection.execute(delete(applied).where(applied.c.at < before)).rowcount


# -- overdue tasks

PAGE_COLUMNS = (tasks.c.id, tasks.c.notify_at)
"""What the overdue scan reads of a task."""

_IN_ORDER = (tasks.c.notify_at, tasks.c.id)
_FIRST_PAGE = (
    select(*PAGE_COLUMNS)
    .where(tasks.c.notify_at <= bindparam("cutoff"))
    .order_by(*_IN_ORDER)
    .limit(bindparam("size", type_=Integer))
)
_LATER_PAGE = _FIRST_PAGE.where(
    tuple_(*_IN_ORDER)
    > tuple_(bindparam("after", type_=tasks.c.notify_at.type), bindparam("after_id", type_=tasks.c.id.type))
)
# made once: to build a statement takes longer than to run it
_PAGES = (Prepared(_FIRST_PAGE), Prepared(_LATER_PAGE))


def overdue_page(cutoff: float, after: tuple[float, int] | None, size: int) -> Select[Any]:
    """The next page of tasks whose assignee is to be notified by `cutoff`, in order of (notify_at, id), behind `after`.

    Tasks only ever move forward in that order, beyond the cutoff, so that none is missed or comes twice in a scan.
    """
    if after is None:
        return _FIRST_PAGE.params(cutoff=cutoff, size=size)
    return _LATER_PAGE.params(cutoff=cutoff, size=size, after=after[0], after_id=after[1])


def read_page(
    connection: Connection, cutoff: float, after: tuple[float, int] | None, size: int
) -> Sequence[tuple[int, float]]:
    """That page: PAGE_COLUMNS of each task."""
    first, later = _PAGES
    if after is None:
        return first.rows(connection, cutoff=cutoff, size=size)
    return later.rows(connection, cutoff=cutoff, size=size, after=after[0], after_id=after[1])


def notify_overdue(
    connection: Connection, task_ids: Sequence[int], job_id: str, now: float, window: float
) -> dict[str, int]:
    """Notify the assignees of tasks that still are overdue, unless they were notified within `window` seconds.

    Returns:
        How many were notified, were skipped (notified already, not overdue any more), and are gone.
    """
    # in order, so that two transactions that lock some of the same rows don't wait for each other
    ids = sorted(set(task_ids))
    sent: Sequence[Any]
    if len(ids) == 1:
        sent = _NOTIFY_ONE.rows(connection, one=ids[0], now=now, again=now + window)
    else:
        sent = connection.execute(_NOTIFY_MANY, {"ids": ids, "now": now, "again": now + window}).all()
    if sent:
        rows = [{"task": task, "who": assignee, "at": now, "job": job_id} for task, assignee in sorted(sent)]
        _RECORD.run(connection, rows)
    there = len(ids) if len(sent) == len(ids) else len(existing(connection, ids))
    return {"notified": len(sent), "skipped": there - len(sent), "gone": len(ids) - there}


_NOTIFY_OVERDUE = (
    update(tasks)
    .where(tasks.c.notify_at <= bindparam("now"))
    .values(notify_at=bindparam("again"))
    .returning(tasks.c.id, tasks.c.assignee)
)
_NOTIFY_MANY = _NOTIFY_OVERDUE.where(tasks.c.id.in_(bindparam("ids", expanding=True)))
_NOTIFY_ONE = Prepared(_NOTIFY_OVERDUE.where(tasks.c.id == bindparam("one")))
_RECORD = Prepared(
    insert(notifications)
    .inline()
    .values(
        task_id=bindparam("task"),
        assignee=bindparam("who"),
        kind="overdue",
        sent_at=bindparam("at"),
        job_id=bindparam("job"),
    )
)


def count_to_notify(connection: Connection, cutoff: float) -> int:
    """How many tasks are overdue whose assignees were not notified yet."""
    return connection.execute(select(func.count()).where(tasks.c.notify_at <= cutoff)).scalar_one()


def notified(connection: Connection) -> list[tuple[int, str, float]]:
    """The notifications that were sent, in order: the task, the kind, when."""
    columns = (notifications.c.task_id, notifications.c.kind, notifications.c.sent_at)
    return [(row.task_id, row.kind, row.sent_at) for row in connection.execute(select(*columns).order_by("id"))]
