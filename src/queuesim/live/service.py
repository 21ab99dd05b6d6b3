"""A worker as a service: connects, works until a signal, drains with a deadline, and says what it does."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
import uuid
from dataclasses import dataclass
from typing import cast

from queuesim.broker.base import Broker
from queuesim.broker.redis import RedisBroker
from queuesim.broker.redis.base import PREFIX
from queuesim.broker.redis.server import ServerPlace, connect
from queuesim.clock import set_clock
from queuesim.live.log import ServiceLog
from queuesim.live.metrics import Metrics
from queuesim.live.status import StatusServer
from queuesim.processor import Processor
from queuesim.worker import Worker, WorkerOptions

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How a worker process runs."""

    url: str | None = None
    """The server; None: REDIS_URL, or REDIS_HOST and REDIS_PORT."""
    prefix: str = PREFIX
    name: str | None = None
    """Written into the jobs that it takes; None: host and process."""
    concurrency: int | None = None
    """In place of the processor's."""
    drain: float = 30.0
    """Seconds that running jobs have to end after a signal. What runs on then is cancelled, stalls, and is taken up by
    another worker."""
    port: int | None = None
    """Where to answer /health and /metrics; 0 for any free one."""
    host: str = "127.0.0.1"
    """The address to answer at."""
    options: WorkerOptions | None = None


class WorkerService:
    """One worker in this process.

    Raises (from `run`):
        AddressError, BrokerUnavailableError: the server can't be used when it starts. Later outages are outlived.
        OSError: the port is taken.
    """

    def __init__(self, processor: Processor, settings: ServiceSettings, log: ServiceLog) -> None:
        self.processor = processor
        self.settings = settings
        self.log = log
        self.name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> bool:
        """Work until a signal. True if all jobs that ran then could end."""
        set_clock(time.time)
        # before anything that takes long: a signal that comes early counts too
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        place = await connect(self.settings.url)
        try:
            return await self._work(place)
        finally:
            await place.close()

    async def _work(self, place: ServerPlace) -> bool:
        metrics = Metrics(self.processor.queue) if self.settings.port is not None else None
        worker = self._worker(place, metrics)
        status = None
        if metrics is not None and self.settings.port is not None:
            status = StatusServer(worker, place, metrics, lambda: self._stopping.is_set())
            await status.start(self.settings.host, self.settings.port)
        self.log.started(worker, str(place.address), None if status is None else status.port)
        try:
            return await self._until_stopped(worker)
        finally:
            if status is not None:
                await status.close()

    def _worker(self, place: ServerPlace, metrics: Metrics | None) -> Worker:
        token = str(uuid.uuid4())
        return Worker(
            self.processor,
            cast(Broker, RedisBroker(self.processor.queue, place, self.settings.prefix)),
            name=self.name,
            token=token,
            concurrency=self.settings.concurrency,
            options=self.settings.options,
            clock=time.time,
            rng=random.Random(token),
            observer=self.log if metrics is None else metrics.beside(self.log, self.log.errors),
        )

    async def _until_stopped(self, worker: Worker) -> bool:
        running = asyncio.create_task(worker.run(), name=f"{self.name}: run")
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if running.done():
            # nothing but a fault of ours ends it by itself
            running.result()
        self.log.draining(len(worker.running), self.settings.drain)
        drained = await self._drain(worker)
        left = [job.id for job in worker.running.values()]
        await running
        self.log.stopped(drained, left)
        return drained

    async def _drain(self, worker: Worker) -> bool:
        """Close the worker: until the deadline, or another signal."""
        closing = asyncio.create_task(worker.close(self.settings.drain))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([closing, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if closing.done():
            return closing.result()
        closing.cancel()
        await asyncio.wait([closing])
        return False

    def _signalled(self, number: signal.Signals) -> None:
        again = self._stopping.is_set()
        if again:
            self._hurry.set()
        self._stopping.set()
        # last: to write a line may take long
        self.log.signalled(number.name, again=again)


def run_service(service: WorkerService) -> bool:
    """Run a service, on uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(service.run())
    return bool(uvloop.run(service.run()))
