"""Overdue tasks in a simulation: their store, and the processes that scan it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from queuesim.clock import sleep, sleep_until
from queuesim.job import JobOptions
from queuesim.scenario.overdue_schema import OverdueSettings, SchedulerCrash
from queuesim.scenario.overdue_store import OverdueStore, ask_scheduler
from queuesim.scenario.scanner import Scanner
from queuesim.simulation.process import Process
from queuesim.simulation.streams import Streams
from queuesim.tasks import DatabaseModel, TaskStore

if TYPE_CHECKING:
    from queuesim.broker.base import Broker
    from queuesim.scenario.faults.crons import CronFault
    from queuesim.testing.oracles.overdue_evidence import OverdueEvidence

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
        scanner = self._scanner(name)
        scanner.at_tick = lambda tick: self._tick(name, tick)
        await scanner.run(self.schedule, self._broker)

    async def _tick(self, name: str, tick: float | None) -> bool:
        """Whether a scheduler is to scan at this tick, as far as faults let it."""
        return all([await fault.tick(self, name, tick) for fault in self.cron_faults])

    async def gathered(self, broker: Broker, time: float) -> OverdueEvidence:
        """What oracles ask for when the run is over, at `time`; `broker` is the queue, as it is."""
        ticks = None
        if self.settings.by == "scheduler":
            ticks = await ask_scheduler(broker, self.schedule, self.settings, time)
        crashed = any(crash.at < time for crash in self.settings.crashes)
        # the ids of jobs, in which a scan finds its tick, have the time that the queue itself keeps
        return self.evidence(ticks, crashed, getattr(broker, "origin", 0.0))

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

    async def _trigger(self) -> None:
        await self._scanner("administrator").at(self.settings.triggers)

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

    async def _crash(self, life: int, crash: SchedulerCrash) -> None:
        await sleep_until(crash.at)
        for process in self._processes:
            process.kill()
        self._processes.clear()
        await sleep(crash.length)
        self._start_schedulers(life)
