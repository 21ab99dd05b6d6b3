"""A callback that is ready to run, as `call_soon` returns it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any


class Handle(asyncio.Handle):
    """What `call_soon` returns: asyncio's handle with only the fields that the loop reads.

    One is made for every wake-up of every task, so its constructor leaves out what asyncio's also fills in.
    A cancelled handle has no callback.
    """

    __slots__ = ()

    _callback: Callable[..., object] | None
    _args: tuple[Any, ...]
    _context: Context

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context

    def cancel(self) -> None:
        """The callback won't run. Harmless when it already has."""
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._callback is None

    def get_context(self) -> Context:
        """The context variables that the callback sees."""
        return self._context

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'cancelled' if self.cancelled() else self._callback!r}>"
