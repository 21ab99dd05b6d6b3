"""A workbench for tests of workers: a queue in virtual time, a processor, and a record of every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.broker import Completed, Failed, Outcome
from queuesim.core.job import Job
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker


@dataclass
class Row:
    """One attempt that ended."""

    worker: str
    slot: int
    job_id: str
    started: float
    ended: float
    outcome: Outcome
    lost: bool


class Bench:
    """A queue with a processor, and whoever works on it."""

    def __init__(self, processor: Processor | None = None, **rules: Any) -> None:
        self.processor = processor or Processor("bench", **rules)
        self.processor.stack_traces = False
        self.broker: Any = MemoryBroker("bench")
        self.queue = Queue(self.broker, defaults=self.processor.defaults)
        self.rows: list[Row] = []
        self.starts: dict[str, list[float]] = {}
        """When each job's handler was called."""
        self.running = 0
        self.most_running = 0

    # -- an observer

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        assert job.processed_on is not None
        self.rows.append(Row(worker, slot, job.id, job.processed_on, ended, outcome, lost))

    # -- handlers

    def serve(self, name: str = "job", seconds: float = 1.0, data: Any = None, timeout: float | None = None) -> None:
        """Jobs of this name take so long and return their id."""

        async def handler(job: Job) -> str:
            await asyncio.sleep(seconds)
            return job.id

        self.handle(handler, name, data=data, timeout=timeout)

    def handle(self, handler: Callable[[Job], Awaitable[Any]], name: str = "job", **options: Any) -> None:
        """Make `handler` that of the job type, and note when it runs."""

        async def noted(job: Job) -> Any:
            self.starts.setdefault(job.id, []).append(now())
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                return await handler(job)
            finally:
                self.running -= 1

        self.processor.job(name, **options)(noted)

    # -- workers

    def worker(self, name: str = "worker", **options: Any) -> Worker:
        return Worker(self.processor, self.broker, name=name, observer=self, **options)

    @asynccontextmanager
    async def working(self, *workers: Worker, **options: Any) -> AsyncIterator[None]:
        """Let the workers work, one of `options` if none is given, and close them gracefully in the end."""
        team = workers or (self.worker(**options),)
        tasks = [asyncio.create_task(worker.run()) for worker in team]
        try:
            yield
        finally:
            await asyncio.gather(*(worker.close() for worker in team))
            await asyncio.gather(*tasks)

    # -- looking

    @property
    def outcomes(self) -> list[Outcome]:
        return [row.outcome for row in self.rows]

    @property
    def failures(self) -> list[Failed]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Failed)]

    @property
    def completed(self) -> list[str]:
        return [row.job_id for row in self.rows if isinstance(row.outcome, Completed) and not row.lost]

    async def counts(self) -> dict[str, int]:
        return {str(state): count for state, count in (await self.queue.counts()).items() if count}


def now() -> float:
    return asyncio.get_running_loop().time()
