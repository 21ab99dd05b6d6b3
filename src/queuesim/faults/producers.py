"""Faults of producers, and how producers live with a server that is away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from queuesim.core import clock
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import JobId, NewJob
from queuesim.core.retry import retry_forever
from queuesim.faults.base import (
    Chance,
    Fault,
    Problem,
    ScenarioOutline,
    Settings,
    draw_probability,
    draw_times,
    end,
    fault,
)
from queuesim.faults.timing import Strike
from queuesim.fields import Count, Word
from queuesim.results.fault_kinds import SKY, Effect
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import unknown


class Outbox:
    """What a producer adds its jobs through: it keeps them until the server has acknowledged them.

    An add whose answer was lost is made again, as every client that retries does, and its jobs are in the queue twice.
    """

    def __init__(self, connection: Any, load: str, rng: Random, faults: Sequence[ProducerFault]) -> None:
        self._connection = connection
        self._load = load
        self._rng = rng
        self._faults = faults

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
        for each in self._faults:
            await each.added(self._load, jobs, self._connection.add)
        return ids


def _meant_for(jobs: Sequence[NewJob], when: float) -> list[NewJob]:
    """They come later than they were meant to."""
    return [job if job.scheduled is not None else replace(job, scheduled=when) for job in jobs]


class ProducerFault(Chance):
    """A fault of what producers add: it strikes each add with a probability."""

    color = SKY
    effects = Effect.REPEATS_PAGES

    load: Word | None = None
    """The load entry; all if left out."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        yield from _unknown_load(self.load, scenario)

    def hits(self, load: str) -> bool:
        """Whether what this load entry adds now is struck."""
        return self.load in (None, load) and self.strikes()

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None:
        """A producer has added jobs."""
        raise NotImplementedError


def _unknown_load(load: str | None, scenario: ScenarioOutline) -> Iterator[Problem]:
    if load is not None and load not in scenario.loads:
        yield "load", unknown("load entry", load, scenario.loads, "load entries")


@fault("producer.duplicate")
class ProducerDuplicate(ProducerFault):
    """A producer adds a job twice."""

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None:
        if self.hits(load):
            self.note(load, f"{len(jobs)} jobs twice")
            await retry_forever(lambda: add(jobs, clock.now()), self.rng)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2)}


@fault("producer.retry")
class ProducerRetry(ProducerFault):
    """The answer to an add is lost after it took effect, and the producer adds the jobs again a moment later."""

    pause: ServiceTime = ServiceTime(constant=1.0)
    """How much later."""

    async def added(self, load: str, jobs: Sequence[NewJob], add: Any) -> None:
        if self.hits(load):
            row = self.note(load, f"{len(jobs)} jobs twice", lasting=True)
            meant = clock.now()
            await clock.sleep(self.sampler("pause")())
            await retry_forever(lambda: add(_meant_for(jobs, meant), clock.now()), self.rng)
            end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2)}


@fault("producer.burst")
class ProducerBurst(Fault):
    """Many jobs at once, in addition to the load."""

    color = SKY
    effects = Effect.REPEATS_PAGES
    must_name = "load"

    size: Count
    """Number of jobs."""
    load: Word | None = None
    """The load entry whose jobs they are; needed if there are several."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        yield from _unknown_load(self.load, scenario)

    def unmet_needs(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        loads = scenario.loads
        if self.load is None and len(loads) > 1:
            yield "", f'"load" is missing: whose jobs, of {", ".join(loads)}'
        chosen = [name for name in loads if self.load in (None, name)]
        if chosen and chosen[0] in scenario.traces:
            yield "load", f'"{chosen[0]}" replays a trace: it has no jobs to draw from'

    async def strike(self, strike: Strike) -> None:
        load = self.load or next(iter(self.context.producers))
        row = self.note(load, f"{self.size} jobs", lasting=True)
        await self.context.producers[load].burst(self.size)
        end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_times(rng, duration), "size": rng.randint(1, 200)}
