"""What every kind of fault has in common: its fields, its entry in the registry, and how it acts on a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Flag, auto
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

from pydantic import Field, model_validator

from queuesim.core.clock import now
from queuesim.core.job import Job
from queuesim.core.processor import JobType, Processor, call
from queuesim.faults.network import Server
from queuesim.faults.timing import ANY, Schedule, Strike, Timing
from queuesim.fields import Probability, refuse
from queuesim.results.fault_kinds import FACTS, NO_EFFECT, RED, Effect, FaultFacts
from queuesim.results.recording import FaultRow
from queuesim.simulation.process import State
from queuesim.simulation.random import Streams
from queuesim.simulation.service_times import ServiceTime
from queuesim.units import format_duration

Draw = Callable[[], float]
Problem = tuple[str, str]
"""The key of a fault that is wrong, "" for the fault itself, and what is wrong."""
Settings = dict[str, Any]
"""What a scenario writes of a fault."""


# -- What runs provide


class SlotProcess(Protocol):
    """The process of a worker."""

    @property
    def state(self) -> State: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


class FleetSlot(Protocol):
    """A place in the fleet: one worker after another has its name."""

    wanted: bool
    """Whether a worker is to be there."""
    skew: float
    """Seconds that its clock is ahead."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Any: ...

    @property
    def alive(self) -> bool: ...

    @property
    def process(self) -> SlotProcess:
        """That of its present worker."""
        ...


class FaultFleet(Protocol):
    """The workers of a run, as faults act on them. What each method does is said at the fleets themselves."""

    members: list[Any]
    start_delay: Callable[[Any], float] | None
    gone: Callable[[Any], None] | None

    def add(self, settings: Any, name: str, joined: float = 0.0) -> Any: ...

    def revive(self, member: Any) -> None: ...

    async def arrived(self, member: Any) -> None: ...

    async def kill(self, member: Any) -> int: ...

    async def retire(self, member: Any, grace: float) -> int: ...


class LoadSource(Protocol):
    """The producer of a load entry."""

    async def burst(self, size: int) -> None:
        """Add `size` jobs at once."""
        ...


class RestartableServer(Protocol):
    """The private server of a run in real time."""

    persistent: bool
    """Whether it has its data again after a restart."""

    async def kill(self, forget: bool) -> None:
        """Kill its process; remove its files too if it is to forget."""
        ...

    async def start(self) -> None:
        """Start it again."""
        ...

    async def follow_nobody(self, follow: bool) -> None:
        """Make it a replica of a server that does not exist, or a primary again."""
        ...


class FaultContext:
    """A run as its faults see it. In virtual time all processes of a run are simulated in this one.

    Args:
        broker: the queue itself.
        server: what clients meet on the way to the queue.
        producers: by load entry.
        rows: the record of faults.
        streams: the random streams of this process.
    """

    live = False
    """Whether the run is played in real time."""
    host: RestartableServer | None = None
    """The private server of a live run, if it has one."""
    directory: Path | None = None
    """Of files that all workers of a live run share, for faults inside of a worker's process; else None."""

    def __init__(
        self,
        broker: Any,
        fleet: Any,
        server: Server,
        producers: Mapping[str, LoadSource],
        rows: list[FaultRow],
        streams: Streams,
    ) -> None:
        self.broker = broker
        self.fleet: FaultFleet = fleet
        self.server = server
        self.producers = producers
        self.rows = rows
        self.streams = streams
        self.shared_streams = streams
        """The random streams of the run: the same in all of its processes."""
        self.pauses = QueuePauses(broker)
        self.wall_ahead: dict[str, float] = {}
        """By the names of workers, how many seconds the wall clock of their handlers is ahead; in virtual time."""

    def candidates(self) -> Sequence[FleetSlot]:
        """The living workers of which one can be drawn."""
        return [member for member in self.fleet.members if member.alive]

    def here(self) -> FleetSlot | None:
        """The worker in which this code runs."""
        return None

    def kill_here(self, fault: Deadly, slot: FleetSlot) -> None:
        """Kill the worker in which this code runs."""
        fault.kill(slot)

    def note_active(self, fault: Fault) -> None:
        """A fault of attempts has begun or ended. In virtual time the fault itself is all that needs to know."""

    def note_struck(self, fault: Fault) -> None:
        """A fault has struck an attempt or a transaction. In virtual time the fault itself counts."""


