"""Meters: a metric prepared once for a result, to be read over any number of spans, as a sliding window needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.level import Array
from queuesim.metrics.metric import METRICS, Kind, Where, check_metric, percentile_of
from queuesim.metrics.occupancy import Selection, active, backlog, everything
from queuesim.metrics.rows import rows_of

if TYPE_CHECKING:
    from queuesim.metrics.recording import Facts
    from queuesim.metrics.result import Result

Reading = Callable[[float, float], float]
Meter = Callable[[float | None, float | None], float]
"""Called with the start and end of a span in seconds; None is the end of the warm-up, and the end of the run."""


def meter(result: Result, metric: str, statistic: str | None = None, where: Where | None = None) -> Meter:
    """Prepare a metric. See `queuesim.metrics.metric.measure` for what it means and what it raises."""
    check_metric(metric, statistic)
    facts = result.facts
    chosen = select(result, where or {})
    kind = METRICS[metric]
    if kind is Kind.COUNT:
        read = _count(result, metric, chosen)
    elif kind is Kind.RATE:
        read = _rate(result, metric, chosen)
    elif kind is Kind.SPREAD:
        read = _spread(result, metric, statistic or "mean", chosen)
    else:
        read = _level(result, metric, statistic or "mean", chosen)
    first = 0.0 if metric == "lost" else facts.warmup
    return lambda start, end: read(first if start is None else start, facts.duration if end is None else end)


def select(result: Result, where: Where) -> Selection:
    """The jobs that `where` means, and their attempts.

    Raises:
        ValueError: it has another key than "job" and "load".
    """
    if unknown := set(where) - {"job", "load"}:
        raise ValueError(f"where takes job and load, not {', '.join(sorted(unknown))}")
    chosen = everything(result)
    for key, value in where.items():
        if value is None:
            continue
        column = result.jobs["name" if key == "job" else "load"]
        chosen.jobs &= column.isin([value] if isinstance(value, str) else list(value)).to_numpy()
    if where:
        rows = rows_of(result.jobs["job"].to_numpy(), result.attempts["job"].to_numpy())
        chosen.attempts = np.append(chosen.jobs, False)[rows]
    return chosen


def statistic_of(values: Array, statistic: str) -> float:
    """A statistic of numbers; NaN of none. Percentiles interpolate linearly; std is that of the population."""
    if not len(values):
        return math.nan
    percentile = percentile_of(statistic)
    if percentile is not None:
        return float(np.percentile(values, percentile))
    functions: dict[str, Callable[[Array], float]] = {
        "mean": np.mean,
        "median": np.median,
        "min": np.min,
        "max": np.max,
        "std": np.std,
    }
    return float(functions[statistic](values))


class _Times:
    """Moments in order, to count those of a span, with a value each if there is one."""

    def __init__(self, facts: Facts, times: Array, values: Array | None = None) -> None:
        known = ~np.isnan(times)
        order = np.argsort(times[known], kind="stable")
        self.times = times[known][order]
        self.values = self.times if values is None else values[known][order]
        self.finish = facts.duration

    def span(self, start: float, end: float) -> slice:
        """Rows in [start, end). A span up to the end of the run holds what happened at its very end."""
        after = len(self.times) if end >= self.finish else int(np.searchsorted(self.times, end))
        return slice(int(np.searchsorted(self.times, start)), after)

    def count(self, start: float, end: float) -> float:
        """How many there are in [start, end)."""
        span = self.span(start, end)
        return float(max(0, span.stop - span.start))


def _count(result: Result, metric: str, chosen: Selection) -> Reading:
    jobs, measured = result.jobs, chosen.jobs & ~result.jobs["warmup"].to_numpy()
    if metric == "unfinished":
        return _unfinished(result, measured)
    if metric in ("attempts", "retries", "stalled"):
        return _Times(result.facts, _moments(result, metric, chosen, measured)).count
    if metric == "lost":
        measured = chosen.jobs
    time = "finished" if metric in ("completed", "failed", "dead_letters") else "added"
    if metric != "added":
        measured = measured & (jobs["state"] == ("failed" if metric == "dead_letters" else metric)).to_numpy()
    return _Times(result.facts, jobs[time].to_numpy()[measured]).count


def _moments(result: Result, metric: str, chosen: Selection, measured: Array) -> Array:
    """When something happened to measured jobs, according to their attempts or the events."""
    numbers = result.jobs["job"].to_numpy()
    happened = result.events if metric == "stalled" else result.attempts
    rows = np.append(measured, False)[rows_of(numbers, happened["job"].to_numpy())]
    time = {"stalled": "time", "retries": "ended", "attempts": "started"}[metric]
    if metric != "attempts":
        column, wanted = ("kind", "stalled") if metric == "stalled" else ("outcome", "retried")
        rows &= (happened[column] == wanted).to_numpy()
    moments: Array = happened[time].to_numpy()[rows]
    return moments


def _unfinished(result: Result, measured: Array) -> Reading:
    jobs = result.jobs
    waiting = measured & ~jobs["state"].isin(["removed", "lost"]).to_numpy()
    finished = np.nan_to_num(jobs["finished"].to_numpy()[waiting], nan=np.inf)
    added = _Times(result.facts, jobs["added"].to_numpy()[waiting], finished)

    def read(start: float, end: float) -> float:
        done = added.values[added.span(start, end)]
        return float(np.count_nonzero(np.isinf(done) if end >= added.finish else done >= end))

    return read


def _rate(result: Result, metric: str, chosen: Selection) -> Reading:
    jobs, facts = result.jobs, result.facts
    if metric == "success_rate":
        completed, failed = _count(result, "completed", chosen), _count(result, "failed", chosen)
        return lambda start, end: _ratio(completed(start, end), completed(start, end) + failed(start, end))
    if metric == "throughput":
        done = chosen.jobs & (jobs["state"] == "completed").to_numpy()
        finished = _Times(facts, jobs["finished"].to_numpy()[done])
        return lambda start, end: _ratio(finished.count(start, end), end - start)
    if metric == "utilisation":
        level = active(result, chosen)
        return lambda start, end: _ratio(level.mean(start, end), facts.concurrency)
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    starts = _Times(facts, jobs["started"].to_numpy()[measured], jobs["attempts"].to_numpy()[measured])
    return lambda start, end: statistic_of(starts.values[starts.span(start, end)], "mean")


def _spread(result: Result, metric: str, statistic: str, chosen: Selection) -> Reading:
    jobs = result.jobs
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    when = jobs["started" if metric == "waiting" else "finished"].to_numpy()[measured]
    values = _Times(result.facts, when, jobs[metric].to_numpy()[measured])
    return lambda start, end: statistic_of(values.values[values.span(start, end)], statistic)


def _level(result: Result, metric: str, statistic: str, chosen: Selection) -> Reading:
    level = backlog(result, chosen) if metric == "backlog" else active(result, chosen)
    if statistic == "mean":
        return level.mean
    if statistic == "last":
        return lambda start, end: float(level.at(end))
    return lambda start, end: level.extreme(start, end, highest=statistic == "max")[0]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
