"""One simulated run of a scenario: its queue, workers and producers, from the first job to the last."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any, cast

from queuesim.broker.base import Broker
from queuesim.broker.memory import MemoryBroker
from queuesim.job import Job, JobState
from queuesim.limits import RateLimit
from queuesim.metrics.recorder import Recorder
from queuesim.metrics.recording import CheckRow, Facts, Recording
from queuesim.processor import Processor
from queuesim.scenario.handlers import build_processor, job_options
from queuesim.scenario.pickup import SlowPickup
from queuesim.scenario.producers import Endings, Producer
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.schema import Scenario
from queuesim.simulation.handle import Handle
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.process import Process
from queuesim.simulation.streams import Streams
from queuesim.worker import Worker

PATIENCE = 24 * 3600.0
"""A run that is to go on until it is drained, however long that takes, ends when for so many seconds no job was added,
due, started or ended."""
GRACE = 60.0
"""When the run is over, cancelled handlers have so many seconds to clean up; what is left then is killed."""
LOOKS = 100
"""How often progress is told, and thresholds that can end the run are looked at."""

Progress = Callable[[float, int], None]
"""Told now and then: seconds simulated, jobs finished."""
Judge = Callable[[Recording], list[CheckRow]]
Task = asyncio.Task[None]


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
        self._seed = seed
        self._streams = Streams(seed)
        self._processor = build_processor(scenario, own, self._streams, loop.sleep)
        self._options = job_options(scenario, own)
        self.broker = MemoryBroker(self._processor.queue)
        self.broker.observe(self.recorder)
        self._server = self._with_overhead()
        self.workers: list[Worker] = []
        self.stopped = ""
        self.ended: float | None = None
        """When the books were closed, in virtual seconds."""
        self._progress = progress
        self._aborting = aborting
        self._endings = Endings()
        self._over: asyncio.Future[str] = loop.create_future()
        """Why the run ends early."""
        self._idle = asyncio.Event()
        """A job ended, and no other was left."""
        self._parts: list[Task] = []
        self._processes: list[Process] = []
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
            self._start(self._watch(), "progress")
            for worker, delay in self._make_workers():
                self._start_worker(worker, delay)
            producers = [
                self._start(producer.run(), f"load {producer.entry.name}")
                for producer in self._make_producers()
                if producer.entry.backlog is None
            ]
            self._start(self._abort_when_due(), "thresholds")
            await self._until_end(producers)
        finally:
            await self._close_books()
        await self._wind_down()
        if self._over.done():
            self._over.result()

    def interrupt(self) -> None:
        """End the run now. A signal handler may call this."""
        self.loop.ready.appendleft(Handle(self._end, ("interrupted",), Context()))

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(f"{reason} at {self.loop.time():g} s")

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context | None = None) -> Task:
        """Start a part of the run. If it fails, so does the run."""
        task = self.loop.create_task(coroutine, name=name, context=context)
        task.add_done_callback(self._note_failure)
        self._parts.append(task)
        return task

    def _note_failure(self, task: Task) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._over.done():
            self._over.set_exception(error)

    async def _prepare(self) -> None:
        """What is there before the first worker starts: limits and the backlog."""
        queue = self.scenario.queue
        if any(entry.closed is not None for entry in self.scenario.load):
            self.recorder.when_ended = self._endings
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

    def _start_worker(self, worker: Worker, delay: float) -> None:
        async def work() -> None:
            if delay:
                await asyncio.sleep(delay)
            await worker.run()

        # a process of its own: what blocks one worker's event loop does not block another's
        process = Process(worker.name)
        self._processes.append(process)
        self._start(work(), worker.name, process.context)

    # -- the end

    async def _until_end(self, producers: list[Task]) -> None:
        await asyncio.wait([self._over], timeout=self.scenario.duration)
        if not self._over.done() and self.scenario.drain_time:
            for task in producers:
                task.cancel()
            await self._drain()
        if self._over.done() and self._over.exception() is None:
            self.stopped = self._over.result()

    async def _drain(self) -> None:
        """Go on until every job has ended, the time for it is up, or nothing moves any more."""
        self.recorder.when_ended = self._note_ended
        deadline = self.loop.time() + self.scenario.drain_time
        patience = PATIENCE if math.isinf(deadline) else math.inf
        while not (self.broker.idle or self._over.done()):
            now, moved = self.loop.time(), await self._last_moved()
            if now >= moved + patience:
                self._over.set_result(f"no progress since {moved:g} s")
            elif now >= deadline:
                break
            else:
                self._idle.clear()
                until = min(deadline, moved + patience)
                # a new task each time: one that is done would have this loop go round without letting time move
                idle = self.loop.create_task(self._idle.wait())
                either: list[asyncio.Future[Any]] = [idle, self._over]
                await asyncio.wait(either, timeout=until - now, return_when=asyncio.FIRST_COMPLETED)
                idle.cancel()

    async def _last_moved(self) -> float:
        """When a job was last added, started or ended; in the future, if that is when the next delayed job is due."""
        moments = [self.recorder.last_moved]
        moments += [job.processed_on or 0.0 for worker in self.workers for job in worker.running.values()]
        moments += [job.ready_at or 0.0 for job in await self.broker.jobs(JobState.DELAYED, 0, 0, True)]
        return max(moments)

    def _note_ended(self, job: Job) -> None:
        self._endings(job)
        if self.broker.idle:
            self._idle.set()

    async def _wind_down(self) -> None:
        """Cancel what still runs and let it clean up. What goes on regardless is killed: the run is over."""
        await _cancel(self._parts)
        # a worker has cancelled its handlers, but not the tasks that they left behind
        present = asyncio.current_task()
        if not await _cancel([task for task in self.loop.tasks() if task is not present]):
            for process in self._processes:
                process.kill()

    async def _watch(self) -> None:
        """Tell how far the run is."""
        step = self.scenario.duration / LOOKS
        while self._progress is not None:
            self._progress(self.loop.time(), self.recorder.ended_count)
            await asyncio.sleep(step)

    async def _abort_when_due(self) -> None:
        """End the run when a threshold that can do so has failed."""
        while self._aborting is not None and not self._over.done():
            await asyncio.sleep(self.scenario.duration / LOOKS)
            self.broker.flush()
            failed = self._aborting(self.recorder.so_far(self.facts(), await self._where_left()))
            if failed:
                self._end(f"threshold {failed[0].name} failed")

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
        left = dict.fromkeys(self.recorder.removed_numbers, "removed")
        for state in (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE):
            for job in await self.broker.jobs(state, 0, -1, True):
                left[job.number] = state.value
        return left

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        scenario = self.scenario
        limiter = self._limiter()
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

    def _limiter(self) -> RateLimit | None:
        """The limiter of the workers, as far as they have one. Of a shared one the max goes first (BullMQ 6.7)."""
        own = next((worker.terms.limiter for worker in self.workers if worker.terms.limiter is not None), None)
        shared = self.scenario.queue.rate_limit
        if shared is None:
            return own
        return RateLimit(shared.max, shared.duration if own is None else own.duration)

    def recording(self, *, stopped: str = "", wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        facts = replace(self.facts(), stopped=stopped or self.stopped, wall=wall, version=version)
        return self.recorder.recording(facts, self._left)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    """Cancel tasks. False if some of them still run GRACE seconds later."""
    for task in tasks:
        task.cancel()
    return not tasks or not (await asyncio.wait(tasks, timeout=GRACE))[1]


def _unused(name: str, taken: list[str]) -> str:
    """Workers of two kinds may have been given one name."""
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}-{i}", i + 1
    return candidate
