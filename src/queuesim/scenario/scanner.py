"""Who scans for overdue tasks: one process of a run, simulated or real."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from queuesim.clock import Clock, now, sleep, sleep_until
from queuesim.errors import BrokerUnavailableError, DatabaseError
from queuesim.job import Job, JobOptions
from queuesim.persistence import persist
from queuesim.processor import Processor
from queuesim.queue import Queue
from queuesim.scenario.overdue_schema import OverdueSettings, schedules_of
from queuesim.schedule import Cron, Every
from queuesim.tasks import AfterCommit, Outbox, OverdueScan, Relay, TaskStore
from queuesim.tasks.cost import DistantQueue
from queuesim.tasks.overdue import count_delivered
from queuesim.worker import Worker

if TYPE_CHECKING:
    from queuesim.broker.base import Broker

SCAN = "overdue-scan"
"""The type of the job that is a scan."""
RELAY_INTERVAL = 10.0
"""Seconds between two looks of a relay that nobody wakes."""

Launch = Callable[[Coroutine[Any, Any, None], str], object]
"""Starts a part of the process."""


def tick_of(job_id: str) -> float:
    """The tick that a job of a scheduler is for, in seconds on the clock of the queue: its id ends with it."""
    return int(job_id.rpartition(":")[2]) / 1000


class Scanner:
    """Scans at every tick, or when it is told to.

    Args:
        broker: the queue as this process reaches it.
        options: what notifications are added with.
        name: of the process.
        launch: starts its relay, if it has one.
        rng: where pauses are drawn from while the queue can't be reached.
        new_key: makes the key of each scan.
        round_trip: draws the seconds that a simulated server takes to add jobs.
        clock: of the queue, where it is not the event loop's.
    """

    def __init__(
        self,
        settings: OverdueSettings,
        store: TaskStore,
        broker: Broker,
        options: JobOptions,
        *,
        name: str,
        launch: Launch,
        rng: Random,
        new_key: Callable[[], str],
        round_trip: Callable[[], float] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self._rng = rng
        self._clock = clock
        self.at_tick: Callable[[float | None], Awaitable[bool]] | None = None
        """Asked at every tick whether to scan."""
        queue = Queue(broker, defaults=options)
        distant = queue if round_trip is None else DistantQueue(queue, round_trip)
        if settings.delivery == "outbox":
            relay = Relay(store, distant, interval=RELAY_INTERVAL, settle=count_delivered, rng=rng)
            launch(relay.run(), f"{name}: relay")
            delivery: Any = Outbox(relay.wake)
        else:
            delivery = AfterCommit(distant)
        self._scan = OverdueScan(
            store, queue, delivery, page_size=settings.page_size, per=settings.per, lease=settings.lease, owner=name,
            new_key=new_key,
        )  # fmt: skip

    async def run(self, schedule: Cron | Every, broker: Broker) -> None:
        """Scan at every tick of the schedule; `broker` is where the job schedulers live, if there are to be some."""
        if self.settings.by == "timer":
            await self._by_timer(schedule)
        else:
            await self._by_scheduler(schedule, broker.sibling(schedules_of(broker.queue)))

    async def at(self, moments: Iterable[float]) -> None:
        """Scan at these moments, as an administrator does."""
        for moment in sorted(moments):
            await sleep_until(moment)
            await self.once("manual")

    async def _by_timer(self, schedule: Cron | Every) -> None:
        """As a cron in each process: all of them scan at every tick."""
        tick = schedule.after(now())
        while tick is not None:
            await sleep_until(tick)
            await self._at_tick(None)
            tick = schedule.after(max(tick, now()))

    async def _at_tick(self, tick: float | None) -> None:
        if self.at_tick is None or await self.at_tick(tick):
            await self.once("cron", tick)

    async def once(self, trigger: str, tick: float | None = None) -> None:
        """Scan. However long queue or database can't be reached: a scan goes on from where it was."""
        await self._resume()
        while True:
            try:
                await self._scan.scan(trigger, tick)
            except BrokerUnavailableError:
                await self._resume(failed=1)
            except DatabaseError:
                await sleep(self.settings.lease)
                await self._resume()
                if tick is not None:
                    # what failed may have been its very beginning: then nobody has scanned for this tick
                    continue
            return

    async def _resume(self, failed: int = 0) -> None:
        while True:
            try:
                await persist(self._scan.resume, self._rng, failed=failed)
            except DatabaseError:
                # nobody could give the scan up: it can be taken over when its lease is over
                await sleep(self.settings.lease)
            else:
                return

    async def _by_scheduler(self, schedule: Cron | Every, broker: Broker) -> None:
        """As jobs of a queue of their own: one tick is one job, whoever takes it."""
        processor = Processor(broker.queue, defaults=JobOptions(attempts=3))
        processor.stack_traces = False

        @processor.job(SCAN)
        async def overdue_scan(job: Job) -> None:
            await self._at_tick(tick_of(job.id))

        await persist(lambda: self._make_scheduler(Queue(broker, defaults=processor.defaults), schedule), self._rng)
        await Worker(processor, broker, name=self.name, clock=self._clock, rng=self._rng).run()

    async def _make_scheduler(self, queue: Queue, schedule: Cron | Every) -> None:
        if await queue.broker.scheduler(SCAN) is None:
            await queue.upsert_scheduler(SCAN, schedule, SCAN, missed=self.settings.policy)
