"""Stepping out of a running event loop for a while, so that another can run in the same thread."""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from typing import Any


class no_running_loop:  # noqa: N801  (a context manager, written out since generators are slow)
    """In this block no event loop is running and no task is current, as in a thread of its own.

    A notebook runs its cells inside a loop. That loop stands still for the block and finds itself as it was afterwards.
    """

    __slots__ = ("_outer", "_task")

    def __enter__(self) -> None:
        self._outer = outer = events._get_running_loop()
        self._task = None if outer is None or _swap is None else asyncio.current_task(outer)
        if self._task is not None:
            _swap(outer, None)
        events._set_running_loop(None)

    def __exit__(self, *error: object) -> None:
        events._set_running_loop(self._outer)
        if self._task is not None:
            _swap(self._outer, self._task)


_swap: Any = getattr(tasks, "_swap_current_task", None)
"""Of Python 3.12; before it every loop had a current task of its own."""
