"""A fault at work: what every kind has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from queuesim.metrics.recording import FaultRow
from queuesim.scenario.faults.plant import Plant, end
from queuesim.scenario.faults.schedule import Schedule, Strike


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
