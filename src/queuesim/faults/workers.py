"""Faults of workers, at work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from queuesim.core.clock import now, sleep
from queuesim.core.job import Job
from queuesim.faults.base import Fault, HandlerHook, Plant, end
from queuesim.faults.network import outside
from queuesim.faults.timing import ALL, ANY, Lasting, Strike, Timing
from queuesim.fields import CountFromZero, Probability, Seconds, Word, refuse, seconds
from queuesim.simulation.distributions import ServiceTime
from queuesim.simulation.process import CURRENT, State
from queuesim.units import DURATION_PATTERN, format_duration

if TYPE_CHECKING:
    from queuesim.runs.virtual.fleet import Member


async def crash(fault: Fault, member: Member, restart: float) -> None:
    """Kill a worker, and start its successor in `restart` seconds; infinity: never."""
    died = await fault.plant.fleet.kill(member)
    member.wanted = member.wanted and math.isfinite(restart)
    row = fault.plant.note(fault.kind, member.name, f"{died} attempts died", lasting=True)
    try:
        await (asyncio.Event().wait() if math.isinf(restart) else sleep(restart))
    finally:
        if math.isfinite(restart):
            fault.plant.fleet.revive(member)
            end(row)
    await fault.plant.fleet.arrived(member)
    end(row)


class Deadly(Fault):
    """A fault by which workers die one by one."""

    _restart: Callable[[], float]

    def __init__(self, kind: str, settings: Any, plant: Plant, name: str) -> None:
        super().__init__(kind, settings, plant, name)
        self._crashes: set[asyncio.Task[None]] = set()

    def kill(self, member: Member) -> None:
        """Kill a worker now, and start its successor later."""
        self._crashes.add(outside(crash(self, member, self._restart())))


class Crash(Deadly, HandlerHook):
    """With a probability, workers die of an attempt that they start."""

    def prepare(self) -> None:
        self.by_attempt = self.active = not self.settings.timed
        restart = self.settings.restart
        self._restart = (lambda: math.inf) if restart == "never" else self.sampler(restart, "restart")

    async def run(self) -> None:
        if self.settings.timed:
            await super().run()
            return
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._crashes:
                task.cancel()

    async def strike(self, strike: Strike) -> None:
        members = self.plant.choose(self.settings.worker, self.rng.choice)
        crashes = [outside(crash(self, member, self._restart())) for member in members]
        # with one that never ends, the next may strike all the same
        self._crashes.update(crashes)
        try:
            finite = self.settings.restart != "never"
            if crashes and finite:
                await asyncio.wait(crashes)
        finally:
            for task in crashes if finite else ():
                task.cancel()

    async def before(self, job: Job) -> None:
        process = CURRENT.get(None)
        member = next((m for m in self.plant.fleet.members if m.alive and m.process is process), None)
        meant = self.settings.worker
        if member is None or meant not in ("any", "all", member.name, member.settings.name):
            return
        if self.rng.random() < self.settings.probability:
            self.kill(member)
            await asyncio.Event().wait()


class Freeze(Fault):
    """SIGSTOP and SIGCONT. A blocked event loop looks the same from outside."""

    async def strike(self, strike: Strike) -> None:
        frozen = [
            (member.process, self.plant.note(self.kind, member.name, lasting=True))
            for member in self.plant.choose(self.settings.worker, self.rng.choice)
        ]
        for process, _ in frozen:
            process.freeze()
        try:
            await self.schedule.over(strike)
        finally:
            for process, row in frozen:
                if process.state is State.FROZEN:
                    process.thaw()
                end(row)


class SlowStart(Fault):
    """Workers sleep before they begin."""

    def prepare(self) -> None:
        self._delay = self.sampler(self.settings.delay, "delay")
        self._on = not self.settings.timed
        self._before, self.plant.fleet.start_delay = self.plant.fleet.start_delay, self.start_delay

    async def strike(self, strike: Strike) -> None:
        self._on = True
        try:
            await self.schedule.over(strike)
        finally:
            self._on = False

    def start_delay(self, member: Member) -> float:
        """How long the worker takes to start."""
        others = 0.0 if self._before is None else self._before(member)
        chance = 1.0 if self.settings.probability is None else self.settings.probability
        meant = self.settings.worker in ("any", "all", member.name, member.settings.name)
        if not (self._on and meant and self.rng.random() < chance):
            return others
        delay: float = self._delay()
        row = self.plant.note(self.kind, member.name, lasting=True)
        row.ended = row.began + delay
        return others + delay


class Deploy(Fault):
    """One worker after the other is replaced."""

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, self.settings.worker, lasting=True)
        killed = 0
        try:
            members = self.plant.choose(self.settings.worker, self.rng.choice)
            for i, member in enumerate(members):
                if i and self.settings.pause:
                    await sleep(self.settings.pause)
                try:
                    killed += await self.plant.fleet.retire(member, self.settings.grace)
                    await sleep(self.settings.down)
                except asyncio.CancelledError:
                    # it takes no more jobs, so that nobody would work in its place
                    await self.plant.fleet.kill(member)
                    raise
                finally:
                    self.plant.fleet.revive(member)
        finally:
            row.detail = f"{killed} attempts were killed"
            end(row)


class Scale(Fault):
    """Members are added to the fleet, or leave it."""

    async def strike(self, strike: Strike) -> None:
        members = self._members()
        # those that are down come back
        before = sum(member.wanted for member in members)
        row = self.plant.note(
            self.kind, members[0].settings.name, f"from {before} to {self.settings.to} workers", lasting=True
        )
        try:
            await self._scale(self.settings.to)
            if self.settings.for_ is not None:
                await self.schedule.over(strike)
        finally:
            if self.settings.for_ is not None:
                self._grow(before)
            end(row)
        if self.settings.for_ is not None:
            await self._scale(before)

    def _members(self) -> list[Member]:
        kind = self.settings.worker or self.plant.fleet.members[0].settings.name
        return [member for member in self.plant.fleet.members if member.settings.name == kind]

    def _grow(self, count: int) -> None:
        members = sorted(self._members(), key=lambda member: not member.wanted)
        for member in members:
            if sum(m.alive for m in members) < count:
                member.wanted = True
                self.plant.fleet.revive(member)
        settings = members[0].settings
        # at the end of a run nobody is revived: those who are missing are counted once
        for _ in range(count - sum(m.alive for m in members)):
            new = self.plant.fleet.add(settings, f"{settings.name}-{len(self._members()) + 1}", now())
            self.plant.fleet.revive(new)

    async def _scale(self, count: int) -> None:
        self._grow(count)
        members = self._members()
        staying = [member for member in members if member.alive][:count]
        for member in members:
            member.wanted = member in staying
        # whoever is down and not wanted any more has nothing to finish
        going = [member for member in members if member.alive and not member.wanted]
        leaving = [outside(self.plant.fleet.retire(member, self.settings.grace)) for member in going]
        if leaving:
            await asyncio.wait(leaving)


class ClockSkew(Fault):
    """A member's clock is ahead, or behind."""

    async def strike(self, strike: Strike) -> None:
        skew = self.settings.skew
        members = self.plant.choose(self.settings.worker, self.rng.choice)
        rows = [self.plant.note(self.kind, member.name, f"{skew:+g} s", lasting=True) for member in members]
        for member in members:
            member.skew += skew
        try:
            await self.schedule.over(strike)
        finally:
            for member, row in zip(members, rows, strict=True):
                member.skew -= skew
                end(row)


