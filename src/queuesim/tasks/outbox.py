"""The relay: moves jobs from the outbox into the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from secrets import token_hex
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from queuesim.core.clock import sleep
from queuesim.core.errors import BrokerUnavailableError, DatabaseError
from queuesim.core.job import JobId, JobState, NewJob, Origin, OriginKind, from_plain, to_json, to_plain
from queuesim.core.queue import Queue
from queuesim.core.retry import retry_forever
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import outbox

# -- Queue after commit: how the jobs that belong to a transaction get into the queue


class Delivery(Protocol):
    """A way for jobs into the queue."""

    atomic: bool
    """Whether staged jobs are in the database as soon as their transaction has committed, and can't be lost."""

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Inside the transaction that the jobs belong to."""
        ...

    async def deliver(self, jobs: Sequence[NewJob]) -> list[JobId] | None:
        """After it has committed. Returns the ids that the queue gave them, if they are in it now."""
        ...


class AfterCommit:
    """The hook: jobs are added as soon as their transaction has committed."""

    atomic = False

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Nothing: until the commit the jobs are in this process's memory alone."""

    async def deliver(self, jobs: Sequence[NewJob]) -> list[JobId]:
        """Add the jobs."""
        return await self.queue.add_bulk(jobs)


class Outbox:
    """The transactional outbox.

    Each job gets its id when it is written down. The number of its row would not do: a database that was restored gives
    the same numbers again, and the queue would take the new jobs for those that it has.

    Args:
        wake: called when there is something to move, for a relay in the same process; others poll.
        new_id: an id that no other job ever had; a simulation draws it from its seed.
    """

    atomic = True

    def __init__(
        self, wake: Callable[[], None] | None = None, *, new_id: Callable[[], str] = lambda: f"outbox-{token_hex(16)}"
    ) -> None:
        self.wake = wake
        self.new_id = new_id

    def stage(self, connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
        """Write the jobs down."""
        if jobs:
            connection.execute(insert(outbox), [self._row(job, now) for job in jobs])

    async def deliver(self, jobs: Sequence[NewJob]) -> None:
        """Wake the relay."""
        if self.wake is not None and jobs:
            self.wake()

    def _row(self, job: NewJob, now: float) -> dict[str, object]:
        options = job.options
        if options.job_id is None:
            options = options.named(self.new_id(), options.deduplication)
        text = to_json(to_plain(options))
        origin = "" if job.origin is None else to_json(job.origin)
        return {"name": job.name, "data": job.data, "options": text, "source": origin, "created_at": now}


def staged_job(row: object) -> NewJob:
    """The job in a row of the outbox. It has an id, so that the queue knows it when it comes again."""
    options = from_plain(json.loads(row.options))  # type: ignore[attr-defined]
    if options.job_id is None:
        # written by a version that gave ids only here
        options = replace(options, job_id=f"outbox-{row.id}")  # type: ignore[attr-defined]
    return NewJob(row.name, row.data, options, _origin(row.source))  # type: ignore[attr-defined]


def _origin(text: str) -> Origin | None:
    if not text:
        return None
    kind, identity = json.loads(text)
    return Origin(OriginKind(kind), identity)


OUTAGES = (BrokerUnavailableError, DatabaseError)
Settle = Callable[[Connection, Sequence[NewJob], Sequence[str]], None]
"""Called with the added jobs and their ids, in the transaction that removes them from the outbox."""


LEASE = 10.0
"""Seconds for which a relay has a batch to itself."""
LOOK = 0.1
"""Seconds between two polls of jobs that another relay has leased."""


class Relay:
    """Moves jobs from the outbox into the queue, the oldest first, and only then removes them from the outbox.

    A batch *is leased*, *is added* to the queue and *is removed*. Several relays share the work: none touches what
    another one has leased. If a relay dies in between, its batch is leased again when the lease has ended, and moved
    again under the same ids: while the queue still keeps the first job of an id, that changes nothing. What retention
    has removed by then runs twice, which idempotent handlers bear.

    Args:
        batch: jobs that are moved in one step.
        interval: seconds between two polls, where nobody wakes it.
        settle: see Settle.
        rng: where pauses are drawn from while the queue can't be reached.
        lease: seconds for which it has a batch to itself: more than it takes to move one.
        owner: who leases; unlike any other relay of the same database.

    Raises:
        ValueError: a batch of nothing, or no lease.
    """

    def __init__(
        self,
        store: TaskStore,
        queue: Queue,
        *,
        batch: int = 500,
        interval: float = 1.0,
        settle: Settle | None = None,
        rng: Random | None = None,
        lease: float = LEASE,
        owner: str | None = None,
    ) -> None:
        if batch < 1:
            raise ValueError(f"a batch has 1 job or more, not {batch}")
        if not lease > 0:
            raise ValueError(f"a lease must be above 0 s, not {lease}")
        self.store = store
        self.queue = queue
        self.batch = batch
        self.interval = interval
        self.moved = 0
        """Jobs moved so far."""
        self.settle = settle
        self.lease = lease
        self.owner = owner or f"relay-{uuid4().hex}"
        self._rng = rng or Random("relay")
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to move."""
        self._woken.set()

    async def run(self) -> None:
        """Move what there is, and what comes, until cancelled; while queue or database can't be reached, try again."""
        while True:
            self._woken.clear()
            if await retry_forever(self.move, self._rng, retry_on=OUTAGES) == self.batch:
                continue
            try:
                async with asyncio.timeout(self.interval):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self) -> int:
        """Move jobs until the outbox is empty; what others have leased is waited for. Returns how many it moved."""
        total = 0
        while True:
            moved = await self.move()
            total += moved
            if not moved:
                if not await self.store.run(waiting):
                    return total
                await sleep(LOOK)

    async def move(self) -> int:
        """Move one batch. Returns how many jobs."""
        time = self.queue.now()
        rows = await self.store.run(lambda connection: self._take(connection, time))
        if not rows:
            return 0
        jobs = [staged_job(row) for row in rows]
        try:
            ids = await self.queue.add_bulk(jobs)
        except BrokerUnavailableError:
            await self.store.run(lambda connection: self._release(connection, rows))
            raise
        await self.store.run(lambda connection: self._remove(connection, rows, jobs, ids))
        self.moved += len(rows)
        return len(rows)

    def _take(self, connection: Connection, time: float) -> list[Any]:
        free = or_(outbox.c.leased_until.is_(None), outbox.c.leased_until <= time)
        # two relays on PostgreSQL pass over each other's rows; SQLite lets one in at a time
        oldest = (
            select(outbox.c.id).where(free).order_by(outbox.c.id).limit(self.batch).with_for_update(skip_locked=True)
        )
        lease = update(outbox).where(outbox.c.id.in_(oldest)).returning(*outbox.c)
        rows = connection.execute(lease.values(owner=self.owner, leased_until=time + self.lease))
        return sorted(rows, key=lambda row: row.id)

    def _release(self, connection: Connection, rows: Sequence[Any]) -> None:
        ours = outbox.c.id.in_([row.id for row in rows]) & (outbox.c.owner == self.owner)
        connection.execute(update(outbox).where(ours).values(leased_until=None))

    def _remove(self, connection: Connection, rows: Sequence[Any], jobs: Sequence[NewJob], ids: Sequence[str]) -> None:
        """The relay that removes a row settles it: after the lease that may be another one."""
        ours = delete(outbox).where(outbox.c.id.in_([row.id for row in rows]), outbox.c.owner == self.owner)
        removed = set(connection.execute(ours.returning(outbox.c.id)).scalars())
        settled = [i for i, row in enumerate(rows) if row.id in removed]
        if self.settle is not None and settled:
            self.settle(connection, [jobs[i] for i in settled], [ids[i] for i in settled])


def waiting(connection: Connection) -> int:
    """How many jobs are in the outbox."""
    return connection.execute(select(func.count()).select_from(outbox)).scalar_one()


UNFINISHED = (JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE)


async def drained(queue: Queue, relay: Relay, every: float = 1.0) -> None:
    """Wait until nothing is left to do, neither in the outbox nor in the queue; poll every `every` seconds."""
    while True:
        await sleep(every)
        # the outbox first: what leaves it is in the queue then
        await relay.drain()
        counts = await queue.counts()
        if not any(counts[state] for state in UNFINISHED):
            return
