"""A worker's exchanges with its broker: outcomes in, jobs out, in one round trip."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from queuesim.core.broker import Broker, Outcome, Reply, Returned, Terms
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job
from queuesim.core.retry import retry_forever

PendingRequest = tuple[list[Outcome], int, "asyncio.Future[list[Job]]"]
"""The outcomes that one slot hands in, how many jobs it takes, and the future that gets them."""


class Exchanges:
    """Makes one exchange at a time. Requests that come while one is in flight are queued; the next exchange carries
    them all.

    While the broker is unavailable the same exchange is repeated until it is answered.

    Args:
        broker: the queue.
        terms: what the worker brings to each exchange.
        name: first part of every lock token.
        clock: seconds on the queue's clock.
        rng: source of the jitter in the pauses between tries.
    """

    def __init__(
        self, broker: Broker, terms: Terms, name: str, clock: Callable[[], float], rng: random.Random | None = None
    ) -> None:
        self.broker = broker
        self.terms = terms
        self.limited_until: float | None = None
        """The queue is rate-limited until then, according to the last exchange."""
        self.next_due: float | None = None
        """When the next delayed job is due, according to the last exchange."""
        self.held_until: float | None = None
        """No job is taken until then: a handler raised RateLimitError, and this worker has no limiter."""
        self.empty = False
        """The last exchange asked for more than it got."""
        self._name = name
        self._clock = clock
        self._rng = rng or random.Random(name)
        self._count = 0
        self._in_flight = False
        self._stopped = False
        self._dispatching: asyncio.Task[None] | None = None
        """Kept so that the task is not garbage-collected."""
        self._queued: list[PendingRequest] = []
        self._repeating: set[asyncio.Task[None]] = set()
        """Tasks whose exchange had no answer, and which repeat it."""
        self._refused: list[tuple[Outcome, int]] = []

    async def exchange(self, outcomes: list[Outcome], take: int) -> list[Job]:
        """Hand in outcomes and take up to `take` jobs, at once or with the exchange that follows the present one."""
        if self._in_flight:
            future: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()
            self._queued.append((outcomes, take, future))
            return await future
        if self.held_until is not None:
            take = self._unless_held(take)
            if not take and not outcomes:
                return []
        self._in_flight = True
        self._count += 1
        token = f"{self._name}:{self._count}"
        try:
            reply = await self.broker.exchange(outcomes, take, self.terms, token, self._clock())
        except BrokerUnavailableError:
            if self._stopped:
                raise
            reply = await self._repeat(outcomes, take, token)
        finally:
            self._in_flight = False
            if self._queued:
                self._flush()
        return self._understand(reply, outcomes, take)

    def _flush(self) -> None:
        """Make one exchange for all queued requests, in a task of its own."""
        # until that task runs, requests that come are queued too
        self._in_flight = True
        self._dispatching = asyncio.get_running_loop().create_task(self._dispatch_queued())

    async def _dispatch_queued(self) -> None:
        requests, self._queued = self._queued, []
        self._in_flight = False
        await dispatch(requests, self.exchange)

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
        """The broker applies this limit to workers that have a limiter. This one has none, and applies it itself."""
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
        """The worker ends: an exchange that has no answer now is not repeated."""
        self._stopped = True
        for task in self._repeating:
            task.cancel()

    async def _repeat(self, outcomes: list[Outcome], take: int, token: str) -> Reply:
        """Make an exchange again until it is answered."""
        task = asyncio.current_task()
        assert task is not None
        self._repeating.add(task)
        try:
            return await retry_forever(
                lambda: self.broker.exchange(outcomes, take, self.terms, token, self._clock(), True),
                self._rng,
                failed=1,
            )
        finally:
            self._repeating.discard(task)


class PipelinedExchanges(Exchanges):
    """Makes up to `max_in_flight` exchanges at a time, for a broker on a server. Slots that finish at the same moment
    share one, up to their share of the worker's slots.

    While the server works at one batch, the worker runs the handlers of another.

    Args:
        max_in_flight: how many exchanges may be in flight at once, 2 or more.
        concurrency: the worker's slots, which are divided among these exchanges.
    """

    def __init__(
        self,
        broker: Broker,
        terms: Terms,
        name: str,
        clock: Callable[[], float],
        rng: random.Random | None = None,
        *,
        max_in_flight: int,
        concurrency: int,
    ) -> None:
        super().__init__(broker, terms, name, clock, rng)
        self._max_in_flight = max_in_flight
        self._share = -(-concurrency // max_in_flight)
        self._flush_scheduled = False
        self._exchanging: set[asyncio.Task[None]] = set()

    async def exchange(self, outcomes: list[Outcome], take: int) -> list[Job]:
        """Hand in outcomes and take up to `take` jobs, together with requests that come at the same moment."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Job]] = loop.create_future()
        self._queued.append((outcomes, take, answer))
        if not self._flush_scheduled and len(self._exchanging) < self._max_in_flight:
            # others may finish before the loop comes round
            self._flush_scheduled = True
            loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        """Start as many exchanges for the queued requests as may be in flight."""
        self._flush_scheduled = False
        while self._queued and len(self._exchanging) < self._max_in_flight:
            task = asyncio.get_running_loop().create_task(dispatch(self._next_batch(), self._exchange_batch))
            self._exchanging.add(task)
            task.add_done_callback(self._exchanged)

    def _next_batch(self) -> list[PendingRequest]:
        slots = size = 0
        while size < len(self._queued) and slots < self._share:
            slots += max(self._queued[size][1], 1)
            size += 1
        batch, self._queued = self._queued[:size], self._queued[size:]
        return batch

    def _exchanged(self, task: asyncio.Task[None]) -> None:
        self._exchanging.discard(task)
        if self._queued:
            self._flush()
        if not task.cancelled():
            # errors went to the pending requests; what is left is the end of the program
            task.exception()

    async def _exchange_batch(self, outcomes: list[Outcome], take: int) -> list[Job]:
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
            reply = await self._repeat(outcomes, take, token)
        return self._understand(reply, outcomes, take)


async def dispatch(
    requests: Sequence[PendingRequest], make: Callable[[list[Outcome], int], Awaitable[list[Job]]]
) -> None:
    """Make one exchange for several requests, and give each the jobs that it takes, or the error."""
    outcomes = [outcome for collected, _, _ in requests for outcome in collected]
    try:
        jobs = await make(outcomes, sum(take for _, take, _ in requests))
    except BaseException as error:
        for _, _, future in requests:
            if not future.done():
                future.set_exception(error)
        if not isinstance(error, Exception):
            raise
        return
    for _, take, future in requests:
        given, jobs = jobs[:take], jobs[take:]
        if not future.done():
            future.set_result(given)
