"""Meters: a metric prepared once for a result, to be read over any number of spans, as a sliding window needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from queuesim.metrics.level import Array, Level
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


def moment_of(
    result: Result, metric: str, statistic: str | None, where: Where, limit: float, comparison: str
) -> float | None:
    """When, in seconds, a metric of the whole run came to its value.

    That is when a maximum or minimum was first reached, or when a count first went beyond a limit that it must not
    exceed (``<``, ``<=`` or ``== limit``). None if the value belongs to no moment.
    """
    chosen, facts = select(result, where), result.facts
    if METRICS[metric] is Kind.COUNT and metric != "unfinished" and comparison in ("<", "<=", "=="):
        times = counted(result, metric, chosen)
        happened = times.times[times.span(0.0 if metric == "lost" else facts.warmup, facts.duration)]
        allowed = math.ceil(limit) - 1 if comparison == "<" else math.floor(limit)
        return float(happened[max(allowed, 0)]) / 1e9 if max(allowed, 0) < len(happened) else None
    if statistic not in ("max", "min"):
        return None
    highest = statistic == "max"
    if METRICS[metric] is Kind.LEVEL:
        at = level(result, metric, chosen).extreme(facts.warmup, facts.duration, highest)[1]
        return None if math.isnan(at) else at
    values = spread(result, metric, chosen)
    span = values.span(facts.warmup, facts.duration)
    inside = values.values[span]
    if not len(inside):
        return None
    return float(values.times[span][int(inside.argmax() if highest else inside.argmin())]) / 1e9


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


class Times:
    """Moments in order, to count those of a span, with a value each if there is one.

    They are whole nanoseconds: what differs by less, as sums of floats do, happened at one moment.
    """

    def __init__(self, facts: Facts, times: Array, values: Array | None = None) -> None:
        known = ~np.isnan(times)
        order = np.argsort(times[known], kind="stable")
        self.times: npt.NDArray[np.int64] = nanoseconds(times[known][order])
        self.values = self.times if values is None else values[known][order]
        self.finish = nanoseconds(facts.duration)

    def span(self, start: float, end: float) -> slice:
        """Rows in [start, end) seconds. A span up to the end of the run holds what happened at its very end."""
        after = nanoseconds(end)
        stop = len(self.times) if after >= self.finish else int(np.searchsorted(self.times, after))
        return slice(int(np.searchsorted(self.times, nanoseconds(start))), stop)

    def count(self, start: float, end: float) -> float:
        """How many there are in [start, end)."""
        span = self.span(start, end)
        return float(max(0, span.stop - span.start))


def nanoseconds(seconds: Any) -> Any:
    """Whole nanoseconds of seconds: an int of a number, an array of int64 of an array."""
    if isinstance(seconds, np.ndarray):
        return np.rint(seconds * 1e9).astype(np.int64)
    return round(seconds * 1e9)


def counted(result: Result, metric: str, chosen: Selection) -> Times:
    """When each thing happened that a count (other than "unfinished") or "throughput" counts."""
    jobs, measured = result.jobs, chosen.jobs & ~result.jobs["warmup"].to_numpy()
    if metric in ("attempts", "retries", "stalled"):
        return Times(result.facts, _moments(result, metric, chosen, measured))
    if metric in ("lost", "throughput"):
        measured = chosen.jobs
    time = "finished" if metric in ("completed", "failed", "dead_letters", "throughput") else "added"
    state = {"dead_letters": "failed", "throughput": "completed"}.get(metric, metric)
    if metric != "added":
        measured = measured & (jobs["state"] == state).to_numpy()
    return Times(result.facts, jobs[time].to_numpy()[measured])


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


def unfinished(result: Result, chosen: Selection) -> Times:
    """When each measured job was added that may count as unfinished, and when it finished: inf if it never did."""
    jobs = result.jobs
    gone = jobs["state"].isin(["removed", "lost"]).to_numpy()
    waiting = chosen.jobs & ~jobs["warmup"].to_numpy() & ~gone
    finished = np.nan_to_num(jobs["finished"].to_numpy()[waiting], nan=np.inf)
    return Times(result.facts, jobs["added"].to_numpy()[waiting], finished)


def started(result: Result, chosen: Selection) -> Times:
    """When each measured job first started, and how many attempts it took."""
    jobs = result.jobs
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    return Times(result.facts, jobs["started"].to_numpy()[measured], jobs["attempts"].to_numpy()[measured])


def spread(result: Result, metric: str, chosen: Selection) -> Times:
    """A spread's values of the measured jobs, each with the time at which it counts."""
    jobs = result.jobs
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    when = jobs["started" if metric == "waiting" else "finished"].to_numpy()[measured]
    return Times(result.facts, when, jobs[metric].to_numpy()[measured])


def level(result: Result, metric: str, chosen: Selection) -> Level:
    """The level of which "backlog", "active" and "utilisation" speak."""
    return backlog(result, chosen) if metric == "backlog" else active(result, chosen)


def _count(result: Result, metric: str, chosen: Selection) -> Reading:
    if metric != "unfinished":
        return counted(result, metric, chosen).count
    added = unfinished(result, chosen)

    def read(start: float, end: float) -> float:
        done = added.values[added.span(start, end)]
        return float(np.count_nonzero(np.isinf(done) if nanoseconds(end) >= added.finish else done >= end))

    return read


def _rate(result: Result, metric: str, chosen: Selection) -> Reading:
    if metric == "success_rate":
        completed, failed = (counted(result, name, chosen).count for name in ("completed", "failed"))
        return lambda start, end: _ratio(completed(start, end), completed(start, end) + failed(start, end))
    if metric == "throughput":
        finished = counted(result, metric, chosen)
        return lambda start, end: _ratio(finished.count(start, end), end - start)
    if metric == "utilisation":
        busy = level(result, metric, chosen)
        return lambda start, end: _ratio(busy.mean(start, end), result.facts.concurrency)
    starts = started(result, chosen)
    return lambda start, end: statistic_of(starts.values[starts.span(start, end)], "mean")


def _spread(result: Result, metric: str, statistic: str, chosen: Selection) -> Reading:
    values = spread(result, metric, chosen)
    return lambda start, end: statistic_of(values.values[values.span(start, end)], statistic)


def _level(result: Result, metric: str, statistic: str, chosen: Selection) -> Reading:
    steps = level(result, metric, chosen)
    if statistic == "mean":
        return steps.mean
    if statistic == "last":
        return lambda start, end: float(steps.at(end))
    return lambda start, end: steps.extreme(start, end, highest=statistic == "max")[0]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
