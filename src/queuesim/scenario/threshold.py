"""Thresholds: what a metric of a run must be, as "latency.p95 < 30s" says it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from queuesim.metrics.metric import COMPARISONS
from queuesim.scenario.metric import METRICS, Metric, Unit
from queuesim.scenario.wording import listing, unknown
from queuesim.units import parse_duration, parse_percent, parse_rate

OPERATORS = ("<=", ">=", "==", "!=", "<", ">")

_TEXT = re.compile(rf"^\s*([A-Za-z_]+)(?:\.([A-Za-z0-9_.]+?))?\s*({'|'.join(OPERATORS)})\s*(\S.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Where:
    """Which jobs a threshold looks at; None means all."""

    job: str | None = None
    load: str | None = None

    def chosen(self) -> dict[str, str]:
        """What it narrows down, as a mapping with the keys job and load."""
        given = {"job": self.job, "load": self.load}
        return {key: name for key, name in given.items() if name is not None}


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a metric of a run must be."""

    metric: str
    statistic: str | None
    """Of a distribution or a level: "mean", "max", "p95", ...; None for a count or a rate."""
    operator: str
    """One of <, <=, >, >=, ==, !=."""
    limit: float
    """In seconds, per second, as a fraction, or plain, as the metric is."""
    where: Where = field(default_factory=Where)
    over: float | None = None
    """Seconds of a sliding window, in each of which it must hold; None: over the whole run."""
    abort: bool = False
    """End the run as soon as it fails."""
    text: str = ""
    """As it was written: ``latency.p95 < 30s``."""

    def holds(self, value: float) -> bool:
        """Whether a measured value meets it; NaN, nothing measured, does not."""
        return not math.isnan(value) and bool(COMPARISONS[self.operator](value, self.limit))


def parse_threshold(text: str) -> Threshold:
    """A threshold of the form ``metric < limit`` or ``metric.statistic < limit``.

    Raises:
        ValueError: it has another form, or an unknown metric or statistic, or a limit in the wrong unit.
    """
    parts = _TEXT.match(text)
    if parts is None:
        raise ValueError(f'"{text}" is not a threshold: write it as lost == 0 or latency.p95 < 30s')
    name, statistic, operator, limit = parts.groups()
    metric = METRICS.get(name)
    if metric is None:
        raise ValueError(unknown("metric", name, METRICS))
    _check_statistic(metric, statistic)
    return Threshold(
        name, statistic, operator, _limit(metric, limit), text=f"{dotted(name, statistic)} {operator} {limit}"
    )


def dotted(name: str, statistic: str | None) -> str:
    """``latency.p95``, or a metric alone."""
    return name if statistic is None else f"{name}.{statistic}"


def _check_statistic(metric: Metric, statistic: str | None) -> None:
    if statistic is None and metric.statistics:
        raise ValueError(f"{metric.name} needs a statistic: {listing(f'{metric.name}.{s}' for s in metric.statistics)}")
    if statistic is not None and not metric.statistics:
        raise ValueError(f'{metric.name} is a single number: write it without ".{statistic}"')
    if statistic is not None and not metric.knows(statistic):
        raise ValueError(f"{metric.name}: {unknown('statistic', statistic, metric.statistics)}")


def _limit(metric: Metric, text: str) -> float:
    """The number that a limit stands for, in the metric's unit."""
    if metric.unit is Unit.SECONDS:
        return parse_duration(text)
    if metric.unit is Unit.PER_SECOND:
        return parse_rate(text)
    if metric.unit is Unit.FRACTION and text.endswith("%"):
        limit = parse_percent(text)
    else:
        try:
            limit = float(text)
        except ValueError:
            raise ValueError(f'"{text}" is not a number: {metric.name} has no unit') from None
        if not (math.isfinite(limit) and limit >= 0):
            raise ValueError(f"{text} must be 0 or more, and finite")
    if metric.unit is Unit.FRACTION and limit > 1:
        hint = f"write {text}%" if limit <= 100 and not text.endswith("%") else "it is 100% at most"
        raise ValueError(f"{text} is too large for {metric.name}: {hint}")
    return limit
