"""A broker whose idle workers learn of work as late as those of a real Redis do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuesim.core.clock import sleep

if TYPE_CHECKING:
    from queuesim.core.broker import Broker, Outcome, Reply, Terms
    from queuesim.core.job import JobId, NewJob


class SlowPickup:
    """Another broker, except that who waits for work is late.

    A worker that waits for a delayed job blocks until the job is due, and Redis answers a time-out only when something
    wakes it: the next command of anybody, or its own timer, `hz` times a second (10 by default). So an idle worker
    starts a delayed job up to 100 ms late on a quiet server, and on time on a busy one.

    Args:
        broker: whom all else is left to.
        pickup: seconds from when a worker is told of work until it asks for it.
        tick: seconds between two looks of the server at its time-outs; 0: it is always on time.
        phase: when the first look is, from 0 to `tick`.
    """

    def __init__(self, broker: Broker, pickup: float, tick: float = 0.0, phase: float = 0.0) -> None:
        self._broker = broker
        self._pickup = pickup
        self._tick = tick
        self._phase = phase
        self._blocked: dict[asyncio.Future[None], float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """See Broker.add."""
        ids = await self._broker.add(jobs, now)
        self._look_at_timeouts(now)
        return ids

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """See Broker.exchange."""
        reply = await self._broker.exchange(outcomes, take, terms, token, now, again)
        self._look_at_timeouts(now)
        return reply

    async def wait(self, until: float | None, now: float) -> None:
        """See Broker.wait."""
        if until is None or not self._tick:
            await self._broker.wait(until, now)
        elif until > now:
            await self._block(until, now)
        await sleep(self._pickup)

    async def _block(self, until: float, now: float) -> None:
        """Wait for work, or for the server to notice that it is past `until`."""
        loop = asyncio.get_running_loop()
        noticed: asyncio.Future[None] = loop.create_future()
        work = loop.create_task(self._broker.wait(self._next_look(until), now))
        self._blocked[noticed] = until
        try:
            await asyncio.wait([work, noticed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._blocked[noticed]
            work.cancel()

    def _next_look(self, until: float) -> float:
        return self._phase + math.ceil((until - self._phase) / self._tick) * self._tick

    def _look_at_timeouts(self, now: float) -> None:
        for noticed, until in self._blocked.items():
            if until <= now and not noticed.done():
                noticed.set_result(None)
