"""A timer of the loop: asyncio's handle and, in the environment's heap, an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


class Timer(asyncio.TimerHandle):
    """What `call_at` and `call_later` return. It waits in the environment's heap beside SimPy's events.

    It *may be* pending, cancelled or fired; its callback is None once it is either of the last two.
    """

    __slots__ = ()

    callbacks: ClassVar[tuple[()]] = ()
    """No SimPy process can wait for it."""
    _ok: ClassVar[bool] = True
    _value: ClassVar[None] = None
    _defused: ClassVar[bool] = True

    _callback: Callable[..., object] | None
    _args: tuple[Any, ...]
    _context: Context
    _loop: VirtualLoop
    _when: float
    _scheduled: bool
    """Whether it is in the heap: not once it has fired, nor with an infinite time."""

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: VirtualLoop, context: Context
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._scheduled = True

    @property
    def pending(self) -> bool:
        """Whether it still waits for its time."""
        return self._scheduled and self._callback is not None

    def take(self) -> Timer:
        """What to run now that its time has come."""
        self._scheduled = False
        return self

    def cancel(self) -> None:
        """The callback won't run and the clock won't stop here. Harmless when it already has run."""
        if self._callback is None:
            return
        self._callback = None
        self._args = ()
        if self._scheduled:
            self._scheduled = False
            self._loop.env.forget_one()

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._callback is None

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = asyncio.TimerHandle.__hash__

    def get_context(self) -> Context:
        """The context variables that the callback sees."""
        return self._context

    def __repr__(self) -> str:
        return f"<Timer at {self._when:g} s, {'cancelled' if self.cancelled() else repr(self._callback)}>"
