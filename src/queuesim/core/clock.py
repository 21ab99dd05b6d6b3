"""The queue's clock: what time it is for the code that runs now.

Everything that a simulation runs reads the time of the running event loop, which is virtual there. The users of a queue
on a real server read the calendar (seconds since the Unix epoch, so that several machines agree). A program can set
another clock for a task and those that it starts; that one goes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

Clock = Callable[[], float]
"""Returns seconds since an origin that all users of a queue share."""

_clock: ContextVar[Clock | None] = ContextVar("queuesim_clock", default=None)


def now() -> float:
    """Seconds on the queue's clock. Raises RuntimeError outside a running loop if no clock was set."""
    clock = _clock.get()
    return asyncio.get_running_loop().time() if clock is None else clock()


def clock_of(broker: object) -> Clock | None:
    """The clock of the users of a queue: the one that was set for this task, else that of the place where the queue
    lives, which for a real server is the calendar; None: the running loop's time."""
    clock = _clock.get()
    return getattr(broker, "clock", None) if clock is None else clock


def time_at(broker: object) -> float:
    """Seconds on the clock of the users of a queue. Raises RuntimeError outside a running loop if that is its time."""
    clock = _clock.get()
    if clock is None:
        clock = getattr(broker, "clock", None)
    return asyncio.get_running_loop().time() if clock is None else clock()


def set_clock(clock: Clock | None) -> None:
    """Use `clock` in this task and the tasks that it starts; None returns to the default."""
    _clock.set(clock)


def get_clock() -> Clock | None:
    """The clock that was set for this task, for code that starts tasks that do not inherit it."""
    return _clock.get()


def is_virtual() -> bool:
    """Whether the running loop's time is virtual: it stands still while code runs or a thread works."""
    return hasattr(asyncio.get_running_loop(), "sleep_until")


def sleep_until(when: float) -> Awaitable[object]:
    """Wait until `when`, in seconds on the queue's clock. Returns after all that is ready if that is past."""
    return sleeper_until()(when)


def sleeper_until() -> Callable[[float], Awaitable[object]]:
    """`sleep_until` for the present loop and clock, for frequent calls."""
    exact: Callable[[float], Awaitable[object]] | None = getattr(asyncio.get_running_loop(), "sleep_until", None)
    if exact is not None and _clock.get() is None:
        return exact
    return lambda when: asyncio.sleep(max(0.0, when - now()))


def sleep(seconds: float) -> Awaitable[object]:
    """Wait: `asyncio.sleep`, or the faster one of the loop."""
    faster = getattr(asyncio.get_running_loop(), "sleep", None)
    return asyncio.sleep(seconds) if faster is None else faster(seconds)


def wake(waiter: asyncio.Future[Any]) -> None:
    """End a wait, unless it has ended by itself or was cancelled."""
    if not waiter.done():
        waiter.set_result(None)
