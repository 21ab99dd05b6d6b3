"""One scheduler of a live run, as a process of its own: ``python -m queuesim.runs.live.scheduler_process``.

It reads its launch from standard input, as workers do, and scans for overdue tasks until that ends or says stop. What
it did stands in the task database.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import Address, RealServer
from queuesim.core.broker import Broker
from queuesim.core.clock import Clock, set_clock, sleep
from queuesim.core.job import JobOptions, NewJob
from queuesim.core.processor import Processor
from queuesim.runs.handlers import OVERDUE, job_options
from queuesim.runs.live.processes import ProcessPool, StartPart, WorkerProcess
from queuesim.runs.live.worker_process import RunClock, listen, read_launch, run
from queuesim.runs.overdue import OverdueStore, Scanner
from queuesim.scenario.model import Scenario
from queuesim.scenario.overdue import OverdueSettings
from queuesim.simulation.random import Streams
from queuesim.tasks.overdue import origin_of
from queuesim.tasks.store import TaskStore, temporary_database

if TYPE_CHECKING:
    from queuesim.core.broker import Broker


@dataclass(frozen=True, slots=True)
class SchedulerLaunch:
    """What a scheduler of a run has to know."""

    settings: OverdueSettings
    options: JobOptions
    """What notifications are added with."""
    name: str
    token: str
    """Its name in this life."""
    database: str
    url: str
    prefix: str
    queue: str
    origin: float
    """Second 0 of the run, in seconds since the Unix epoch."""
    seed: int
    report: int = -1
    """The file descriptor to report to, of which no use is made."""


async def scan(launch: SchedulerLaunch) -> None:
    """Scan until standard input ends. Raises whatever ends it before."""
    clock = RunClock(launch.origin)
    set_clock(clock)
    store = TaskStore(launch.database, connections=launch.settings.database.connections)
    broker = cast(
        Broker, RedisBroker(launch.queue, RealServer(Address(launch.url)), launch.prefix, origin=launch.origin)
    )
    parts: list[asyncio.Future[Any]] = [await listen({})]

    def start_part(part: Coroutine[Any, Any, None], name: str) -> None:
        parts.append(asyncio.create_task(part, name=name))

    scanner = Scanner(
        launch.settings,
        store,
        broker,
        launch.options,
        name=launch.token,
        launch=start_part,
        rng=Streams(launch.seed).python(f"overdue/{launch.token}"),
        new_key=lambda: token_hex(8),
        clock=clock,
    )
    start_part(scanner.run(launch.settings.schedule(launch.origin), broker), launch.token)
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        part.result()
    # whatever it still does, the run is over
    os._exit(0)


class SchedulerError(RuntimeError):
    """A scheduler's process ended by itself. What went wrong it has written to standard error."""


class LiveOverdue(OverdueStore):
    """The overdue tasks of a live run.

    Args:
        url: of the task database.
        options: what notifications are added with.
    """

    def __init__(self, settings: OverdueSettings, url: str, options: JobOptions, seed: int) -> None:
        super().__init__(settings, TaskStore(url, connections=settings.database.connections))
        self.url = url
        self._options = options
        self._seed = seed
        self._streams = Streams(seed)
        self._pool = ProcessPool(_ignore, program="queuesim.runs.live.scheduler_process")

    async def stand_by(self) -> None:
        """Have the schedulers' processes ready."""
        await self._pool.stand_by(self.settings.schedulers)

    async def start(
        self, broker: Broker, start_part: StartPart, *, url: str, prefix: str, origin: float, clock: Clock
    ) -> None:
        """Start the schedulers, and whoever triggers or kills them."""
        common = SchedulerLaunch(
            self.settings, self._options, "", "", self.url, url, prefix, broker.queue, origin, self._seed
        )
        names = [f"scheduler-{n}" for n in range(1, self.settings.schedulers + 1)]
        schedulers = [self._pool.add(replace(common, name=name, token=name)) for name in names]
        await asyncio.gather(*(self._pool.start(scheduler) for scheduler in schedulers))
        for scheduler in schedulers:
            start_part(self._watch(scheduler), f"{scheduler.name}: watch")

        def scanner(name: str) -> Scanner:
            rng = self._streams.python(f"overdue/{name}")
            return Scanner(
                self.settings, self.store, broker, self._options, name=name, launch=start_part, rng=rng,
                new_key=lambda: token_hex(8), clock=clock,
            )  # fmt: skip

        self.start_events(scanner, lambda _, length: self.crash(length), start_part)

    async def _watch(self, scheduler: WorkerProcess) -> None:
        """Raises SchedulerError if the process ends, unless it was killed or told to."""
        while scheduler.process is not None:
            process = scheduler.process
            if await process.wait() > 0:
                raise SchedulerError(f"{scheduler.name} has failed: its process said why, and ended")
            while scheduler.process is process:  # noqa: ASYNC110 - whoever killed it starts the next, or the run ends
                await asyncio.sleep(0.05)

    async def crash(self, length: float) -> None:
        """Kill all schedulers, and start them again `length` seconds later."""
        for scheduler in self._pool.workers:
            scheduler.signal(signal.SIGKILL)
            if scheduler.process is not None:
                await scheduler.process.wait()
        await sleep(length)
        for scheduler in self._pool.workers:
            await self._pool.start(scheduler)

    async def stop(self) -> None:
        """End the schedulers."""
        await self._pool.stop()

    def notification(self, job_id: str, name: str) -> NewJob:
        """A job that was added by another process: the id of a notification says which scan made it."""
        origin = origin_of(job_id)
        return NewJob(name) if origin is None else NewJob(name, "{}", replace(self._options, job_id=job_id), origin)


@contextmanager
def overdue_tasks(scenario: Scenario, own: Processor | None, seed: int) -> Iterator[LiveOverdue]:
    """The overdue tasks of a scenario that has some: their database is there for as long as the block.

    Raises:
        StoreError: the database can't be used.
        MissingExtraError: what it takes is not installed.
    """
    settings = scenario.overdue
    assert settings is not None
    options = job_options(scenario, own)[OVERDUE]
    with temporary_database(settings.database.url) as url:
        overdue = LiveOverdue(settings, url, options, seed)
        try:
            overdue.prepare(scenario.duration, Streams(seed).python("overdue/due").random)
            yield overdue
        finally:
            overdue.store.close()


def _ignore(line: bytes) -> None:
    """Schedulers report nothing."""


if __name__ == "__main__":
    run(scan(read_launch()))
