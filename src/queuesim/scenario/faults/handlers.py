"""Faults of handlers and of the database behind them, at work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from queuesim.clock import sleep
from queuesim.errors import DatabaseError
from queuesim.job import Job
from queuesim.scenario.failures import mixed, simulated
from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.hooks import HandlerHook
from queuesim.scenario.faults.plant import end
from queuesim.scenario.faults.schedule import Strike
from queuesim.scenario.faults.workers import Deadly
from queuesim.simulation.process import CURRENT, Process

if TYPE_CHECKING:
    from queuesim.scenario.fleet import Member


class HandlerFault(Fault, HandlerHook):
    """A fault of attempts: on for a while, or always, it strikes each with a probability."""

    count = 0
    """Attempts that it has struck since it is on."""

    def prepare(self) -> None:
        self.job = self.settings.job

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.job or "", lasting=True)
        self.count = 0
        self._switch(True)
        try:
            await self.schedule.over(strike)
        finally:
            self._switch(False)
            row.detail = f"{self.count} attempts"
            end(row)

    def _switch(self, on: bool) -> None:
        self.active = on
        self.plant.switched(self, on)

    def strikes(self, job: Job) -> bool:
        """Whether this attempt is struck."""
        return self._counted(self.settings.chance >= 1 or self.rng.random() < self.settings.chance)

    def _counted(self, struck: bool) -> bool:
        if struck:
            self.count += 1
            self.plant.struck(self)
        return struck


class HandlerError(HandlerFault):
    """Attempts fail after they ran."""

    async def after(self, job: Job) -> None:
        if self.strikes(job):
            raise simulated(self.settings.category)


class Hang(HandlerFault):
    """Attempts wait before they run, perhaps for ever."""

    def prepare(self) -> None:
        super().prepare()
        self._lasts = None if self.settings.lasts is None else self.sampler(self.settings.lasts, "lasts")

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            await (asyncio.Event().wait() if self._lasts is None else sleep(self._lasts()))


class Slow(HandlerFault):
    """Attempts wait before they run."""

    def prepare(self) -> None:
        super().prepare()
        self._delay = self.sampler(self.settings.delay, "delay")

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            await sleep(self._delay())


class ByNumber(HandlerFault):
    """Strikes some jobs, at every attempt: their numbers decide."""

    def prepare(self) -> None:
        super().prepare()
        self._salt = self.rng.getrandbits(64)

    def strikes(self, job: Job) -> bool:
        return self._counted(mixed(self._salt + job.number) < self.settings.chance * 2**64)


class PoisonJobs(ByNumber):
    """Some jobs always fail."""

    async def after(self, job: Job) -> None:
        if self.strikes(job):
            raise simulated(self.settings.category)


class Payload(ByNumber, Deadly):
    """The data are counted, not made: nothing of this size is ever in this process's memory."""

    def prepare(self) -> None:
        super().prepare()
        self._held: dict[Process | None, dict[str, int]] = {}
        self._restart = self.sampler(self.settings.restart, "restart")

    async def before(self, job: Job) -> None:
        if not self.strikes(job):
            return
        process = CURRENT.get(None)
        held = self._held.setdefault(process, {})
        held[job.token + job.id] = self.settings.size
        member = next((m for m in self.plant.fleet.members if m.alive and m.process is process), None)
        if member is not None and sum(held.values()) > self.settings.memory:
            self._held.pop(process)
            self.kill(member)
            await asyncio.Event().wait()

    def finally_(self, job: Job) -> None:
        self._held.get(CURRENT.get(None), {}).pop(job.token + job.id, None)


# -- the database


class DatabaseOutage(HandlerFault):
    """Attempts fail at once."""

    async def before(self, job: Job) -> None:
        if self.strikes(job):
            raise DatabaseError("simulated outage: connection refused")


class Deadlock(HandlerFault):
    """Attempts fail at their end."""

    async def after(self, job: Job) -> None:
        if self.strikes(job):
            raise DatabaseError("simulated deadlock: the transaction was rolled back")


class LostCommit(HandlerFault):
    """Attempts fail although their work was done."""

    async def after(self, job: Job) -> None:
        if self.strikes(job):
            raise DatabaseError("simulated loss of the answer to a commit: the transaction is there")


class ExhaustedPool(HandlerFault):
    """A pool of connections that whoever runs shares; those of a dead worker are free again."""

    def prepare(self) -> None:
        super().prepare()
        self._timeout = self.sampler(self.settings.timeout, "timeout")
        self._holders: dict[str, Process | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.plant.guests.append(self._gone)

    async def before(self, job: Job) -> None:
        if not self.strikes(job):
            return
        deadline = asyncio.get_running_loop().time() + self._timeout()
        while len(self._holders) >= self.settings.size:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            except TimeoutError:
                raise DatabaseError("simulated exhaustion: no connection became free in time") from None
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        self._holders[job.token + job.id] = CURRENT.get(None)

    def finally_(self, job: Job) -> None:
        if self._holders.pop(job.token + job.id, self) is not self:
            self._wake()

    def _gone(self, member: Member) -> None:
        self._holders = {key: process for key, process in self._holders.items() if process is not member.process}
        self._wake()

    def _wake(self) -> None:
        # all of them: the first may belong to a worker that is frozen or dead
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
