"""One scheduler of a live run, as a process of its own: ``python -m queuesim.runs.live.scheduler_process``.

It reads its orders from standard input, as workers do, and scans for overdue tasks until that ends or says stop. What
it did stands in the task database.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import Address, ServerPlace
from queuesim.core.broker import Broker
from queuesim.core.clock import Clock, set_clock, sleep, sleep_until
from queuesim.core.job import JobOptions, NewJob
from queuesim.core.owner import owner_gone
from queuesim.core.processor import Processor
from queuesim.runs.handlers import OVERDUE, job_options
from queuesim.runs.live.processes import Hand, Staff
from queuesim.runs.live.worker_process import clock_from, read_orders, run
from queuesim.runs.overdue import OverdueStore, Scanner
from queuesim.scenario.model import Scenario
from queuesim.scenario.overdue import OverdueSettings, SchedulerCrash
from queuesim.simulation.random import Streams
from queuesim.tasks.overdue import SOURCE, scan_of
from queuesim.tasks.store import TaskStore, temporary_database

if TYPE_CHECKING:
    from queuesim.core.broker import Broker


@dataclass(frozen=True, slots=True)
class ScanOrders:
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


async def scan(orders: ScanOrders) -> None:
    """Scan until standard input ends. Raises whatever ends it before."""
    clock = clock_from(orders.origin)
    set_clock(clock)
    store = TaskStore(orders.database, connections=orders.settings.database.connections)
    broker = cast(
        Broker, RedisBroker(orders.queue, ServerPlace(Address(orders.url)), orders.prefix, origin=orders.origin)
    )
    parts = [asyncio.create_task(owner_gone())]

    def launch(part: Coroutine[Any, Any, None], name: str) -> None:
        parts.append(asyncio.create_task(part, name=name))

    scanner = Scanner(
        orders.settings,
        store,
        broker,
        orders.options,
        name=orders.token,
        launch=launch,
        rng=Streams(orders.seed).python(f"overdue/{orders.token}"),
        new_key=lambda: token_hex(8),
        clock=clock,
    )
    launch(scanner.run(orders.settings.schedule(orders.origin), broker), orders.token)
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        part.result()
    # whatever it still does, the run is over
    os._exit(0)


# -- Overdue tasks in a live run: a real database, and schedulers in processes of their own

Launch = Callable[[Coroutine[Any, Any, None], str], object]


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
        self._staff = Staff([], _ignore, program="queuesim.runs.live.scheduler_process")

    async def stand_by(self) -> None:
        """Have the schedulers' processes ready."""
        await self._staff.stand_by(self.settings.schedulers)

    async def start(
        self, broker: Broker, launch: Launch, *, url: str, prefix: str, origin: float, clock: Clock
    ) -> None:
        """Start the schedulers, and whoever triggers or kills them."""
        common = ScanOrders(
            self.settings, self._options, "", "", self.url, url, prefix, broker.queue, origin, self._seed
        )
        names = [f"scheduler-{n}" for n in range(1, self.settings.schedulers + 1)]
        self._staff.hands = [Hand(replace(common, name=name, token=name)) for name in names]
        await self._staff.start()
        for hand in self._staff.hands:
            launch(self._watch(hand), f"{hand.name}: watch")
        if self.settings.triggers:
            launch(self._trigger(broker, launch, clock), "overdue: manual triggers")
        for n, crash in enumerate(sorted(self.settings.crashes, key=lambda crash: crash.at), start=1):
            launch(self._crash_when_due(crash), f"overdue: crash {n}")

    async def _watch(self, hand: Hand) -> None:
        """Raises SchedulerError if the process ends, unless it was killed or told to."""
        while hand.process is not None:
            process = hand.process
            if await process.wait() > 0:
                raise SchedulerError(f"{hand.name} has failed: its process said why, and ended")
            while hand.process is process:  # noqa: ASYNC110 - whoever killed it starts the next, or the run ends
                await asyncio.sleep(0.05)

    async def _trigger(self, broker: Broker, launch: Launch, clock: Clock) -> None:
        rng = self._streams.python("overdue/administrator")
        scanner = Scanner(
            self.settings, self.store, broker, self._options, name="administrator", launch=launch, rng=rng,
            new_key=lambda: token_hex(8), clock=clock,
        )  # fmt: skip
        await scanner.at(self.settings.triggers)

    async def _crash_when_due(self, crash: SchedulerCrash) -> None:
        await sleep_until(crash.at)
        await self.crash(crash.length)

    async def crash(self, length: float) -> None:
        """Kill all schedulers, and start them again `length` seconds later."""
        for hand in self._staff.hands:
            self._staff.send(hand, signal.SIGKILL)
            if hand.process is not None:
                await hand.process.wait()
        await sleep(length)
        for hand in self._staff.hands:
            await self._staff.hire(hand)

    async def stop(self) -> None:
        """End the schedulers."""
        await self._staff.stop()

    def notification(self, job_id: str, name: str) -> NewJob:
        """A job that was added by another process: the id of a notification says which scan made it."""
        number = scan_of(job_id)
        if number is None:
            return NewJob(name)
        return NewJob(name, options=replace(self._options, job_id=job_id), source=f"{SOURCE}{number}")


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
    run(scan(read_orders()))
