"""What a threshold's limit means for each metric: its unit, and a word on the metric for editors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from queuesim.metrics.metric import METRICS as KINDS
from queuesim.metrics.metric import STATISTICS, percentile_of


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
