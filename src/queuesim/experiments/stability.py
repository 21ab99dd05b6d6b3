"""Stability: whether a scenario has a steady state at all, whose mean waiting time an interval could be about."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.check.check import moments
from queuesim.check.outline import JobOutline, left_to_chance, limiter, outlines, scaled_up, slots
from queuesim.experiments.interval import replications
from queuesim.runs.judging import what_is_asked
from queuesim.scenario.processors import processor_of
from queuesim.text import rate

if TYPE_CHECKING:
    from queuesim.core.processor import Processor
    from queuesim.experiments.task import Measured, Playing
    from queuesim.scenario.load import LoadEntry
    from queuesim.scenario.model import Scenario

AFFECTED = ("latency", "waiting", "backlog", "unfinished")
"""Metrics that have no steady state where the backlog grows without end."""
CONFIDENCE = 0.99
"""Probability with which a backlog that does not grow is not said to grow."""
LINEAR = 0.75
"""A backlog is said to grow without end if it does at least so much like a straight line from zero. From an empty queue
that is still settling it grows like the square root of the time at most: 0.6."""


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """What a steady load asks of the workers and of the limiter, retries counted."""

    work: float
    """Seconds of work that arrive per second, of the jobs whose service time is known: the slots that are busy on
    average."""
    slots: int
    starts: float
    """Starts per second."""
    allowed: float
    """Starts per second that the limiter allows; infinity without one."""
    random: bool
    """Whether chance decides on anything: then a load as large as the capacity is too large already."""

    @property
    def too_large(self) -> str:
        """Why the load has no steady state; "" if it may have one."""
        if self._exceeds(self.work, self.slots):
            return (
                f"jobs bring {self.work:.3g} s of work per second, retries included, and there are {self.slots} slots"
            )
        if self._exceeds(self.starts, self.allowed):
            return (
                f"jobs need {rate(self.starts)} starts, retries included, and the limiter allows {rate(self.allowed)}"
            )
        return ""

    def _exceeds(self, load: float, capacity: float) -> bool:
        return load > capacity * (1 - 1e-9) if self.random else load > capacity * (1 + 1e-9)


def offered_load(scenario: Scenario, own: Processor | None = None) -> OfferedLoad | None:
    """The load on a scenario in which jobs come at the same rates all the time; None for any other.

    Args:
        own: the scenario's own processor; None to load the one that it names.

    Raises:
        ProcessorImportError, FactoryError: it can't be loaded.
    """
    if not steady(scenario) or scaled_up(scenario):
        return None
    own = processor_of(scenario) if own is None else own
    rates: dict[str, float] = {}
    for entry in scenario.load:
        for name, share in scenario.mix(entry).items():
            rates[name] = rates.get(name, 0.0) + _rate(entry) * share
    jobs, limit = outlines(scenario, own), limiter(scenario, own)
    return OfferedLoad(
        work=sum(rates.get(job.name, 0.0) * job.work for job in jobs),
        slots=slots(scenario, own),
        starts=sum(rates.get(job.name, 0.0) * job.starts for job in jobs),
        allowed=math.inf if limit is None else limit.max / limit.duration,
        random=left_to_chance(scenario),
    )


def busiest_load(scenario: Scenario, own: Processor | None) -> OfferedLoad:
    """The load at the busiest moment, as far as jobs come at rates: bulks, traces and closed loads have none."""
    jobs, limit = outlines(scenario, own), limiter(scenario, own)

    def most(of: Callable[[JobOutline], float]) -> float:
        each = (sum(rates.get(job.name, 0.0) * of(job) for job in jobs) for rates in moments(scenario))
        return max(each, default=0.0)

    return OfferedLoad(
        work=most(lambda job: job.work),
        slots=slots(scenario, own),
        starts=most(lambda job: job.starts),
        allowed=math.inf if limit is None else limit.max / limit.duration,
        random=left_to_chance(scenario),
    )


def work_until(scenario: Scenario, own: Processor | None, end: float) -> tuple[float, float]:
    """Seconds of work, and starts, that all jobs bring until a time, retries counted."""
    known = {job.name: job for job in outlines(scenario, own)}
    work = starts = 0.0
    for load in what_is_asked(scenario, end).loads:
        for name, share in load.types.items():
            if name in known:
                work += load.jobs * share * known[name].work
                starts += load.jobs * share * known[name].starts
    return work, starts


def steady(scenario: Scenario) -> bool:
    """Whether jobs come at the same rates all the time, with no end: what else can have a steady state?"""
    return scenario.overdue is None and bool(scenario.load) and all(_lasts(entry) for entry in scenario.load)


def _lasts(entry: LoadEntry) -> bool:
    arrivals = entry.constant or entry.poisson
    return entry.duration is None and arrivals is not None and arrivals.rate is not None


def _rate(entry: LoadEntry) -> float:
    arrivals = entry.constant or entry.poisson
    return 0.0 if arrivals is None else arrivals.rate or 0.0


def why_unstable(scenario: Scenario, playing: Playing, runs: Sequence[Measured]) -> str:
    """Why a scenario that has been played has no steady state; "" if nothing speaks against one, or it needs none."""
    load = offered_load(scenario, playing.prototype(scenario))
    if load is not None and load.too_large:
        return load.too_large
    return growth(runs, scenario.warmup, scenario.duration) if steady(scenario) else ""


def growth(runs: Sequence[Measured], warmup: float, duration: float) -> str:
    """That the backlog of the runs grew all the time, and how fast; "" if it did not.

    The backlog of each run is fitted by a straight line over the measured time. The lines must go up, by a one-sided t
    test at 99 %, and at least three quarters as steeply as a line from zero at the run's start would.
    """
    known = [(run.growth, run.level) for run in runs if math.isfinite(run.growth)]
    if len(known) < 2 or not duration > warmup:
        return ""
    grown, levels = np.array(known).T
    interval = replications(grown, confidence=2 * CONFIDENCE - 1)
    # of a line from zero at the start: growth over mean, both over the measured time
    line = 2 * (duration - warmup) / (duration + warmup)
    if interval.low <= 0 or levels.mean() < 1 or interval.mean < LINEAR * line * levels.mean():
        return ""
    return f"the backlog grows all the time, by about {rate(interval.mean / (duration - warmup))}"
