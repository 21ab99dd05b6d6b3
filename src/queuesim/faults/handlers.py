"""Faults of handlers, at work."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from queuesim.core.clock import sleep
from queuesim.core.errors import simulated
from queuesim.core.job import Job
from queuesim.faults.base import Fault, HandlerHook, end
from queuesim.faults.timing import Likely, Strike, Timing
from queuesim.faults.workers import Deadly
from queuesim.fields import Count, Word, refuse
from queuesim.simulation.distributions import ServiceTime
from queuesim.simulation.process import CURRENT, Process
from queuesim.simulation.random import mixed
from queuesim.text import show


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


# -- What can go wrong in handlers, in the database behind them and at producers

Category = Literal["database", "validation", "network", "unknown"]

SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(rf"^\s*([0-9]+(?:\.[0-9]+)?)\s*({'|'.join(SIZES)})\s*$")


def _bytes(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    size = int(float(found[1]) * SIZES[found[2]]) if found else 0
    if size < 1:
        raise refuse(f"{show(value)} is not a size: write it as 10MB or 512KiB")
    return size


Size = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SIZE.pattern}, {"type": "integer", "minimum": 1}]}),
]
"""A size in bytes."""


class HandlerFaultFields(Likely):
    """A fault of handlers."""

    job: Word | None = None
    """Which type of jobs; all if left out."""


class HandlerErrorFields(HandlerFaultFields):
    """Attempts fail, after they took their time."""

    category: Category = "unknown"
    """What kind of error they fail with."""


class HangFields(HandlerFaultFields):
    """Attempts don't end by themselves."""

    lasts: ServiceTime | None = None
    """How long they hang; for ever if left out."""


class SlowFields(HandlerFaultFields):
    """Attempts take longer."""

    delay: ServiceTime
    """How much longer."""


class PoisonJobsFields(HandlerFaultFields):
    """Some jobs fail at every attempt while it lasts: which, is decided by their numbers."""

    category: Category = "unknown"
    """What kind of error they fail with."""


class PayloadFields(HandlerFaultFields):
    """Jobs with much data. Workers that hold too much of it at once are killed for want of memory."""

    size: Size
    """Of one such job's data in a worker's memory."""
    memory: Size
    """What a worker may hold at once."""
    restart: ServiceTime = ServiceTime(constant=1.0)
    """How long until the successor of a killed worker runs."""


class DatabaseOutage(HandlerFaultFields):
    """The database refuses connections: attempts, and the transactions on overdue tasks, fail at once."""


class SlowQueries(HandlerFaultFields):
    """Queries take longer."""

    delay: ServiceTime
    """How much longer, all of an attempt's together, or each transaction on overdue tasks."""


class ExhaustedPool(HandlerFaultFields):
    """Few connections are left: who finds none waits for one, and fails after the time-out."""

    size: Count
    """Connections that are left, over all workers."""
    timeout: ServiceTime = ServiceTime(constant=30.0)
    """How long an attempt waits for a connection."""


class Deadlock(HandlerFaultFields):
    """The database aborts a transaction, at its end: nothing was written."""


class LostCommit(HandlerFaultFields):
    """A transaction is committed, but the answer is lost: the handler fails, its work is done."""


class ProducerFault(Likely):
    """A fault of producers."""

    load: Word | None = None
    """Which load entry; all if left out."""


class Duplicates(ProducerFault):
    """A producer adds a job twice."""


class RetryAfterLostAnswer(ProducerFault):
    """The answer to an add is lost after it took effect, and the producer adds the jobs again a moment later."""

    pause: ServiceTime = ServiceTime(constant=1.0)
    """How much later."""


class Burst(Timing):
    """Many jobs at once, beside the load."""

    size: Count
    """How many."""
    load: Word | None = None
    """Of which load entry's jobs; needed if there are several."""
