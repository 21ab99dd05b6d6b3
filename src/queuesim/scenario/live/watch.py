"""Watching: a run's own hand on its queue, and its eye on the event stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from queuesim.broker.redis import RedisBroker
from queuesim.broker.redis.chronicle import Chronicle
from queuesim.broker.redis.eventreader import read_from
from queuesim.broker.redis.place import Place
from queuesim.broker.redis.server import ServerPlace
from queuesim.job import Job, JobId, NewJob
from queuesim.metrics.recorder import Recorder
from queuesim.persistence import persist

ENTRIES = 5000
"""Entries of the event stream that are read at a time."""
EVENTS_KEPT = 1_000_000
"""Of the run's own stream: more than can come between two looks."""


class Watch:
    """Follows the event stream of a run's queue.

    Args:
        place: the server, reached past all faults of the way to it.
        base: what the queue's keys begin with, the colon included.
        time_of: turns the server's milliseconds since the Unix epoch into seconds since the run began.
    """

    def __init__(self, place: ServerPlace, base: str, recorder: Recorder, time_of: Callable[[float], float]) -> None:
        self._rng = Random(base)
        self.chronicle = Chronicle(f"{base}events", recorder, time_of)
        self.adding: set[asyncio.Future[None]] = set()
        """Adds that are under way."""
        self._place = place
        self._base = base

    async def begin(self) -> None:
        """See to it that nothing is trimmed before it is read."""
        await self._place.command("HSET", f"{self._base}meta", "opts.maxLenEvents", EVENTS_KEPT)

    async def begin_again(self) -> None:
        """The server has forgotten everything. No number is given twice: a run's records tell jobs by them."""
        await self._place.command("SET", f"{self._base}id", self.chronicle.last)
        await self.begin()

    async def read(self) -> None:
        """Read what is new."""
        while True:
            page = await read_from(self.chronicle.read_page(ENTRIES), self._place.command)
            if self.adding:
                # whose jobs they are is known when the answer has come
                await asyncio.wait(set(self.adding))
            self.chronicle.tell(page.entries)
            if len(page.entries) < ENTRIES:
                return

    async def held(self, token: str) -> list[str]:
        """The ids of the jobs that are locked with tokens that begin so. Waits while the server is away."""

        async def ask() -> list[str]:
            ids = await self._place.command("LRANGE", f"{self._base}active", 0, -1)
            locks = await self._place.command("MGET", *(f"{self._base}{job_id}:lock" for job_id in ids)) if ids else []
            pairs = zip(ids, locks, strict=True)
            return [job_id for job_id, lock in pairs if lock is not None and lock.startswith(token)]

        return await persist(ask, self._rng)

    def number_of(self, job: Job) -> int:
        """A job's number; 0 if nobody has told of it."""
        return job.number or self.chronicle.numbers.get(job.id, 0)


class WatchedBroker(RedisBroker):
    """A producer's hand on the queue: its adds are known before the event stream tells of them."""

    def __init__(self, queue: str, place: Place, prefix: str, *, origin: float, watch: Watch | None = None) -> None:
        super().__init__(queue, place, prefix, origin=origin)
        self._watch = watch

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs and return their ids; see Broker.add."""
        if self._watch is None:
            return await super().add(jobs, now)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watch.adding.add(answered)
        try:
            ids = await super().add(jobs, now)
        except BaseException:
            # they may be there all the same
            self._watch.chronicle.suspect(jobs, now)
            raise
        else:
            self._watch.chronicle.expect(ids, jobs, now)
            return ids
        finally:
            self._watch.adding.discard(answered)
            answered.set_result(None)
