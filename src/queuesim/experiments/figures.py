"""Figures: the numbers that experiments measure of each run, by name, as ``latency.p95``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from queuesim.experiments.warmup import warmup_of
from queuesim.results.levels import backlog
from queuesim.results.metrics import METRICS, Kind, check_metric, measure
from queuesim.text import measured, readable, unknown

if TYPE_CHECKING:
    from queuesim.results.result import Result

DRAINED = "drained"
"""When the backlog was gone, in seconds of the run: ``drained``; ``drained@3600``: that of the first hour."""
WARMUP = "warmup"
"""The end of the warm-up by the rule MSER-5, in seconds of the run."""
OWN = {DRAINED: "s", WARMUP: "s"}
"""Figures that are no metrics, with their units."""

RATES = ((1, "/s"), (60, "/min"), (3600, "/h"))
"""Units of rates, in seconds."""
STATISTICS = {
    Kind.COUNT: ("",),
    Kind.RATE: ("",),
    Kind.SPREAD: ("mean", "p50", "p95", "p99", "max"),
    Kind.LEVEL: ("mean", "max", "last"),
}
"""What is measured of a metric of each kind unless something else is asked for."""
STANDARD = tuple(
    f"{metric.name}.{statistic}".rstrip(".")
    for metric in METRICS.values()
    if metric.name != "dead_letters"  # the same as failed
    for statistic in STATISTICS[metric.kind]
)
"""What a summary of a run has."""


def check_figure(name: str) -> None:
    """Raise ValueError unless it is a metric with its statistic, as ``latency.p95``, or another figure of `OWN`."""
    kind, _, moment = name.partition("@")
    if kind in OWN:
        float(moment or 0)
        return
    metric, _, statistic = name.partition(".")
    if metric not in METRICS:
        raise ValueError(unknown("metric", metric, [*METRICS, DRAINED]))
    check_metric(metric, statistic or None)


def figure(result: Result, name: str) -> float:
    """One number of a result by its name, in its unit; NaN if there is nothing to measure."""
    kind, _, moment = name.partition("@")
    if kind == DRAINED:
        return _drained(result, float(moment) if moment else math.inf)
    if kind == WARMUP:
        return warmup_of(result)
    metric, _, statistic = name.partition(".")
    return measure(result, metric, statistic or None)


def _drained(result: Result, until: float) -> float:
    """When no job waits any more, after the moment at which the most did until then; NaN: not in this run."""
    level, facts = backlog(result), result.facts
    end = min(until, facts.duration)
    highest, since = level.extreme(0.0, end) if end > 0 else (0.0, 0.0)
    if not highest > 0:
        return 0.0
    return since + result.analysis.time_to_drain(since)


def unit_of(name: str) -> str:
    """The unit of a figure: "s", "1/s", "share", or what it counts."""
    own = OWN.get(name.partition("@")[0])
    if own is not None:
        return own
    metric = METRICS.get(name.partition(".")[0])
    return "" if metric is None else metric.unit


def parts_of(name: str) -> tuple[str, str]:
    """The metric and the statistic of a figure; "" for a single number."""
    metric, _, statistic = name.partition(".")
    return metric, statistic


def shown_value(name: str, value: float) -> str:
    """A value of a figure with its unit, as people read it."""
    unit = unit_of(name)
    if math.isnan(value):
        return "–"
    if unit not in ("s", "1/s", "share"):
        # a mean of numbers of jobs is seldom a whole number
        return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:,.4g}"
    return f"-{measured(-value, unit)}" if value < 0 else measured(value, unit)


def shown_mean(name: str, mean: float, half_width: float) -> str:
    """A mean of a figure with the half width of its interval, both in one unit: "2.65 s ± 1.12 s", "97.5 ± 0.7 %"."""
    unit = unit_of(name)
    if math.isnan(half_width):
        return shown_value(name, mean)
    # what is left by rounding is no width
    half_width = 0.0 if half_width < 1e-9 * abs(mean) else half_width
    if unit == "s":
        return f"{shown_value(name, mean)} ± {readable(half_width)}"
    if unit == "share":
        return f"{100 * mean:.3g} ± {100 * half_width:.2g} %"
    if unit == "1/s":
        per, word = next(((per, word) for per, word in RATES if abs(mean) * per >= 1), RATES[-1])
        return f"{per * mean:.3g} ± {per * half_width:.2g}{word}"
    return f"{shown_value(name, mean)} ± {half_width:,.3g}"
