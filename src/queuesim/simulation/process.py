"""A simulated operating-system process: tasks and callbacks that block, freeze and die together."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import inspect
import sys
from asyncio import events, tasks
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from types import FrameType
from typing import Any, TypeVar

from queuesim.simulation.timers import Handle, SimulatedLoop, SimulatedTask, Timer, running_loop

# -- The frames of a suspended task


def suspended_frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames in which the task is suspended, outermost first. What an asynchronous generator awaits is missing."""
    return frames_of(task.get_coro())


def frames_of(coroutine: Any) -> Iterator[FrameType]:
    """The frames in which a coroutine is suspended, outermost first."""
    while coroutine is not None:
        frame: FrameType | None = first_of(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield frame
        coroutine = first_of(coroutine, "cr_await", "gi_yieldfrom", "ag_await")


def first_of(owner: object, *names: str) -> Any:
    """The first of these attributes that is there and not None."""
    return next((found for name in names if (found := getattr(owner, name, None)) is not None), None)


# -- What becomes of the tasks of a killed process: they are kept for ever, because Python would tidy them up


def bury(task: asyncio.Task[Any]) -> None:
    """Keep `task` until the interpreter is gone, without a word.

    When a suspended coroutine is freed Python closes it, which runs its ``finally`` blocks: a killed process has no
    such thing. So a reference that nobody holds is counted here. It is a leak on purpose; `empty` keeps it small.
    asyncio forgets the task: it goes through all that it knows whenever it is asked for those of a loop.
    """

    if not is_buried(task):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        tasks._unregister_task(task)
        loop = task.get_loop()
        if isinstance(loop, SimulatedLoop):
            loop.buried.append(task)
        if isinstance(task, SimulatedTask):
            task.buried = True


def forget_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let asyncio forget the tasks of a closed loop. What a buried task refers to is never freed, tasks that are done
    among it, and asyncio goes through all of them whenever it is asked for those of another loop."""
    # the second name is that of Python 3.11
    name = "_scheduled_tasks" if hasattr(tasks, "_scheduled_tasks") else "_all_tasks"
    known: Iterable[asyncio.Task[Any]] = getattr(tasks, name, ())
    for task in [task for task in known if task.get_loop() is loop]:
        tasks._unregister_task(task)


def is_buried(task: asyncio.Task[Any]) -> bool:
    """Whether the task was killed."""
    return isinstance(task, SimulatedTask) and hasattr(task, "buried")


def empty(task: asyncio.Task[Any]) -> None:
    """Let go of the local variables of a buried task, which would keep all that its run recorded in memory.

    What it is in the middle of stays (a ``with``, a ``for``), and so do variables that are generators or coroutines:
    Python would close those too.
    """
    if inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_CREATED:  # type: ignore[arg-type]
        return
    for frame in suspended_frames(task):
        names = set(frame.f_code.co_varnames) - set(frame.f_code.co_cellvars)  # a cell may be shared with the living
        values = frame.f_locals
        for name in names & set(values):
            if not isinstance(values[name], (Coroutine, Generator, AsyncGenerator)):
                values[name] = None
        if sys.version_info < (3, 13):  # before that, f_locals was a copy
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


@contextmanager
def many_runs(every: int = 25) -> Iterator[Callable[[], None]]:
    """Around many runs in a row; what it gives is to be called after each of them.

    Python's garbage collector looks again and again at all that is there, and what was buried stays there: each run
    would take longer than the one before. So after every few runs it is told not to look at what is there then.
    """
    count = 0

    def after_run() -> None:
        nonlocal count
        count += 1
        if count % every == 0:
            gc.collect()
            gc.freeze()

    try:
        yield after_run
    finally:
        gc.unfreeze()


T = TypeVar("T")


class State(Enum):
    """Whether a process runs."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """Everything that runs in its context: the tasks started there, their tasks, timers and callbacks.

    A process *is running*, *is frozen* (what comes due waits) or *is dead* (nothing in it ever runs again). Freezes
    count: it runs again after as many thaws as freezes. One process belongs to one run of one loop.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.RUNNING
        self._loop: SimulatedLoop | None = None
        self._freezes = 0
        self._held: deque[Handle | Timer] = deque()

    def __repr__(self) -> str:
        return f"<Process {self.name}, {self.state.value}>"

    @property
    def runs(self) -> bool:
        """Whether it is neither frozen nor dead."""
        return self.state is State.RUNNING

    # -- being in it

    @property
    def context(self) -> Context:
        """A copy of the present context, inside the process: for ``asyncio.create_task(..., context=)``."""
        context = copy_context()
        context.run(CURRENT.set, self)
        return context

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Tasks and timers that are started in this block belong to the process."""
        token = CURRENT.set(self)
        try:
            yield
        finally:
            CURRENT.reset(token)

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` inside the process."""
        return self.context.run(function, *args)

    # -- what may happen to it

    async def block(self, seconds: float) -> None:
        """Hold the process's event loop for `seconds`, as a handler does that computes without awaiting.

        Awaited from inside: nothing else of the process runs until then, and the caller goes on first. Raises
        RuntimeError when called from outside the process.
        """
        if CURRENT.get() is not self:
            raise RuntimeError(f"{self} can only be blocked from inside; freeze() it from outside")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"a process can be blocked for 0 s or more, not {seconds}")
        loop = running_loop()
        blocked = loop.create_future()
        self.freeze()
        loop.call_later(seconds, self._unblock, loop, blocked, context=Context())
        await blocked

    def _unblock(self, loop: SimulatedLoop, blocked: asyncio.Future[None]) -> None:
        if self.state is State.DEAD:
            return
        ready_before = len(loop.ready)
        if not blocked.done():
            blocked.set_result(None)
        woken = [loop.ready.pop() for _ in range(len(loop.ready) - ready_before)]
        if self._freezes > 1:
            self._held.extendleft(woken)
        else:
            for handle in reversed(woken):
                loop.call(handle)  # here and now: among the ready ones a shuffle might let others go first
        self.thaw()

    def freeze(self) -> None:
        """Nothing of the process runs from now on, until `thaw`. Harmless when it is dead."""
        if self.state is State.DEAD:
            return
        self._freezes += 1
        if self.state is State.RUNNING:
            self.state = State.FROZEN
            self._loop = running_loop()
            self._loop.hold(self)

    def thaw(self) -> None:
        """Let it run again, if it was frozen but once: first, in order, what came due meanwhile.

        Raises RuntimeError when it is not frozen. Harmless when it is dead.
        """
        if self.state is State.DEAD:
            return
        if self._loop is None or self.state is State.RUNNING:
            raise RuntimeError(f"{self} can't be thawed: it isn't frozen")
        self._freezes -= 1
        if self._freezes == 0:
            self.state = State.RUNNING
            held, self._held = self._held, deque()
            self._loop.release(self, held)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing in it ever runs again, not even a ``finally``. Harmless when it is dead.

        When it is called from inside, the task that calls it still runs to its next await. What the dead tasks refer
        to is never freed: see `afterlife`.
        """
        if self.state is State.DEAD:
            return
        loop = running_loop()
        running = self.state is State.RUNNING
        self.state = State.DEAD
        if running:
            loop.hold(self)
        for task in loop.tasks():
            if belongs(task, self):
                bury(task)
        self._held.clear()

    def withhold(self, handle: Handle | Timer) -> None:
        """Called by the loop for what would run now: keep it until `thaw`, or for ever."""
        if self.state is State.FROZEN:
            self._held.append(handle)
        else:
            task = task_of(handle)
            if task is not None:
                bury(task)


CURRENT: ContextVar[Process | None] = ContextVar("queuesim_process", default=None)
"""The process that the running code belongs to; None outside of all of them."""


def task_of(handle: Handle | Timer) -> asyncio.Task[Any] | None:
    """The task that the handle's callback steps, if it is a step of a task."""
    owner = getattr(handle._callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None


def belongs(task: asyncio.Task[Any], process: Process) -> bool:
    """Whether the task runs in the process."""
    return isinstance(task, SimulatedTask) and task.context.get(CURRENT) is process


# -- Stepping out of a running event loop for a while, so that another can run in the same thread


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
