"""Threads for handlers that are ordinary functions: they hold up neither the event loop nor the renewal of locks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any

Call = tuple[Context, Callable[[Any], Any], Any, Callable[[Any, BaseException | None], None]]
"""What a thread is to call, in which context and with which argument, and whom it tells the result or the error."""


class HandlerThreads:
    """Daemon threads, as many as there are calls at one time. Idle ones are used again.

    `asyncio.to_thread` has too few for a worker of high concurrency. Its threads are also waited for when the program
    ends, so that a handler which never returns would keep a worker from ending.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def forget(self) -> None:
        """In a forked process: none of the threads is there."""
        self._reset()

    async def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in a thread, in a copy of the present context. Returns and raises what it does.

        If the caller is cancelled, the function goes on, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if not ended.done():
                # not set_exception, which takes no StopIteration
                ended.set_result((value, error))

        def tell(value: Any, error: BaseException | None) -> None:
            # where the loop was closed, nobody waits any more
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, value, error)

        self._submit((copy_context(), function, argument, tell))
        value, error = await ended
        try:
            if error is not None:
                raise error
            return value
        finally:
            # the error's traceback holds this frame
            del error

    def _submit(self, call: Call) -> None:
        self._calls.put(call)
        if not self._idle.acquire(blocking=False):
            self._count += 1
            threading.Thread(target=self._work, name=f"queuesim handler {self._count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            context, function, argument, tell = self._calls.get()
            try:
                value, error = context.run(function, argument), None
            except BaseException as raised:  # noqa: BLE001 - the handler may raise anything
                value, error = None, raised
            tell(value, error)
            # hold nothing of this call while waiting for the next
            del context, function, argument, tell, value, error
            self._idle.release()


THREADS = HandlerThreads()
"""Of this process."""
os.register_at_fork(after_in_child=THREADS.forget)
