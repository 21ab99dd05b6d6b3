"""The rate limiter's cost: slots that idled and jobs that waited because no start was left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.occupancy import active, backlog

if TYPE_CHECKING:
    from queuesim.metrics.level import Array
    from queuesim.metrics.result import Result


@dataclass(frozen=True, slots=True)
class LimiterCost:
    """What the limiter allowed, and what was lost to it, in the measured time."""

    max: int
    """Starts that a window allows."""
    duration: float
    """Seconds a window."""
    windows: int
    full: int
    """Windows whose starts were used up."""
    used: float
    """Starts over those that the windows allowed; NaN without a window."""
    shut: float
    """Seconds in which no start was left."""
    blocked: float
    """Of these, the seconds in which a job waited and a slot was free: time that only the limiter took."""
    slot_seconds: float
    """Seconds times slots that idled then, though there were jobs for them."""
    job_seconds: float
    """Seconds that jobs waited while no start was left, summed over the jobs."""
    capacity: float
    """Jobs per second that it lets through at most, each attempt counted as a start."""


def limiter_cost(result: Result) -> LimiterCost | None:
    """See `Analysis.limiter`."""
    facts = result.facts
    if facts.limiter is None:
        return None
    windows = result.limiter[result.limiter["opened"] >= facts.warmup]
    starts, allowed = windows["starts"].to_numpy(), windows["max"].to_numpy()
    shut = windows["time_limited"].to_numpy()
    closes = np.minimum(windows["closes"].to_numpy(), facts.duration)
    blocked, slots, jobs = _lost(result, closes - shut, closes)
    return LimiterCost(
        max=facts.limiter[0],
        duration=facts.limiter[1],
        windows=len(windows),
        full=int((starts >= allowed).sum()),
        used=float(starts.sum() / allowed.sum()) if allowed.sum() else np.nan,
        shut=float(shut.sum()),
        blocked=blocked,
        slot_seconds=slots,
        job_seconds=jobs,
        capacity=facts.limiter[0] / facts.limiter[1],
    )


def _lost(result: Result, begins: Array, ends: Array) -> tuple[float, float, float]:
    """Over intervals that follow one another: seconds in which jobs and slots were both there, the integral of the
    lesser of both, and the integral of the backlog."""
    waiting, running = backlog(result), active(result)
    moments = np.unique(np.concatenate((waiting.times[1:], running.times[1:], begins, ends)))
    if len(moments) < 2 or not len(begins):
        return 0.0, 0.0, 0.0
    middle = moments[:-1]
    # the intervals are in order: the last that began decides whether a moment is in one
    place = np.searchsorted(begins, middle, side="right") - 1
    inside = (place >= 0) & (middle < ends[np.maximum(place, 0)])
    widths = np.where(inside, np.diff(moments), 0.0)
    jobs = waiting.at(middle)
    lost = np.minimum(jobs, np.maximum(result.facts.concurrency - running.at(middle), 0))
    return float(widths[lost > 0].sum()), float((widths * lost).sum()), float((widths * jobs).sum())
