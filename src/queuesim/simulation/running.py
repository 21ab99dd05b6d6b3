"""Stepping out of a running event loop for a while, so that another can run in the same thread."""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_running_loop() -> Iterator[None]:
    """In this block no event loop is running and no task is current, as in a thread of its own.

    A notebook runs its cells inside a loop. That loop stands still for the block and finds itself as it was afterwards.
    """
    outer = events._get_running_loop()
    task = None if outer is None else asyncio.current_task(outer)
    swap = getattr(tasks, "_swap_current_task", None)  # Python 3.12; before it every loop had a current task of its own
    if swap is not None and task is not None:
        swap(outer, None)
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(outer)
        if swap is not None and task is not None:
            swap(outer, task)
