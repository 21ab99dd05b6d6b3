"""Overdue tasks in a simulation: their store, and the processes that scan it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select

from queuesim.core.broker import Broker
from queuesim.core.clock import Clock, now, sleep, sleep_until
from queuesim.core.errors import BrokerUnavailableError, DatabaseError
from queuesim.core.events import EventKind
from queuesim.core.job import Job, JobOptions
from queuesim.core.processor import JobType, Processor, call
from queuesim.core.queue import Queue
from queuesim.core.retry import retry_forever
from queuesim.core.scheduler import Cron, Every, tick_of
from queuesim.core.worker import Worker
from queuesim.oracles.run_view import UNFINISHED, OverdueState, Scan, Ticks
from queuesim.results.recording import Recording, ScanRow
from queuesim.scenario.overdue import OverdueSettings, SchedulerCrash, schedules_of
from queuesim.simulation.process import Process
from queuesim.simulation.random import Streams
from queuesim.tasks.cost import DatabaseModel, DistantQueue
from queuesim.tasks.model import OVERDUE
from queuesim.tasks.outbox import AfterCommit, Outbox, Relay
from queuesim.tasks.overdue import OverdueScan, ScanReport, count_delivered, mark_of, reports
from queuesim.tasks.queries import notified
from queuesim.tasks.store import TaskStore, fill
from queuesim.tasks.tables import outbox, scans, tasks
from queuesim.tasks.task_service import add_handlers

if TYPE_CHECKING:
    from queuesim.core.broker import Broker
    from queuesim.faults.schedulers import CronFault
    from queuesim.oracles.run_view import OverdueState


# -- Who scans for overdue tasks: one process of a run, simulated or real

SCAN = "overdue-scan"
"""The type of the job that is a scan."""
RELAY_INTERVAL = 10.0
"""Seconds between two looks of a relay that nobody wakes."""

LaunchScan = Callable[[Coroutine[Any, Any, None], str], object]
"""Starts a part of the process."""


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
        launch: LaunchScan,
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
                await retry_forever(self._scan.resume, self._rng, failed=failed)
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

        await retry_forever(
            lambda: self._make_scheduler(Queue(broker, defaults=processor.defaults), schedule), self._rng
        )
        await Worker(processor, broker, name=self.name, clock=self._clock, rng=self._rng).run()

    async def _make_scheduler(self, queue: Queue, schedule: Cron | Every) -> None:
        if await queue.broker.scheduler(SCAN) is None:
            await queue.upsert_scheduler(SCAN, schedule, SCAN, missed=self.settings.policy)


# -- The overdue tasks themselves: what is in their store, who is notified of them, and the outcomes of scans

YEAR = 365 * 24 * 3600.0
"""A backlog's due dates are drawn from the year before the run."""
EVERY_SCAN = 10**9
ENDS = (EventKind.COMPLETED.code, EventKind.FAILED.code)