class QueuePauses:
    """How many faults keep the queue paused. It is paused while there is at least one."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self.count = 0
        self.possible = False
        """Whether a fault of this run pauses the queue."""

    async def change(self, by: int) -> None:
        """One fault more or one fewer wants the queue paused."""
        before, self.count = self.count, self.count + by
        if not (before and self.count):
            await self._apply()

    async def restore(self) -> None:
        """Undo what a server that went back to an earlier memory changed of the pauses."""
        if self.possible and await self._broker.is_paused() != (self.count > 0):
            await self._apply()

    async def _apply(self) -> None:
        if self.count:
            await self._broker.pause(now())
        else:
            await self._broker.resume(now())


class ScenarioOutline(Protocol):
    """What a fault is validated against."""

    @property
    def duration(self) -> float: ...

    @property
    def worker_kinds(self) -> Sequence[str]:
        """The names of the kinds of workers."""
        ...

    @property
    def workers(self) -> Sequence[str]:
        """The name of every worker."""
        ...

    @property
    def loads(self) -> Sequence[str]:
        """The names of the load entries."""
        ...

    @property
    def traces(self) -> Collection[str]:
        """The load entries that replay a trace."""
        ...

    @property
    def jobs(self) -> Sequence[str] | None:
        """The types of jobs; None: there may be others."""
        ...

    @property
    def scans(self) -> bool:
        """Whether there are overdue tasks."""
        ...


# -- The registry


class Need(Flag):
    """What a kind of fault needs in real time."""

    PROXY = auto()
    """A TCP proxy before each client."""
    PRIVATE_SERVER = auto()
    """A server that nobody else uses."""
    DURABLE_SERVER = auto()
    """A server that has its data again after a restart, if it is the run's own."""
    PROCESSES = auto()
    """Workers in processes of their own."""
    SPARES = auto()
    """Processes that stand by to take the places of workers."""


NO_NEEDS = Need(0)

KINDS: dict[str, type[Fault]] = {}
"""The kinds of faults, by the names that scenarios write."""

F = TypeVar("F", bound="type[Fault]")


def fault(kind: str) -> Callable[[F], F]:
    """Register a class as the kind of fault of that name: ``@fault("redis.outage")``.

    Raises:
        ValueError: there is a kind of that name.
    """

    def register(cls: F) -> F:
        if kind in KINDS:
            raise ValueError(f"{KINDS[kind].__name__} is the fault {kind} already")
        cls.kind = kind
        KINDS[kind] = cls
        FACTS[kind] = FaultFacts(cls.effects, cls.color)
        return cls

    return register


