"""The warm-up: where a run's beginning, which still shows how it was started, ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from queuesim.error import QueuesimError
from queuesim.text import counted, readable

if TYPE_CHECKING:
    from queuesim.results.result import Result

BATCH = 5
"""Observations that are averaged before the rule is applied: the 5 of MSER-5."""
EDGE = 0.02
"""A cut in this last part of the first half is one at its end."""
FEWEST = 50
"""Jobs below which a run is too short for the rule."""
PILOTS = 5
"""Runs that are looked at. They are the first ones of an experiment, however many it has."""


class WarmupError(QueuesimError):
    """No end of the warm-up can be found."""


def mser5(observations: npt.ArrayLike) -> int | None:
    """How many observations to leave out at the start, by the rule MSER-5; None if the first half is not enough.

    The observations are averaged in batches of 5. Of all points in the first half at which the series can be cut, the
    rule takes the one with the least squared standard error of the mean of what is left: the sum of the squared
    deviations of the n - d batches that are left from their mean, over (n - d) squared. Cuts in the second half leave
    too little to tell; that the end of the first half is the best cut in it means that it is not enough.

    Sources: White, An effective truncation heuristic for bias reduction in simulation output, Simulation 69 (1997);
    White, Cobb & Spratt, A comparison of five steady-state truncation heuristics for simulation, WSC 2000 (MSER-5);
    Franklin & White, Stationarity tests and MSER-5, WSC 2008.

    Raises:
        ValueError: fewer than 50 observations, or one that is not finite.
    """
    series = np.asarray(observations, dtype=np.float64)
    if series.ndim != 1 or len(series) < FEWEST:
        raise ValueError(f"MSER-5 needs a row of {FEWEST} observations or more, not {series.shape}")
    if not np.isfinite(series).all():
        raise ValueError("MSER-5 needs observations that are finite")
    batches = series[: len(series) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    # for each cut d: number, sum and sum of squares of what is left, around a value close to the mean
    centred = batches - batches.mean()
    left = np.arange(len(batches), 0, -1)
    sums, squares = (np.cumsum(each[::-1])[::-1] for each in (centred, centred**2))
    errors = np.maximum(squares - sums**2 / left, 0.0) / left.astype(np.float64) ** 2
    half = len(batches) // 2
    cut = int(np.argmin(errors[: half + 1]))
    return None if cut > (1 - EDGE) * half else cut * BATCH


def warmup_of(result: Result) -> float:
    """The end of a run's warm-up in seconds, by MSER-5 over the waiting times of its jobs in the order of their starts.

    Infinity: the first half of the run is not enough. NaN: it has fewer than 50 jobs that started.
    """
    jobs = result.jobs
    started = jobs.loc[jobs["started"].notna(), ["scheduled", "started", "waiting"]].sort_values(
        "started", kind="stable"
    )
    if len(started) < FEWEST:
        return math.nan
    cut = mser5(started["waiting"].to_numpy())
    if cut is None:
        return math.inf
    # the warm-up leaves out jobs by the time at which they were scheduled
    return float(started["scheduled"].iloc[:cut].max()) if cut else 0.0


def longest(warmups: Sequence[float], duration: float) -> float:
    """The warm-up of an experiment: the longest one of its pilot runs, in seconds, in whole milliseconds.

    Raises:
        WarmupError: one of them has no end, or leaves less than half of the run.
    """
    if any(math.isnan(each) for each in warmups):
        raise WarmupError(f"MSER-5 needs runs with at least {FEWEST} jobs that start: play longer ones")
    endless = sum(not each <= duration / 2 for each in warmups)
    if endless:
        raise WarmupError(
            f"MSER-5 finds no end of the warm-up in the first half of {endless} of {counted(len(warmups), 'run')} of "
            f"{readable(duration)}: play longer ones, or say how long the warm-up is; if the backlog grows without "
            "end, there is none"
        )
    return math.ceil(max(warmups) * 1000) / 1000
