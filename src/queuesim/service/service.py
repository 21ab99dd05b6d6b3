"""A worker as a service: it works until a signal and drains with a deadline. A supervisor keeps several running."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import PREFIX, RealServer, connect
from queuesim.childprocess import send_signal
from queuesim.core.broker import Broker
from queuesim.core.containment import log
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker, WorkerOptions
from queuesim.service.log import ContainedLogger, ServiceLog, drop_unwritten
from queuesim.service.status import Metrics, StatusServer

logger = logging.getLogger("queuesim.service")

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
    owned: bool = False
    """Standard input is a pipe that ends with this process's supervisor. It stops then, as after a signal."""


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
        self.abandoned: list[str] = []
        """The ids of jobs whose handlers still run, though they were cancelled."""

    async def run(self) -> bool:
        """Work until a signal. True if all jobs that ran then could end."""
        # before anything that takes long: a signal that comes early counts too
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        owner = asyncio.create_task(self._watch_owner()) if self.settings.owned else None
        place = await connect(self.settings.url)
        try:
            return await self._work(place)
        finally:
            if owner is not None:
                owner.cancel()
            await place.close()

    async def _watch_owner(self) -> None:
        """Whoever is left behind takes no more jobs: nobody could stop it."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        # standard input ends or brings something: the owner has ended, was killed, or says so
        await reader.read(1)
        if not self._stopping.is_set():
            self._stopping.set()
            self.log.left_behind()

    async def _work(self, place: RealServer) -> bool:
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

    def _worker(self, place: RealServer, metrics: Metrics | None) -> Worker:
        token = str(uuid.uuid4())
        return Worker(
            self.processor,
            cast(Broker, RedisBroker(self.processor.queue, place, self.settings.prefix)),
            name=self.name,
            token=token,
            concurrency=self.settings.concurrency,
            options=self.settings.options,
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
        self.abandoned = [job.id for job in worker.abandoned.values()]
        self.log.stopped(drained, left, self.abandoned)
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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, if it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _run_to_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[bool]) -> bool:
    """Run a task to its end, even if another one calls sys.exit, which a loop passes on to whoever runs it.

    The other one is a task that a handler started. The handler, which awaits it, gets the error too: its job fails.
    """
    while True:
        try:
            return loop.run_until_complete(task)
        except SystemExit as error:
            if task.done():
                raise
            log(logger, logging.ERROR, "a task of a handler called sys.exit(%r); the worker goes on", error.code)


def run_service(service: WorkerService) -> bool:
    """Run a service, on uvloop if it is installed. True if all jobs that ran when it was stopped could end.

    Does not return if handlers still run that swallow their cancellation: the process ends at once, with exit code 1.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        loop = runner.get_loop()
        drained = _run_to_end(loop, loop.create_task(service.run()))
        if service.abandoned:
            # to close the loop, as to end the program, would wait for them
            drop_unwritten()
            os._exit(1)
        return drained


# -- Several worker processes of one command: started together, restarted when they die, ended together


FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a process that died is started again; twice as long each time it dies at once."""
REFUSED, SIGNALLED = 2, 128
"""Exit codes: the input or the server can't be used; 128 and the signal's number."""
LONG_LIFE = 10.0
"""Seconds after which a process counts as having worked."""


class Supervisor:
    """Keeps processes running until a signal, which it passes on. A second one is passed on, too.

    Each process has a pipe for its standard input that ends with the supervisor, even if that is killed.

    Args:
        command: of the process with a number, from 0.
        environment: of all of them.
        logger: reports processes that die.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        count: int,
        environment: Mapping[str, str],
        logger: ContainedLogger,
    ) -> None:
        self._command = command
        self._count = count
        self._environment = environment
        self._log = logger
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until all have ended after a signal. Returns the worst exit code; 2 at once where one refuses to start."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._pass_on, number)
        codes = await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        return REFUSED if REFUSED in codes else max(codes)

    def _pass_on(self, number: signal.Signals) -> None:
        self._stopping.set()
        for process in self._processes.values():
            send_signal(process, number)

    async def _keep(self, number: int) -> int:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            began = loop.time()
            # in a session of its own: a Ctrl-C reaches it through us, once; by its standard input it knows that we live
            process = await asyncio.create_subprocess_exec(
                *self._command(number), env=self._environment, start_new_session=True, stdin=asyncio.subprocess.PIPE
            )
            self._processes[number] = process
            if self._stopping.is_set():
                send_signal(process, signal.SIGTERM)
            code = await process.wait()
            if self._stopping.is_set():
                return _exit_code(code)
            if code == REFUSED:
                # wrong input stays wrong
                self._pass_on(signal.SIGTERM)
                return code
            pause = FIRST_PAUSE if loop.time() - began > LONG_LIFE else pause
            self._log.error("worker process died", process=number, pid=process.pid, code=code, again_in=pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 1
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)


def _exit_code(code: int) -> int:
    """The exit code of a process that was asked to end.

    One that had not begun to work dies of the signal itself: it has nothing to finish.
    """
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else SIGNALLED - code
