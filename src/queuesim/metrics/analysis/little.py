"""Little's law, L = λW (Little 1961), as a self-check of a run's records.

Over a finite time it is no limit theorem but an identity: the integral of the jobs in the system is the sum of the
times that they spent in it, each cut at both ends. Its sides are taken from records that come by different ways, L from
the broker's events, λ and W from producers and workers, so that what one of them lost or invented shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.level import Level
from queuesim.metrics.recording import CheckRow
from queuesim.metrics.rows import rows_of

if TYPE_CHECKING:
    from queuesim.metrics.level import Array
    from queuesim.metrics.result import Result

NAME = "Little's law: L = λW"
TOLERANCE = 0.01
"""Relative difference that is no violation."""
RESOLUTION = 0.002
"""Seconds per job by which two records of one moment may differ in a simulation: queues on Redis have milliseconds."""
EARLY, LATE = 0.05, 5.0
"""Seconds by which, on a real server, the event of a job's end may be before and after its worker's record of it: an
outcome is on its way, or waits for the next exchange, for as long as the machine is busy."""


PARTING = ("redis.", "worker.", "handler.payload")
"""Faults by which the records of workers and those of the queue part."""


@dataclass(frozen=True, slots=True)
class Little:
    """Both sides of Little's law over a whole run; NaN if there is nothing to hold against each other."""

    jobs: float
    """L: jobs in the system, averaged over time, by the events."""
    arrival_rate: float
    """λ: jobs that came per second."""
    time: float
    """W: seconds that a job spent in the system, cut at the end of the run, by the workers' records."""
    count: int
    """Jobs that came."""
    duration: float
    """Seconds of the run."""
    slack: float = 0.0
    """Jobs by which both sides may differ, since they are measured at different places."""

    @property
    def product(self) -> float:
        """λW."""
        return self.arrival_rate * self.time

    @property
    def difference(self) -> float:
        """How far L is off λW, as a fraction of the greater; 0 if both are 0."""
        greater = max(self.jobs, self.product)
        return abs(self.jobs - self.product) / greater if greater else 0.0 * greater

    @property
    def holds(self) -> bool:
        """Whether both sides agree, within TOLERANCE or `slack`."""
        return not (self.difference > TOLERANCE and abs(self.jobs - self.product) > self.slack)


def littles_law(result: Result) -> Little:
    """See `Analysis.littles_law`."""
    duration, count = result.facts.duration, len(result.jobs)
    if not (count and duration > 0 and len(result.events)):
        return Little(math.nan, math.nan, math.nan, count, duration)
    came, left = _by_events(result)
    area = float(Level(came, left).area(duration))
    added, finished = result.jobs["added"].to_numpy(), _by_records(result)
    spent = np.minimum(np.nan_to_num(finished, nan=math.inf), duration) - np.minimum(added, duration)
    slack = RESOLUTION * count + (_on_the_way(result, added, finished) if result.facts.backend == "redis" else 0.0)
    return Little(area / duration, count / duration, float(spent.mean()), count, duration, slack / duration)


def _on_the_way(result: Result, added: Array, finished: Array) -> float:
    """Seconds, over all jobs, between what producers and workers recorded and the events of the same moments. What
    lies further apart than it can on a healthy machine, or has no match, does not count."""
    events, jobs = result.events, result.jobs["job"].to_numpy()
    total = 0.0
    for recorded, kinds in ((added, ["added"]), (finished, ["completed", "failed", "removed"])):
        # the last of each job's
        told = events[events["kind"].isin(kinds)].drop_duplicates("job", keep="last")
        rows = rows_of(jobs, told["job"].to_numpy())
        after = told["time"].to_numpy()[rows >= 0] - recorded[rows[rows >= 0]]
        total += float(np.abs(after[(after >= -EARLY) & (after <= LATE)]).sum())
    return total


def _by_events(result: Result) -> tuple[Array, Array]:
    """When jobs came into the system and left it. One that finished and is put back comes again."""
    events = result.events
    kinds, finished = events["kind"], events["previous"].isin(["completed", "failed"])
    came = (kinds == "added") | (kinds.isin(["waiting", "delayed"]) & finished)
    left = kinds.isin(["completed", "failed"]) | ((kinds == "removed") & ~finished)
    known = rows_of(result.jobs["job"].to_numpy(), events["job"].to_numpy()) >= 0
    time = events["time"].to_numpy()
    return time[came.to_numpy() & known], time[left.to_numpy() & known]


def _by_records(result: Result) -> Array:
    """When each job left the system: it finished, or was removed; NaN: it never did."""
    from queuesim.metrics.occupancy import removed_at

    left: Array = np.fmin(result.jobs["finished"].to_numpy(), removed_at(result))
    return left


def check(result: Result) -> CheckRow:
    """Little's law as a row of the checks."""
    if any(kind.startswith(PARTING) for kind in result.faults["fault"]):
        detail = "not judged: workers whose Redis is away, or who die, don't hear what became of jobs"
        return CheckRow(NAME, True, math.nan, "== 0", detail=detail, kind="oracle", judged=0.0)
    little = littles_law(result)
    if math.isnan(little.jobs):
        return CheckRow(
            NAME, True, math.nan, "== 0", detail="not judged: nothing to measure", kind="oracle", judged=0.0
        )
    detail = (
        "" if little.holds else f"L = {little.jobs:.6g} jobs by the events, λW = {little.product:.6g} by the workers"
    )
    return CheckRow(
        NAME, little.holds, float(not little.holds), "== 0", detail=detail, kind="oracle", unit="violations"
    )
