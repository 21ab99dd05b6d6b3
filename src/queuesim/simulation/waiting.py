"""Waiting for a SimPy event in async code."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from simpy.events import Event

from queuesim.simulation.process import running_loop
from queuesim.simulation.waking import Waking

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


async def until(event: Event) -> Any:
    """Wait until `event` happens, and return its value: any SimPy event of the loop's environment.

    A timeout, a request of a resource, the get or put of a store, a process, ``env.any_of(...)``::

        with pool.request() as request:
            await until(request)

    Raises what the event failed with. When the waiting task is cancelled the event itself goes on: a pending get or
    request still takes its turn, unless a ``with`` statement gives it back. Raises RuntimeError outside of a
    simulation and for an event of another environment.
    """
    loop = running_loop()
    if event.env is not loop.env:
        raise RuntimeError(f"{event} is not of this loop's environment (loop.env): it would never happen here")
    if event.callbacks is not None:
        await Wait(loop, event)
    if event._ok:
        return event._value
    event._defused = True
    raise event._value


class Wait(Waking):
    """A task's wait for a SimPy event."""

    __slots__ = ("event",)

    def __init__(self, loop: VirtualLoop, event: Event) -> None:
        super().__init__(loop)
        self.event = event

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: Context) -> None:
        """Called by the task that awaits this: the wait begins."""
        self.wakeup = wakeup
        self.context = context
        self.event.callbacks.append(self._happened)

    def _happened(self, event: Event) -> None:
        if not event._ok:
            event._defused = True
        if self.wakeup is not None:
            self.loop.wake(self)

    def withdraw(self) -> None:
        """The event no longer calls back."""
        if self.event.callbacks is not None:
            self.event.callbacks.remove(self._happened)

    def describe(self) -> str:
        """What the task waits for, in words."""
        return f"a SimPy {type(self.event).__name__}"
