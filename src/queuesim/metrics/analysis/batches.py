"""Batches: the anatomy of many jobs that come at once, such as the notifications of an overdue scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from queuesim.metrics.occupancy import backlog

if TYPE_CHECKING:
    from queuesim.metrics.level import Array, Level
    from queuesim.metrics.result import Result

COLUMNS = (
    *("batch", "origin", "began", "ended", "jobs", "first_started", "half_done", "drained", "to_drain", "rate"),
    *("backlog_before", "backlog_peak", "others", "others_p95", "next_began_before_drained"),
)


def batches(result: Result, least: int) -> pd.DataFrame:
    """See `Analysis.batches`. Columns, times in seconds:

    batch (its number), origin (what triggered the scan, or the load entry), began, ended (the first and the last job
    were added), jobs, first_started, half_done (half of the jobs had finished), drained (all had; NaN: not before the
    end), to_drain (drained - began), rate (jobs finished per second until then), backlog_before, backlog_peak (jobs),
    others (other jobs that came meanwhile), others_p95 (95th percentile of their latency), next_began_before_drained
    (the next batch came on top of this one).
    """
    level = backlog(result)
    rows = [(number, *_row(result, level, batch)) for number, batch in enumerate(find_batches(result, least), start=1)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    ends = frame["drained"].fillna(math.inf).to_numpy(dtype=np.float64)
    following = np.append(frame["began"].to_numpy(dtype=np.float64)[1:], math.inf)
    frame[COLUMNS[-1]] = following[: len(frame)] < ends
    return frame


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that came together."""

    origin: str
    began: float
    ended: float
    own: Array
    """A mask over the jobs."""


def find_batches(result: Result, least: int) -> list[Batch]:
    """The notifications of each overdue scan if there were any, else `least` jobs or more that came at once."""
    return _scans(result) if len(result.overdue) else _bulks(result, least)


def _scans(result: Result) -> list[Batch]:
    """The notifications of each scan: the jobs of their name that were added while it went on."""
    jobs, added = result.jobs, result.jobs["added"].to_numpy()
    scans = result.overdue
    found = []
    for origin, began, ended in zip(scans["trigger"], scans["began"], scans["ended"], strict=True):
        until = result.facts.duration if math.isnan(ended) else ended
        during = (added >= began) & (added <= until)
        own = during & (jobs["name"] == _notification(jobs[during])).to_numpy()
        found.append(Batch(str(origin), float(began), float(until), own))
    return found


def _notification(jobs: pd.DataFrame) -> str:
    """The name of the notifications among the jobs that were added during a scan: it speaks of "overdue", or it is the
    most frequent one."""
    names = [str(name) for name, count in jobs["name"].value_counts().items() if count]
    return next((name for name in names if "overdue" in name), names[0] if names else "")


def _bulks(result: Result, least: int) -> list[Batch]:
    """The jobs of one load entry that were added at one moment, if they are so many."""
    jobs = result.jobs
    sizes = jobs.groupby(["added", "load"], observed=True)["job"].size().reset_index(name="size")
    sizes = sizes[sizes["size"] >= least]
    added = jobs["added"].to_numpy()
    return [
        Batch(str(load), float(moment), float(moment), (added == moment) & (jobs["load"] == load).to_numpy())
        for moment, load in zip(sizes["added"], sizes["load"], strict=True)
    ]


def _row(result: Result, level: Level, batch: Batch) -> tuple[object, ...]:
    jobs, began = result.jobs, batch.began
    count = int(batch.own.sum())
    finished = np.sort(jobs["finished"].to_numpy()[batch.own])
    finished = finished[~np.isnan(finished)]
    half = math.ceil(count / 2)
    drained = float(finished[-1]) if count and len(finished) == count else math.nan
    until = result.facts.duration if math.isnan(drained) else drained
    started = jobs["started"].to_numpy()[batch.own]
    peak = level.extreme(began, until)[0]
    scheduled = jobs["scheduled"].to_numpy()
    others = ~batch.own & (scheduled >= began) & (scheduled <= until)
    latency = jobs["latency"].to_numpy()[others]
    latency = latency[~np.isnan(latency)]
    return (
        batch.origin,
        began,
        batch.ended,
        count,
        float(np.nanmin(started)) if np.isfinite(started).any() else math.nan,
        float(finished[half - 1]) if 0 < half <= len(finished) else math.nan,
        drained,
        drained - began,
        len(finished) / (until - began) if until > began else math.nan,
        int(level.before(began)),
        0 if math.isnan(peak) else int(peak),
        int(others.sum()),
        float(np.percentile(latency, 95)) if len(latency) else math.nan,
    )
