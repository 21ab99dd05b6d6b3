"""Producers: the load of a scenario, as tasks that add jobs."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from queuesim.core.broker import Broker
from queuesim.core.clock import now, sleep, sleep_until, sleeper_until, wake
from queuesim.core.errors import ValidationError
from queuesim.core.job import Job, JobId, JobOptions, NewJob, Origin, OriginKind
from queuesim.core.queue import Queue
from queuesim.runs.handlers import TRACE_ROW, is_told
from queuesim.scenario.load import LoadEntry, TraceJob, arrival_times
from queuesim.scenario.model import Scenario
from queuesim.simulation.random import Exponential, Streams


class Endings:
    """Tells producers of a closed model that their job has ended."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def of(self, job_id: str) -> None:
        """Return when the job has completed or failed for good."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[job_id] = future
        await future

    def __call__(self, job: Job) -> None:
        """A job has ended."""
        future = self._waiting.pop(job.id, None)
        if future is not None:
            wake(future)


class Producer:
    """One load entry of a scenario.

    Args:
        options: by job type, what its jobs are added with.

    Raises:
        ValidationError: a job type's data is larger than its `size_limit`.
    """

    def __init__(
        self,
        entry: LoadEntry,
        scenario: Scenario,
        broker: Broker,
        options: dict[str, JobOptions],
        streams: Streams,
        endings: Endings,
    ) -> None:
        self.entry = entry
        self.broker = broker
        self._queue = Queue(broker)
        self.endings = endings
        self._streams = streams
        self._options = options
        self._cost = scenario.overhead.add
        self.length = min(entry.duration or math.inf, max(scenario.duration - entry.start, 0.0))
        """Seconds from the entry's start for which it lasts."""
        self._jobs = {name: settings.data for name, settings in scenario.jobs.items()}
        self._pick = self._picker({} if entry.trace is not None else scenario.mix(entry))

    def _picker(self, mix: dict[str, float]) -> Callable[[], NewJob]:
        """A function that draws a job from the mix."""
        templates = [self._template(name) for name in mix]
        if len(templates) == 1:
            return lambda: templates[0]
        bounds = list(accumulate(mix.values()))[:-1]
        draw = self._streams.python(f"mix/{self.entry.name}").random
        return lambda: templates[bisect_right(bounds, draw())]

    def _template(self, name: str) -> NewJob:
        return self._new_job(name, self._jobs.get(name), self._options.get(name, JobOptions()))

    def _new_job(self, name: str, data: Any, options: JobOptions) -> NewJob:
        """A job as any producer makes it. Raises ValidationError, with the load, for what a queue does not take."""
        try:
            job = self._queue.new_job(name, data, options)
        except ValidationError as error:
            raise ValidationError(f"load {self.entry.name!r} of the scenario: {error}") from None
        return replace(job, origin=Origin(OriginKind.LOAD, self.entry.name))

    async def run(self) -> None:
        """Add jobs until the load ends."""
        entry = self.entry
        if entry.start > 0:
            await sleep_until(entry.start)
        if entry.backlog is not None:
            await self.broker.add([self._pick() for _ in range(entry.backlog)], now())
        elif entry.bulk is not None:
            await self._add_bulks(entry.bulk.times(self.length), entry.bulk.size)
        elif entry.trace is not None:
            await self._replay(entry.trace.jobs)
        elif entry.closed is not None:
            think = entry.closed.think.model()
            async with asyncio.TaskGroup() as group:
                for i in range(entry.closed.producers):
                    pause = think.sampler(self._streams.named(f"think/{entry.name}/{i}"))
                    group.create_task(self._loop(pause), name=f"{entry.name}: producer {i + 1}")
        else:
            await self._arrive(self._times())

    async def burst(self, size: int) -> None:
        """Add so many jobs of the mix at once, beside the load."""
        await self.broker.add([self._pick() for _ in range(size)], now())

    def _times(self) -> Iterator[float]:
        entry = self.entry
        if entry.constant is not None:
            return arrival_times(entry.constant.segments(self.length), lambda: 1.0)
        assert entry.poisson is not None
        gap = Exponential(1.0).sampler(self._streams.named(f"arrivals/{entry.name}"))
        return arrival_times(entry.poisson.segments(self.length), gap)

    async def _arrive(self, times: Iterator[float]) -> None:
        start, pick, add, cost = self.entry.start, self._pick, self.broker.add, self._cost
        wait_until = sleeper_until()
        for time in times:
            when = start + time
            await wait_until(when)
            if cost:
                await self._add([pick()], when)
            else:
                await add((pick(),), when)

    async def _add(self, jobs: list[NewJob], scheduled: float) -> list[JobId]:
        """Add jobs that were meant to arrive at `scheduled`, at the backend's cost, and return their ids."""
        if self._cost:
            await sleep(self._cost)
        if now() != scheduled:
            jobs = [replace(job, scheduled=scheduled) for job in jobs]
        return await self.broker.add(jobs, now())

    async def _add_bulks(self, times: list[float], size: int) -> None:
        for time in times:
            await sleep_until(self.entry.start + time)
            await self._add([self._pick() for _ in range(size)], self.entry.start + time)

    async def _replay(self, jobs: list[TraceJob]) -> None:
        """Add a trace's jobs at their times; those of one instant in one step, as a bulk add would."""
        row = 0
        while row < len(jobs) and jobs[row].at < self.length:
            at = jobs[row].at
            batch = []
            while row < len(jobs) and jobs[row].at == at:
                batch.append(self._replayed(row, jobs[row]))
                row += 1
            await sleep_until(self.entry.start + at)
            await self._add(batch, self.entry.start + at)

    def _replayed(self, row: int, job: TraceJob) -> NewJob:
        options = replace(self._options.get(job.name, JobOptions()), delay=job.delay, priority=job.priority)
        data = self._jobs.get(job.name)
        if is_told(job):
            data = {TRACE_ROW: row, "load": self.entry.name, "data": {} if data is None else data}
        return self._new_job(job.name, data, options)

    async def _loop(self, pause: Callable[[], float]) -> None:
        """A producer of the closed model."""
        end = self.entry.start + self.length
        while now() < end:
            ids = await self._add([self._pick()], now())
            await self.endings.of(ids[0])
            await sleep(pause())
