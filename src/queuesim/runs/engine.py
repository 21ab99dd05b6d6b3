"""The engine: how a scenario is played from second 0 to its end, whatever the backend."""

from __future__ import annotations

import asyncio
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import replace
from typing import Any

from queuesim.core.broker import Broker
from queuesim.core.job import Job, JobState
from queuesim.core.processor import Processor
from queuesim.core.worker import Worker
from queuesim.oracles.run_view import FinalState
from queuesim.results.recorder import Recorder
from queuesim.results.recording import CheckRow, Facts, Recording, Stop, StopReason
from queuesim.runs.handlers import job_options
from queuesim.runs.judging import Abort, Patience, gather, goes_round, no_progress, stands_still
from queuesim.runs.producers import Endings, Producer
from queuesim.scenario.load import LoadEntry
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import shared_limiter, slots_of
from queuesim.simulation.io_guard import outside
from queuesim.simulation.random import Streams

FLUSH = 10.0
"""Seconds that producers have, once the faults are over, to add what they could not add before."""
LOOKS = 100
"""How often in a run the thresholds that can end it are checked, and in virtual time the progress is reported."""

Progress = Callable[[float, int], None]
"""Called now and then with the seconds since the run began and the number of finished jobs."""
Task = asyncio.Task[None]


class Engine(ABC):
    """Plays a scenario and records it. A backend supplies the clock, the queue and the workers.

    Args:
        own: the user's processor, if there is one.
        progress: called now and then with how far the run is.
        abort: the thresholds that can end the run; None: there are none.
    """

    backend: str
    broker: Any
    """The queue itself, past everything that stands between it and its clients."""
    epoch: float
    """Calendar time of second 0, in seconds since the Unix epoch."""
    progress_interval: float
    """Seconds between two reports of the progress."""
    look_interval: float
    """Seconds between two checks of the thresholds that can end the run."""
    _over: asyncio.Future[Stop]
    """Why the run ends early. The backend makes it, on the loop that plays the run."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        streams: Streams,
        processor: Processor,
        own: Processor | None,
        progress: Progress | None,
        abort: Abort | None,
    ) -> None:
        self.scenario = scenario
        self.recorder = Recorder()
        self.stopped: Stop | None = None
        """Why the run ended early."""
        self.ended: float | None = None
        """When the books were closed, in seconds since the run began."""
        self._seed = seed
        self._streams = streams
        self._processor = processor
        self._options = job_options(scenario, own)
        self._progress = progress
        self._abort = abort
        self._endings = Endings()
        self._producers: dict[str, Producer] = {}
        self._parts: list[Task] = []
        self._left: dict[int, str] = {}
        self._evidence = FinalState()

    # -- what a backend supplies

    @property
    @abstractmethod
    def time(self) -> float:
        """Seconds since the run began."""

    @property
    @abstractmethod
    def workers(self) -> Sequence[Worker]:
        """The workers that run in this process."""

    @abstractmethod
    async def _start_parts(self) -> None:
        """Start faults, workers and schedulers."""

    @abstractmethod
    async def _end_faults(self) -> None:
        """Undo the faults that are on."""

    @abstractmethod
    async def _drain(self) -> None:
        """Go on until every job has ended, the time for it is up, or nothing moves any more."""

    @abstractmethod
    async def _close_books(self) -> None:
        """Record what is unfinished. Called however the run ends."""

    @abstractmethod
    def _load_broker(self, load: str) -> Broker:
        """The queue as the producer of a load entry reaches it."""

    @abstractmethod
    async def _so_far(self) -> Recording:
        """What has been recorded until now."""

    @abstractmethod
    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run."""

    async def _starved(self) -> Stop | None:
        """Whether a run without a drain got stuck; None: it did not, or the backend can't tell."""
        return None

    def _number_of(self, job: Job) -> int:
        """A job's number in the recording."""
        return job.number

    async def _wind_down(self) -> None:  # noqa: B027 - there may be nothing left to end
        """End what still runs, once the books are closed."""

    # -- playing

    async def play(self) -> None:
        """Run from second 0 to the end. However it ends, what was recorded until then is there."""
        try:
            await self._prepare()
            self._start(self._report_progress(), "progress")
            await self._start_parts()
            loads = [
                self._start(producer.run(), f"load {name}")
                for name, producer in self._producers.items()
                if producer.entry.backlog is None
            ]
            self._start(self._abort_when_due(), "thresholds")
            await self._until_end(loads)
        finally:
            await self._close_books()
        await self._wind_down()
        if self._over.done() and not self._over.cancelled():
            self._over.result()

    def _end(self, reason: StopReason, detail: str = "", at: float | None = None) -> None:
        if not self._over.done():
            self._over.set_result(Stop(reason, self.time if at is None else at, detail))

    def _fail(self, error: BaseException) -> None:
        """End the run with an error: a part of it failed, or its recorder did."""
        if not self._over.done():
            self._over.set_exception(error)

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context | None = None) -> Task:
        """Start a part of the run. If it fails, so does the run."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        task.add_done_callback(self._note_failure)
        self._parts.append(task)
        return task

    def _note_failure(self, task: Task) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    async def _prepare(self) -> None:
        """Set the limits of the queue and add the backlog, before the first worker starts."""
        queue = self.scenario.queue
        if any(entry.closed is not None for entry in self.scenario.load):
            self.recorder.when_ended = self._endings
        if queue.concurrency is not None:
            await self.broker.set_concurrency(queue.concurrency, 0.0)
        if queue.rate_limit is not None:
            await self.broker.set_rate_limit(queue.rate_limit.model(), 0.0)
        for entry in self.scenario.load:
            self._producers[entry.name] = producer = self._make_producer(entry)
            if entry.backlog is not None:
                await producer.run()

    def _make_producer(self, entry: LoadEntry) -> Producer:
        broker = self._load_broker(entry.name)
        return Producer(entry, self.scenario, broker, self._options, self._streams, self._endings)

    async def _report_progress(self) -> None:
        while self._progress is not None:
            with outside():
                self._progress(self.time, self.recorder.ended_count)
            await asyncio.sleep(self.progress_interval)

    async def _abort_when_due(self) -> None:
        """End the run when a threshold that can do so has failed."""
        while self._abort is not None and not self._over.done():
            await asyncio.sleep(self.look_interval)
            if not self._abort.due(self.time, self.recorder.added_count + self.recorder.attempt_count):
                continue
            failure = self._abort.look(await self._so_far())
            if failure is not None:
                self._end(StopReason.THRESHOLD, failure.name, failure.at)

    # -- the end

    async def _until_end(self, loads: Sequence[Task]) -> None:
        await asyncio.wait([self._over], timeout=max(self.scenario.duration - self.time, 0.0))
        if not self._over.done():
            if self.scenario.drain_time:
                await self._end_load(loads)
                await self._drain()
            else:
                self.stopped = await self._starved()
        if self._over.done() and self._over.exception() is None:
            self.stopped = self._over.result()

    async def _end_load(self, loads: Sequence[Task]) -> None:
        """End the faults and then the load: what producers could not add yet, they add now."""
        if self.scenario.faults:
            await self._end_faults()
            if loads:
                await asyncio.wait(loads, timeout=FLUSH)
        for task in loads:
            task.cancel()

    async def _goes_round(self, patience: Patience) -> bool:
        return await goes_round(self.broker, self.recorder, self.workers, self.time, patience, self._number_of)

    async def _stands_still(self) -> bool:
        return await stands_still(self.broker, self.recorder, self.workers, self.time, self._number_of)

    async def _no_progress(self, since: float) -> Stop:
        return await no_progress(self.broker, self.recorder, self.workers, since, self._number_of)

    # -- the record

    async def _where_left(self) -> dict[int, str]:
        """The state of every job that has not ended, by its number."""
        left = dict.fromkeys(self.recorder.removed_numbers, "removed")
        for state in JobState:
            if state not in (JobState.COMPLETED, JobState.FAILED):
                left.update(dict.fromkeys(await self._numbers(state), state.value))
        return left

    async def _numbers(self, state: JobState) -> list[int]:
        """The numbers of the jobs in a state."""
        return [self._number_of(job) for job in await self.broker.jobs(state, 0, -1, True)]

    async def _final_state(self) -> FinalState:
        return await gather(self.broker, self.recorder, self._processor.dead_letters, self._number_of)

    def facts(self) -> Facts:
        """What was run, as far as it is known now."""
        scenario, processor = self.scenario, self._processor
        limiter = shared_limiter(scenario.workers, scenario.queue.rate_limit, processor.limiter)
        slots = slots_of(scenario.workers, processor.concurrency)
        return Facts(
            scenario=scenario.name,
            backend=self.backend,
            seed=self._seed,
            duration=self.time if self.ended is None else self.ended,
            asked=scenario.duration,
            warmup=scenario.warmup,
            epoch=self.epoch,
            workers=len(slots),
            concurrency=sum(slots.values()),
            slots=slots,
            limiter=None if limiter is None else (limiter.max, limiter.duration),
            stopped=self.stopped,
        )

    def recording(self, *, stopped: Stop | None = None, wall: float = 0.0, version: str = "") -> Recording:
        """Everything that was recorded, once the run is over."""
        facts = replace(self.facts(), stopped=stopped or self.stopped, wall=wall, version=version)
        return self.recorder.recording(facts, self._left)


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `interrupt`, which ends the run at its next step; a second one raises KeyboardInterrupt at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # None: a handler that was not set from Python, and can't be set again
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        interrupt()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