class Fault(Timing):
    """A fault of a scenario. A run binds a copy, which keeps the state of the fault during that run."""

    kind: ClassVar[str]
    """The name that scenarios write."""
    effects: ClassVar[Effect] = NO_EFFECT
    """What an oracle must know of it."""
    color: ClassVar[str] = RED
    """In plots. Kinds of one colour are told apart by their hatches."""
    needs: ClassVar[Need] = NO_NEEDS
    """What it needs in real time."""
    not_live: ClassVar[str] = ""
    """Why it can't be played in real time; "": it can."""
    needs_module: ClassVar[str] = ""
    """A library of an extra that it needs; "": none."""
    of_handlers: ClassVar[bool] = False
    """Whether only handlers feel it that users write: a soak of our own code does not draw it."""
    must_name: ClassVar[str] = ""
    """A key that may be left out only if the scenario has one such load entry or kind of workers."""

    if TYPE_CHECKING:
        # the state in a run
        context: FaultContext
        name: str
        """Of its random streams: no other fault's."""
        number: int
        """Its place among the faults of the scenario."""
        rng: Random
        schedule: Schedule
        samplers: dict[str, Draw]
        active: bool
        """Whether it is on."""
    else:

        def __setattr__(self, name: str, value: Any) -> None:
            """The fields are frozen, the state is not."""
            if name in type(self).model_fields:
                super().__setattr__(name, value)
            else:
                self.__dict__[name] = value

    def bind(self, context: FaultContext, name: str, number: int) -> Self:
        """A copy for one run."""
        bound = self.model_copy()
        bound.context, bound.name, bound.number = context, name, number
        bound.samplers = {}
        bound.rng = bound.streams.python(name)
        bound.schedule = Schedule(bound, name, bound.streams, context.broker.counts)
        bound.active = False
        bound.prepare()
        return bound

    @property
    def streams(self) -> Streams:
        """Where its random numbers come from."""
        return self.context.streams

    def sampler(self, key: str) -> Draw:
        """A function that draws the times of one of its keys, from a stream of their own: the same one each time."""
        if key not in self.samplers:
            time: ServiceTime = getattr(self, key)
            self.samplers[key] = time.model().sampler(self.streams.named(f"{self.name}/{key}"))
        return self.samplers[key]

    # -- acting

    def prepare(self) -> None:
        """Called before the run begins."""

    async def run(self) -> None:
        """Strike whenever it is time. Cancelled when the faults end: what is on then is undone."""
        strike_once = self.strike_live if self.context.live else self.strike
        async for strike in self.schedule.strikes():
            await strike_once(strike)

    async def strike(self, strike: Strike) -> None:
        """Strike once, and return when that is over."""
        raise NotImplementedError

    async def strike_live(self, strike: Strike) -> None:
        """Strike once in real time, where that differs."""
        await self.strike(strike)

    def worker_gone(self, slot: FleetSlot) -> None:
        """A worker has ended or died."""

    def choose(self, who: str) -> list[Any]:
        """The living workers that are meant: one that is drawn, all, those of a kind, or one by its name."""
        if who == ANY:
            living = self.context.candidates()
            return [self.rng.choice(living)] if living else []
        return [slot for slot in self.context.fleet.members if slot.alive and means(who, slot)]

    def note(self, target: str, detail: str = "", *, lasting: bool = False, lost: float | None = None) -> FaultRow:
        """Record that it struck, and the seconds of memory that were lost. A row that lasts gets its end later."""
        began = now()
        row = FaultRow(self.kind, target, began, math.nan if lasting else began, detail, lost)
        self.context.rows.append(row)
        return row

    # -- what must hold in a scenario

    def problems(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        """What does not fit to the scenario: names, times, and whatever else the kind needs."""
        yield from self.unknown_names(scenario)
        yield from self._impossible_times(scenario.duration)
        yield from self.unmet_needs(scenario)

    def unknown_names(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        """Names that the scenario does not have."""
        return iter(())

    def unmet_needs(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        """What else is missing."""
        return iter(())

    def _impossible_times(self, run: float) -> Iterator[Problem]:
        times, length = self.at or (), getattr(self, "for_", None)
        lasts = None if length is None else length.constant
        for time in times:
            if time >= run:
                yield "at", f"{format_duration(time)} is after the end of the run, {format_duration(run)}"
            elif lasts is not None and time + lasts > run:
                end = format_duration(time + lasts)
                yield "for", f"it would end at {end}, after the end of the run, {format_duration(run)}"
        for earlier, later in pairwise(times):
            if lasts is not None and earlier + lasts > later:
                end = format_duration(earlier + lasts)
                yield "at", f"at {format_duration(later)} it is still on: until {end}"
        if self.every is not None and (self.every.constant or 0.0) >= run:
            yield "every", f"that is not before the end of the run, {format_duration(run)}"

    # -- where it is played

    def needs_live(self, durable: bool) -> Need:
        """What it needs in real time; `durable`: the server has its data again after a restart."""
        return self.needs

    @staticmethod
    def draw(rng: Random, duration: float) -> Settings:
        """Random settings that a queue must survive, for a run of `duration` seconds. Kinds that a soak is not to
        draw leave this as it is."""
        raise NotImplementedError


def means(who: str, slot: FleetSlot) -> bool:
    """Whether a worker is meant by a name, the name of a kind, `any` or `all`."""
    return who in ("any", "all", slot.name, slot.settings.name)


def end(row: FaultRow) -> None:
    """A fault is over."""
    row.ended = now()


class Lasting(Fault):
    """A fault that is on for some time."""

    lasting = True

    for_: ServiceTime | None = Field(None, alias="for")
    """For how long; with `while` at most so long."""

    @model_validator(mode="after")
    def _how_long(self) -> Any:
        if self.timed and self.while_ is None and self.for_ is None:
            raise refuse('"for" is missing: how long it lasts, as "for: 2m"')
        if self.for_ is not None and not self.timed:
            raise refuse('"for" needs a beginning: add at or every')
        return self

    @property
    def target(self) -> str:
        """What it strikes, as it is recorded."""
        return ""

    async def strike(self, strike: Strike) -> None:
        row = self.note(self.target, lasting=True)
        self.turn(True)
        try:
            await self.schedule.over(strike)
        finally:
            self.turn(False)
            self.finish(row)

    def turn(self, on: bool) -> None:
        """It begins or ends."""
        self.active = on

    def finish(self, row: FaultRow) -> None:
        """Record its end."""
        end(row)


class Likely(Lasting):
    """A fault that strikes with a probability: at any time, or only while it lasts."""

    by_chance = True

    probability: Probability | None = None
    """How likely each single one is struck; 1 if left out."""

    @property
    def chance(self) -> float:
        """The probability, 1 if it was left out."""
        return 1.0 if self.probability is None else self.probability

    def drawn(self) -> bool:
        """Draw whether the next one is struck."""
        return self.chance >= 1 or self.rng.random() < self.chance


class Chance(Likely):
    """A fault that is recorded each time that it strikes, not for as long as it can."""

    async def strike(self, strike: Strike) -> None:
        self.turn(True)
        try:
            await self.schedule.over(strike)
        finally:
            self.turn(False)

    def strikes(self) -> bool:
        """Whether this one is struck."""
        return self.active and self.drawn()


class Deadly(Fault):
    """A fault by which workers die."""

    def kill(self, slot: FleetSlot) -> object:
        """Kill a worker now, and start its successor later."""
        raise NotImplementedError


# -- What faults can get at beside workers and the server


class AttemptHook(Fault):
    """A fault that acts on attempts while it is active. What it raises is what the attempt fails with."""

    def concerns(self, job_type: str) -> bool:
        """Whether it acts on attempts of jobs of this type."""
        raise NotImplementedError

    async def before(self, job: Job) -> None:
        """The handler is about to run."""

    async def after(self, job: Job) -> None:
        """The handler has returned."""

    def drive(self, job: Job, attempt: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """What runs in place of the handler's own coroutine."""
        return attempt

    def finally_(self, job: Job) -> None:
        """The attempt is over, however it ended, unless its worker is dead."""


def disturb(processor: Processor, faults: Sequence[AttemptHook]) -> None:
    """Let faults act on the attempts of a processor."""
    for job_type in list(processor.types.values()):
        hooks = [fault for fault in faults if fault.concerns(job_type.name)]
        if hooks:
            processor.add(replace(job_type, handler=_disturbed(job_type, hooks), is_async=True))


def _disturbed(job_type: JobType, hooks: Sequence[AttemptHook]) -> Any:
    handler = job_type.handler

    async def handle(job: Job) -> Any:
        struck = [hook for hook in hooks if hook.active]
        try:
            for hook in struck:
                await hook.before(job)
            attempt: Coroutine[Any, Any, Any] = call(handler, job)
            for hook in struck:
                attempt = hook.drive(job, attempt)
            value = await attempt
            for hook in struck:
                await hook.after(job)
            return value
        finally:
            for hook in struck:
                hook.finally_(job)

    return handle


# -- Random settings, for a soak


def draw_times(rng: Random, duration: float) -> Settings:
    """When a fault strikes: once, or again and again."""
    if rng.random() < 0.5:
        return {"at": round(rng.uniform(0.05, 0.6) * duration, 3)}
    return {"every": {"exponential": round(rng.uniform(0.1, 0.5) * duration, 3)}}


def draw_span(rng: Random, duration: float, longest: float) -> Settings:
    """When a fault strikes, and for how long."""
    return {**draw_times(rng, duration), "for": round(rng.uniform(0.5, min(longest, 0.3 * duration)), 3)}


def draw_probability(rng: Random, most: float) -> float:
    """How likely a fault strikes."""
    return round(rng.uniform(0.001, most), 4)
