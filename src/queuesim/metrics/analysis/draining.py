"""Draining: how backlogs build up, and how long it takes until they are gone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from queuesim.metrics.occupancy import backlog

if TYPE_CHECKING:
    from queuesim.metrics.level import Level
    from queuesim.metrics.result import Result


def time_to_drain(result: Result, since: float | None) -> float:
    """See `Analysis.time_to_drain`."""
    level = backlog(result)
    if since is None:
        since = level.extreme(result.facts.warmup, result.facts.duration)[1]
    if math.isnan(since):
        return math.nan
    return drained_at(level, since, result.facts.duration) - since


def drained_at(level: Level, since: float, end: float) -> float:
    """When a level is first 0, from `since` on; NaN: not before `end`."""
    if level.at(since) == 0:
        return since
    after = int(np.searchsorted(level.times, since, side="right"))
    empty = np.flatnonzero(level.values[after:] == 0)
    moment = float(level.times[after + empty[0]]) if len(empty) else math.nan
    return moment if moment <= end else math.nan


def backlogs(result: Result, least: int | None) -> pd.DataFrame:
    """See `Analysis.backlogs`. Columns, in seconds but `peak`:

    began, peak_at, peak (jobs), drained (NaN: not before the end of the run), build_up (peak_at - began), to_drain
    (drained - peak_at), job_seconds (that jobs waited in it, summed over them).
    """
    level, duration = backlog(result), result.facts.duration
    times, values = level.times[1:], level.values[1:]
    waiting = values > 0
    begins = np.flatnonzero(waiting & ~np.append(False, waiting)[:-1])
    rows = []
    for begin, after in zip(begins, [*begins[1:], len(times)], strict=False):
        highest = begin + int(values[begin:after].argmax())
        empty = np.flatnonzero(values[begin:after] == 0)
        drained = float(times[begin + empty[0]]) if len(empty) else math.nan
        until = duration if math.isnan(drained) else drained
        began, peak_at = float(times[begin]), float(times[highest])
        spent = float(level.area(until) - level.area(began))
        peak = int(values[highest])
        rows.append((began, peak_at, peak, drained, peak_at - began, drained - peak_at, spent))
    columns = ["began", "peak_at", "peak", "drained", "build_up", "to_drain", "job_seconds"]
    frame = pd.DataFrame(rows, columns=columns).astype({"peak": np.int64})
    if least is None:
        least = max(2, math.ceil(frame["peak"].max() / 100)) if len(frame) else 0
    return frame[frame["peak"] >= least].reset_index(drop=True)
