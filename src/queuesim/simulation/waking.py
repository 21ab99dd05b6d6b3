"""What a task waits for in virtual time without a future in between: the base of `Sleep` and of `until`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

from queuesim.simulation.handle import Handle

if TYPE_CHECKING:
    from queuesim.simulation.loop import VirtualLoop


class Waking:
    """To a task it is a future: it has what `asyncio.Task` asks of one. Await it once, at once.

    When it is due the loop steps the task right there; a future would put one more callback among the ready ones.
    It is pending while it has a `wakeup`. Cancelling wakes the task too, with a cancelled future in its place.
    """

    __slots__ = ("_asyncio_future_blocking", "context", "loop", "wakeup")

    get_loop: ClassVar[Callable[[], asyncio.AbstractEventLoop]] = staticmethod(asyncio.get_running_loop)
    """The task asks for it every time that it awaits this, so it is a built-in function. The task runs then."""
    result: ClassVar[Callable[[], object]] = staticmethod(bool)
    """The task asks for it on waking and drops it: another built-in."""

    wakeup: Callable[[Any], object] | None
    context: Context

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.wakeup = None
        self._asyncio_future_blocking = True

    def __await__(self) -> Generator[Any, None, None]:
        yield self

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: Context) -> None:
        """Called by the task that awaits this: the wait begins."""
        raise NotImplementedError

    def take(self) -> Handle:
        """The step of the task that waits, to be run now: the wait is over."""
        wakeup, self.wakeup = self.wakeup, None
        assert wakeup is not None, "it was woken before"
        return Handle(wakeup, (self,), self.context)

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task with CancelledError. False if it has been woken already."""
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is None:
            return False
        cancelled = self.loop.create_future()
        cancelled.cancel(msg)
        self.loop.call_soon(wakeup, cancelled, context=self.context)
        self.withdraw()
        return True

    def withdraw(self) -> None:
        """The wait was cancelled: take back what would have ended it."""
        raise NotImplementedError

    def done(self) -> bool:
        """Whether the task was woken, by what it waited for or by `cancel`."""
        return self.wakeup is None

    def cancelled(self) -> bool:
        """Always False: a cancelled one leaves the task to a cancelled future."""
        return False

    def describe(self) -> str:
        """What the task waits for, in words."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{'done' if self.done() else 'pending'}: {self.describe()}>"
