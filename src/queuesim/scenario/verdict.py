"""Thresholds, measured: over a whole run, over a sliding window, and while the run goes on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from queuesim.metrics.recording import CheckRow
from queuesim.scenario.threshold import Threshold
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

STEPS_PER_WINDOW = 10
"""A sliding window moves on by this part of its length."""


def judge(result: Result, thresholds: Iterable[Threshold]) -> list[CheckRow]:
    """How each threshold came out."""
    return [_judge(result, threshold) for threshold in thresholds]


def _judge(result: Result, threshold: Threshold) -> CheckRow:
    from queuesim.metrics.meter import meter

    where = {k: v for k, v in (("job", threshold.where.job), ("load", threshold.where.load)) if v is not None}
    read = meter(result, threshold.metric, threshold.statistic, where)
    name = describe(threshold)
    limit = f"{threshold.operator} {threshold.text.rpartition(' ')[2]}"
    if threshold.over is None:
        value = read(None, None)
        detail = "nothing to measure" if math.isnan(value) else ""
        return CheckRow(name, threshold.holds(value), value, limit, None, detail)
    return _slide(threshold, read, result.facts.warmup, result.facts.duration, name, limit)


def _slide(threshold: Threshold, read: object, start: float, end: float, name: str, limit: str) -> CheckRow:
    """The first window that failed, or else the last one. Windows in which there is nothing to measure pass."""
    assert callable(read)
    assert threshold.over is not None
    over = threshold.over
    # a run that is shorter than the window is one window
    ends = [min(start + over, end)]
    while ends[-1] < end:
        ends.append(min(ends[-1] + over / STEPS_PER_WINDOW, end))
    value, at = math.nan, end
    for window_end in ends:
        measured = read(max(start, window_end - over), window_end)
        if math.isnan(measured):
            continue
        value, at = measured, window_end
        if not threshold.holds(measured):
            detail = f"in the {format_duration(over)} until {format_duration(round(window_end, 3))}"
            return CheckRow(name, False, value, limit, at, detail)
    return CheckRow(name, True, value, limit, at, "nothing to measure" if math.isnan(value) else "")


def describe(threshold: Threshold) -> str:
    """A threshold in words: ``latency.p95 < 30s of job task-created over 5m``."""
    parts = [threshold.text]
    for kind, chosen in (("job", threshold.where.job), ("load", threshold.where.load)):
        if chosen is not None:
            parts.append(f"of {kind} {chosen}")
    if threshold.over is not None:
        parts.append(f"over {format_duration(threshold.over)}")
    return " ".join(parts)
