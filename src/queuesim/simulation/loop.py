"""The virtual-time event loop: asyncio's loop, driven by a SimPy environment."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heappop, heappush
from threading import get_ident
from types import coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple

from simpy.events import NORMAL, Event

from queuesim.error import QueuesimError
from queuesim.simulation.allowed_io import AllowedIO
from queuesim.simulation.diagnosis import BusyThread, Deadlock, Livelock
from queuesim.simulation.environment import Environment
from queuesim.simulation.io_guard import IOGuard
from queuesim.simulation.order import RandomOrder, TaskOrder
from queuesim.simulation.process import CURRENT, Process, State, empty, forget_tasks, no_running_loop
from queuesim.simulation.refused_io import RealIORefused
from queuesim.simulation.threads import Threads
from queuesim.simulation.timers import (
    INFINITY,
    Handle,
    Nap,
    SimulatedLoop,
    SimulatedTask,
    Sleep,
    Timer,
    Waking,
    number_of,
)

# -- The part of the loop that needs no speed: what asyncio's own loop does, adapted to a simulation

T = TypeVar("T")


class Interrupted(BaseException):
    """The run was stopped by `VirtualLoop.interrupt`, before its program ended.

    Not an Exception, so that the program itself does not swallow it.
    """


PROPAGATED = (SystemExit, KeyboardInterrupt, Interrupted)
"""What a callback raises to end the whole run."""


class BaseLoop(RealIORefused, SimulatedLoop, asyncio.BaseEventLoop):
    """asyncio's base loop on an `Environment`, in one thread, without input or output."""

    guard: IOGuard
    env: Environment

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
        self.buried = []
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
            for task in self.buried:
                empty(task)
            self.buried.clear()
            forget_tasks(self)

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
        return sorted(asyncio.all_tasks(self), key=number_of)

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call `func` here and now, whatever the executor: its result arrives at this same instant of virtual time.

        As in a thread, no loop is running while it is called, and its context is empty; `asyncio.to_thread` brings the
        caller's along.
        """
        self._check_closed()
        future: asyncio.Future[T] = self.create_future()
        self._call_inline(future, func, args)
        return future

    def _call_inline(self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
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


Ts = TypeVarTuple("Ts")


class VirtualLoop(BaseLoop):
    """An asyncio event loop whose time is a SimPy environment's.

    All callbacks that are ready run before time moves; then the environment steps to its next event. With nothing
    ready and no event left, `Deadlock` is raised at once. With `shuffle`, tasks that are ready together run in an
    order drawn from it, and so do tasks that sleep to the same instant; everything else keeps its order. `order` takes
    any other order: see `queuesim.simulation.order`.

    Blocking calls that reach the world raise RealIOError while it runs, except those that `allow_io` lists: see
    `allowed_io.parse_pattern`. Raises ValueError if an entry of that is wrong.
    """

    def __init__(
        self,
        env: Environment | None = None,
        *,
        shuffle: random.Random | None = None,
        order: TaskOrder | None = None,
        allow_io: Iterable[str] = (),
    ) -> None:
        super().__init__(env)
        try:
            self.guard.allowed = AllowedIO(allow_io)
        except ValueError:
            super().close()  # nobody gets this loop to close it
            raise
        self.ready: deque[Handle | Timer] = self._ready
        """What runs before time moves."""
        self.current: Handle | Timer | None = None
        """What runs now, or ran last, for the watchdog."""
        self.most_generations = 10_000_000
        """So often may callbacks beget callbacks at one instant before `Livelock` is raised."""
        self.contains_exits = False
        """Whether `sys.exit` in a task ends that task alone. If not, it ends the program, as on any other loop."""
        self._append: Callable[[Handle | Timer], None] = self.ready.append
        self._nap_asked_by: object = None
        self._stopping = False
        self._attention = False
        self._order = order if shuffle is None else RandomOrder(shuffle)
        self._halted: list[Process] = []
        self.on_hold: Callable[[], None] | None = None
        """Called whenever a process stops running: it is frozen, blocked or killed."""
        self._due: list[tuple[float, int, Timer]] = []
        """Timers that were due when they were set, with their times and order."""
        self.threads = self.guard.threads = Threads(self._ask_attention)
        """The real threads that were started in the simulation."""
        self.thread_limit = 30.0
        """Real seconds for which virtual time waits for a busy thread before `BusyThread` is raised."""
        self._due_at: float | None = None
        self._due_rounds = 0
        """Rounds at that instant in which there were some."""
        self._generations = 0

    # -- asking for a callback

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run `callback` at this instant, after all that is ready now."""
        if self._nap_until is not None and self._nap(callback, args, context):
            return NOTHING
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`, from any thread.

        What threads of the simulation ask for runs when all that is ready has run and none of them is busy. Raises
        InlineThreadError for a coroutine that would be waited for in the loop's own thread.
        """
        self._check_closed()
        if self._thread_id in (None, get_ident()):
            if self._inline and runs_coroutine(callback):
                raise InlineThreadError
            return self.call_soon(callback, *args, context=context)
        handle = Handle(callback, args, copy_context() if context is None else context)
        self.threads.call(handle)
        return handle

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """As in BaseLoop; with a drawn order a while later at this same instant, as a thread may be slow to begin."""
        if self._order is None:
            return super().run_in_executor(executor, func, *args)
        self._check_closed()
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(self._call_later_inline, future, func, args)
        return future

    def _call_later_inline(self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
        assert self._order is not None
        if self._order.rng.random() < 0.5:
            self.call_soon(self._call_later_inline, future, func, args)
        elif not future.cancelled():
            self._call_inline(future, func, args)

    def _ask_attention(self) -> None:
        self._attention = True

    def _wait_for_threads(self) -> None:
        """Nothing is ready: wait for the threads, and take over what they handed to the loop."""
        busy = self.threads.wait(self.thread_limit, lambda: self.ready)
        if busy is not None:
            raise BusyThread(self.time(), busy, self.thread_limit)
        self.ready.extend(self.threads.take(None if self._order is None else self._order.rng))

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` in `delay` seconds of virtual time; at this instant if that is negative."""
        # call_at, inlined: asyncio.sleep comes here.
        env = self.env
        when = env._now + delay
        timer = Timer(when, callback, args, self, copy_context() if context is None else context)
        if env._now < when < INFINITY:
            heappush(env._queue, (when, NORMAL, next(env._eid), timer))
        else:
            self._call_at_unusual(timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` when `time()` is `when`; at this instant if that is past, and never if it is infinite."""
        env = self.env
        timer = Timer(when, callback, args, self, copy_context() if context is None else context)
        if env._now < when < INFINITY:
            heappush(env._queue, (when, NORMAL, next(env._eid), timer))
        else:
            self._call_at_unusual(timer)
        return timer

    def _call_at_unusual(self, timer: Timer) -> None:
        """A timer that is overdue, or never due: asyncio allows both."""
        when = timer.when()
        if when != when:
            raise ValueError("a timer's time is NaN")
        timer._scheduled = False
        if when < INFINITY:
            heappush(self._due, (when, next(self.env._eid), timer))
            self._attention = True

    def _run_due_next(self) -> None:
        """As in asyncio, timers that are due already join those that are ready, after them and earliest first."""
        now = self.env._now
        self._due_rounds = self._due_rounds + 1 if now == self._due_at else 1
        self._due_at = now
        if self._due_rounds > self.most_generations:
            raise Livelock(self.time(), self.most_generations, self.tasks())
        while self._due:
            self._append(heappop(self._due)[2])

    # -- sleeping

    @coroutine
    def sleep(self, delay: float) -> Generator[Any, None, None]:
        """Wait `delay` seconds: ``await loop.sleep(1.5)``, an `asyncio.sleep` for this loop alone, twice as fast.

        It always gives way to all that is ready, even with a delay of 0 or less. Raises ValueError if `delay` is NaN.

        It yields nothing to the task, as ``asyncio.sleep(0)`` does, which has the task ask `call_soon` for its next
        step; that call is what puts the step off. A task that was woken too early, or is not of this loop's own kind,
        waits for the rest with a future.
        """
        env = self.env
        when = env._now + delay
        if delay > 0 and when < INFINITY:
            self._nap_until = when
            self._nap_asked_by = self.current
            yield
            if env._now >= when:
                return
        elif delay <= 0:  # not by way of the heap: a task that does nothing else has to count as a livelock
            yield
            return
        yield from self._sleep_with_future(when)

    @coroutine
    def sleep_until(self, when: float) -> Generator[Any, None, None]:
        """Wait until `time()` is `when`; until all that is ready has run if that is past already."""
        # not sleep(when - now): now + (when - now) may be another float than when
        env = self.env
        if env._now < when < INFINITY:
            self._nap_until = when
            self._nap_asked_by = self.current
            yield
            if env._now >= when:
                return
        elif when <= env._now:
            yield
            return
        yield from self._sleep_with_future(when)

    def _sleep_with_future(self, when: float) -> Generator[Any, None, None]:
        self._nap_until = None
        if when != when:
            raise ValueError("can't sleep until NaN")
        yield from Sleep(self, max(when, self.env._now)).__await__()

    def _nap(self, step: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> bool:
        """Put `step` off for the sleep that was asked for last, if it is the next step of the task that asked."""
        when, self._nap_until = self._nap_until, None
        task = getattr(step, "__self__", None)
        if type(task) is not SimulatedTask or self._nap_asked_by is not self.current or args or context is None:
            return False  # somebody drives the sleeping coroutine by hand, and did not pass on what it yielded
        if task._must_cancel:
            return False  # it cancelled itself: CancelledError waits for the next step
        env = self.env
        task.nap = nap = Nap(step, context)
        assert when is not None, "asked for a nap without an end"
        heappush(env._queue, (when, NORMAL, next(env._eid), nap))
        return True

    def wakes_at(self, task: asyncio.Task[Any]) -> float:
        """When a sleeping task wakes up, in seconds; 0 if it does not sleep."""
        nap = task.nap if isinstance(task, SimulatedTask) else None
        waiter: object = getattr(task, "_fut_waiter", None)
        for when, _, _, event in self.env._queue:
            # asyncio.sleep waits for a future that a timer has for an argument
            args = event._args if isinstance(event, Timer) else (event,)
            if (nap is not None and event is nap) or (waiter is not None and any(arg is waiter for arg in args)):
                return float(when)
        return 0.0

    def end_nap(self, nap: Nap) -> None:
        """The napping task was cancelled: its step comes now."""
        self._append(nap.take())
        self.env.forget_one()

    # -- running

    def run_forever(self) -> None:
        """Run until `stop` is called.

        Raises Deadlock when nothing can happen any more, Livelock when time can't move, Interrupted after
        `interrupt`, and what a SimPy event failed with if nobody was waiting for it.
        """
        with self._being_run():
            try:
                if self._stopping:  # stop() came before: what is ready runs, but time does not move
                    self._attention = True
                    self._run_due_next()
                    self._run_generation()
                while not self._stopping:
                    try:
                        self._run_until_stopped()
                    except SystemExit as error:
                        self._contain_exit(error)
            finally:
                self._stopping = False
                self.current = None

    def _run_until_stopped(self) -> None:
        while not self._stopping:
            if self._due:
                self._run_due_next()
            self._attention = bool(self._halted) or self._order is not None or bool(self.threads)
            if self.threads and not self.ready:
                self._wait_for_threads()
            if self._attention:
                self._run_attentively()
            else:
                self._run()

    def _contain_exit(self, error: SystemExit) -> None:
        """Go on, if that is wanted. The task that called sys.exit has ended with that error, for whoever awaits it."""
        if not self.contains_exits:
            raise error
        message = "a task or a callback called sys.exit; the simulation goes on"
        self.call_exception_handler({"message": message, "exception": error})

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
        self._due.clear()
        # on the loop itself rather than a question in each call, which are many
        self._append = self.call_soon = self.call_at = self.call_later = refuse_closed  # type: ignore[method-assign]

    def _run(self) -> None:
        """Run what is ready, let time move, and so on until something asks for attention.

        This is the hot path: hence the inlining, and a branch for each class, which the interpreter specialises.
        """
        env, ready, queue = self.env, self.ready, self.env._queue
        generations = 0
        # CPython 3.11 specialises a function that never returns only at unconditional jumps back: so no condition here,
        # and a `continue` below that seems to do nothing.
        while True:
            if self._attention:
                return
            remaining = len(ready)
            if remaining:
                generations += 1
                if generations > self.most_generations:
                    raise Livelock(self.time(), self.most_generations, self.tasks())
            elif queue:
                when, _, _, event = heappop(queue)
                if when > env._now:
                    generations = 0
                else:
                    generations += 1
                    if generations > self.most_generations:
                        raise Livelock(self.time(), self.most_generations, self.tasks())
                kind = type(event)
                if queue and queue[0][0] == when:
                    self._let_happen(event, when)
                elif kind is Nap:
                    step = event._callback
                    if step is not None:
                        env._now = when
                        event._callback = None
                        self.current = event
                        event._context.run(step)
                    else:
                        env.cancelled -= 1
                    continue
                elif kind is Timer and event._callback is not None:
                    env._now = when
                    event._scheduled = False
                    self.call(event)
                else:
                    self._let_happen(event, when)
            elif self.threads:
                return  # a thread outside of the simulation handed something over
            else:
                raise Deadlock(self.time(), self.tasks())
            while remaining:
                remaining -= 1
                handle = ready.popleft()
                callback = handle._callback
                if callback is None:
                    continue
                self.current = handle
                try:
                    handle._context.run(callback, *handle._args)
                except PROPAGATED:
                    raise
                except BaseException as error:  # noqa: BLE001  (as in asyncio, the loop's exception handler is told)
                    self._report(error, handle)

    def _let_happen(self, event: Event | Nap | Sleep | Timer, when: float) -> None:
        """`event` was taken from the heap, and `when` it is due.

        As in asyncio, all timers that are due together are made ready before the first of them runs. A SimPy event
        between them happens in its turn: those after it wait.
        """
        env, queue = self.env, self.env._queue
        while True:
            if isinstance(event, Event):
                env._now = when
                env.happen(event)
                return
            if event.pending:
                env._now = when
                self._append(event.take())
            else:
                env.cancelled -= 1
            if not queue or queue[0][0] != when or isinstance(queue[0][3], Event):
                return
            event = heappop(queue)[3]

    def call(self, handle: Handle | Timer) -> None:
        """Run a callback; what it raises goes to the loop's exception handler, as asyncio has it."""
        self.current = handle
        try:
            handle._context.run(handle._callback, *handle._args)  # type: ignore[arg-type]
        except PROPAGATED:
            raise
        except BaseException as error:  # noqa: BLE001
            self._report(error, handle)

    def _report(self, error: BaseException, handle: Handle | Timer) -> None:
        self.call_exception_handler(
            {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
        )

    def wake(self, waking: Waking) -> None:
        """A SimPy event woke a task: step it now; with attention needed, among those that are ready."""
        if self._attention:
            self._append(waking.take())
        else:
            self.call(waking.take())

    def _run_attentively(self) -> None:
        """One generation of what is ready, or one event: while processes are halted, or with a shuffle."""
        self._generations += 1
        if self._generations > self.most_generations:
            raise Livelock(self.time(), self.most_generations, self.tasks())
        if not self.ready:
            env = self.env
            if env.peek() == INFINITY:
                if self.threads and self.threads.wait_for_alarms(self.thread_limit, lambda: self.ready):
                    return
                raise Deadlock(self.time(), self.tasks())
            when, _, _, event = heappop(env._queue)
            if when > env._now:
                self._generations = 0
            self._let_happen(event, when)
        self._run_generation()

    def _run_generation(self) -> None:
        ready = self.ready
        for _ in range(len(ready) if self._order is None else self._order.arrange(ready)):
            handle = ready.popleft()
            if handle._callback is None:
                continue
            process = handle._context.get(CURRENT)
            if process is None or process.runs:
                self.call(handle)
            else:
                process.withhold(handle)

    # -- halted processes

    def hold(self, process: Process) -> None:
        """`process` stopped running: keep from running what of it is ready."""
        self._halted.append(process)
        self._attention = True
        if self.on_hold is not None:
            self.on_hold()
        for position, handle in enumerate(self.ready):
            if handle._callback is not None and handle._context.get(CURRENT) is process:
                self.ready[position] = NOTHING
                process.withhold(handle)

    def release(self, process: Process, held: Iterable[Handle | Timer]) -> None:
        """`process` runs again: what was held back comes before all that is ready."""
        self._halted.remove(process)
        self.ready.extendleft(reversed([*held]))

    @property
    def any_frozen(self) -> bool:
        """Whether a process is frozen or blocked."""
        return any(process.state is State.FROZEN for process in self._halted)

    def thaw_all(self) -> None:
        """Thaw every frozen process for good, so that the run can be brought to an end."""
        for process in [*self._halted]:
            while process.state is State.FROZEN:
                process.thaw()


NOTHING = Handle(id, (), Context())
"""A handle that is cancelled: it stands where one was taken out of the ready ones."""
NOTHING.cancel()


def refuse_closed(*args: object, **options: object) -> NoReturn:
    """What the methods of a closed loop do."""
    raise RuntimeError("Event loop is closed")


def raise_interrupted() -> None:
    """The callback by which `VirtualLoop.interrupt` ends the run."""
    raise Interrupted("the run was interrupted")
