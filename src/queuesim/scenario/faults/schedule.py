"""Times at which a fault strikes: the windows of a scenario's `at`, `every` or `while`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from queuesim.clock import now, sleep, sleep_until
from queuesim.job import JobState
from queuesim.scenario.faults.condition import Condition
from queuesim.scenario.faults.timing_schema import Timing
from queuesim.simulation.streams import Streams

LOOK = 1.0
"""Seconds between two looks at a condition."""

Counts = Callable[[], Awaitable[Mapping[JobState, int]]]
"""How many jobs are in each state."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One time that a fault strikes."""

    length: float
    """Seconds that it lasts at most; infinity: until its condition holds no longer, or the faults end."""
    condition: Condition | None = None


class Schedule:
    """When one fault strikes.

    Args:
        name: of the streams that its random times come from.
        counts: for conditions.
    """

    def __init__(self, timing: Timing, name: str, streams: Streams, counts: Counts) -> None:
        self._timing = timing
        self._counts = counts
        length = getattr(timing, "for_", None)
        self._length = None if length is None else length.model().sampler(streams.named(f"{name}/for"))
        self._gap = None if timing.every is None else timing.every.model().sampler(streams.named(f"{name}/every"))

    async def ahead(self, lead: float) -> AsyncIterator[float]:
        """For faults that have to prepare: each time `lead` seconds before one strikes, when that will be."""
        for when in self._timing.at or ():
            await sleep_until(when - lead)
            yield when
        while self._gap is not None:
            when = now() + self._gap()
            await sleep_until(max(when - lead, now()))
            yield when

    async def strikes(self) -> AsyncIterator[Strike]:
        """Each time that the fault strikes. The next one is asked for when the last is over."""
        if not self._timing.timed:
            yield Strike(math.inf)
        for when in self._timing.at or ():
            await sleep_until(when)
            yield Strike(self._draw())
        while self._gap is not None:
            await sleep(self._gap())
            yield Strike(self._draw())
        while self._timing.while_ is not None:
            await self._until(self._timing.while_, True)
            yield Strike(self._draw(), self._timing.while_)
            # an instant fault strikes once for each time that the condition comes to hold
            await self._until(self._timing.while_, False)

    async def over(self, strike: Strike) -> None:
        """Return when the strike is over."""
        if strike.condition is None:
            if math.isinf(strike.length):
                await asyncio.Event().wait()
            await sleep(strike.length)
            return
        end = now() + strike.length
        while now() < end and strike.condition.holds(await self._counts()):
            await sleep(min(LOOK, end - now()))

    def _draw(self) -> float:
        return math.inf if self._length is None else self._length()

    async def _until(self, condition: Condition, holds: bool) -> None:
        while condition.holds(await self._counts()) != holds:
            await sleep(LOOK)
