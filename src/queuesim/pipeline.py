"""Exchanges with a broker far away: several at a time, so that worker and server both have something to do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from queuesim.broker.base import Broker, Outcome, Terms
from queuesim.errors import BrokerUnavailableError
from queuesim.exchange import Exchanges, Passenger, hand_out
from queuesim.job import Job


class PipelinedExchanges(Exchanges):
    """Makes up to `lanes` exchanges at a time. Slots that finish at the same moment share one, up to their share.

    While the server works at one batch, the worker runs the handlers of another.

    Args:
        lanes: how many exchanges may be under way, 2 or more.
        concurrency: the worker's slots, which are divided among the lanes.
    """

    def __init__(
        self,
        broker: Broker,
        terms: Terms,
        name: str,
        clock: Callable[[], float],
        rng: random.Random | None = None,
        *,
        lanes: int,
        concurrency: int,
    ) -> None:
        super().__init__(broker, terms, name, clock, rng)
        self._lanes = lanes
        self._share = -(-concurrency // lanes)
        self._leaving = False
        """The next departure is arranged."""
        self._passengers: list[Passenger] = []
        self._under_way_now: set[asyncio.Task[None]] = set()
        self._repeaters: set[asyncio.Task[None]] = set()

    async def exchange(self, outcomes: list[Outcome], take: int) -> list[Job]:
        """Hand in outcomes and take up to `take` jobs, with whoever comes at the same moment."""
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[list[Job]] = loop.create_future()
        self._passengers.append((outcomes, take, arrival))
        if not self._leaving and len(self._under_way_now) < self._lanes:
            # others may finish before the loop comes round
            self._leaving = True
            loop.call_soon(self._depart)
        return await arrival

    def _depart(self) -> None:
        """Send as many exchanges on their way as there are lanes for."""
        self._leaving = False
        while self._passengers and len(self._under_way_now) < self._lanes:
            batch = self._next_batch()
            task = asyncio.get_running_loop().create_task(hand_out(batch, self._make))
            self._under_way_now.add(task)
            task.add_done_callback(self._return)

    def _next_batch(self) -> list[Passenger]:
        seats = size = 0
        while size < len(self._passengers) and seats < self._share:
            seats += max(self._passengers[size][1], 1)
            size += 1
        batch, self._passengers = self._passengers[:size], self._passengers[size:]
        return batch

    def _return(self, task: asyncio.Task[None]) -> None:
        self._under_way_now.discard(task)
        if self._passengers:
            self._depart()
        if not task.cancelled():
            # errors went to the passengers; what is left is the end of the program
            task.exception()

    async def _make(self, outcomes: list[Outcome], take: int) -> list[Job]:
        if self.held_until is not None:
            take = self._unless_held(take)
            if not take and not outcomes:
                return []
        self._count += 1
        token = f"{self._name}:{self._count}"
        try:
            reply = await self.broker.exchange(outcomes, take, self.terms, token, self._clock())
        except BrokerUnavailableError:
            if self._stopped:
                raise
            task = asyncio.current_task()
            assert task is not None
            self._repeaters.add(task)
            try:
                reply = await self._repeat(outcomes, take, token)
            finally:
                self._repeaters.discard(task)
        return self._understand(reply, outcomes, take)

    def stop(self) -> None:
        """The worker ends: what the broker does not answer now is not tried again."""
        self._stopped = True
        for task in self._repeaters:
            task.cancel()
