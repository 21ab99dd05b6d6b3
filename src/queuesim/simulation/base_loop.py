"""The part of the loop that needs no speed: what asyncio's own loop does, adapted to a simulation."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from queuesim.errors import QueuesimError
from queuesim.simulation.afterlife import empty, is_buried
from queuesim.simulation.environment import Environment
from queuesim.simulation.forbidden import RealIORefused
from queuesim.simulation.handle import Handle
from queuesim.simulation.io_guard import IOGuard
from queuesim.simulation.running import no_running_loop
from queuesim.simulation.task import SimulatedTask, number_of
from queuesim.simulation.timer import Timer

T = TypeVar("T")


class Interrupted(BaseException):
    """The run was stopped by `VirtualLoop.interrupt`, before its program ended.

    Not an Exception, so that the program itself does not swallow it.
    """


PROPAGATED = (SystemExit, KeyboardInterrupt, Interrupted)
"""What a callback raises to end the whole run."""


class BaseLoop(RealIORefused, asyncio.BaseEventLoop):
    """asyncio's base loop on an `Environment`, in one thread, without input or output."""

    if TYPE_CHECKING:  # asyncio's own, for its subclasses
        _ready: deque[Handle | Timer]
        _debug: bool
        _task_factory: object
        _thread_id: int | None

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: object) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: object) -> None: ...

    def __init__(self, env: Environment | None) -> None:
        super().__init__()
        self.guard = IOGuard()
        self.env = Environment() if env is None else env
        """The environment that this loop drives."""
        self._tasks_made = 0
        self._nap_until: float | None = None
        self._inline = 0
        """How many functions of executors are being called."""

    def time(self) -> float:
        """Seconds of virtual time, from 0."""
        return self.env._now

    @contextmanager
    def _being_run(self) -> Iterator[None]:
        """In this block it is the thread's running loop."""
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        self._set_coroutine_origin_tracking(self._debug)
        self._thread_id = threading.get_ident()
        self.env.driven = True
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            with self.guard.playing():
                yield
        finally:
            self._thread_id = None
            self.env.driven = False
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self) -> None:
        """Close the loop; it can't be used again."""
        if not self.is_closed():
            super().close()
            self.env._queue.clear()
            for task in asyncio.all_tasks(self):
                if is_buried(task):
                    empty(task)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """Start a task. Names count from Task-1 in every loop, so that a log is the same in every run."""
        if self._task_factory is not None:
            return super().create_task(coro, name=name, context=context, **options)
        self._check_closed()
        if context is None:
            context = copy_context()
        self._tasks_made = number = self._tasks_made + 1
        task = SimulatedTask.__new__(SimulatedTask)
        # Set first: asyncio keeps tasks in a set from the start, so it asks for the hash in the constructor.
        task.number = number
        task.context = context
        task.nap = None
        self._nap_until = None  # its first step is not the one that a sleep puts off
        name = f"Task-{number}" if name is None else str(name)
        task.__init__(coro, loop=self, name=name, context=context, **options)  # type: ignore[misc]
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done, oldest first, without those of killed processes."""
        return sorted((task for task in asyncio.all_tasks(self) if not is_buried(task)), key=number_of)

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call `func` here and now, whatever the executor: its result arrives at this same instant of virtual time.

        As in a thread, no loop is running while it is called, and its context is empty; `asyncio.to_thread` brings the
        caller's along.
        """
        self._check_closed()
        future: asyncio.Future[T] = self.create_future()
        self._inline += 1
        try:
            with no_running_loop():
                result = Context().run(func, *args)
        except PROPAGATED:
            raise
        except BaseException as error:  # noqa: BLE001  (it reaches whoever awaits the future)
            self.call_soon(fail_unless_done, future, error)
        else:
            self.call_soon(succeed_unless_done, future, result)
        finally:
            self._inline -= 1
        return future


class InlineThreadError(QueuesimError):
    """A function that `asyncio.to_thread` called inline wants the loop to run a coroutine: it would wait for ever."""

    def __init__(self) -> None:
        super().__init__(
            "asyncio.run_coroutine_threadsafe() can't work inside asyncio.to_thread or run_in_executor in virtual "
            "time: they call their function in the loop's own thread, which can't run the coroutine meanwhile. Use "
            "anyio.to_thread with anyio.from_thread, or a threading.Thread or ThreadPoolExecutor of your own"
        )


RUN_COROUTINE = asyncio.run_coroutine_threadsafe.__code__
"""Which function's inner callback starts a coroutine for another thread."""


def runs_coroutine(callback: Callable[..., object]) -> bool:
    """Whether it is the callback by which asyncio.run_coroutine_threadsafe starts its coroutine."""
    return getattr(callback, "__code__", None) in RUN_COROUTINE.co_consts


def succeed_unless_done(future: asyncio.Future[T], result: T) -> None:
    """The waiter may have been cancelled meanwhile."""
    if not future.done():
        future.set_result(result)


def fail_unless_done(future: asyncio.Future[Any], error: BaseException) -> None:
    """The waiter may have been cancelled meanwhile."""
    if not future.done():
        future.set_exception(error)
