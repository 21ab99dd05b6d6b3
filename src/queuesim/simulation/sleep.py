"""Sleeping on the loop: an awaitable that is its own timer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from heapq import heappush
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import NORMAL

from queuesim.simulation.waking import Waking

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop

INFINITY = float("inf")


class Sleep(Waking):
    """A sleep as a future: for tasks that can't nap, and for sleeping for ever. It waits in the environment's heap."""

    __slots__ = ("when",)

    callbacks: ClassVar[tuple[()]] = ()
    """No SimPy process can wait for it."""
    _ok: ClassVar[bool] = True
    _value: ClassVar[None] = None
    _defused: ClassVar[bool] = True

    def __init__(self, loop: VirtualLoop, when: float) -> None:
        # Waking.__init__, inlined: one of these is made for every wait of every task.
        self.loop = loop
        self.wakeup = None
        self._asyncio_future_blocking = True
        self.when = when

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: Context) -> None:
        """Called by the task that awaits this: the wait begins. An infinite one is never in the heap."""
        self.wakeup = wakeup
        self.context = context
        if self.when < INFINITY:
            env = self.loop.env
            heappush(env._queue, (self.when, NORMAL, next(env._eid), self))

    def withdraw(self) -> None:
        """What stays in the heap never moves the clock."""
        if self.when < INFINITY:
            self.loop.env.forget_one()

    @property
    def pending(self) -> bool:
        """Whether it still waits for its time."""
        return self.wakeup is not None

    def describe(self) -> str:
        """What the task waits for, in words."""
        return f"sleep until {self.when:g} s"
