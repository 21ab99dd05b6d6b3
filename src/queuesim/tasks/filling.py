"""Filling a store with tasks, for simulations and benchmarks: so many rows at a time, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, bindparam, insert

from queuesim.tasks.model import Status
from queuesim.tasks.prepared import Prepared
from queuesim.tasks.tables import tasks

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
