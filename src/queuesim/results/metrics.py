"""Metrics: one number out of a result, by name, over any span of the run. METRICS is the one table of them.

Thresholds, summaries, sweeps, plots and the documentation read the table: a new metric is one new row.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from queuesim.results.levels import Selection, active, backlog, everything
from queuesim.results.readings import (
    Count,
    Mean,
    PerSecond,
    Reading,
    Share,
    Statistic,
    Times,
    Unfinished,
    level_reading,
    percentile_of,
)
from queuesim.results.recording import Facts, RunFrames, rows_of
from queuesim.text import listing, unknown

Where = Mapping[str, "str | Sequence[str] | None"]
"""Which jobs: {"job": a job's name or several, "load": the name of a load entry or several}; None means all."""

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
"""How a threshold compares a measured number, or an array of them, with its limit."""

PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")
"""Percentiles that are offered; any other is understood too."""


class Kind(StrEnum):
    """What sort of number a metric is, and so which statistics it takes."""

    COUNT = "count"
    RATE = "rate"
    SPREAD = "spread"
    LEVEL = "level"

    @property
    def statistics(self) -> tuple[str, ...]:
        """What can be asked of it, the usual percentiles for all; nothing of a single number."""
        if self is Kind.SPREAD:
            return ("mean", "median", "min", "max", "std", *PERCENTILES)
        return ("mean", "min", "max", "last") if self is Kind.LEVEL else ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a run."""

    name: str
    kind: Kind
    unit: str
    """"s", "1/s", "share" (0 to 1), or what it counts: "jobs lost"."""
    meaning: str
    """In a sentence."""
    read: Callable[[RunFrames, Selection, str], Reading]
    """How it is measured: of which frames, for which jobs, by which statistic ("" for a single number)."""
    from_start: bool = False
    """Whether it is measured from the run's start on, not from the end of the warm-up."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """What can be asked of it; see `Kind.statistics`."""
        return self.kind.statistics

    def knows(self, statistic: str) -> bool:
        """Whether it has such a statistic, any percentile included."""
        return statistic in self.statistics or (self.kind is Kind.SPREAD and percentile_of(statistic) is not None)


def _jobs(
    frames: RunFrames, chosen: Selection, time: str, state: str = "", values: str | None = None, warmup: bool = False
) -> Times:
    """When something happened to jobs, by a column of theirs, with the values of another column."""
    jobs, rows = frames.jobs, chosen.jobs
    if not warmup:
        rows = rows & ~jobs["warmup"].to_numpy()
    if state:
        rows = rows & (jobs["state"] == state).to_numpy()
    return Times(frames.facts, jobs[time].to_numpy()[rows], None if values is None else jobs[values].to_numpy()[rows])


def _of_jobs(frames: RunFrames, chosen: Selection, frame: Any, time: str, **wanted: str) -> Times:
    """When something happened to measured jobs, by a column of the attempts or events with the wanted labels."""
    measured = chosen.jobs & ~frames.jobs["warmup"].to_numpy()
    rows = np.append(measured, False)[rows_of(frames.jobs["job"].to_numpy(), frame["job"].to_numpy())]
    for column, label in wanted.items():
        rows &= (frame[column] == label).to_numpy()
    return Times(frames.facts, frame[time].to_numpy()[rows])


def _unfinished(frames: RunFrames, chosen: Selection) -> Times:
    """When each measured job was added that may count as unfinished, and when it finished: inf if it never did."""
    jobs = frames.jobs
    rows = chosen.jobs & ~jobs["warmup"].to_numpy() & ~jobs["state"].isin(["removed", "lost"]).to_numpy()
    finished = np.nan_to_num(jobs["finished"].to_numpy()[rows], nan=np.inf)
    return Times(frames.facts, jobs["added"].to_numpy()[rows], finished)


# fmt: off
METRICS = {metric.name: metric for metric in (
    Metric("added", Kind.COUNT, "jobs added", "Jobs added.",
           lambda f, c, _: Count(_jobs(f, c, "added"))),
    Metric("completed", Kind.COUNT, "jobs completed", "Jobs completed.",
           lambda f, c, _: Count(_jobs(f, c, "finished", "completed"))),
    Metric("failed", Kind.COUNT, "jobs failed", "Jobs that failed for good.",
           lambda f, c, _: Count(_jobs(f, c, "finished", "failed"))),
    Metric("dead_letters", Kind.COUNT, "dead letters", "Jobs that failed for good, each of which is a dead letter.",
           lambda f, c, _: Count(_jobs(f, c, "finished", "failed"))),
    Metric("unfinished", Kind.COUNT, "jobs unfinished", "Jobs neither completed nor failed at the end.",
           lambda f, c, _: Unfinished(_unfinished(f, c))),
    Metric("removed", Kind.COUNT, "jobs removed", "Jobs removed before they finished.",
           lambda f, c, _: Count(_jobs(f, c, "added", "removed"))),
    Metric("lost", Kind.COUNT, "jobs lost", "Jobs that were added and are in no state.",
           lambda f, c, _: Count(_jobs(f, c, "added", "lost", warmup=True)), from_start=True),
    Metric("attempts", Kind.COUNT, "attempts", "Attempts started.",
           lambda f, c, _: Count(_of_jobs(f, c, f.attempts, "started"))),
    Metric("retries", Kind.COUNT, "retries", "Attempts that failed and are retried.",
           lambda f, c, _: Count(_of_jobs(f, c, f.attempts, "ended", outcome="retried"))),
    Metric("stalled", Kind.COUNT, "stalls", "Times that a job was found stalled.",
           lambda f, c, _: Count(_of_jobs(f, c, f.events, "time", kind="stalled"))),
    Metric("success_rate", Kind.RATE, "share", "Completed jobs over completed and failed ones.",
           lambda f, c, _: Share(_jobs(f, c, "finished", "completed"), _jobs(f, c, "finished", "failed"))),
    Metric("throughput", Kind.RATE, "1/s", "Jobs completed per second.",
           lambda f, c, _: PerSecond(_jobs(f, c, "finished", "completed", warmup=True))),
    Metric("retry_amplification", Kind.RATE, "attempts per job", "Attempts per job that was started.",
           lambda f, c, _: Statistic(_jobs(f, c, "started", values="attempts"), "mean")),
    Metric("utilisation", Kind.RATE, "share", "Busy slots over all slots.",
           lambda f, c, _: Mean(active(f, c), f.facts.concurrency)),
    Metric("latency", Kind.SPREAD, "s", "Time from when a job was scheduled to arrive until it finished.",
           lambda f, c, statistic: Statistic(_jobs(f, c, "finished", values="latency"), statistic)),
    Metric("waiting", Kind.SPREAD, "s", "Time that jobs waited before they started.",
           lambda f, c, statistic: Statistic(_jobs(f, c, "started", values="waiting"), statistic)),
    Metric("service", Kind.SPREAD, "s", "Total time of the attempts of a job.",
           lambda f, c, statistic: Statistic(_jobs(f, c, "finished", values="service"), statistic)),
    Metric("backlog", Kind.LEVEL, "jobs", "Jobs that could start and have not.",
           lambda f, c, statistic: level_reading(backlog(f, c), statistic)),
    Metric("active", Kind.LEVEL, "attempts", "Attempts that run.",
           lambda f, c, statistic: level_reading(active(f, c), statistic)),
)}
# fmt: on
"""Every metric by its name.

Counts are of what happened in the span: `removed` and `lost` jobs count when they were added, `unfinished` ones are
those that were added in the span and at its end neither completed, failed, removed nor lost. Latency and service are of
jobs that finish in the span, waiting is of jobs that start in it. Jobs of the warm-up count for `lost`, throughput,
utilisation and levels alone.
"""


def check_metric(name: str, statistic: str | None) -> Metric:
    """The metric of this name. Raises ValueError if there is none, or it has no such statistic."""
    metric = METRICS.get(name)
    if metric is None:
        raise ValueError(unknown("metric", name, METRICS))
    if statistic is None and metric.statistics:
        raise ValueError(f"{name} needs a statistic: {listing(f'{name}.{each}' for each in metric.statistics)}")
    if statistic is not None and not metric.statistics:
        raise ValueError(f'{name} is a single number: write it without ".{statistic}"')
    if statistic is not None and not metric.knows(statistic):
        raise ValueError(f"{name}: {unknown('statistic', statistic, metric.statistics)}")
    return metric


def measure(
    result: RunFrames,
    metric: str,
    statistic: str | None = None,
    where: Where | None = None,
    start: float | None = None,
    end: float | None = None,
) -> float:
    """One metric over [start, end) seconds of a run; NaN where there was nothing to measure.

    Without a start it is measured from the end of the warm-up (`lost`: from 0, for no warm-up excuses a loss), without
    an end until the end of the run. Jobs of the warm-up enter no count, success_rate, retry_amplification or spread but
    `lost`; throughput, utilisation and levels speak of the whole system.
    A `where` that names nothing that occurred measures nothing. For many spans of one metric use `meter`.

    Raises:
        ValueError: there is no such metric or statistic, or `where` has another key than "job" and "load".
    """
    return meter(result, metric, statistic, where)(start, end)


OPEN = {"latency": ("scheduled", "finished"), "waiting": ("added", "started")}
"""Metrics of a time that is not over yet for some jobs when the run ends: from which moment it counts, to which."""
MONOTONE = ("mean", "median", "max")
"""Statistics that can only grow when a value does, beside the percentiles."""


def with_open_jobs(frames: RunFrames, metric: str, statistic: str | None, where: Where) -> tuple[Reading, int] | None:
    """Latency or waiting, in which jobs that had not finished, or not started, count at the end of the run with their
    time so far; and how many these are. None: there are none, or the metric is another one.

    The time so far is the least that such a job can come to, so that the value is too low, never too high.

    Raises:
        ValueError: see `measure`.
    """
    if metric not in OPEN or not (statistic in MONOTONE or percentile_of(statistic or "") is not None):
        return None
    jobs, facts = frames.jobs, frames.facts
    since, until = OPEN[metric]
    rows = select(frames, where).jobs & ~jobs["warmup"].to_numpy()
    ended = jobs[until].to_numpy()
    age = facts.duration - (jobs[since] + jobs["delay"]).to_numpy()
    alive = ~jobs["state"].isin(["removed", "lost", "waiting-children"]).to_numpy()
    is_open = rows & alive & np.isnan(ended) & (age >= 0)
    if not is_open.any():
        return None
    rows = rows & ~np.isnan(ended) | is_open
    times = np.where(is_open, facts.duration, ended)[rows]
    values = np.where(is_open, age, jobs[metric].to_numpy())[rows]
    return Statistic(Times(facts, times, values), statistic or ""), int(is_open.sum())


Meter = Callable[[float | None, float | None], float]
"""Called with the start and end of a span in seconds; None is the end of the warm-up, and the end of the run."""


def meter(frames: RunFrames, metric: str, statistic: str | None = None, where: Where | None = None) -> Meter:
    """Prepare a metric to measure it over many spans. See `measure` for what it means and what it raises."""
    reading, facts = prepare(frames, metric, statistic, where or {}), frames.facts
    first = start_of(metric, facts)
    return lambda start, end: reading.over(first if start is None else start, facts.duration if end is None else end)


def prepare(frames: RunFrames, metric: str, statistic: str | None, where: Where) -> Reading:
    """A metric of some jobs, ready to be measured. Raises what `measure` raises."""
    return check_metric(metric, statistic).read(frames, select(frames, where), statistic or "")


def start_of(metric: str, facts: Facts) -> float:
    """From when on a metric of the whole run is measured, in seconds."""
    return 0.0 if METRICS[metric].from_start else facts.warmup


def moment_of(
    frames: RunFrames, metric: str, statistic: str | None, where: Where, limit: float, comparison: str
) -> float | None:
    """When, in seconds, a metric of the whole run came to its value.

    That is when a maximum or minimum was first reached, or when a count first went beyond a limit that it must not
    exceed (``<``, ``<=`` or ``== limit``). None if the value belongs to no moment.
    """
    facts = frames.facts
    reading = prepare(frames, metric, statistic, where)
    return reading.moment(start_of(metric, facts), facts.duration, limit, comparison)


def select(frames: RunFrames, where: Where) -> Selection:
    """The jobs that `where` means, and their attempts.

    Raises:
        ValueError: it has another key than "job" and "load".
    """
    if unknown := set(where) - {"job", "load"}:
        raise ValueError(f"where takes job and load, not {', '.join(sorted(unknown))}")
    chosen = everything(frames)
    for key, value in where.items():
        if value is None:
            continue
        column = frames.jobs["name" if key == "job" else "load"]
        chosen.jobs &= column.isin([value] if isinstance(value, str) else list(value)).to_numpy()
    if where:
        rows = rows_of(frames.jobs["job"].to_numpy(), frames.attempts["job"].to_numpy())
        chosen.attempts = np.append(chosen.jobs, False)[rows]
    return chosen
