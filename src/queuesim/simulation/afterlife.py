"""What becomes of the tasks of a killed process: they are kept for ever, because Python would tidy them up."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any

from queuesim.simulation.frames import suspended_frames
from queuesim.simulation.task import SimulatedTask


def bury(task: asyncio.Task[Any]) -> None:
    """Keep `task` until the interpreter is gone, without a word.

    When a suspended coroutine is freed Python closes it, which runs its ``finally`` blocks: a killed process has no
    such thing. So a reference that nobody holds is counted here. It is a leak on purpose; `empty` keeps it small.
    """

    if not is_buried(task):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        if isinstance(task, SimulatedTask):
            task.buried = True


def is_buried(task: asyncio.Task[Any]) -> bool:
    """Whether the task was killed."""
    return isinstance(task, SimulatedTask) and hasattr(task, "buried")


def empty(task: asyncio.Task[Any]) -> None:
    """Let go of the local variables of a buried task, which would keep all that its run recorded in memory.

    What it is in the middle of stays (a ``with``, a ``for``), and so do variables that are generators or coroutines:
    Python would close those too.
    """
    if inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_CREATED:  # type: ignore[arg-type]
        return
    for frame in suspended_frames(task):
        names = set(frame.f_code.co_varnames) - set(frame.f_code.co_cellvars)  # a cell may be shared with the living
        values = frame.f_locals
        for name in names & set(values):
            if not isinstance(values[name], (Coroutine, Generator, AsyncGenerator)):
                values[name] = None
        if sys.version_info < (3, 13):  # before that, f_locals was a copy
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
