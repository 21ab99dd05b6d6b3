"""Faults of the clock that begins scans, at work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from queuesim.faults.base import Chance, end
from queuesim.faults.timing import Likely
from queuesim.simulation.distributions import ServiceTime

if TYPE_CHECKING:
    from queuesim.runs.overdue import OverdueTasks


class CronFault(Chance):
    """A fault of ticks: on for a while, or always, it strikes each with a probability."""

    async def tick(self, overdue: OverdueTasks, name: str, tick: float | None) -> bool:
        """The scheduler of that name is about to scan. False: it is not to."""
        raise NotImplementedError


class MissedTick(CronFault):
    """Nobody scans."""

    async def tick(self, overdue: OverdueTasks, name: str, tick: float | None) -> bool:
        if not self.struck():
            return True
        self.plant.note(self.kind, name)
        return False


class TwoSchedulers(CronFault):
    """Another process scans too, and is no part of the scheduler's agreement on who does."""

    async def tick(self, overdue: OverdueTasks, name: str, tick: float | None) -> bool:
        if self.struck():
            self.plant.note(self.kind, name)
            overdue.scan_beside(f"{name}, twin", None)
        return True


class Overlap(CronFault):
    """A process of its own scans, slowly, and the scheduler goes on to the next tick."""

    def prepare(self) -> None:
        self._delay = self.sampler(self.settings.delay, "delay")
        self._count = 0

    async def tick(self, overdue: OverdueTasks, name: str, tick: float | None) -> bool:
        if not self.struck():
            return True
        self._count += 1
        row = self.plant.note(self.kind, name, lasting=True)
        scan = overdue.scan_beside(f"{name}, slow {self._count}", tick, self._delay)
        scan.add_done_callback(lambda _: end(row) if math.isnan(row.ended) else None)
        return False


# -- What can go wrong with the clock that begins scans for overdue tasks


class MissedTickFields(Likely):
    """A tick does not happen: nobody scans."""


class TwoSchedulersFields(Likely):
    """A second scheduler is there that nobody knows of: it scans at the same tick."""


class OverlapFields(Likely):
    """A scan takes so long that the next begins while it goes on, as where cron starts a program at every tick."""

    delay: ServiceTime
    """How much longer each of its pages takes."""
