"""Real threads that a simulation starts: virtual time stands still until they have done their work, or wait themselves.

What they hand to the loop is taken over only then, in the order in which the threads were started, so that a run is the
same every time although threads take their real time.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import thread as pools
from types import FrameType
from weakref import WeakKeyDictionary

from queuesim.simulation.timers import Handle

SHORTEST_PAUSE = 20e-6
LONGEST_PAUSE = 0.005
"""Real seconds between two looks at the threads: the pauses grow, for most work is short."""
LONGEST_DEFERRAL = 2.0
"""Real seconds for which a pool's work is put off, at most: the loop's thread may wait in a way that is not seen."""

WAIT = threading.Condition.wait.__code__
POOL_WORKER = pools._worker.__code__


class Threads:
    """The threads of one loop, the work that waits for a pool's thread, and the callbacks that they hand to the loop.

    Args:
        notify: called, in any thread, when there is something to look at.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._threads: dict[threading.Thread, int] = {}
        self._working: dict[int, int] = {}
        """By the identifier of a pool's thread, the number of its present work."""
        self._last: WeakKeyDictionary[threading.Thread, int] = WeakKeyDictionary()
        """The number of the last work of a pool's thread: what waits for that is told by the same thread, after its
        end. By the thread itself: the next one may get the identifier of one that has ended."""
        self._queued: dict[int, int] = {}
        """By the number of work that waits for a thread, the identifier of the thread that handed it over."""
        self._waiting = threading.Event()
        """The loop waits for its threads."""
        self._count = 0
        self._calls: list[tuple[int, int, Handle]] = []
        """The number of the thread or of its work, the order of the calls, the callback."""
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether there is anything that virtual time may have to wait for."""
        return bool(self._threads or self._working or self._queued or self._calls)

    @property
    def handed_over(self) -> bool:
        """Whether there are callbacks that the loop has not taken over yet."""
        return bool(self._calls)

    # -- called in the threads

    def add(self, thread: threading.Thread) -> None:
        """A thread is about to be started."""
        self._threads[thread] = self._next()
        self._notify()

    def queue(self) -> int:
        """Work is about to be handed to a pool. Returns its number."""
        number = self._next()
        self._queued[number] = threading.get_ident()
        self._notify()
        return number

    def unqueue(self, number: int) -> None:
        """That work was begun, or given up."""
        self._queued.pop(number, None)

    def begin(self, number: int) -> None:
        """The calling thread begins a pool's work, as soon as the loop, or whoever handed it over, waits. If it began
        before, the code that goes on there might see it done or not."""
        until = time.monotonic() + LONGEST_DEFERRAL
        while not (self._waiting.wait(LONGEST_PAUSE) or self._is_waited_for(number) or time.monotonic() > until):
            pass
        self._working[threading.get_ident()] = self._last[threading.current_thread()] = number
        self._queued.pop(number, None)

    def _is_waited_for(self, number: int) -> bool:
        frame = sys._current_frames().get(self._queued.get(number, 0))
        return frame is not None and frame.f_code is WAIT

    def end(self) -> None:
        """It has done it."""
        self._working.pop(threading.get_ident(), None)

    def call(self, handle: Handle) -> None:
        """The calling thread hands a callback to the loop."""
        # a thread that Python did not start has no object, and is not given one here
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
        number = 0 if thread is None else self._last.get(thread) or self._threads.get(thread, 0)
        self._calls.append((number, self._next(), handle))
        self._notify()

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    # -- called by the loop

    def wait(self, limit: float, interrupted: Callable[[], object]) -> str | None:
        """Wait in real time until no thread is busy. Returns what the busy one does after `limit` seconds.

        Ends early when `interrupted()`.
        """
        pause, until = SHORTEST_PAUSE, time.monotonic() + limit
        self._waiting.set()
        try:
            while not interrupted():
                busy = next(self._busy(), None)
                if busy is None:
                    return None
                if time.monotonic() > until:
                    return busy
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            return None
        finally:
            self._waiting.clear()

    def wait_for_alarms(self, limit: float, interrupted: Callable[[], object]) -> bool:
        """Nothing else can happen: wait in real time for threads whose wait has a limit, such as a `threading.Timer`.

        False if there are none, or if they handed nothing over in `limit` seconds.
        """
        until = time.monotonic() + limit
        while not (self._calls or interrupted()):
            if time.monotonic() > until:
                return False
            if not self._any_alarm():
                return next(self._busy(), None) is not None or bool(self._calls)
            time.sleep(LONGEST_PAUSE)
        return True

    def _any_alarm(self) -> bool:
        frames = sys._current_frames()
        idents = {thread.ident for thread in list(self._threads)} | set(self._working)
        waiting = (frames.get(ident or 0) for ident in idents)
        return any(
            frame is not None and frame.f_code is WAIT and frame.f_locals.get("timeout") is not None
            for frame in waiting
        )

    def take(self, rng: random.Random | None = None) -> Iterator[Handle]:
        """The callbacks that were handed over, in the order of their threads, or a drawn one, and then of the calls."""
        calls, self._calls = self._calls, []
        calls.sort(key=lambda call: call[:2])
        if rng is not None:
            places = {number: rng.random() for number in dict.fromkeys(number for number, _, _ in calls)}
            calls.sort(key=lambda call: places[call[0]])
        return (handle for _, _, handle in calls)

    def _busy(self) -> Iterator[str]:
        """The threads that go on by themselves, with what they do."""
        if self._queued:
            yield "work that waits for a thread of a pool"
        for thread in [thread for thread in self._threads if thread.ident is not None and not thread.is_alive()]:
            del self._threads[thread]
        frames = sys._current_frames()
        idents = {thread.ident: thread.name for thread in list(self._threads)}
        idents |= {ident: idents.get(ident, "of a pool") for ident in list(self._working)}
        for ident, name in idents.items():
            frame = frames.get(ident or 0)
            if frame is None or not waits(frame):
                code = None if frame is None else frame.f_code
                where = (
                    ""
                    if code is None or frame is None
                    else f" in {code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
                )
                yield f"thread {name!r}{where}"


def waits(frame: FrameType) -> bool:
    """Whether a thread, by its innermost frame, waits for another one: on a condition, or for work of a pool."""
    if frame.f_code is POOL_WORKER:
        return True  # what is handed to it counts as queued until it has begun
    if frame.f_code is not WAIT:
        return False
    variables = frame.f_locals
    waiter, condition = variables.get("waiter"), variables.get("self")
    return waiter is not None and condition is not None and waiter.locked() and waiter in condition._waiters
