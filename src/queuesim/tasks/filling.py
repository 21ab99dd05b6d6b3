"""Filling a store with tasks, for simulations and benchmarks: so many rows at a time, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, insert

from queuesim.tasks.model import Status
from queuesim.tasks.tables import tasks

ROWS = 10_000
ASSIGNEES = 100


def fill(connection: Connection, due: Iterable[float]) -> int:
    """Add an open task for each due date. Returns how many."""
    rows, count = _rows(due), 0
    while batch := list(islice(rows, ROWS)):
        connection.execute(insert(tasks), batch)
        count += len(batch)
    return count


def _rows(due: Iterable[float]) -> Iterator[dict[str, object]]:
    for n, due_at in enumerate(due):
        yield {
            "title": f"task {n}",
            "assignee": f"user-{n % ASSIGNEES}",
            "status": Status.PENDING.value,
            "due_at": due_at,
            "notify_at": due_at,
            "version": 1,
            "created_at": 0.0,
            "updated_at": 0.0,
        }
