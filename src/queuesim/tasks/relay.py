"""The relay: moves jobs from the outbox into the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from sqlalchemy import Connection, delete, func, select

from queuesim.errors import BrokerUnavailableError, DatabaseError
from queuesim.job import NewJob
from queuesim.persistence import persist
from queuesim.queue import Queue
from queuesim.tasks.delivery import staged_job
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import outbox

TROUBLE = (BrokerUnavailableError, DatabaseError)
Settle = Callable[[Connection, Sequence[NewJob], Sequence[str]], None]
"""Told, in the transaction that removes them from the outbox, which jobs were added under which ids."""


class Relay:
    """Moves jobs from the outbox into the queue, the oldest first, and only then removes them from the outbox.

    If it dies in between they are moved again, under the same ids: while the queue still keeps the first, that changes
    nothing. What retention has removed by then runs twice, which idempotent handlers bear.

    Args:
        batch: jobs that are moved in one step.
        interval: seconds between two looks, where nobody wakes it.
        settle: see Settle.
        rng: where pauses are drawn from while the queue can't be reached.
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
    ) -> None:
        if batch < 1:
            raise ValueError(f"a batch has 1 job or more, not {batch}")
        self.store = store
        self.queue = queue
        self.batch = batch
        self.interval = interval
        self.moved = 0
        """Jobs moved so far."""
        self.settle = settle
        self._rng = rng or Random("relay")
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to move."""
        self._woken.set()

    async def run(self) -> None:
        """Move what there is, and what comes, until cancelled; while queue or database can't be reached, try again."""
        while True:
            self._woken.clear()
            if await persist(self.move, self._rng, trouble=TROUBLE) == self.batch:
                continue
            try:
                async with asyncio.timeout(self.interval):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self) -> int:
        """Move all that there is now. Returns how many jobs."""
        total = 0
        while moved := await self.move():
            total += moved
        return total

    async def move(self) -> int:
        """Move one batch. Returns how many jobs."""
        rows = await self.store.run(self._read)
        if not rows:
            return 0
        jobs = [staged_job(row) for row in rows]
        ids = await self.queue.add_bulk(jobs)

        def remove(connection: Connection) -> None:
            connection.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in rows])))
            if self.settle is not None:
                self.settle(connection, jobs, ids)

        await self.store.run(remove)
        self.moved += len(rows)
        return len(rows)

    def _read(self, connection: Connection) -> Sequence[Any]:
        return connection.execute(select(outbox).order_by(outbox.c.id).limit(self.batch)).all()


def waiting(connection: Connection) -> int:
    """How many jobs are in the outbox."""
    return connection.execute(select(func.count()).select_from(outbox)).scalar_one()
