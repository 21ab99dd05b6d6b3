"""Faults of the clock that begins scans for overdue tasks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Protocol

from queuesim.faults.base import Chance, Draw, Problem, ScenarioOutline, end, fault
from queuesim.results.fault_kinds import Effect
from queuesim.simulation.service_times import ServiceTime


class Scans(Protocol):
    """The scans of a run, as their faults act on them."""

    def scan_beside(self, name: str, tick: float | None, page: Draw | None = None) -> asyncio.Task[None]:
        """Scan once more, in a process of its own; `page` draws how many seconds longer each page takes."""
        ...


class CronFault(Chance):
    """A fault of ticks: on for a while, or always, it strikes each with a probability."""

    effects = Effect.REPEATS_PAGES
    not_live = "its schedulers are processes of their own, whose clocks nobody can get at"

    def unmet_needs(self, scenario: ScenarioOutline) -> Iterator[Problem]:
        if not scenario.scans:
            yield "", 'nobody scans here: it needs the key "overdue"'

    async def tick(self, scans: Scans, name: str, tick: float | None) -> bool:
        """The scheduler of that name is about to scan. False: it is not to."""
        raise NotImplementedError


@fault("cron.missed")
class CronMissed(CronFault):
    """A tick is missed: no scan starts."""

    effects = Effect.REPEATS_PAGES | Effect.SKIPS_TICKS

    async def tick(self, scans: Scans, name: str, tick: float | None) -> bool:
        if not self.strikes():
            return True
        self.note(name)
        return False


@fault("cron.twice")
class CronTwice(CronFault):
    """A second, forgotten scheduler scans at the same tick."""

    async def tick(self, scans: Scans, name: str, tick: float | None) -> bool:
        if self.strikes():
            self.note(name)
            # it is no part of the scheduler's agreement on who scans for which tick
            scans.scan_beside(f"{name}, twin", None)
        return True


@fault("cron.overlap")
class CronOverlap(CronFault):
    """A scan takes so long that the next one begins before it ends, as if cron started a program at every tick."""

    effects = Effect.REPEATS_PAGES | Effect.SKIPS_TICKS

    delay: ServiceTime
    """How much longer each of its pages takes."""

    def prepare(self) -> None:
        self._count = 0

    async def tick(self, scans: Scans, name: str, tick: float | None) -> bool:
        if not self.strikes():
            return True
        self._count += 1
        row = self.note(name, lasting=True)
        scan = scans.scan_beside(f"{name}, slow {self._count}", tick, self.sampler("delay"))
        scan.add_done_callback(lambda _: end(row) if math.isnan(row.ended) else None)
        return False
