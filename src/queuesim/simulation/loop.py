"""The virtual-time event loop: asyncio's loop, driven by a SimPy environment."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

from simpy.events import NORMAL

from queuesim.simulation.afterlife import is_buried
from queuesim.simulation.deadlock import Deadlock, Livelock
from queuesim.simulation.environment import Environment
from queuesim.simulation.forbidden import RealIORefused
from queuesim.simulation.handle import Handle
from queuesim.simulation.process import CURRENT, Process, State, task_of
from queuesim.simulation.running import no_running_loop
from queuesim.simulation.sleep import INFINITY, Sleep
from queuesim.simulation.task import SimulatedTask, number_of
from queuesim.simulation.timer import Timer
from queuesim.simulation.waking import Waking

T = TypeVar("T")


class Interrupted(BaseException):
    """The run was stopped by `VirtualLoop.interrupt`, before its program ended.

    Not an Exception, so that the program itself does not swallow it.
    """


PROPAGATED = (SystemExit, KeyboardInterrupt, Interrupted)
"""What a callback raises to end the whole run."""


class VirtualLoop(RealIORefused, asyncio.BaseEventLoop):
    """An asyncio event loop whose time is a SimPy environment's.

    All callbacks that are ready run before time moves; then the environment steps to its next event. With nothing
    ready and no event left, `Deadlock` is raised at once. With `shuffle`, tasks that are ready together run in an
    order drawn from it, and so do tasks that sleep to the same instant; everything else keeps its order.
    """

    def __init__(self, env: Environment | None = None, *, shuffle: random.Random | None = None) -> None:
        super().__init__()
        self.env = Environment() if env is None else env
        """The environment that this loop drives."""
        self.ready: deque[asyncio.Handle] = self._ready
        """What runs before time moves. A handle may be a Timer that was held back."""
        self.current: asyncio.Handle | Waking | None = None
        """What runs now, or ran last: the watchdog looks at it."""
        self.most_generations = 10_000_000
        """So often may callbacks beget callbacks at one instant before `Livelock` is raised."""
        self._append: Callable[[asyncio.Handle], None] = self.ready.append
        self._attention = False
        self._shuffle = shuffle
        self._halted: list[Process] = []
        self._generations = 0
        self._tasks_made = 0

    def time(self) -> float:
        """Seconds of virtual time, from 0."""
        return self.env._now

    # -- asking for a callback

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Run `callback` at this instant, after all that is ready now."""
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`: a simulation has one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` in `delay` seconds of virtual time."""
        return self.call_at(self.env._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` when `time()` is `when`; at this instant if that is past, and never if it is infinite."""
        timer = Timer(when, callback, args, self, copy_context() if context is None else context)
        env = self.env
        if env._now <= when < INFINITY:
            heappush(env._queue, (when, NORMAL, next(env._eid), timer))  # type: ignore[misc]
        else:
            self._call_at_unusual(timer)
        return timer

    def _call_at_unusual(self, timer: Timer) -> None:
        """A timer that is overdue, or never due: asyncio allows both."""
        self._check_closed()
        when = timer.when()
        if when != when:
            raise ValueError("a timer's time is NaN")
        if when < INFINITY:
            env = self.env
            heappush(env._queue, (env._now, NORMAL, next(env._eid), timer))  # type: ignore[misc]
        else:
            timer._scheduled = False

    def sleep(self, delay: float) -> Sleep:
        """Wait `delay` seconds: ``await loop.sleep(1.5)``, a faster `asyncio.sleep` for this loop alone.

        It always gives way to all that is ready, even with a delay of 0. Raises ValueError if `delay` is NaN.
        """
        now = self.env._now
        if delay >= 0:
            return Sleep(self, now + delay)
        return self.sleep_until(now + delay)

    def sleep_until(self, when: float) -> Sleep:
        """Wait until `time()` is `when`; until all that is ready has run if that is past already."""
        if when != when:
            raise ValueError("can't sleep until NaN")
        return Sleep(self, max(when, self.env._now))

    # -- tasks and threads

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
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
        task.number = number
        task.context = context
        task.__init__(coro, loop=self, name=f"Task-{number}" if name is None else name, context=context, **options)  # type: ignore[misc]
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done, oldest first, without those of killed processes."""
        return sorted((task for task in asyncio.all_tasks(self) if not is_buried(task)), key=number_of)

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call `func` here and now, whatever the executor: its result arrives at this same instant of virtual time."""
        self._check_closed()
        future: asyncio.Future[T] = self.create_future()
        try:
            with no_running_loop():
                result = func(*args)
        except PROPAGATED:
            raise
        except BaseException as error:  # noqa: BLE001  (it reaches whoever awaits the future)
            self.call_soon(fail_unless_done, future, error)
        else:
            self.call_soon(succeed_unless_done, future, result)
        return future

    # -- running

    def run_forever(self) -> None:
        """Run until `stop` is called.

        Raises Deadlock when nothing can happen any more, Livelock when time can't move, Interrupted after
        `interrupt`, and what a SimPy event failed with if nobody was waiting for it.
        """
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        self._set_coroutine_origin_tracking(self._debug)
        self._thread_id = threading.get_ident()
        self.env.driven = True
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            while True:
                if self._halted or self._shuffle is not None:
                    self._attention = True
                    self._run_attentively()
                else:
                    self._attention = self._stopping
                    self._run()
                if self._stopping:
                    break
        finally:
            self._stopping = False
            self._thread_id = None
            self.env.driven = False
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def stop(self) -> None:
        """Let `run_forever` end after the callbacks that are ready now."""
        self._stopping = True
        self._attention = True

    def interrupt(self) -> None:
        """Let `run_forever` raise Interrupted before the next callback. A signal handler may call this."""
        self.ready.appendleft(Handle(raise_interrupted, (), Context()))

    def close(self) -> None:
        """Close the loop; it can't be used again."""
        super().close()
        self._append = self._refuse
        self.env._queue.clear()

    def _refuse(self, handle: asyncio.Handle) -> None:
        self._check_closed()

    def _run(self) -> None:
        """Run what is ready, let time move, and so on until something asks for attention: this is the hot path."""
        env, ready, queue = self.env, self.ready, self.env._queue
        generations = 0
        while True:
            remaining = len(ready)
            if remaining:
                generations += 1
                if generations > self.most_generations:
                    raise Livelock(self)
                while remaining:
                    remaining -= 1
                    handle = ready.popleft()
                    if handle._callback is not None:
                        self.call(handle)
            elif queue:
                generations = 0
                when, _, _, event = heappop(queue)
                kind = type(event)
                if kind is Sleep:
                    if event.wakeup is not None:
                        env._now = when
                        self.wake(event)
                    else:
                        env.cancelled -= 1
                elif kind is Timer:
                    if event._callback is not None:
                        env._now = when
                        event._scheduled = False
                        self.call(event)
                    else:
                        env.cancelled -= 1
                else:
                    env._now = when
                    env.happen(event)
            else:
                raise Deadlock(self)
            if self._attention:
                return

    def call(self, handle: asyncio.Handle) -> None:
        self.current = handle
        try:
            handle._context.run(handle._callback, *handle._args)
        except PROPAGATED:
            raise
        except BaseException as error:  # noqa: BLE001  (asyncio gives it to the loop's exception handler)
            self.call_exception_handler(
                {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
            )

    def wake(self, waking: Waking) -> None:
        """Step the task that waits, now; with attention needed, among those that are ready."""
        wakeup, waking.wakeup = waking.wakeup, None
        if self._attention:
            self._append(Handle(wakeup, (waking,), waking.context))
            return
        self.current = waking
        waking.context.run(wakeup, waking)

    def _run_attentively(self) -> None:
        """One generation of what is ready, or one event: while processes are halted, or with a shuffle."""
        ready = self.ready
        if ready:
            self._generations += 1
            if self._generations > self.most_generations:
                raise Livelock(self)
        else:
            self._generations = 0
            self._take_due()
        if self._shuffle is not None:
            permute_tasks(ready, self._shuffle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._callback is None:
                continue
            process = handle._context.get(CURRENT)
            if process is None or process.runs:
                self.call(handle)
            else:
                process.withhold(handle)

    def _take_due(self) -> None:
        """Let time move to the next event. With a shuffle, all timers of that instant become ready together."""
        env = self.env
        when = env.peek()
        if when == INFINITY:
            raise Deadlock(self)
        while env.peek() == when:
            env._now = when
            event: Any = heappop(env._queue)[3]
            if isinstance(event, Sleep):
                self.wake(event)
            elif isinstance(event, Timer):
                event._scheduled = False
                self._append(event)
            else:
                env.happen(event)
                return
            if self._shuffle is None:
                return

    # -- halted processes

    def hold(self, process: Process) -> None:
        """`process` stopped running: keep from running what of it is ready."""
        self._halted.append(process)
        self._attention = True
        for position, handle in enumerate(self.ready):
            if handle._callback is not None and handle._context.get(CURRENT) is process:
                self.ready[position] = NOTHING
                process.withhold(handle)

    def release(self, process: Process, held: Iterable[asyncio.Handle]) -> None:
        """`process` runs again: what was held back comes before all that is ready."""
        self._halted.remove(process)
        self.ready.extendleft(reversed([*held]))

    def thaw_all(self) -> None:
        """Thaw every frozen process for good, so that the run can be brought to an end."""
        for process in [*self._halted]:
            while process.state is State.FROZEN:
                process.thaw()


NOTHING = Handle(id, (), Context())
"""Stands in the queue of ready callbacks where one was taken out."""
NOTHING.cancel()


def permute_tasks(ready: deque[asyncio.Handle], shuffle: random.Random) -> None:
    """Put the task steps among these callbacks in a random order, in the positions that task steps have now."""
    positions = [position for position, handle in enumerate(ready) if task_of(handle) is not None]
    if len(positions) > 1:
        steps = [ready[position] for position in positions]
        shuffle.shuffle(steps)
        for position, step in zip(positions, steps, strict=True):
            ready[position] = step


def raise_interrupted() -> None:
    """The callback by which `VirtualLoop.interrupt` ends the run."""
    raise Interrupted("the run was interrupted")


def succeed_unless_done(future: asyncio.Future[T], result: T) -> None:
    """The waiter may have been cancelled meanwhile."""
    if not future.done():
        future.set_result(result)


def fail_unless_done(future: asyncio.Future[Any], error: BaseException) -> None:
    """The waiter may have been cancelled meanwhile."""
    if not future.done():
        future.set_exception(error)
