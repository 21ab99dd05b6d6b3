"""Faults of handlers, at work."""

from __future__ import annotations

import asyncio

from queuesim.clock import sleep
from queuesim.job import Job
from queuesim.scenario.failures import mixed, simulated
from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.hooks import HandlerHook
from queuesim.scenario.faults.plant import end
from queuesim.scenario.faults.schedule import Strike
from queuesim.scenario.faults.workers import Deadly
from queuesim.simulation.process import CURRENT, Process


class HandlerFault(Fault, HandlerHook):
    """A fault of attempts: on for a while, or always, it strikes each with a probability."""

    count = 0
    """How many it has struck since it is on."""
    counted = "attempts"
    """What of."""

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
            row.detail = f"{self.count} {self.counted}"
            end(row)

    def _switch(self, on: bool) -> None:
        self.active = on
        self.plant.switched(self, on)

    def strikes(self, job: Job) -> bool:
        """Whether this attempt is struck."""
        return self.struck()

    def struck(self) -> bool:
        """Draw whether the next one is struck, and count it."""
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
