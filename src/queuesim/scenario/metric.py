"""The metrics that a threshold can be about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """What the numbers of a metric are in."""

    COUNT = "count"
    SECONDS = "seconds"
    PER_SECOND = "per second"
    FRACTION = "fraction"
    """From 0 to 1; files may write a percent."""
    PLAIN = "plain"


DISTRIBUTION = ("mean", "median", "min", "max", "std", "p50", "p90", "p95", "p99", "p99.9")
"""Statistics of a distribution over jobs or attempts; other percentiles from p1 to p99.999 are known too."""

LEVEL = ("mean", "max", "last")
"""Statistics of a level over time."""

STATISTICS = tuple(dict.fromkeys([*DISTRIBUTION, *LEVEL]))

_PERCENTILE = re.compile(r"p([1-9]?[0-9](\.[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a run."""

    name: str
    unit: Unit
    meaning: str
    statistics: tuple[str, ...] = ()
    """What can be asked of it; nothing for a single number."""
    by_job: bool = True
    """Whether it can be restricted to a job type or a load."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("added", Unit.COUNT, "jobs added"),
        Metric("completed", Unit.COUNT, "jobs completed"),
        Metric("failed", Unit.COUNT, "jobs failed for good"),
        Metric("unfinished", Unit.COUNT, "jobs neither completed nor failed when the run ends"),
        Metric("lost", Unit.COUNT, "jobs that were added and are nowhere, neither finished nor in the queue"),
        Metric("dead_letters", Unit.COUNT, "jobs that went to the dead-letter queue"),
        Metric("stalled", Unit.COUNT, "times that a job was found stalled"),
        Metric("retries", Unit.COUNT, "attempts that failed and were followed by another"),
        Metric("success_rate", Unit.FRACTION, "completed jobs over finished jobs"),
        Metric("throughput", Unit.PER_SECOND, "jobs completed per second"),
        Metric("retry_amplification", Unit.PLAIN, "attempts per finished job"),
        Metric("utilisation", Unit.FRACTION, "busy slots over all slots", by_job=False),
        Metric("latency", Unit.SECONDS, "from when a job was scheduled to arrive until it finished", DISTRIBUTION),
        Metric("waiting", Unit.SECONDS, "from when an attempt could start until it did", DISTRIBUTION),
        Metric("service", Unit.SECONDS, "from the start of an attempt to its end", DISTRIBUTION),
        Metric("backlog", Unit.PLAIN, "jobs that are waiting", LEVEL),
        Metric("active", Unit.PLAIN, "jobs that are running", LEVEL),
    )
}
"""By name."""


def known_statistic(metric: Metric, statistic: str) -> bool:
    """Whether the metric has such a statistic."""
    return statistic in metric.statistics or (metric.statistics == DISTRIBUTION and percentile(statistic) is not None)


def percentile(statistic: str) -> float | None:
    """95.0 for "p95", 99.9 for "p99.9"; None if it is no percentile above 0."""
    match = _PERCENTILE.fullmatch(statistic)
    return (float(match[1]) or None) if match else None
