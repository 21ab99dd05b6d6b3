"""Faults of the database behind the handlers, at work.

Where a scenario has overdue tasks their store is simulated, and these faults strike its transactions: those of scans,
of relays and of the notifications' handlers. Other attempts stand for a transaction each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from queuesim.core.clock import sleep
from queuesim.core.errors import DatabaseError
from queuesim.core.job import Job
from queuesim.faults.handlers import HandlerFault
from queuesim.simulation.process import CURRENT, Process

if TYPE_CHECKING:
    from queuesim.runs.virtual.fleet import Member


class DatabaseFault(HandlerFault):
    """A fault of transactions: see queuesim.tasks.cost.Trouble. Each of these does nothing unless a kind says so."""

    async def before(self, job: Job) -> None:
        """An attempt is about to run."""
        if not self.at_the_end and self.strikes(job):
            await self.hinder(self._key(job))

    async def after(self, job: Job) -> None:
        """An attempt has run."""
        if self.at_the_end and self.strikes(job):
            self.fail()

    def finally_(self, job: Job) -> None:
        """An attempt is over."""
        self.release(self._key(job))

    @staticmethod
    def _key(job: Job) -> object:
        return job.token + job.id

    at_the_end = False
    """Whether it lets transactions do their work first."""
    commits = False
    """Whether the work of such a transaction stays done."""

    async def begin(self, transaction: object) -> None:
        """A transaction begins."""
        if not self.at_the_end and self.struck():
            await self.hinder(transaction)

    async def commit(self, transaction: object) -> None:
        """It is about to commit: what this raises rolls it back."""
        if self.at_the_end and not self.commits and self.struck():
            self.fail()

    async def answer(self, transaction: object) -> None:
        """It has committed."""
        if self.at_the_end and self.commits and self.struck():
            self.fail()

    async def hinder(self, transaction: object) -> None:
        """Make it wait, or fail."""

    def fail(self) -> None:
        """Make it fail at its end."""

    def release(self, transaction: object) -> None:
        """It is over, however it ended."""


class Outage(DatabaseFault):
    """Transactions fail at once."""

    async def hinder(self, transaction: object) -> None:
        raise DatabaseError("simulated outage: connection refused")


class SlowQueries(DatabaseFault):
    """Transactions take longer."""

    def prepare(self) -> None:
        super().prepare()
        self._delay = self.sampler(self.settings.delay, "delay")

    async def hinder(self, transaction: object) -> None:
        await sleep(self._delay())


class Deadlock(DatabaseFault):
    """Transactions fail at their end, and nothing is done."""

    at_the_end = True

    def fail(self) -> None:
        raise DatabaseError("simulated deadlock: the transaction was rolled back")


class LostCommit(DatabaseFault):
    """Transactions fail although their work is done."""

    at_the_end = commits = True

    def fail(self) -> None:
        raise DatabaseError("simulated loss of the answer to a commit: the transaction is there")


class ExhaustedPool(DatabaseFault):
    """A pool of connections that whoever runs shares; those of a dead process are free again."""

    def prepare(self) -> None:
        super().prepare()
        self._timeout = self.sampler(self.settings.timeout, "timeout")
        self._holders: dict[object, Process | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.plant.guests.append(self._gone)

    async def hinder(self, transaction: object) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout()
        while len(self._holders) >= self.settings.size:
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append(future)
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            except TimeoutError:
                raise DatabaseError("simulated exhaustion: no connection became free in time") from None
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        self._holders[transaction] = CURRENT.get(None)

    def release(self, transaction: object) -> None:
        if self._holders.pop(transaction, self) is not self:
            self._wake()

    def _gone(self, member: Member) -> None:
        self._holders = {key: process for key, process in self._holders.items() if process is not member.process}
        self._wake()

    def _wake(self) -> None:
        # all of them: the first may belong to a worker that is frozen or dead
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
