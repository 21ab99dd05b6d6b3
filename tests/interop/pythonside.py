"""Our end of the queue for interop tests: a worker in a thread of its own, and a queue to call from the test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.core.clock import set_clock
from queuesim.core.job import Job
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker

T = TypeVar("T")
PATIENCE = 30.0


def until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait for the other end: the first true value of `condition`."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


class OurQueue:
    """A queue, called synchronously. Attributes are those of `Queue`; the clock is the real one."""

    def __init__(self, server: EmbeddedServer, name: str) -> None:
        self._runner = asyncio.Runner()
        self._place = self._runner.run(connect(server.url))
        self.queue = Queue(RedisBroker(name, self._place))

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self.queue, operation)
        return lambda *args, **options: self.run(method(*args, **options))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def at_real_time() -> T:
            set_clock(time.time)
            return await coroutine

        return self._runner.run(at_real_time())

    def close(self) -> None:
        self._runner.run(self._place.close())
        self._runner.close()


@contextmanager
def working(processor: Processor, server: EmbeddedServer, **options: Any) -> Iterator[Worker]:
    """A worker that runs in this block, in a thread, on the processor's queue."""
    started = threading.Event()
    found: list[Worker] = []
    stop: list[Callable[[], object]] = []

    async def work() -> None:
        set_clock(time.time)
        place = await connect(server.url)
        worker = Worker(
            processor, RedisBroker(processor.queue, place), **{"name": "python", "clock": time.time, **options}
        )
        loop = asyncio.get_running_loop()
        stop.append(lambda: asyncio.run_coroutine_threadsafe(worker.close(PATIENCE), loop).result(PATIENCE))
        found.append(worker)
        started.set()
        try:
            await worker.run()
        finally:
            await place.close()

    thread = threading.Thread(target=asyncio.run, args=(work(),), name="our worker")
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield found[0]
    finally:
        stop[0]()
        thread.join(PATIENCE)


def processor_of(handler: Callable[[Job], Awaitable[Any]], queue: str, *names: str, **rules: Any) -> Processor:
    """A processor with one handler for jobs of these names."""
    processor = Processor(queue, **rules)
    for name in names or ("job",):
        processor.job(name)(handler)
    return processor
