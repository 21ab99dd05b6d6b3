"""Meters: a metric prepared once for a result, to be read over any number of spans, as a sliding window needs it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from queuesim.results.levels import Array, Level, Selection, active, backlog, everything
from queuesim.results.recording import RunFrames, rows_of

if TYPE_CHECKING:
    from queuesim.results.recording import Facts


# -- Metrics: one number out of a result, by name, over any span of the run. Thresholds are made of them

Where = Mapping[str, "str | Sequence[str] | None"]
"""Which jobs: {"job": a job's name or several, "load": the name of a load entry or several}; None means all."""


class Kind(StrEnum):
    """What sort of number a metric is, and so which statistics it takes."""

    COUNT = "count"
    RATE = "rate"
    SPREAD = "spread"
    LEVEL = "level"


KIND_OF_METRIC: dict[str, Kind] = {
    "added": Kind.COUNT,
    "completed": Kind.COUNT,
    "failed": Kind.COUNT,
    "dead_letters": Kind.COUNT,
    "unfinished": Kind.COUNT,
    "removed": Kind.COUNT,
    "lost": Kind.COUNT,
    "attempts": Kind.COUNT,
    "retries": Kind.COUNT,
    "stalled": Kind.COUNT,
    "success_rate": Kind.RATE,
    "throughput": Kind.RATE,
    "retry_amplification": Kind.RATE,
    "utilisation": Kind.RATE,
    "latency": Kind.SPREAD,
    "waiting": Kind.SPREAD,
    "service": Kind.SPREAD,
    "backlog": Kind.LEVEL,
    "active": Kind.LEVEL,
}
"""Every metric.

Counts: jobs `added`, `completed`, `failed` (`dead_letters` is the same), `removed` and `lost` (in no state at all; both
by when they were added), `unfinished` (added in the span, and at its end neither completed, failed, removed nor lost);
`attempts` started, `retries` (attempts that failed and were to run again), `stalled` events.
Rates: `success_rate` (completed / (completed + failed)), `throughput` (completed per second), `retry_amplification`
(attempts per job that was started), `utilisation` (share of the workers' slots that is busy).
Spreads, in seconds: `latency` and `service` (of jobs that finish in the span), `waiting` (of jobs that start in it).
Levels: `backlog` (jobs that could start and don't), `active` (attempts that run).
"""

UNITS: dict[str, str] = {
    "added": "jobs added",
    "completed": "jobs completed",
    "failed": "jobs failed",
    "dead_letters": "dead letters",
    "unfinished": "jobs unfinished",
    "removed": "jobs removed",
    "lost": "jobs lost",
    "attempts": "attempts",
    "retries": "retries",
    "stalled": "stalls",
    "success_rate": "share",
    "throughput": "1/s",
    "retry_amplification": "attempts per job",
    "utilisation": "share",
    "latency": "s",
    "waiting": "s",
    "service": "s",
    "backlog": "jobs",
    "active": "attempts",
}
"""The unit of each metric: "s", "1/s", "share" (0 to 1), or what it counts."""

STATISTICS: dict[Kind, tuple[str, ...]] = {
    Kind.COUNT: (),
    Kind.RATE: (),
    Kind.SPREAD: ("mean", "median", "min", "max", "std", "pNN"),
    Kind.LEVEL: ("mean", "min", "max", "last"),
}
"""What can be asked of each kind. `pNN` is a percentile: p50, p95, p99.9."""


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
"""How a threshold compares a measured number, or an array of them, with its limit."""


def percentile_of(statistic: str) -> float | None:
    """95.0 for "p95"; None if it is no percentile."""
    match = re.fullmatch(r"p(\d{1,3}(?:\.\d+)?)", statistic)
    value = float(match[1]) if match else math.nan
    return value if value <= 100 else None


def check_metric(metric: str, statistic: str | None) -> None:
    """Raise ValueError, naming what is allowed, where there is no such metric or it has no such statistic."""
    if metric not in KIND_OF_METRIC:
        raise ValueError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    allowed = STATISTICS[KIND_OF_METRIC[metric]]
    if statistic is None:
        if allowed:
            raise ValueError(f"{metric} needs a statistic: {', '.join(allowed)}")
    elif not allowed:
        raise ValueError(f"{metric} is a single number: it takes no statistic ({statistic!r})")
    elif statistic not in allowed and not ("pNN" in allowed and percentile_of(statistic) is not None):
        raise ValueError(f"{metric} has no statistic {statistic!r}; there are {', '.join(allowed)}")


def measure(
    frames: RunFrames,
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

    return meter(frames, metric, statistic, where)(start, end)


Reading = Callable[[float, float], float]
Meter = Callable[[float | None, float | None], float]
"""Called with the start and end of a span in seconds; None is the end of the warm-up, and the end of the run."""


def meter(frames: RunFrames, metric: str, statistic: str | None = None, where: Where | None = None) -> Meter:
    """Prepare a metric. See `queuesim.results.metrics.measure` for what it means and what it raises."""
    check_metric(metric, statistic)
    facts = frames.facts
    chosen = select(frames, where or {})
    kind = KIND_OF_METRIC[metric]
    if kind is Kind.COUNT:
        read = _count(frames, metric, chosen)
    elif kind is Kind.RATE:
        read = _rate(frames, metric, chosen)
    elif kind is Kind.SPREAD:
        read = _spread(frames, metric, statistic or "mean", chosen)
    else:
        read = _level(frames, metric, statistic or "mean", chosen)
    first = 0.0 if metric == "lost" else facts.warmup
    return lambda start, end: read(first if start is None else start, facts.duration if end is None else end)


def moment_of(
    frames: RunFrames, metric: str, statistic: str | None, where: Where, limit: float, comparison: str
) -> float | None:
    """When, in seconds, a metric of the whole run came to its value.

    That is when a maximum or minimum was first reached, or when a count first went beyond a limit that it must not
    exceed (``<``, ``<=`` or ``== limit``). None if the value belongs to no moment.
    """
    chosen, facts = select(frames, where), frames.facts
    if KIND_OF_METRIC[metric] is Kind.COUNT and metric != "unfinished" and comparison in ("<", "<=", "=="):
        times = counted(frames, metric, chosen)
        happened = times.times[times.span(0.0 if metric == "lost" else facts.warmup, facts.duration)]
        allowed = math.ceil(limit) - 1 if comparison == "<" else math.floor(limit)
        return float(happened[max(allowed, 0)]) / 1e9 if max(allowed, 0) < len(happened) else None
    if statistic not in ("max", "min"):
        return None
    highest = statistic == "max"
    if KIND_OF_METRIC[metric] is Kind.LEVEL:
        at = level(frames, metric, chosen).extreme(facts.warmup, facts.duration, highest)[1]
        return None if math.isnan(at) else at
    values = spread(frames, metric, chosen)
    span = values.span(facts.warmup, facts.duration)
    inside = values.values[span]
    if not len(inside):
        return None
    return float(values.times[span][int(inside.argmax() if highest else inside.argmin())]) / 1e9


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


def counted(frames: RunFrames, metric: str, chosen: Selection) -> Times:
    """When each thing happened that a count (other than "unfinished") or "throughput" counts."""
    jobs, measured = frames.jobs, chosen.jobs & ~frames.jobs["warmup"].to_numpy()
    if metric in ("attempts", "retries", "stalled"):
        return Times(frames.facts, _moments(frames, metric, chosen, measured))
    if metric in ("lost", "throughput"):
        measured = chosen.jobs
    time = "finished" if metric in ("completed", "failed", "dead_letters", "throughput") else "added"
    state = {"dead_letters": "failed", "throughput": "completed"}.get(metric, metric)
    if metric != "added":
        measured = measured & (jobs["state"] == state).to_numpy()
    return Times(frames.facts, jobs[time].to_numpy()[measured])


def _moments(frames: RunFrames, metric: str, chosen: Selection, measured: Array) -> Array:
    """When something happened to measured jobs, according to their attempts or the events."""
    numbers = frames.jobs["job"].to_numpy()
    happened = frames.events if metric == "stalled" else frames.attempts
    rows = np.append(measured, False)[rows_of(numbers, happened["job"].to_numpy())]
    time = {"stalled": "time", "retries": "ended", "attempts": "started"}[metric]
    if metric != "attempts":
        column, wanted = ("kind", "stalled") if metric == "stalled" else ("outcome", "retried")
        rows &= (happened[column] == wanted).to_numpy()
    moments: Array = happened[time].to_numpy()[rows]
    return moments


def unfinished(frames: RunFrames, chosen: Selection) -> Times:
    """When each measured job was added that may count as unfinished, and when it finished: inf if it never did."""
    jobs = frames.jobs
    gone = jobs["state"].isin(["removed", "lost"]).to_numpy()
    waiting = chosen.jobs & ~jobs["warmup"].to_numpy() & ~gone
    finished = np.nan_to_num(jobs["finished"].to_numpy()[waiting], nan=np.inf)
    return Times(frames.facts, jobs["added"].to_numpy()[waiting], finished)


def started(frames: RunFrames, chosen: Selection) -> Times:
    """When each measured job first started, and how many attempts it took."""
    jobs = frames.jobs
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    return Times(frames.facts, jobs["started"].to_numpy()[measured], jobs["attempts"].to_numpy()[measured])


def spread(frames: RunFrames, metric: str, chosen: Selection) -> Times:
    """A spread's values of the measured jobs, each with the time at which it counts."""
    jobs = frames.jobs
    measured = chosen.jobs & ~jobs["warmup"].to_numpy()
    when = jobs["started" if metric == "waiting" else "finished"].to_numpy()[measured]
    return Times(frames.facts, when, jobs[metric].to_numpy()[measured])


def level(frames: RunFrames, metric: str, chosen: Selection) -> Level:
    """The level of which "backlog", "active" and "utilisation" speak."""
    return backlog(frames, chosen) if metric == "backlog" else active(frames, chosen)


def _count(frames: RunFrames, metric: str, chosen: Selection) -> Reading:
    if metric != "unfinished":
        return counted(frames, metric, chosen).count
    added = unfinished(frames, chosen)

    def read(start: float, end: float) -> float:
        done = added.values[added.span(start, end)]
        return float(np.count_nonzero(np.isinf(done) if nanoseconds(end) >= added.finish else done >= end))

    return read


def _rate(frames: RunFrames, metric: str, chosen: Selection) -> Reading:
    if metric == "success_rate":
        completed, failed = (counted(frames, name, chosen).count for name in ("completed", "failed"))
        return lambda start, end: _ratio(completed(start, end), completed(start, end) + failed(start, end))
    if metric == "throughput":
        finished = counted(frames, metric, chosen)
        return lambda start, end: _ratio(finished.count(start, end), end - start)
    if metric == "utilisation":
        busy = level(frames, metric, chosen)
        return lambda start, end: _ratio(busy.mean(start, end), frames.facts.concurrency)
    starts = started(frames, chosen)
    return lambda start, end: statistic_of(starts.values[starts.span(start, end)], "mean")


def _spread(frames: RunFrames, metric: str, statistic: str, chosen: Selection) -> Reading:
    values = spread(frames, metric, chosen)
    return lambda start, end: statistic_of(values.values[values.span(start, end)], statistic)


def _level(frames: RunFrames, metric: str, statistic: str, chosen: Selection) -> Reading:
    steps = level(frames, metric, chosen)
    if statistic == "mean":
        return steps.mean
    if statistic == "last":
        return lambda start, end: float(steps.at(end))
    return lambda start, end: steps.extreme(start, end, highest=statistic == "max")[0]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


# -- What a threshold's limit means for each metric: its unit, and a word on the metric for editors

KINDS = KIND_OF_METRIC


class Unit(Enum):
    """What the numbers of a metric are in."""

    COUNT = "count"
    SECONDS = "seconds"
    PER_SECOND = "per second"
    FRACTION = "fraction"
    """From 0 to 1; files may write a percent."""
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a run."""

    name: str
    unit: Unit
    meaning: str

    @property
    def statistics(self) -> tuple[str, ...]:
        """What can be asked of it, the usual percentiles for all; nothing for a single number."""
        names = STATISTICS[KINDS[self.name]]
        return tuple(each for name in names for each in (PERCENTILES if name == "pNN" else (name,)))

    def knows(self, statistic: str) -> bool:
        """Whether it has such a statistic, any percentile included."""
        percentile = "pNN" in STATISTICS[KINDS[self.name]] and percentile_of(statistic) is not None
        return percentile or statistic in self.statistics


PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")
"""Those that are offered."""

METRICS = {
    metric.name: metric
    for metric in (
        Metric("added", Unit.COUNT, "Jobs added."),
        Metric("completed", Unit.COUNT, "Jobs completed."),
        Metric("failed", Unit.COUNT, "Jobs that failed for good."),
        Metric("dead_letters", Unit.COUNT, "Jobs that failed for good, each of which is a dead letter."),
        Metric("unfinished", Unit.COUNT, "Jobs neither completed nor failed at the end."),
        Metric("removed", Unit.COUNT, "Jobs removed before they finished."),
        Metric("lost", Unit.COUNT, "Jobs that were added and are nowhere."),
        Metric("attempts", Unit.COUNT, "Attempts started."),
        Metric("retries", Unit.COUNT, "Attempts that failed and were to run again."),
        Metric("stalled", Unit.COUNT, "Times that a job was found stalled."),
        Metric("success_rate", Unit.FRACTION, "Completed jobs over completed and failed ones."),
        Metric("throughput", Unit.PER_SECOND, "Jobs completed per second."),
        Metric("retry_amplification", Unit.PLAIN, "Attempts per job that was started."),
        Metric("utilisation", Unit.FRACTION, "Busy slots over all slots."),
        Metric("latency", Unit.SECONDS, "From when a job was scheduled to arrive until it finished."),
        Metric("waiting", Unit.SECONDS, "For how long jobs waited before they started."),
        Metric("service", Unit.SECONDS, "For how long jobs were worked on."),
        Metric("backlog", Unit.PLAIN, "Jobs that could start and do not."),
        Metric("active", Unit.PLAIN, "Attempts that run."),
    )
}
"""By name."""
