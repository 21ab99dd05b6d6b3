"""A fault at work: what every kind has in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from queuesim.core.clock import now
from queuesim.core.job import Job
from queuesim.core.processor import JobType, Processor, call
from queuesim.faults.network import Server
from queuesim.faults.timing import ALL, ANY, Schedule, Strike
from queuesim.results.recording import FaultRow
from queuesim.simulation.random import Streams

if TYPE_CHECKING:
    from queuesim.runs.producers import Producer
    from queuesim.runs.virtual.fleet import Fleet, Member


# -- What faults can get at in a run, and how they leave a trace


@dataclass
class Plant:
    """A run, as its faults see it."""

    broker: Any
    """The queue itself."""
    fleet: Fleet
    server: Server
    producers: Mapping[str, Producer]
    """By load entry."""
    rows: list[FaultRow]
    """What becomes of faults."""
    streams: Streams
    pauses: int = 0
    """Pauses of the queue that are on."""
    may_pause: bool = False
    """Whether a fault of this run pauses the queue."""
    guests: list[Callable[[Member], None]] = field(default_factory=list)
    """Told of every worker that ends or dies."""
    switched: Callable[[Any, bool], None] = lambda fault, on: None
    """Told of every fault of handlers that begins or ends."""
    struck: Callable[[Any], None] = lambda fault: None
    """Told of every attempt that such a fault strikes, with the fault."""

    def note(
        self, kind: str, target: str, detail: str = "", *, lasting: bool = False, lost: float | None = None
    ) -> FaultRow:
        """Record that a fault struck, and the seconds of memory that it lost. One that lasts gets its end later."""
        began = now()
        row = FaultRow(kind, target, began, math.nan if lasting else began, detail, lost)
        self.rows.append(row)
        return row

    async def pause_as_told(self) -> None:
        """Pause or resume the queue: it is paused while at least one fault wants it so."""
        if self.pauses:
            await self.broker.pause(now())
        else:
            await self.broker.resume(now())

    async def restore_pause(self) -> None:
        """The server went back to an earlier memory: undo what that changed of a pause that a fault made or ended."""
        if self.may_pause and await self.broker.is_paused() != (self.pauses > 0):
            await self.pause_as_told()

    def choose(self, who: str, draw: Callable[[list[Member]], Member]) -> list[Member]:
        """The living workers that are meant: one that is drawn, all, those of a kind, or one by its name."""
        living = [member for member in self.fleet.members if member.alive]
        if who == ANY:
            return [draw(living)] if living else []
        return [member for member in living if who in (ALL, member.name, member.settings.name)]


def end(row: FaultRow) -> None:
    """A fault is over."""
    row.ended = now()


class Fault:
    """One entry of a scenario's faults.

    Args:
        settings: what the scenario says of it.
        name: of its random streams: no other fault's.
    """

    def __init__(self, kind: str, settings: Any, plant: Plant, name: str) -> None:
        self.kind = kind
        self.settings = settings
        self.plant = plant
        self.name = name
        self.rng = plant.streams.python(name)
        self.schedule = Schedule(settings, name, plant.streams, plant.broker.counts)

    def prepare(self) -> None:
        """Called before the run begins."""

    async def run(self) -> None:
        """Strike whenever it is time. Cancelled when the faults end: what is on then is undone."""
        async for strike in self.schedule.strikes():
            await self.strike(strike)

    async def strike(self, strike: Strike) -> None:
        """Strike once, and return when that is over."""
        raise NotImplementedError

    def sampler(self, time: Any, what: str) -> Any:
        """A function that draws times of a distribution in the scenario, from a stream of their own."""
        return time.model().sampler(self.plant.streams.named(f"{self.name}/{what}"))


class State(Fault):
    """A fault that is on for a while."""

    target: ClassVar[str] = ""

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.struck, lasting=True)
        self.on()
        try:
            await self.schedule.over(strike)
        finally:
            self.off()
            self.finish(row)

    @property
    def struck(self) -> str:
        """The target, as it is recorded."""
        return self.target

    def on(self) -> None:
        """It begins."""
        raise NotImplementedError

    def off(self) -> None:
        """It ends."""
        raise NotImplementedError

    def finish(self, row: FaultRow) -> None:
        """Record its end."""
        end(row)


class Chance(Fault):
    """A fault that while it is on, or always, strikes each of something with a probability."""

    active = False

    async def strike(self, strike: Strike) -> None:
        self.active = True
        try:
            await self.schedule.over(strike)
        finally:
            self.active = False

    def struck(self) -> bool:
        """Whether this one is struck."""
        return self.active and bool(self.settings.chance >= 1 or self.rng.random() < self.settings.chance)


# -- Where faults get into handlers: before, after and around every attempt


class HandlerHook:
    """What a fault does to attempts."""

    job: str | None = None
    """The type of jobs that it concerns; None: all."""
    spared: frozenset[str] = frozenset()
    """Types of jobs that it does not concern."""
    by_attempt: bool = True
    """Whether it concerns attempts at all."""
    active: bool = False
    """Whether it is on."""

    async def before(self, job: Job) -> None:
        """The handler is about to run. What this raises is what the attempt fails with."""

    async def after(self, job: Job) -> None:
        """The handler has returned. What this raises is what the attempt fails with."""

    def finally_(self, job: Job) -> None:
        """The attempt is over, however it ended, unless its worker is dead."""


def disturb(processor: Processor, hooks: Sequence[HandlerHook]) -> None:
    """Let faults get at the handlers of a processor."""
    for job_type in list(processor.types.values()):
        mine = [hook for hook in hooks if hook.by_attempt and hook.job in (None, job_type.name)]
        mine = [hook for hook in mine if job_type.name not in hook.spared]
        if mine:
            processor.add(replace(job_type, handler=_disturbed(job_type, mine), is_async=True))


def _disturbed(job_type: JobType, hooks: Sequence[HandlerHook]) -> Any:
    handler = job_type.handler

    async def handle(job: Job) -> Any:
        struck = [hook for hook in hooks if hook.active]
        try:
            for hook in struck:
                await hook.before(job)
            value = await call(handler, job)
            for hook in struck:
                await hook.after(job)
            return value
        finally:
            for hook in struck:
                hook.finally_(job)

    return handle
