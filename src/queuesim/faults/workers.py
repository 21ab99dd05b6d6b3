"""Faults of workers: they die, stand still, start slowly, come and go, or have a wrong clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from queuesim.core.clock import now, sleep
from queuesim.core.job import Job
from queuesim.faults.base import (
    AttemptHook,
    Chance,
    Deadly,
    Draw,
    Fault,
    Lasting,
    Need,
    Problem,
    ScenarioOutline,
    Settings,
    draw_probability,
    draw_span,
    draw_times,
    end,
    fault,
    means,
)
from queuesim.faults.network import outside
from queuesim.faults.timing import ALL, ANY, Strike
from queuesim.fields import CountFromZero, Probability, Seconds, Word, refuse, seconds
from queuesim.results.fault_kinds import NO_EFFECT, PINK, Effect
from queuesim.simulation.process import State
from queuesim.simulation.service_times import ServiceTime
from queuesim.text import unknown
from queuesim.units import DURATION_PATTERN, format_duration


class WorkerFault(Fault):
    """A fault of some workers."""

    color = PINK
    effects = Effect.WORKERS
    needs = Need.PROCESSES

    worker: Word = ANY
    """Which worker: the name of a worker or of a kind of workers, `any` for a random one, or `all`."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        known = dict.fromkeys([ANY, ALL, *scenario.worker_kinds, *scenario.workers])
        if self.worker not in known:
            yield "worker", unknown("worker", self.worker, known, "workers")


class Killing(Deadly):
    """A fault by which workers die one by one, and are replaced a while later."""

    def replace_after(self, delay: Draw) -> None:
        """Draw by `delay` how many seconds later a successor starts; infinity: never."""
        self._delay = delay
        self._kills: set[asyncio.Task[None]] = set()

    def kill(self, slot: Any) -> asyncio.Task[None]:
        """Kill a worker now, and start its successor later. The task ends when that one takes jobs."""
        killing = outside(self._kill(slot, self._delay()))
        self._kills.add(killing)
        return killing

    async def _kill(self, slot: Any, restart: float) -> None:
        fleet = self.context.fleet
        died = await fleet.kill(slot)
        slot.wanted = slot.wanted and math.isfinite(restart)
        row = self.note(slot.name, f"{died} attempts died", lasting=True)
        try:
            await (asyncio.Event().wait() if math.isinf(restart) else sleep(restart))
        finally:
            if math.isfinite(restart):
                fleet.revive(slot)
                end(row)
        await fleet.arrived(slot)
        end(row)


@fault("worker.crash")
class WorkerCrash(WorkerFault, Killing, AttemptHook):
    """A worker dies as if by SIGKILL: nothing in it runs again, not even `finally`. Another worker replaces it."""

    by_chance = True
    effects = Effect.WORKERS | Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES

    probability: Probability | None = None
    """How likely a worker dies of an attempt that it starts."""
    restart: ServiceTime | Literal["never"] = ServiceTime(constant=1.0)
    """Time until its successor runs, or never."""

    def prepare(self) -> None:
        self.active = not self.timed
        self.replace_after((lambda: math.inf) if self.restart == "never" else self.sampler("restart"))

    async def run(self) -> None:
        if self.timed:
            await super().run()
            return
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._kills:
                task.cancel()

    async def strike(self, strike: Strike) -> None:
        # with one that never ends, the next may strike all the same
        kills = [self.kill(slot) for slot in self.choose(self.worker)]
        finite = self.restart != "never"
        try:
            if kills and finite:
                await asyncio.wait(kills)
        finally:
            for task in kills if finite else ():
                task.cancel()

    def concerns(self, job_type: str) -> bool:
        return not self.timed

    async def before(self, job: Job) -> None:
        slot = self.context.here()
        if slot is None or not means(self.worker, slot):
            return
        assert self.probability is not None
        if self.rng.random() < self.probability:
            self.context.kill_here(self, slot)
            await asyncio.Event().wait()

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {
            **draw_times(rng, duration),
            "worker": rng.choice(["any", "all"]),
            "restart": round(rng.uniform(0.0, 40.0), 3),
        }


