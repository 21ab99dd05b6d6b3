"""Tasks whose order is the same in every run, and which sleep without a future."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queuesim.simulation.nap import Nap


class SimulatedTask(asyncio.Task[Any]):
    """asyncio's task with a number as its hash.

    asyncio and anyio keep tasks in sets, and cancel them in the order in which the set yields them. That order follows
    the hash, which for an ordinary task is its address in memory: another one in every run.
    """

    __slots__ = ("buried", "context", "nap", "number")

    if TYPE_CHECKING:
        _must_cancel: bool

    buried: bool
    """Only a task of a killed process has this."""
    number: int
    """Counts the tasks of a loop from 1."""
    context: Context
    """The context variables that it runs with."""
    nap: Nap | None
    """Its latest sleep in `VirtualLoop.sleep`, which may be over."""

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any = None) -> bool:
        """As asyncio's; it also ends a nap, of which asyncio knows nothing: the step comes now, with CancelledError."""
        cancelled = super().cancel(msg)
        if cancelled:
            nap = self.nap
            if nap is not None and nap.pending:
                self.get_loop().end_nap(nap)  # type: ignore[attr-defined]
        return cancelled


def number_of(task: asyncio.Task[Any]) -> int:
    """The task's number; 0 for one that a task factory made."""
    return task.number if isinstance(task, SimulatedTask) else 0
