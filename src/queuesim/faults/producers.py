"""Faults of producers, at work, and how producers live with a server that is away."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from queuesim.core import clock
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import JobId, NewJob
from queuesim.core.retry import retry_forever
from queuesim.faults.base import Chance, Fault, end
from queuesim.faults.network import Connection
from queuesim.faults.timing import Strike


class Adding(Protocol):
    """What a fault does when a producer has added jobs."""

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None: ...


class Outbox:
    """What a producer adds its jobs through: it keeps them until the server has acknowledged them.

    An add whose answer was lost is made again, as every client that retries does, and its jobs are in the queue twice.
    """

    def __init__(self, connection: Connection, load: str, rng: random.Random, hooks: Sequence[Adding]) -> None:
        self._connection = connection
        self._load = load
        self._rng = rng
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """See Broker.add. Returns when they were acknowledged."""
        present = clock.now()
        if present != now:
            jobs = _meant_for(jobs, now)
        try:
            ids: list[JobId] = await self._connection.add(jobs, present)
        except BrokerUnavailableError:
            late = _meant_for(jobs, now)
            ids = await retry_forever(lambda: self._connection.add(late, clock.now()), self._rng, failed=1)
        for hook in self._hooks:
            await hook.added(self._load, jobs, self._connection.add)
        return ids


def _meant_for(jobs: Sequence[NewJob], when: float) -> list[NewJob]:
    """They come later than they were meant to."""
    return [job if job.scheduled is not None else replace(job, scheduled=when) for job in jobs]


class ProducerFault(Chance):
    """Strikes what producers add, each add with a probability."""

    def strikes(self, load: str) -> bool:
        """Whether what this load entry adds now is struck."""
        return self.settings.load in (None, load) and self.struck()


class Duplicates(ProducerFault):
    """What was added is added again at once."""

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None:
        """Add them once more."""
        if self.strikes(load):
            self.plant.note(self.kind, load, f"{len(jobs)} jobs twice")
            await retry_forever(lambda: add(jobs, clock.now()), self.rng)


class RetryAfterLostAnswer(ProducerFault):
    """What was added is added again after a pause."""

    def prepare(self) -> None:
        self._pause = self.sampler(self.settings.pause, "pause")

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None:
        """Their producer does not know that they are there."""
        if self.strikes(load):
            row = self.plant.note(self.kind, load, f"{len(jobs)} jobs twice", lasting=True)
            meant = clock.now()
            await clock.sleep(self._pause())
            await retry_forever(lambda: add(_meant_for(jobs, meant), clock.now()), self.rng)
            end(row)


class Burst(Fault):
    """More jobs of a load entry."""

    async def strike(self, strike: Strike) -> None:
        load = self.settings.load or next(iter(self.plant.producers))
        row = self.plant.note(self.kind, load, f"{self.settings.size} jobs", lasting=True)
        await self.plant.producers[load].burst(self.settings.size)
        end(row)
