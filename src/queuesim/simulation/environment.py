"""The SimPy environment under the loop: one heap for SimPy's events and the loop's timers."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from heapq import heapify, heappop
from typing import TYPE_CHECKING, Any

import simpy
from simpy.core import EmptySchedule, SimTime, StopSimulation
from simpy.events import Event, EventPriority

from queuesim.simulation.timers import Nap, SimulatedLoop, Sleep, Timer, Waking, running_loop

PURGE_FROM = 64
"""A heap with fewer cancelled timers than this is not worth tidying."""


class Environment(simpy.Environment):
    """SimPy's environment, driven by a virtual-time loop.

    Processes, resources and conditions work as SimPy documents them. It differs in three things: the loop's timers
    are in its heap, a cancelled timer never moves the clock, and the exception of an event that failed unnoticed is
    raised itself, not a copy of it.
    """

    if TYPE_CHECKING:
        _now: float
        _queue: list[tuple[SimTime, EventPriority, int, Any]]

    def __init__(self, initial_time: float = 0.0) -> None:
        super().__init__(float(initial_time))
        self.driven = False
        """Whether a loop is running on this environment."""
        self.cancelled = 0
        """How many timers in the heap are cancelled."""
        for name in ("process", "timeout", "event", "all_of", "any_of"):
            # SimPy binds these to the instance for speed, but only those that the very class defines.
            setattr(self, name, getattr(self, name))

    def forget_one(self) -> None:
        """A timer in the heap was cancelled. When more than half of the heap is, it is tidied."""
        self.cancelled += 1
        queue = self._queue
        if self.cancelled > PURGE_FROM and 2 * self.cancelled > len(queue):
            queue[:] = [entry for entry in queue if not is_husk(entry[3])]
            heapify(queue)
            self.cancelled = 0

    def peek(self) -> SimTime:
        """When the next event is due, in seconds; infinity if there is none."""
        queue = self._queue
        while queue and is_husk(queue[0][3]):
            heappop(queue)
            self.cancelled -= 1
        return queue[0][0] if queue else float("inf")

    def step(self) -> None:
        """Let the next event happen. Raises EmptySchedule if there is none, and what an event failed with unnoticed.

        Raises RuntimeError when a timer of a loop is next: only the loop itself may run that.
        """
        if self.peek() == float("inf"):
            raise EmptySchedule
        if isinstance(self._queue[0][3], (Nap, Sleep, Timer)):
            raise RuntimeError("a timer of the event loop is next: run the loop, not the environment")
        self._now, _, _, event = heappop(self._queue)
        self.happen(event)

    def happen(self, event: Event) -> None:
        """Call back all who wait for `event`, which was just taken from the heap."""
        callbacks = event.callbacks
        event.callbacks = None  # type: ignore[assignment]
        try:
            for callback in callbacks:
                callback(event)
        except StopSimulation:
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            self.schedule(event, EventPriority(-1))
            raise
        if not event._ok and not hasattr(event, "_defused"):
            raise event._value

    def run(self, until: SimTime | Event | None = None) -> Any:
        """As in SimPy, while no loop drives this environment. Raises RuntimeError otherwise."""
        if self.driven:
            raise RuntimeError(
                "env.run() can't be called here: the event loop drives this environment. "
                "Await an event with `await until(event)`, or time with `await asyncio.sleep(seconds)`"
            )
        return super().run(until)


def is_husk(event: object) -> bool:
    """Whether this entry of the heap is a timer that was cancelled."""
    return isinstance(event, (Nap, Sleep, Timer)) and not event.pending


# -- Waiting for a SimPy event in async code


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

    def __init__(self, loop: SimulatedLoop, event: Event) -> None:
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
