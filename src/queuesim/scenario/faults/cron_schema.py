"""What can go wrong with the clock that begins scans for overdue tasks."""

from __future__ import annotations

from queuesim.scenario.faults.timing_schema import Likely
from queuesim.scenario.service_schema import ServiceTime


class MissedTick(Likely):
    """A tick does not happen: nobody scans."""


class TwoSchedulers(Likely):
    """A second scheduler is there that nobody knows of: it scans at the same tick."""


class Overlap(Likely):
    """A scan takes so long that the next begins while it goes on, as where cron starts a program at every tick."""

    delay: ServiceTime
    """How much longer each of its pages takes."""