# -- What can happen to workers

Who = Word
"""A worker's name, the name of a kind of workers, `any` for one that is drawn, or `all`."""


class CrashFields(Timing):
    """A worker dies as by SIGKILL: nothing in it runs again, no `finally`. Another one takes its place."""

    by_chance = True

    probability: Probability | None = None
    """How likely a worker dies of an attempt that it starts."""
    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""
    restart: ServiceTime | Literal["never"] = ServiceTime(constant=1.0)
    """How long until its successor runs, or never."""


class FreezeFields(Lasting):
    """A worker stops as by SIGSTOP, and goes on later. Its locks expire meanwhile."""

    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class Block(Lasting):
    """A worker's event loop is held: by a handler that computes, or waits without `await`."""

    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class SlowStartFields(Lasting):
    """Workers that start take their time before they take jobs."""

    by_chance = True

    probability: Probability | None = None
    """How likely a start is slow; 1 if left out."""
    delay: ServiceTime
    """How long they take."""
    worker: Who = ALL
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class DeployFields(Timing):
    """A rolling deploy: one worker after the other finishes what it runs, ends, and is replaced."""

    grace: Seconds = 30.0
    """How long a worker may take to finish what it runs; then it is killed."""
    down: Seconds = 1.0
    """From the end of a worker to the start of its successor."""
    pause: Seconds = 0.0
    """From the start of a successor to the end of the next worker."""
    worker: Who = ALL
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""


class ScaleFields(Timing):
    """The number of workers of one kind changes; those that go finish what they run."""

    to: CountFromZero
    """How many there are from then on."""
    for_: ServiceTime | None = Field(None, alias="for")
    """After so long there are as many as before."""
    grace: Seconds = 30.0
    """How long a worker that goes may take to finish what it runs; then it is killed."""
    worker: Word | None = None
    """Which kind of workers; needed if there are several."""


def _signed(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str) and value.strip().startswith("-"):
        return -seconds(value.strip()[1:], info)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return -seconds(-value, info)
    return seconds(value, info)


def _format_signed(value: float) -> str:
    return f"-{format_duration(-value)}" if value < 0 else format_duration(value)


class ClockSkewFields(Lasting):
    """A worker's clock is wrong."""

    skew: Annotated[
        float,
        PlainValidator(_signed),
        PlainSerializer(_format_signed, return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "pattern": f"^-?{DURATION_PATTERN.removeprefix('^')}", "examples": ["-5s"]}),
    ]
    """How much it is ahead; below 0, how much it is behind."""
    worker: Who = ANY
    """Whom: a worker's name, that of a kind of workers, `any` for one that is drawn, or `all`."""

    @model_validator(mode="after")
    def _some(self) -> Any:
        if self.skew == 0:
            raise refuse("a skew of 0 is none")
        return self