@fault("worker.freeze")
class WorkerFreeze(WorkerFault, Lasting):
    """A worker stops as if by SIGSTOP, and continues later. Its locks expire meanwhile."""

    effects = Effect.WORKERS | Effect.UNHEARD | Effect.REPEATS_PAGES

    async def strike(self, strike: Strike) -> None:
        frozen = [(slot.process, self.note(slot.name, lasting=True)) for slot in self.choose(self.worker)]
        for process, _ in frozen:
            process.freeze()
        try:
            await self.schedule.over(strike)
        finally:
            for process, row in frozen:
                if process.state is State.FROZEN:
                    process.thaw()
                end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 100.0), "worker": rng.choice(["any", "all"])}


@fault("worker.block")
class WorkerBlock(WorkerFreeze):
    """A worker's event loop is blocked, by a handler that computes, or waits without `await`."""

    effects = Effect.WORKERS | Effect.UNHEARD

    async def strike_live(self, strike: Strike) -> None:
        """Its event loop is held from inside. In virtual time that looks as if its process was stopped."""
        fleet: Any = self.context.fleet
        blocked = [(slot, slot.worker.process, self.note(slot.name, lasting=True)) for slot in self.choose(self.worker)]
        for slot, _, _ in blocked:
            fleet.block(slot, True)
        try:
            await self.schedule.over(strike)
        finally:
            for slot, process, row in blocked:
                # another one may have taken its place
                if slot.worker.process is process:
                    fleet.block(slot, False)
                end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return draw_span(rng, duration, 60.0)


@fault("worker.slow-start")
class WorkerSlowStart(WorkerFault, Chance):
    """Workers need some time after their start before they take jobs."""

    worker: Word = ALL
    delay: ServiceTime
    """How long they need."""

    def prepare(self) -> None:
        fleet = self.context.fleet
        self.active = not self.timed
        self._others, fleet.start_delay = fleet.start_delay, self.start_delay

    def start_delay(self, slot: Any) -> float:
        """How long the worker takes to start."""
        others = 0.0 if self._others is None else self._others(slot)
        if not (means(self.worker, slot) and self.strikes()):
            return others
        delay = self.sampler("delay")()
        row = self.note(slot.name, lasting=True)
        row.ended = row.began + delay
        return others + delay

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {"probability": draw_probability(rng, 1.0), "delay": round(rng.uniform(0, 20), 3)}


@fault("worker.deploy")
class WorkerDeploy(WorkerFault):
    """A rolling deploy: one worker after the other finishes its jobs, ends, and is replaced."""

    effects = Effect.WORKERS | Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES

    worker: Word = ALL
    grace: Seconds = 30.0
    """Time in which a worker may finish its jobs; then it is killed."""
    down: Seconds = 1.0
    """Time from the end of a worker to the start of its successor."""
    pause: Seconds = 0.0
    """Time from the start of a successor to the end of the next worker."""

    async def strike(self, strike: Strike) -> None:
        fleet = self.context.fleet
        row = self.note(self.worker, lasting=True)
        killed = 0
        try:
            for i, slot in enumerate(self.choose(self.worker)):
                if i and self.pause:
                    await sleep(self.pause)
                try:
                    killed += await fleet.retire(slot, self.grace)
                    await sleep(self.down)
                except asyncio.CancelledError:
                    # it takes no more jobs, so that nobody would work in its place
                    await fleet.kill(slot)
                    raise
                finally:
                    fleet.revive(slot)
        finally:
            row.detail = f"{killed} attempts were killed"
            end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_times(rng, duration), "grace": round(rng.uniform(0.0, 20.0), 3)}


