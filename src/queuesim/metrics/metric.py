"""Metrics: one number out of a result, by name, over any span of the run. Thresholds are made of them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

Where = Mapping[str, "str | Sequence[str] | None"]
"""Which jobs: {"job": a job's name or several, "load": the name of a load entry or several}; None means all."""


class Kind(StrEnum):
    """What sort of number a metric is, and so which statistics it takes."""

    COUNT = "count"
    RATE = "rate"
    SPREAD = "spread"
    LEVEL = "level"


METRICS: dict[str, Kind] = {
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
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    allowed = STATISTICS[METRICS[metric]]
    if statistic is None:
        if allowed:
            raise ValueError(f"{metric} needs a statistic: {', '.join(allowed)}")
    elif not allowed:
        raise ValueError(f"{metric} is a single number: it takes no statistic ({statistic!r})")
    elif statistic not in allowed and not ("pNN" in allowed and percentile_of(statistic) is not None):
        raise ValueError(f"{metric} has no statistic {statistic!r}; there are {', '.join(allowed)}")


def measure(
    result: Result,
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
    from queuesim.metrics.meter import meter

    return meter(result, metric, statistic, where)(start, end)
