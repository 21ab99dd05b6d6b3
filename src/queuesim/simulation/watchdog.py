"""The watchdog: interrupts a handler that holds the event loop for too long in real time."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from inspect import CO_COROUTINE, CO_ITERABLE_COROUTINE
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from queuesim.core.errors import HandlerBlockedError
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import task_of
from queuesim.simulation.timers import Nap

LOOK_AGAIN = 0.01
"""Seconds until the next look at a callback that was due to be interrupted in a place where it can't be."""
COROUTINE = CO_COROUTINE | CO_ITERABLE_COROUTINE
OWN_FILES = str(Path(__file__).parent)


class Watchdog:
    """A context manager around a run: one callback may hold `loop` for `limit` seconds of real time at most.

    A task that does so longer, with a ``while True`` or a ``time.sleep(1e9)``, has HandlerBlockedError raised in it,
    and again soon after if it carries on. Callbacks that are no step of a task are left alone.

    In the main thread this takes the alarm signal and the real-time timer, and gives them back as they were. In
    another thread, and where there is no such signal, a helper thread does the same through CPython's
    PyThreadState_SetAsyncExc. That can't interrupt C code, so a long time.sleep is interrupted only when it ends; and
    a callback that ends in the microseconds between the last look and the interruption passes it on to the loop.

    Looking costs nothing per callback: a timer compares what the loop runs now with what it ran at the last tick.

    Args:
        limit: real seconds.
        progress: anything that changes with the program's progress, such as a count of attempts: one callback may run
            the handlers of several jobs after each other, and each has the whole limit. None: nothing does.
    """

    def __init__(self, loop: VirtualLoop, limit: float = 10.0, progress: Callable[[], object] = lambda: None) -> None:
        if not 0 < limit < math.inf:
            raise ValueError(f"the limit must be a positive number of seconds, not {limit}")
        self.loop = loop
        self.limit = limit
        self.interruptions = 0
        """How often a handler was interrupted."""
        self._period = min(limit / 4, 1.0)
        self._progress = progress
        self._seen: object = None
        self._progress_seen: object = None
        self._since = 0.0
        self._guard: SignalGuard | ThreadGuard | None = None

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        guard = SignalGuard if in_main_thread and hasattr(signal, "setitimer") else ThreadGuard
        self._seen = None
        self._guard = guard(self, self._period)
        self._guard.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._guard is not None:
            self._guard.stop()
            self._guard = None

    def overdue(self) -> bool:
        """Whether what runs now has been running for longer than the limit, as far as the looks so far can tell."""
        current, progress = self.loop.current, self._progress()
        if current is not self._seen or progress != self._progress_seen:
            self._seen, self._progress_seen = current, progress
            self._since = time.monotonic()
            return False
        return current is not None and time.monotonic() - self._since >= self.limit

    def may_interrupt(self, frame: FrameType | None) -> bool:
        """Whether an exception raised in `frame` would come out of the task that the loop runs now."""
        current = self.loop.current
        if not isinstance(current, Nap) and (current is None or task_of(current) is None):
            return False
        if frame is None or frame.f_code.co_filename.startswith(OWN_FILES):
            return False  # the callback has just ended, or is inside one of the loop's own methods
        in_coroutine = False
        while frame is not None:
            if frame.f_code in LOOP_CODE and frame.f_locals.get("self") is self.loop:
                return in_coroutine
            in_coroutine = in_coroutine or bool(frame.f_code.co_flags & COROUTINE)
            frame = frame.f_back
        return False

    def message(self) -> str:
        """What the interrupted handler is told."""
        return f"it held the event loop for more than {self.limit:g} s of real time"


LOOP_CODE = (VirtualLoop._run.__code__, VirtualLoop.call.__code__)
"""What is below every callback on the stack."""


class SignalGuard:
    """Looks whenever the alarm signal comes."""

    def __init__(self, watchdog: Watchdog, period: float) -> None:
        self.watchdog = watchdog
        self.period = period

    def start(self) -> None:
        """Take the signal and the timer."""
        self._handler_before = signal.signal(signal.SIGALRM, self._look)
        self._timer_before = signal.setitimer(signal.ITIMER_REAL, self.period, self.period)
        self._started = time.monotonic()

    def stop(self) -> None:
        """Give them back: an earlier timer goes on as if nothing had happened."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        before = self._handler_before
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        delay, interval = self._timer_before
        if delay > 0:
            remaining = delay - (time.monotonic() - self._started)
            signal.setitimer(signal.ITIMER_REAL, max(remaining, 1e-6), interval)

    def _look(self, number: int, frame: FrameType | None) -> None:
        self._pass_on(number, frame)
        if not self.watchdog.overdue():
            return
        if self.watchdog.may_interrupt(frame):
            self.watchdog.interruptions += 1
            raise HandlerBlockedError(self.watchdog.message())
        signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN, self.period)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Do what an earlier timer was to do when its time comes: a test's time limit holds while a simulation runs."""
        delay, interval = self._timer_before
        if delay and callable(self._handler_before) and time.monotonic() - self._started >= delay:
            self._timer_before, self._started = (interval, interval), time.monotonic()
            self._handler_before(number, frame)


class ThreadGuard:
    """Looks from a thread of its own."""

    def __init__(self, watchdog: Watchdog, period: float) -> None:
        self.watchdog = watchdog
        self.period = period
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="queuesim watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and swallow an interruption that has not arrived yet.

        It is not taken back: CPython 3.11 then looks for it for ever after, and hangs where it is traced.
        """
        self._stopped.set()
        for _ in range(2):
            # an interruption arrives in a loop that goes round, at the latest; after the first no other can follow
            try:
                self._thread.join()
            except HandlerBlockedError:
                continue

    def _watch(self) -> None:
        wait = self.period
        while not self._stopped.wait(wait):
            wait = self.period
            if self.watchdog.overdue():
                if self.watchdog.may_interrupt(sys._current_frames().get(self._watched)):
                    self.watchdog.interruptions += 1
                    self._raise_in_watched(HandlerBlockedError)
                else:
                    wait = LOOK_AGAIN

    def _raise_in_watched(self, error: type[BaseException]) -> None:
        import ctypes  # only a simulation outside the main thread needs it

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), ctypes.py_object(error))
