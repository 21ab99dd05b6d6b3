"""Overdue tasks in a run: their store, the processes that scan it, and the record of every scan."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from queuesim.clock import now, sleep, sleep_until
from queuesim.job import Job, JobOptions
from queuesim.metrics.recording import ScanRow
from queuesim.processor import JobType, Processor, call
from queuesim.queue import Queue
from queuesim.scenario.overdue_schema import OverdueSettings, SchedulerCrash
from queuesim.simulation.process import Process
from queuesim.simulation.streams import Streams
from queuesim.tasks import AfterCommit, DatabaseModel, Outbox, OverdueScan, Relay, TaskStore
from queuesim.tasks.cost import DistantQueue
from queuesim.tasks.filling import fill
from queuesim.tasks.handlers import add_handlers
from queuesim.tasks.overdue import count_delivered, reports, scan_of
from queuesim.tasks.payloads import OVERDUE
from queuesim.worker import Worker

if TYPE_CHECKING:
    from queuesim.broker.base import Broker

YEAR = 365 * 24 * 3600.0
"""A backlog's due dates are drawn from the year before the run."""
SCAN = "overdue-scan"
"""The type of the job that is a scan."""
RELAY_INTERVAL = 10.0
"""Seconds between two looks of a relay that nobody wakes."""
EVERY_SCAN = 10**9

Launch = Callable[[Coroutine[Any, Any, None], str, Context], asyncio.Task[None]]


