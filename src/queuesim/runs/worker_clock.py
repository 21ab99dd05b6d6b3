"""Worker clocks: a worker may believe a wrong time, and is recorded by the run's own clock all the same.

Redis times by its own clock what it times itself: locks, limiter windows, stalled checks and the event stream. What a
worker stamps, such as when a retry is due, and what it holds against its clock, such as whether a delayed job is due,
goes by the worker's.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from queuesim.core.broker import Outcome
from queuesim.core.job import Job

if TYPE_CHECKING:
    from queuesim.core.broker import Broker, Reply, Terms


MOST_READINGS = 10_000
"""Readings of a clock that are remembered. One is asked for soon after it was taken."""


class WorkerClock:
    """What time a worker believes it is, in seconds since the run began.

    Args:
        true: the run's own clock.
        skew: seconds that this one is ahead of it.
    """

    def __init__(self, true: Callable[[], float], skew: float = 0.0) -> None:
        self.true = true
        self.skew = skew
        self._readings: dict[float, tuple[float, float]] = {}
        """What it showed lately: the true time then, and how far it was ahead."""

    def __call__(self) -> float:
        true = self.true()
        reading = true + self.skew
        if len(self._readings) >= MOST_READINGS:
            for old in list(self._readings)[: MOST_READINGS // 2]:
                del self._readings[old]
        self._readings[reading] = true, self.skew
        return reading

    def look_up(self, reading: float) -> tuple[float, float]:
        """What time it was by the run's own clock when this one showed `reading`, not long ago, and how far it was
        ahead."""
        return self._readings.get(reading, (reading - self.skew, self.skew))

    def true_time(self, reading: float) -> float:
        """What time it was by the run's own clock when this one showed `reading`, not long ago."""
        return self.look_up(reading)[0]


class Recorder(Protocol):
    """Takes attempts; see metrics.recorder.Recorder."""

    def attempt(
        self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool, skew: float
    ) -> None: ...

    def unfinished(self, worker: str, slot: int, job: Job, skew: float) -> None: ...

    def window(self, opened: float, closes: float, max_jobs: int) -> None: ...


class RunClockRecorder:
    """Between a worker and the recorder: turns the worker's times into those of the run, and tells its skew."""

    def __init__(self, recorder: Recorder, clock: WorkerClock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._starts: dict[tuple[str, int, float | None], tuple[float, float]] = {}
        """By a job's id, the number of its start and its start by the worker's clock: when that was by the run's clock,
        and the skew. The number alone comes again when a failover makes the queue forget a start."""

    def started(self, jobs: Sequence[Job]) -> None:
        """The worker has just taken these jobs."""
        for job in jobs:
            self._starts[_start(job)] = self._clock.look_up(job.processed_on or 0.0)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        job, skew = self.of_the_run(job)
        self._recorder.attempt(worker, slot, job, self._clock.true_time(ended), outcome, lost, skew)

    def unfinished(self, worker: str, slot: int, job: Job) -> None:
        job, skew = self.of_the_run(job)
        self._recorder.unfinished(worker, slot, job, skew)

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        true = self._clock.true_time(opened)
        self._recorder.window(true, true + (closes - opened), max_jobs)

    def of_the_run(self, job: Job) -> tuple[Job, float]:
        """A job that the worker ran, with the times of the run, and how far its clock was ahead when it started."""
        started, skew = self._starts.pop(_start(job), (job.processed_on or 0.0, 0.0))
        job = copy.copy(job)
        # since when it could start the queue knows by the clock of whoever put it there: frames work it out of delays
        job.processed_on, job.ready_at = started, None
        return job, skew


def _start(job: Job) -> tuple[str, int, float | None]:
    return job.id, job.attempts_started, job.processed_on


class SkewedBroker:
    """A broker as a worker reaches it whose clock may be wrong.

    Args:
        broker: the way to the queue.
        queue: the queue itself, if it is in this process and has to be told what time it really is; None: a real server
            has a clock of its own.
    """

    clock = None
    """Whose clock may be wrong is not to be warned of it: a fault made it so."""

    def __init__(self, broker: Broker, clock: WorkerClock, recorder: RunClockRecorder, queue: Broker | None) -> None:
        self._broker = broker
        self._clock = clock
        self._recorder = recorder
        self._queue = cast(Any, queue)
        self._places: dict[str, int | None] = {}
        """By operation, which of its arguments is the time."""

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._broker, name)
        place = None if self._queue is None or name == "wait" else self._place_of_now(name, member)
        if place is None:
            return member

        async def command(*arguments: Any) -> Any:
            return await self._timed(arguments[place], lambda: member(*arguments))

        return command

    def _place_of_now(self, name: str, member: Any) -> int | None:
        """Which argument of an operation is the time; None: none is. Worked out once: it takes longer than the call."""
        if name not in self._places:
            coroutine = inspect.iscoroutinefunction(member)
            parameters = list(inspect.signature(member).parameters) if coroutine else []
            self._places[name] = parameters.index("now") if "now" in parameters else None
        return self._places[name]

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        reply: Reply = await self._timed(now, lambda: self._broker.exchange(outcomes, take, terms, token, now, again))
        self._recorder.started(reply.jobs)
        return reply

    async def _timed(self, now: float, operation: Callable[[], Any]) -> Any:
        """Run an operation while the queue knows what time it really is. A queue in this process does not await."""
        if self._queue is None:
            return await operation()
        self._queue.server_now = self._clock.true_time(now)
        try:
            return await operation()
        finally:
            self._queue.server_now = None