class OverdueStore:
    """A task store, as a scenario fills and uses it."""

    def __init__(self, settings: OverdueSettings, store: TaskStore) -> None:
        self.settings = settings
        self.store = store

    def prepare(self, duration: float, draw: Callable[[], float]) -> None:
        """Make the tables, with their tasks. `draw` gives numbers from 0 to 1."""
        self.store.prepare()
        settings = self.settings
        due = sorted(-YEAR * draw() for _ in range(settings.backlog))
        due += sorted(duration * draw() for _ in range(settings.tasks))
        self.store.run_now(lambda connection: fill(connection, due))

    def serve(self, processor: Processor) -> None:
        """Have the processor's notification jobs tell the assignees, after what else they do."""
        real = Processor(processor.queue)
        add_handlers(real, self.store, self.settings.window)
        tell = real.types[OVERDUE]
        first = processor.types.get(OVERDUE)

        async def handle(job: Job) -> Any:
            assert tell.parse is not None
            given, payload = job.data, tell.parse(job.data)
            if first is not None:
                if first.parse is not None:
                    job.data = first.parse(given)
                await call(first.handler, job)
            job.data = payload
            return await call(tell.handler, job)

        timeout = None if first is None else first.timeout
        processor.add(JobType(OVERDUE, handle, timeout=timeout))

    def start_events(
        self,
        scanner: Callable[[str], Scanner],
        crash: Callable[[int, float], Coroutine[Any, Any, None]],
        launch: LaunchScan,
    ) -> None:
        """Start whoever triggers scans by hand, and whoever kills the schedulers.

        Args:
            scanner: makes the scanner of that name.
            crash: kills all schedulers. Its arguments: the number of the crash, from 0, and seconds until they restart.
            launch: starts a part of the run.
        """

        async def trigger() -> None:
            await scanner("administrator").at(self.settings.triggers)

        async def crash_when_due(number: int, settings: SchedulerCrash) -> None:
            await sleep_until(settings.at)
            await crash(number, settings.length)

        if self.settings.triggers:
            launch(trigger(), "overdue: manual triggers")
        for n, each in enumerate(sorted(self.settings.crashes, key=lambda crash: crash.at), start=1):
            launch(crash_when_due(n, each), f"overdue: crash {n}")

    def evidence(self, ticks: Ticks | None, crashed: bool, origin: float = 0.0) -> OverdueState:
        """What oracles ask of the scans and of whoever was told by them.

        Args:
            origin: calendar time of the run's second 0, where ticks are told in that.
            ticks: their job scheduler; None: timers begin the scans.
            crashed: whether processes that scan were killed.
        """
        return self.store.run_now(
            lambda connection: OverdueState(
                scans=[_scan(*row, origin=origin) for row in connection.execute(_SCANS)],
                per_page=self.settings.per == "page",
                window=self.settings.window,
                notified=[(task, sent_at) for task, kind, sent_at in notified(connection) if kind == "overdue"],
                not_notified=[(task, since, mark_of(task)) for task, since in connection.execute(_UNTOLD)],
                staged=connection.execute(select(func.count()).select_from(outbox)).scalar_one(),
                ticks=ticks,
                crashed=crashed,
            )
        )

    def scans(self, recording: Recording) -> list[ScanRow]:
        """The outcome of every scan so far, by the store and by the records of its notifications."""
        found = self.store.run_now(lambda connection: reports(connection, EVERY_SCAN))
        last = _last_ends(recording)
        return [_drained(_row(report), *last.get(report.id, (0, math.nan))) for report in reversed(found)]


_SCANS = select(
    scans.c.id, scans.c.trigger, scans.c.tick, scans.c.cutoff, scans.c.began_at, scans.c.ended_at, scans.c.pages,
    scans.c.found, scans.c.enqueued, scans.c.duplicates, scans.c.leased_until,
).order_by(scans.c.id)  # fmt: skip
_UNTOLD = select(tasks.c.id, tasks.c.notify_at).where(tasks.c.notify_at.is_not(None)).order_by(tasks.c.id)


def _scan(number: int, trigger: str, tick: float | None, *rest: Any, origin: float) -> Scan:
    return Scan(number, trigger, None if tick is None else tick - origin, *rest)


async def ask_scheduler(broker: Broker, schedule: Cron | Every, settings: OverdueSettings, time: float) -> Ticks:
    """What the queue says of the job scheduler whose ticks begin scans.

    Args:
        broker: of the queue that the notifications are in.
    """
    queue = broker.sibling(schedules_of(broker.queue))
    unfinished = [job for state in UNFINISHED for job in await queue.jobs(state, 0, -1, True)]
    under_way = [(tick_of(job.id) - getattr(broker, "origin", 0.0), job.processed_on) for job in unfinished]
    dead = [(crash.at, crash.at + crash.length) for crash in settings.crashes]
    found = await queue.scheduler(SCAN)
    if found is None:
        return Ticks(schedule, settings.policy, time, stored=False, under_way=under_way, dead=dead)
    state = None if found.pending is None else await queue.state(found.pending)
    return Ticks(schedule, settings.policy, time, True, found.due, found.pending, state, under_way, dead)


def _row(report: ScanReport) -> ScanRow:
    return ScanRow(
        scan=report.id,
        trigger=report.trigger,
        began=report.began_at,
        ended=math.nan if report.ended_at is None else report.ended_at,
        pages=report.pages,
        found=report.found,
        enqueued=report.enqueued,
        duplicates=report.duplicates,
        drained=math.nan,
    )


def _drained(row: ScanRow, ended: int, last: float) -> ScanRow:
    """When the last of its notifications ended; one that made none was drained as it ended."""
    if math.isnan(row.ended) or ended < row.enqueued:
        return row
    return replace(row, drained=last if ended else row.ended)


