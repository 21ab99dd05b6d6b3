"""One simulated run of a scenario: its queue, workers and producers, from the first job to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from queuesim.broker.base import Broker
from queuesim.broker.memory import MemoryBroker
from queuesim.events import EventKind
from queuesim.job import Job, JobState
from queuesim.metrics.recorder import Recorder
from queuesim.metrics.recording import CheckRow, Facts, Recording
from queuesim.processor import Processor
from queuesim.scenario.handlers import build_processor, job_options
from queuesim.scenario.pickup import SlowPickup
from queuesim.scenario.producers import Endings, Producer
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.schema import Scenario
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import Process
from queuesim.simulation.streams import Streams
from queuesim.worker import Worker

PATIENCE = 24 * 3600.0
"""A run that is to go on until it is drained ends when for so many seconds no job was added, started or ended."""
LOOKS = 100
"""How often progress is told, and thresholds that can end the run are looked at."""

Progress = Callable[[float, int], None]
"""Told now and then: seconds simulated, jobs finished."""
Judge = Callable[[Recording], list[CheckRow]]


class Simulation:
    """Plays a scenario on a loop of its own and records it.

    Args:
        own: the user's processor, if the scenario names one.
        progress: told a hundred times how far the run is.
        aborting: looks at what was recorded so far and returns the thresholds that end the run; None: there are none.
    """

    def __init__(
        self,
        scenario: Scenario,
        loop: VirtualLoop,
        *,
        seed: int,
        own: Processor | None = None,
        progress: Progress | None = None,
        aborting: Judge | None = None,
    ) -> None:
        self.scenario = scenario
        self.loop = loop
        self.recorder = Recorder()
        self.broker = MemoryBroker(scenario.queue.name)
        self.broker.observe(self.recorder)
        self._streams = Streams(seed)
        self._server = self._with_overhead()
        self.workers: list[Worker] = []
        self.stopped = ""
        self.ended: float | None = None
        """When the books were closed, in virtual seconds."""
        self._seed = seed
        self._processor = build_processor(scenario, own, self._streams)
        self._options = job_options(scenario, own)
        self._progress = progress
        self._aborting = aborting
        self._endings = Endings()
        self._drained = asyncio.Event()
        self._left: dict[int, str] = {}

    def _with_overhead(self) -> Broker:
        """The queue as producers and workers see it: behind what a real server takes, if the scenario says so."""
        overhead = self.scenario.overhead
        if not (overhead.pickup or overhead.tick):
            return self.broker
        phase = overhead.phase
        if phase is None:
            phase = self._streams.python("overhead/tick").random() * overhead.tick
        return cast(Broker, SlowPickup(self.broker, overhead.pickup, overhead.tick, phase))

    # -- playing

    async def play(self) -> None:
        """Run from second 0 to the end. However it ends, what was recorded until then is there."""
        try:
            await self._prepare()
            async with asyncio.TaskGroup() as group:
                started = [group.create_task(self._watch(), name="progress")]
                started += [self._start_worker(group, worker, delay) for worker, delay in self._make_workers()]
                producers = [
                    group.create_task(producer.run(), name=f"load {producer.entry.name}")
                    for producer in self._make_producers()
                    if producer.entry.backlog is None
                ]
                abort = group.create_task(self._abort_when_due(), name="thresholds")
                await self._until_end(producers, abort)
                await self._close_books()
                for task in (*started, *producers, abort):
                    task.cancel()
        finally:
            if self.ended is None:
                await self._close_books()

    async def _prepare(self) -> None:
        """What is there before the first worker starts: limits and the backlog."""
        queue = self.scenario.queue
        self.recorder.when_ended = self._note_ended
        if queue.concurrency is not None:
            await self.broker.set_concurrency(queue.concurrency, 0.0)
        if queue.rate_limit is not None:
            await self.broker.set_rate_limit(queue.rate_limit.model(), 0.0)
        for producer in self._make_producers():
            if producer.entry.backlog is not None:
                await producer.run()

    def _make_producers(self) -> list[Producer]:
        return [
            Producer(entry, self.scenario, self._server, self._options, self._streams, self._endings)
            for entry in self.scenario.load
        ]

    def _make_workers(self) -> list[tuple[Worker, float]]:
        made: list[tuple[Worker, float]] = []
        for settings in self.scenario.workers:
            for i in range(settings.count):
                name = settings.name if settings.count == 1 else f"{settings.name}-{i + 1}"
                taken = [worker.name for worker, _ in made]
                made.append((self._make_worker(settings, _unused(name, taken)), settings.start))
        self.workers = [worker for worker, _ in made]
        return made

    def _make_worker(self, settings: WorkerSettings, name: str) -> Worker:
        return Worker(
            self._processor,
            self._server,
            name=name,
            concurrency=settings.concurrency,
            limiter=None if settings.limiter is None else settings.limiter.model(),
            options=settings.options(),
            rng=self._streams.python(f"backoff/{name}"),
            observer=self.recorder,
        )

    @staticmethod
    def _start_worker(group: asyncio.TaskGroup, worker: Worker, delay: float) -> asyncio.Task[None]:
        async def work() -> None:
            if delay:
                await asyncio.sleep(delay)
            await worker.run()

        # a process of its own: what blocks one worker's event loop does not block another's
        return group.create_task(work(), name=worker.name, context=Process(worker.name).context)

    # -- the end

    async def _until_end(self, producers: list[asyncio.Task[None]], abort: asyncio.Task[None]) -> None:
        duration = self.scenario.duration
        await asyncio.wait([abort], timeout=duration)
        if not abort.done() and self.scenario.drain_time:
            await self._drain(producers, abort)

    async def _drain(self, producers: list[asyncio.Task[None]], abort: asyncio.Task[None]) -> None:
        """Go on until every job has ended, the time for it is up, or nothing moves any more."""
        for task in producers:
            task.cancel()
        deadline = self.loop.time() + self.scenario.drain_time
        drained = self.loop.create_task(self._drained.wait())
        while not (self._is_drained() or abort.done()):
            seen, now = self._activity(), self.loop.time()
            if now >= deadline:
                break
            await asyncio.wait([drained, abort], timeout=min(deadline - now, PATIENCE), return_when="FIRST_COMPLETED")
            if not self._drained.is_set() and self._activity() == seen and self.loop.time() - now >= PATIENCE:
                self.stopped = f"no progress since {now:g} s"
                break
        drained.cancel()

    def _activity(self) -> tuple[int, int]:
        return self.recorder.added_count, self.recorder.attempt_count

    def _is_drained(self) -> bool:
        return self.recorder.ended_count >= self.recorder.added_count

    def _note_ended(self, job: Job) -> None:
        self._endings(job)
        if self.recorder.ended_count >= self.recorder.added_count:
            self._drained.set()
        else:
            self._drained.clear()

    async def _watch(self) -> None:
        """Tell how far the run is."""
        step = self.scenario.duration / LOOKS
        while self._progress is not None:
            self._progress(self.loop.time(), self.recorder.ended_count)
            await asyncio.sleep(step)

    async def _abort_when_due(self) -> None:
        """Return when a threshold that can end the run has failed."""
        if self._aborting is None:
            await asyncio.Event().wait()
        while self._aborting is not None:
            await asyncio.sleep(self.scenario.duration / LOOKS)
            self.broker.flush()
            failed = self._aborting(self.recorder.so_far(self.facts(), await self._where_left()))
            if failed:
                self.stopped = f"threshold {failed[0].name} failed"
                return

    # -- the record

    async def _close_books(self) -> None:
        """Note what is unfinished, before anything that still runs is cancelled."""
        self.ended = self.loop.time()
        self.broker.flush()
        for worker in self.workers:
            for slot, job in sorted(worker.running.items()):
                self.recorder.unfinished(worker.name, slot, job)
        self._left = await self._where_left()
        self.recorder.close()

    async def _where_left(self) -> dict[int, str]:
        """Where every job is that has not ended, by its number."""
        left = dict.fromkeys(self.recorder.numbers_of(EventKind.REMOVED), "removed")
        for state in (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE):
            for job in await self.broker.jobs(state, 0, -1, True):
                left[job.number] = state.value
        return left

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        scenario = self.scenario
        limits = [worker.terms.limiter for worker in self.workers if worker.terms.limiter is not None]
        shared = scenario.queue.rate_limit
        limiter = shared.model() if shared is not None else (limits[0] if limits else None)
        return Facts(
            scenario=scenario.name,
            backend="sim",
            seed=self._seed,
            duration=self.loop.time() if self.ended is None else self.ended,
            asked=scenario.duration,
            warmup=scenario.warmup,
            epoch=scenario.epoch.timestamp(),
            workers=len(self.workers),
            concurrency=sum(worker.concurrency for worker in self.workers),
            limiter=None if limiter is None else (limiter.max, limiter.duration),
            stopped=self.stopped,
        )

    def recording(self, *, stopped: str = "", wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        facts = replace(self.facts(), stopped=stopped or self.stopped, wall=wall, version=version)
        return self.recorder.recording(facts, self._left)


def _unused(name: str, taken: list[str]) -> str:
    """Workers of two kinds may have been given one name."""
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}-{i}", i + 1
    return candidate
