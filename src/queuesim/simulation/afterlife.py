"""What becomes of the tasks of a killed process: they are kept for ever, because Python would tidy them up."""

from __future__ import annotations

import asyncio
from typing import Any

from queuesim.simulation.task import SimulatedTask


def bury(task: asyncio.Task[Any]) -> None:
    """Keep `task` until the interpreter is gone, without a word.

    When a suspended coroutine is freed Python closes it, which runs its ``finally`` blocks: a killed process has no
    such thing. So a reference that nobody holds is counted here. It is a leak on purpose.
    """
    import ctypes  # only a simulation that kills needs it

    if not is_buried(task):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        if isinstance(task, SimulatedTask):
            task.buried = True


def is_buried(task: asyncio.Task[Any]) -> bool:
    """Whether the task was killed."""
    return isinstance(task, SimulatedTask) and hasattr(task, "buried")
