"""Faults of the database behind the handlers.

Where a scenario has overdue tasks their store is simulated, and these faults strike its transactions: those of scans,
of relays and of the notifications' handlers. Other attempts stand for a transaction each.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random
from typing import ClassVar

from queuesim.core.clock import sleep, wake
from queuesim.core.errors import DatabaseError
from queuesim.core.job import Job
from queuesim.faults.base import Draw, FleetSlot, Settings, draw_probability, draw_span, fault
from queuesim.faults.handlers import HandlerFault
from queuesim.fields import Count
from queuesim.results.fault_kinds import GREY, Effect
from queuesim.simulation.process import CURRENT
from queuesim.simulation.service_times import ServiceTime

LOOK = 0.01
"""Seconds between two looks for a free connection, where other processes use the pool."""


class DatabaseFault(HandlerFault):
    """A fault of transactions: see queuesim.tasks.cost. Each method does nothing unless a kind says so."""

    color = GREY
    effects = Effect.REPEATS_PAGES

    at_the_end: ClassVar[bool] = False
    """Whether it lets transactions do their work first."""
    commits: ClassVar[bool] = False
    """Whether the work of such a transaction stays done."""

    async def before(self, job: Job) -> None:
        if not self.at_the_end and self.strikes(job):
            await self.hinder(self._key(job))

    async def after(self, job: Job) -> None:
        if self.at_the_end and self.strikes(job):
            self.fail()

    def finally_(self, job: Job) -> None:
        self.release(self._key(job))

    @staticmethod
    def _key(job: Job) -> object:
        return job.token + job.id

    async def begin(self, transaction: object) -> None:
        """A transaction begins."""
        if not self.at_the_end and self.note_drawn(self.drawn()):
            await self.hinder(transaction)

    async def commit(self, transaction: object) -> None:
        """It is about to commit: what this raises rolls it back."""
        if self.at_the_end and not self.commits and self.note_drawn(self.drawn()):
            self.fail()

    async def answer(self, transaction: object) -> None:
        """It has committed."""
        if self.at_the_end and self.commits and self.note_drawn(self.drawn()):
            self.fail()

    async def hinder(self, transaction: object) -> None:
        """Make it wait, or fail."""

    def fail(self) -> None:
        """Make it fail at its end."""

    def release(self, transaction: object) -> None:
        """It is over, however it ended."""


@fault("database.outage")
class DatabaseOutage(DatabaseFault):
    """The database refuses connections: attempts, and the transactions on overdue tasks, fail at once."""

    async def hinder(self, transaction: object) -> None:
        raise DatabaseError("simulated outage: connection refused")

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return draw_span(rng, duration, 30.0)


@fault("database.slow")
class DatabaseSlow(DatabaseFault):
    """Queries take longer."""

    delay: ServiceTime
    """How much longer: all queries of an attempt together, or each transaction on overdue tasks."""

    async def hinder(self, transaction: object) -> None:
        await sleep(self.sampler("delay")())


class ConnectionPool:
    """The connections that are left, for workers of one process or of a simulation.

    Args:
        draw_timeout: draws the seconds for which one waits for a connection.
    """

    def __init__(self, size: int, draw_timeout: Draw) -> None:
        self.size = size
        self.draw_timeout = draw_timeout
        self._holders: dict[object, object] = {}
        self._waiting: list[asyncio.Future[None]] = []

    async def take(self, transaction: object) -> None:
        """Wait for a connection. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.draw_timeout()
        while len(self._holders) >= self.size:
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append(future)
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        self._holders[transaction] = CURRENT.get(None)

    def release(self, transaction: object) -> None:
        """A transaction is over; it need not have a connection."""
        if self._holders.pop(transaction, self) is not self:
            self._wake()

    def free(self, process: object) -> None:
        """A process is dead: its connections are free again."""
        self._holders = {key: holder for key, holder in self._holders.items() if holder is not process}
        self._wake()

    def _wake(self) -> None:
        # all of them: the first may belong to a worker that is frozen or dead
        for future in self._waiting:
            wake(future)


class LockedFiles(ConnectionPool):
    """A pool that worker processes share: a connection is a locked file, which is free again when its holder dies.

    Args:
        path: of the files, without their numbers.
    """

    def __init__(self, size: int, draw_timeout: Draw, path: Path) -> None:
        super().__init__(size, draw_timeout)
        self._path = path
        self._files: dict[object, int] = {}

    async def take(self, transaction: object) -> None:
        async with asyncio.timeout(self.draw_timeout()):
            while (file := self._lock_one()) is None:  # noqa: ASYNC110 - another process lets it go
                await asyncio.sleep(LOOK)
        self._files[transaction] = file

    def _lock_one(self) -> int | None:
        import fcntl

        for number in range(self.size):
            file = os.open(f"{self._path}-{number}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return file
        return None

    def release(self, transaction: object) -> None:
        file = self._files.pop(transaction, None)
        if file is not None:
            os.close(file)


@fault("database.pool")
class DatabasePool(DatabaseFault):
    """Few connections are left: an attempt that finds none waits for one, and fails after the time-out."""

    size: Count
    """Connections that are left, over all workers."""
    timeout: ServiceTime = ServiceTime(constant=30.0)
    """How long an attempt waits for a connection."""

    def prepare(self) -> None:
        super().prepare()
        draw_timeout, directory = self.sampler("timeout"), self.context.directory
        self._pool = (
            ConnectionPool(self.size, draw_timeout)
            if directory is None
            else LockedFiles(self.size, draw_timeout, directory / f"pool-{self.number}")
        )

    async def hinder(self, transaction: object) -> None:
        try:
            await self._pool.take(transaction)
        except TimeoutError:
            raise DatabaseError("simulated exhaustion: no connection became free in time") from None

    def release(self, transaction: object) -> None:
        self._pool.release(transaction)

    def worker_gone(self, slot: FleetSlot) -> None:
        self._pool.free(slot.process)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 60.0), "size": rng.randint(1, 3), "timeout": 5.0}


@fault("database.deadlock")
class DatabaseDeadlock(DatabaseFault):
    """The database aborts a transaction at its end: nothing is written."""

    at_the_end = True

    def fail(self) -> None:
        raise DatabaseError("simulated deadlock: the transaction was rolled back")

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2)}


@fault("database.lost-commit")
class DatabaseLostCommit(DatabaseFault):
    """A transaction is committed, but the answer is lost: the handler fails, although its work is done."""

    at_the_end = commits = True

    def fail(self) -> None:
        raise DatabaseError("simulated loss of the answer to a commit: the transaction is there")

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 0.2)}