@fault("worker.scale")
class WorkerScale(Fault):
    """The number of workers of one kind changes; workers that are removed finish their jobs."""

    color = PINK
    effects = Effect.WORKERS | Effect.UNHEARD
    needs = Need.PROCESSES | Need.SPARES
    must_name = "worker"

    to: CountFromZero
    """The new number of workers."""
    for_: ServiceTime | None = Field(None, alias="for")
    """Time after which there are as many as before."""
    grace: Seconds = 30.0
    """Time in which a removed worker may finish its jobs; then it is killed."""
    worker: Word | None = None
    """Which kind of workers; needed if there are several."""

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        kinds = scenario.worker_kinds
        if self.worker is not None and self.worker not in kinds:
            yield "worker", unknown("kind of workers", self.worker, kinds, "kinds")

    def unmet_needs(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        if self.worker is None and len(scenario.worker_kinds) > 1:
            yield "", f'"worker" is missing: which kind of workers, of {", ".join(scenario.worker_kinds)}'

    async def strike(self, strike: Strike) -> None:
        slots = self._slots()
        # those that are down come back
        before = sum(slot.wanted for slot in slots)
        row = self.note(slots[0].settings.name, f"from {before} to {self.to} workers", lasting=True)
        try:
            await self._scale(self.to)
            if self.for_ is not None:
                await self.schedule.over(strike)
        finally:
            if self.for_ is not None:
                self._grow(before)
            end(row)
        if self.for_ is not None:
            await self._scale(before)

    def _slots(self) -> list[Any]:
        members = self.context.fleet.members
        kind = self.worker or members[0].settings.name
        return [slot for slot in members if slot.settings.name == kind]

    def _grow(self, count: int) -> None:
        fleet = self.context.fleet
        slots = sorted(self._slots(), key=lambda slot: not slot.wanted)
        for slot in slots:
            if sum(each.alive for each in slots) < count:
                slot.wanted = True
                fleet.revive(slot)
        settings = slots[0].settings
        # at the end of a run nobody is revived: those who are missing are counted once
        for _ in range(count - sum(slot.alive for slot in slots)):
            fleet.revive(fleet.add(settings, f"{settings.name}-{len(self._slots()) + 1}", now()))

    async def _scale(self, count: int) -> None:
        self._grow(count)
        slots = self._slots()
        staying = [slot for slot in slots if slot.alive][:count]
        for slot in slots:
            slot.wanted = slot in staying
        # whoever is down and not wanted any more has nothing to finish
        going = [slot for slot in slots if slot.alive and not slot.wanted]
        leaving = [outside(self.context.fleet.retire(slot, self.grace)) for slot in going]
        if leaving:
            await asyncio.wait(leaving)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 60.0), "to": rng.randint(1, 6)}


def _signed(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str) and value.strip().startswith("-"):
        return -seconds(value.strip()[1:], info)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return -seconds(-value, info)
    return seconds(value, info)


def _format_signed(value: float) -> str:
    return f"-{format_duration(-value)}" if value < 0 else format_duration(value)


def _some(value: float) -> float:
    if value == 0:
        raise refuse("a skew of 0 is none")
    return value


Skew = Annotated[
    float,
    PlainValidator(_signed),
    AfterValidator(_some),
    PlainSerializer(_format_signed, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^-?{DURATION_PATTERN.removeprefix('^')}", "examples": ["-5s"]}),
]
"""How far a clock is ahead, in seconds; below 0, how far it is behind."""


@fault("worker.clock")
class WorkerClockSkew(WorkerFault, Lasting):
    """A worker's clock is wrong."""

    effects = Effect.WORKERS | Effect.WRONG_CLOCK

    skew: Skew
    """How far it is ahead; below 0, how far it is behind."""

    async def strike(self, strike: Strike) -> None:
        slots = self.choose(self.worker)
        rows = [self.note(slot.name, f"{self.skew:+g} s", lasting=True) for slot in slots]
        for slot in slots:
            slot.skew += self.skew
        try:
            await self.schedule.over(strike)
        finally:
            for slot, row in zip(slots, rows, strict=True):
                slot.skew -= self.skew
                end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        return {**draw_span(rng, duration, 60.0), "skew": rng.choice([-20.0, -1.0, 1.0, 20.0])}


@fault("worker.wall-clock")
class WorkerWallClock(WorkerFault, Lasting):
    """The wall clock of a worker's handlers jumps: `time.time()`, `datetime.now()`. The queue's clock stays right."""

    effects = NO_EFFECT
    needs_module = "time_machine"
    of_handlers = True
    not_live = "handlers read the clock of the machine"

    skew: Skew
    """How far it jumps forward; below 0, how far back. At the end of the fault it jumps back."""

    async def strike(self, strike: Strike) -> None:
        ahead = self.context.wall_ahead
        names = [slot.name for slot in self.choose(self.worker)]
        rows = [self.note(name, f"{self.skew:+g} s", lasting=True) for name in names]
        for name in names:
            ahead[name] = ahead.get(name, 0.0) + self.skew
        try:
            await self.schedule.over(strike)
        finally:
            for name, row in zip(names, rows, strict=True):
                ahead[name] -= self.skew
                end(row)

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        skew = rng.choice([-86400.0, -3600.0, -60.0, -1.0, 1.0, 60.0, 3600.0, 86400.0])
        return {**draw_span(rng, duration, 60.0), "worker": rng.choice([ANY, ALL]), "skew": skew}
