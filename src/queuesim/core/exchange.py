"""A worker's exchanges with its broker: outcomes in, jobs out, one round trip at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from queuesim.core.broker import Broker, Outcome, Reply, Returned, Terms
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job
from queuesim.core.retry import persist

Passenger = tuple[list[Outcome], int, "asyncio.Future[list[Job]]"]
"""What one slot hands in, how many jobs it takes, and where they go."""


class Exchanges:
    """Makes one exchange at a time. Slots that come while one is under way collect, and the next carries them all.

    While the broker is unavailable the same exchange is made again and again, until it is answered.

    Args:
        broker: the queue.
        terms: what the worker brings to each exchange.
        name: first part of every lock token.
        clock: seconds on the queue's clock.
        rng: where the jitter of the pauses between tries is drawn from.
    """

    def __init__(
        self, broker: Broker, terms: Terms, name: str, clock: Callable[[], float], rng: random.Random | None = None
    ) -> None:
        self.broker = broker
        self.terms = terms
        self.limited_until: float | None = None
        """The queue is rate-limited until then, as far as the last exchange knew."""
        self.next_due: float | None = None
        """When a delayed job is due next, as far as the last exchange knew."""
        self.held_until: float | None = None
        """No job is taken until then: a handler raised RateLimitError, and this worker has no limiter."""
        self.empty = False
        """The last exchange asked for more than it got."""
        self._name = name
        self._clock = clock
        self._rng = rng or random.Random(name)
        self._count = 0
        self._under_way = False
        self._repeating = False
        self._stopped = False
        self._leader: asyncio.Task[None] | None = None
        self._followers: list[Passenger] = []
        self._refused: list[tuple[Outcome, int]] = []

    async def exchange(self, outcomes: list[Outcome], take: int) -> list[Job]:
        """Hand in outcomes and take up to `take` jobs, at once or with the exchange that follows the present one."""
        if self._under_way:
            return await self._follow(outcomes, take)
        if self.held_until is not None:
            take = self._unless_held(take)
            if not take and not outcomes:
                return []
        self._under_way = True
        self._count += 1
        token = f"{self._name}:{self._count}"
        try:
            reply = await self.broker.exchange(outcomes, take, self.terms, token, self._clock())
        except BrokerUnavailableError:
            if self._stopped:
                raise
            reply = await self._repeat(outcomes, take, token)
        finally:
            self._under_way = False
            if self._followers:
                self._lead_followers()
        return self._understand(reply, outcomes, take)

    def _understand(self, reply: Reply, outcomes: list[Outcome], take: int) -> list[Job]:
        """Remember what an answer says of the queue, and return its jobs."""
        if take:
            self.limited_until = reply.limited_until
            self.next_due = reply.next_due
            self.empty = len(reply.jobs) < take
        if reply.refused is not None:
            self._refused.extend(reply.refused)
        if reply.limited_until is not None and self.terms.limiter is None:
            self._hold_for(outcomes, reply.limited_until)
        return reply.jobs

    def _hold_for(self, outcomes: list[Outcome], until: float) -> None:
        """The broker keeps this limit for workers that have a limiter. This one has none, and keeps it by itself."""
        if any(type(outcome) is Returned for outcome in outcomes):
            self.held_until = until if self.held_until is None else max(self.held_until, until)

    def _unless_held(self, take: int) -> int:
        """How many of `take` jobs may be taken now."""
        assert self.held_until is not None
        if self._clock() < self.held_until:
            return 0
        self.held_until = None
        return take

    def resumes(self) -> float | None:
        """When the rate limit that holds this worker ends, as far as it knows; None if none does."""
        if self.held_until is None or self.limited_until is None:
            return self.limited_until if self.held_until is None else self.held_until
        return max(self.held_until, self.limited_until)

    def refusal(self, outcome: Outcome) -> int:
        """The error code with which the broker dropped this outcome; 0 if it did not. Consumes the record."""
        if not self._refused:
            return 0
        for i, (refused, code) in enumerate(self._refused):
            if refused is outcome:
                del self._refused[i]
                return code
        return 0

    def stop(self) -> None:
        """The worker ends: what the broker does not answer now is not tried again."""
        self._stopped = True
        if self._repeating and self._leader is not None:
            self._leader.cancel()

    async def _repeat(self, outcomes: list[Outcome], take: int, token: str) -> Reply:
        self._repeating = True
        try:
            return await persist(
                lambda: self.broker.exchange(outcomes, take, self.terms, token, self._clock(), True),
                self._rng,
                failed=1,
            )
        finally:
            self._repeating = False

    async def _follow(self, outcomes: list[Outcome], take: int) -> list[Job]:
        follower: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()
        self._followers.append((outcomes, take, follower))
        return await follower

    def _lead_followers(self) -> None:
        """Make the next exchange, for all who came during this one, in a task of its own."""
        # nobody gets in between: until that task runs, whoever comes is a follower too
        self._under_way = True
        self._leader = asyncio.get_running_loop().create_task(self._exchange_for_followers())

    async def _exchange_for_followers(self) -> None:
        followers, self._followers = self._followers, []
        self._under_way = False
        await hand_out(followers, self.exchange)


async def hand_out(passengers: Sequence[Passenger], make: Callable[[list[Outcome], int], Awaitable[list[Job]]]) -> None:
    """Make one exchange for several slots, and give each the jobs that it takes, or the error that came of it."""
    outcomes = [outcome for collected, _, _ in passengers for outcome in collected]
    try:
        jobs = await make(outcomes, sum(take for _, take, _ in passengers))
    except BaseException as error:
        for _, _, future in passengers:
            if not future.done():
                future.set_exception(error)
        if not isinstance(error, Exception):
            raise
        return
    for _, take, future in passengers:
        given, jobs = jobs[:take], jobs[take:]
        if not future.done():
            future.set_result(given)


# -- Exchanges with a broker far away: several at a time, so that worker and server both have something to do


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
