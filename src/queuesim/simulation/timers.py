"""A timer of the loop: asyncio's handle and, in the environment's heap, an event."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextvars import Context
from heapq import heappush
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import NORMAL


class SimulatedLoop(asyncio.AbstractEventLoop):
    """What timers, processes and the environment know of the loop that drives them; see loop.VirtualLoop."""

    env: Any
    """The SimPy environment whose time is the loop's."""
    ready: deque[Handle | Timer]
    """What runs before time moves."""
    buried: list[asyncio.Task[Any]]
    """The tasks of killed processes."""

    def call(self, handle: Handle | Timer) -> None:
        """Run a callback here and now."""
        raise NotImplementedError

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done."""
        raise NotImplementedError

    def hold(self, process: Any) -> None:
        """A process stopped running: keep from running what of it is ready."""
        raise NotImplementedError

    def release(self, process: Any, held: Iterable[Handle | Timer]) -> None:
        """A process runs again: what was held back comes first."""
        raise NotImplementedError

    def wake(self, waking: Waking) -> None:
        """What a task waited for has happened: step it now."""
        raise NotImplementedError


def running_loop() -> SimulatedLoop:
    """The virtual-time loop that runs. Raises RuntimeError if none does."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        raise RuntimeError(f"this works in a simulation only, not on {loop!r}")
    return loop


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
    _loop: SimulatedLoop
    _when: float
    _scheduled: bool
    """Whether it is in the heap: not once it has fired, nor with an infinite time."""

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: SimulatedLoop, context: Context
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


# -- A callback that is ready to run, as `call_soon` returns it


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


# -- A sleeping task's next step, waiting in the environment's heap


class Nap(Handle):
    """The step of a task that `VirtualLoop.sleep` put off. It has no callback once that came, or was cancelled."""

    __slots__ = ()

    callbacks: ClassVar[tuple[()]] = ()
    """No SimPy process can wait for it."""
    _ok: ClassVar[bool] = True
    _value: ClassVar[None] = None
    _defused: ClassVar[bool] = True

    def __init__(self, callback: Callable[..., object], context: Context) -> None:
        self._callback = callback
        self._args = ()
        self._context = context

    @property
    def pending(self) -> bool:
        """Whether the task still sleeps."""
        return self._callback is not None

    def take(self) -> Handle:
        """The step itself, to be run now: the nap stays behind as a husk."""
        step = Handle(self._callback, (), self._context)  # type: ignore[arg-type]
        self._callback = None
        return step


# -- What a task waits for in virtual time without a future in between: the base of `Sleep` and of `until`


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

    def __init__(self, loop: SimulatedLoop) -> None:
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


# -- Sleeping on the loop: an awaitable that is its own timer

INFINITY = float("inf")


class Sleep(Waking):
    """A sleep as a future: for tasks that can't nap, and for sleeping for ever. It waits in the environment's heap."""

    __slots__ = ("when",)

    callbacks: ClassVar[tuple[()]] = ()
    """No SimPy process can wait for it."""
    _ok: ClassVar[bool] = True
    _value: ClassVar[None] = None
    _defused: ClassVar[bool] = True

    def __init__(self, loop: SimulatedLoop, when: float) -> None:
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


# -- Tasks whose order is the same in every run, and which sleep without a future


class SimulatedTask(asyncio.Task[Any]):
    """asyncio's task with a number as its hash.

    asyncio and anyio keep tasks in sets, and cancel them in the order in which the set yields them. That order follows
    the hash, which for an ordinary task is its address in memory: another one in every run.
    """

    __slots__ = ("buried", "context", "nap", "number")

    if TYPE_CHECKING:
        _must_cancel: bool

    buried: bool
    """Only a task of a killed process has this."""
    number: int
    """Counts the tasks of a loop from 1."""
    context: Context
    """The context variables that it runs with."""
    nap: Nap | None
    """Its latest sleep in `VirtualLoop.sleep`, which may be over."""

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any = None) -> bool:
        """As asyncio's; it also ends a nap, of which asyncio knows nothing: the step comes now, with CancelledError."""
        cancelled = super().cancel(msg)
        if cancelled:
            nap = self.nap
            if nap is not None and nap.pending:
                self.get_loop().end_nap(nap)  # type: ignore[attr-defined]
        return cancelled


def number_of(task: asyncio.Task[Any]) -> int:
    """The task's number; 0 for one that a task factory made."""
    return task.number if isinstance(task, SimulatedTask) else 0
