"""Overdue tasks in a live run: a real database, and schedulers in processes of their own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from queuesim.clock import Clock, sleep, sleep_until
from queuesim.job import JobOptions, NewJob
from queuesim.processor import Processor
from queuesim.scenario.handlers import OVERDUE, job_options
from queuesim.scenario.live.scanner import ScanOrders
from queuesim.scenario.live.staff import Hand, Staff
from queuesim.scenario.overdue_schema import OverdueSettings, SchedulerCrash
from queuesim.scenario.overdue_store import OverdueStore
from queuesim.scenario.scanner import Scanner
from queuesim.scenario.schema import Scenario
from queuesim.simulation.streams import Streams
from queuesim.tasks import TaskStore
from queuesim.tasks.overdue import SOURCE, scan_of
from queuesim.tasks.temporary import temporary_database

if TYPE_CHECKING:
    from queuesim.broker.base import Broker

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
        self._staff = Staff([], _ignore, program="queuesim.scenario.live.scanner")

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