def _last_ends(recording: Recording) -> dict[int, tuple[int, float]]:
    """For each scan how many of its notifications have ended, and when the last one did."""
    scan_by_number = recording.scans_of_jobs()
    events = recording.events[np.isin(recording.events["kind"], ENDS)]
    # of a job that ended more than once, the last time
    ends = dict(zip(events["number"].tolist(), events["time"].tolist(), strict=True))
    found: dict[int, tuple[int, float]] = {}
    for number, time in ends.items():
        if (scan := scan_by_number.get(number)) is not None:
            count, last = found.get(scan, (0, time))
            found[scan] = (count + 1, max(last, time))
    return found


Launch = Callable[[Coroutine[Any, Any, None], str, Context], asyncio.Task[None]]


class OverdueTasks(OverdueStore):
    """The overdue tasks of a simulation.

    Args:
        origin: calendar time of the run's second 0.
        options: what notifications are added with.
        round_trip: seconds that the queue's server takes to add jobs.
    """

    def __init__(
        self,
        settings: OverdueSettings,
        *,
        origin: float,
        options: JobOptions,
        round_trip: float,
        streams: Streams,
    ) -> None:
        latency = settings.database.latency.model().sampler(streams.named("overdue/database"))
        super().__init__(settings, TaskStore(cost=DatabaseModel(latency, settings.database.connections)))
        self.schedule = settings.schedule(origin)
        self._options = options
        self._round_trip = round_trip
        self._streams = streams
        self._processes: list[Process] = []
        self.cron_faults: Sequence[CronFault] = ()

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
        self.start_events(self._scanner, self._crash, lambda part, title: launch(part, title, here))

    def _start_schedulers(self, life: int) -> None:
        for n in range(1, self.settings.schedulers + 1):
            name = f"scheduler-{n}" if life == 0 else f"scheduler-{n}.{life + 1}"
            process = Process(name)
            self._processes.append(process)
            self._launch(self._schedule(name), name, process.context)

    async def _schedule(self, name: str) -> None:
        scanner = self._scanner(name)
        scanner.at_tick = lambda tick: self._tick(name, tick)
        await scanner.run(self.schedule, self._broker)

    async def _tick(self, name: str, tick: float | None) -> bool:
        """Whether a scheduler is to scan at this tick, as far as faults let it."""
        return all([await fault.tick(self, name, tick) for fault in self.cron_faults])

    async def final_state(self, broker: Broker, time: float) -> Callable[[], OverdueState]:
        """A function that reads what oracles ask for when the run is over, at `time`: with many tasks it takes long.
        `broker` is the queue, as it is."""
        ticks = None
        if self.settings.by == "scheduler":
            ticks = await ask_scheduler(broker, self.schedule, self.settings, time)
        crashed = any(crash.at < time for crash in self.settings.crashes)
        # the ids of jobs, in which a scan finds its tick, have the time that the queue itself keeps
        return partial(self.evidence, ticks, crashed, getattr(broker, "origin", 0.0))

    def scan_beside(self, name: str, tick: float | None, page: Callable[[], float] | None = None) -> asyncio.Task[None]:
        """Scan once more, in a process of its own.

        Args:
            tick: for which tick of the scheduler; None: for none that anybody has agreed on.
            page: draws how much longer each page takes, in seconds.
        """
        process = Process(name)
        self._processes.append(process)
        scanner = self._scanner(name, page)
        return self._launch(scanner.once("cron", tick), name, process.context)

    def _scanner(self, name: str, page: Callable[[], float] | None = None) -> Scanner:
        keys = self._streams.python(f"overdue/{name}/keys")
        return Scanner(
            self.settings,
            self.store,
            self._connect(name),
            self._options,
            name=name,
            launch=lambda part, title: self._launch(part, title, copy_context()),
            rng=self._streams.python(f"overdue/{name}"),
            new_key=lambda: f"{keys.getrandbits(64):016x}",
            round_trip=self._answer_time(page),
        )

    def _answer_time(self, page: Callable[[], float] | None) -> Callable[[], float] | None:
        if page is None:
            return (lambda: self._round_trip) if self._round_trip else None
        return lambda: self._round_trip + page()

    async def _crash(self, life: int, length: float) -> None:
        for process in self._processes:
            process.kill()
        self._processes.clear()
        await sleep(length)
        self._start_schedulers(life)