class OverdueTasks:
    """The overdue tasks of a run.

    Args:
        origin: calendar time of the run's second 0.
        options: what notifications are added with.
        round_trip: seconds that the queue's server takes to add jobs.
    """

    def __init__(
        self,
        settings: OverdueSettings,
        *,
        duration: float,
        origin: float,
        options: JobOptions,
        round_trip: float,
        streams: Streams,
    ) -> None:
        self.settings = settings
        self.schedule = settings.schedule(origin)
        latency = settings.database.latency.model().sampler(streams.named("overdue/database"))
        self.store = TaskStore(cost=DatabaseModel(latency, settings.database.connections))
        self._duration = duration
        self._options = options
        self._round_trip = round_trip
        self._streams = streams
        self._processes: list[Process] = []
        self._workers: list[Worker] = []
        self._ended: Counter[int] = Counter()
        self._last_ended: dict[int, float] = {}

    def prepare(self) -> None:
        """Make the store, with its tasks."""
        self.store.prepare()
        draw = self._streams.python("overdue/due").random
        settings = self.settings
        due = sorted(-YEAR * draw() for _ in range(settings.backlog))
        due += sorted(self._duration * draw() for _ in range(settings.tasks))
        self.store.run_now(lambda connection: fill(connection, due))

    def serve(self, processor: Processor) -> None:
        """Have the processor's notification jobs tell the assignees, after what else they do."""
        real = Processor(processor.queue)
        add_handlers(real, self.store, self.settings.window)
        tell = real.types[OVERDUE]
        first = processor.types.get(OVERDUE)

        async def handle(job: Job) -> Any:
            payload = job.data
            if first is not None:
                await call(first.handler, job)
            job.data = payload
            return await call(tell.handler, job)

        timeout = None if first is None else first.timeout
        processor.add(JobType(OVERDUE, handle, tell.parse, timeout=timeout))

    # -- scanning

    def start(self, broker: Broker, launch: Launch, connect: Callable[[str], Broker]) -> None:
        """Start the processes that scan, and whoever triggers or kills them.

        Args:
            broker: the queue, as it is.
            launch: starts a part of the run in a context.
            connect: the queue as a client of that name reaches it.
        """
        self._broker, self._launch, self._connect = broker, launch, connect
        self._start_schedulers(0)
        here = Context()
        if self.settings.triggers:
            launch(self._trigger(), "overdue: manual triggers", here)
        for n, crash in enumerate(sorted(self.settings.crashes, key=lambda crash: crash.at), start=1):
            launch(self._crash(n, crash), f"overdue: crash {n}", here)

    def _start_schedulers(self, life: int) -> None:
        for n in range(1, self.settings.schedulers + 1):
            name = f"scheduler-{n}" if life == 0 else f"scheduler-{n}.{life + 1}"
            process = Process(name)
            self._processes.append(process)
            self._launch(self._schedule(name), name, process.context)

    async def _schedule(self, name: str) -> None:
        scan = self._scan(name)
        if self.settings.by == "timer":
            await self._by_timer(scan)
        else:
            await self._by_scheduler(scan, name)

    def _scan(self, name: str) -> OverdueScan:
        """Who scans, and the relay that goes with it."""
        queue = Queue(self._connect(name), defaults=self._options)
        distant = DistantQueue(queue, lambda: self._round_trip) if self._round_trip else queue
        settings = self.settings
        if settings.delivery == "outbox":
            relay = Relay(self.store, distant, interval=RELAY_INTERVAL, settle=count_delivered)
            self._launch(relay.run(), f"{name}: relay", copy_context())
            delivery: Any = Outbox(relay.wake)
        else:
            delivery = AfterCommit(distant)
        return OverdueScan(
            self.store,
            queue,
            delivery,
            page_size=settings.page_size,
            per=settings.per,
            lease=settings.lease,
            owner=name,
        )

    async def _by_timer(self, scan: OverdueScan) -> None:
        """As a cron in each process: all of them scan at every tick."""
        tick = self.schedule.after(now())
        while tick is not None:
            await sleep_until(tick)
            await scan.run("cron")
            tick = self.schedule.after(max(tick, now()))

    async def _by_scheduler(self, scan: OverdueScan, name: str) -> None:
        """As jobs of a queue of their own: one tick is one job, whoever takes it."""
        broker = self._broker.sibling(f"{self._broker.queue}-schedules")
        processor = Processor(broker.queue, defaults=JobOptions(attempts=3))
        processor.stack_traces = False

        @processor.job(SCAN)
        async def overdue_scan(job: Job) -> None:
            await scan.run("cron", tick=int(job.id.rpartition(":")[2]) / 1000)

        queue = Queue(broker, defaults=processor.defaults)
        if await broker.scheduler(SCAN) is None:
            await queue.upsert_scheduler(SCAN, self.schedule, SCAN, missed=self.settings.policy)
        await Worker(processor, broker, name=name, rng=self._streams.python(f"overdue/{name}")).run()

    async def _trigger(self) -> None:
        scan = self._scan("administrator")
        for moment in sorted(self.settings.triggers):
            await sleep_until(moment)
            await scan.run("manual")

    async def _crash(self, life: int, crash: SchedulerCrash) -> None:
        await sleep_until(crash.at)
        for process in self._processes:
            process.kill()
        self._processes.clear()
        await sleep(crash.length)
        self._start_schedulers(life)

    # -- the record

    def ended(self, job: Job) -> None:
        """A job has completed, or failed for good."""
        scan = scan_of(job.id)
        if job.name == OVERDUE and scan is not None:
            self._ended[scan] += 1
            self._last_ended[scan] = now()

    def record(self) -> list[ScanRow]:
        """What became of every scan so far."""
        found = self.store.run_now(lambda connection: reports(connection, EVERY_SCAN))
        rows = []
        for report in reversed(found):
            done = report.ended_at is not None and self._ended[report.id] >= report.enqueued
            drained = self._last_ended.get(report.id, report.ended_at) if done else math.nan
            rows.append(
                ScanRow(
                    scan=report.id,
                    trigger=report.trigger,
                    began=report.began_at,
                    ended=math.nan if report.ended_at is None else report.ended_at,
                    pages=report.pages,
                    found=report.found,
                    enqueued=report.enqueued,
                    duplicates=report.duplicates,
                    drained=math.nan if drained is None else drained,
                )
            )
        return rows

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()
