"""Tasks whose order is the same in every run."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any


class SimulatedTask(asyncio.Task[Any]):
    """asyncio's task with a number as its hash.

    asyncio and anyio keep tasks in sets, and cancel them in the order in which the set yields them. That order follows
    the hash, which for an ordinary task is its address in memory: another one in every run.
    """

    __slots__ = ("context", "number")

    number: int
    """Counts the tasks of a loop from 1."""
    context: Context
    """The context variables that it runs with."""

    def __hash__(self) -> int:
        return self.number


def number_of(task: asyncio.Task[Any]) -> int:
    """The task's number; 0 for one that a task factory made."""
    return task.number if isinstance(task, SimulatedTask) else 0
