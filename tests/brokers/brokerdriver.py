"""A synchronous hand on a broker for tests: it keeps the time, in milliseconds, and an event loop for the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from redisservers import Clock, fakeredis, real

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import (
    Broker,
    Completed,
    DeadLetter,
    Failed,
    Outcome,
    Postponed,
    Reply,
    Retried,
    Returned,
    Terms,
)
from queuesim.core.events import Event, EventKind
from queuesim.core.job import Job, JobOptions, JobState, Keep, NewJob, RateLimit
from servers import REAL

T = TypeVar("T")


class Driver:
    """Calls a broker's coroutines at the time that `at` sets.

    Times and durations are milliseconds here, in multiples of 125 so that seconds stay exact in binary.
    """

    def __init__(self, broker: Broker, runner: asyncio.Runner, clock: Clock | None = None) -> None:
        self.broker = broker
        self.runner = runner
        self.clock = Clock() if clock is None else clock
        self._exchanges = 0
        self._seen = 0

    @property
    def now(self) -> float:
        """Seconds."""
        return self.clock.now

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def at(self, milliseconds: int) -> Driver:
        """Let it be this time. Clocks go forward only."""
        assert milliseconds % 125 == 0
        assert milliseconds / 1000 >= self.now
        self.clock.now = milliseconds / 1000
        return self

    # -- producing

    def add(self, name: str = "job", data: str = "{}", *, delay: int = 0, **options: Any) -> str:
        return self.run(self.broker.add([new_job(name, data, delay=delay, **options)], self.now))[0]

    def add_each(self, count: int, **options: Any) -> list[str]:
        return self.run(self.broker.add([new_job(**options) for _ in range(count)], self.now))

    # -- working

    def exchange(
        self,
        outcomes: Sequence[Outcome] = (),
        take: int = 1,
        *,
        limiter: RateLimit | None = None,
        lock: int = 30_000,
        worker: str = "worker",
        again: bool = False,
    ) -> Reply:
        """Make an exchange; `again`: the last one of all, a second time."""
        self._exchanges += not again
        terms = Terms(lock / 1000, limiter, worker)
        token = f"{worker}:{self._exchanges}"
        return self.run(self.broker.exchange(outcomes, take, terms, token, self.now, again))

    def take(self, count: int = 1, **terms: Any) -> list[Job]:
        return self.exchange((), count, **terms).jobs

    def take_one(self, **terms: Any) -> Job:
        (job,) = self.take(1, **terms)
        return job

    def take_ids(self, count: int = 1, **terms: Any) -> list[str]:
        return [job.id for job in self.take(count, **terms)]

    def settle(self, outcome: Outcome, take: int = 0, **terms: Any) -> int:
        """Hand in one outcome: 0, or the error code with which it was refused."""
        refused = self.exchange([outcome], take, **terms).refused
        return 0 if not refused else refused[0][1]

    def complete(self, job: Job, value: str = "null", keep: Keep | None = None, *, take: int = 0) -> int:
        return self.settle(Completed(job.id, job.token, value, keep), take)

    def fail(self, job: Job, reason: str = "boom", keep: Keep | None = None, letter: DeadLetter | None = None) -> int:
        return self.settle(Failed(job.id, job.token, reason, (), keep, letter))

    def retry(self, job: Job, delay: int = 0, reason: str = "boom", take: int = 0) -> int:
        return self.settle(Retried(job.id, job.token, delay / 1000, reason), take)

    def postpone(self, job: Job, delay: int) -> int:
        return self.settle(Postponed(job.id, job.token, delay / 1000))

    def put_back(self, job: Job, hold: int | None = None) -> int:
        return self.settle(Returned(job.id, job.token, None if hold is None else hold / 1000))

    def finish_all(self, count: int, **options: Any) -> list[str]:
        """Add, take and complete `count` jobs."""
        ids = self.add_each(count, **options)
        for job in self.take(count):
            assert self.complete(job) == 0
        return ids

    def recover(self, interval: int = 30_000, max_stalled: int = 1) -> list[str]:
        return self.run(self.broker.recover_stalled(interval / 1000, max_stalled, self.now))

    def renew(self, job: Job, duration: int) -> bool:
        """True if the lock is still held."""
        return not self.run(self.broker.renew([(job.id, job.token)], duration / 1000, self.now))

    # -- looking

    def get(self, job_id: str) -> Job:
        job = self.run(self.broker.get(job_id))
        assert job is not None, f"job {job_id} is gone"
        return job

    def exists(self, job_id: str) -> bool:
        return self.run(self.broker.get(job_id)) is not None

    def state(self, job_id: str) -> JobState | None:
        return self.run(self.broker.state(job_id))

    def ids(self, state: JobState, start: int = 0, end: int = -1, *, ascending: bool = True) -> list[str]:
        return [job.id for job in self.run(self.broker.jobs(state, start, end, ascending))]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state, without the empty ones."""
        return {str(state): count for state, count in self.run(self.broker.counts()).items() if count}

    def events(self) -> list[Event]:
        """The events since the last call."""
        events = self.run(self.broker.events(self._seen))
        if events:
            self._seen = events[-1].id
        return events

    def story(self) -> list[tuple[Any, ...]]:
        """The events since the last call as (kind, job id, fields)."""
        return [(event.kind, event.job_id, event.fields) for event in self.events()]

    def kinds(self, job_id: str | None = None) -> list[EventKind]:
        """The kinds of the events since the last call, of one job if asked."""
        return [event.kind for event in self.events() if job_id is None or event.job_id == job_id]


def new_job(name: str = "job", data: str = "{}", *, delay: int = 0, **options: Any) -> NewJob:
    """A job to add; `delay` and `timestamp` in milliseconds."""
    if "timestamp" in options:
        options["timestamp"] /= 1000
    return NewJob(name, data, JobOptions(delay=delay / 1000, **options))


async def memory(clock: Clock) -> Broker:
    return MemoryBroker("tests")


FACTORIES: dict[str, Callable[[Clock], Awaitable[Broker]]] = {
    "memory": memory,
    "fakeredis": fakeredis,
    **{name: partial(real, name) for name in REAL},
}
"""Each makes a new, empty queue, on the loop that will drive it. Where the server keeps time, it is this clock's."""
