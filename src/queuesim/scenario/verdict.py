"""Thresholds, measured: over a whole run, over a sliding window, and while the run goes on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from queuesim.metrics.metric import UNITS
from queuesim.metrics.recording import CheckRow
from queuesim.scenario.threshold import Threshold
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

NOTHING = "nothing to measure"


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a threshold came out."""

    row: CheckRow
    failed_at: float | None
    """Since when it fails, in seconds of the run; None: it holds, or nobody can tell."""


def judge(result: Result, thresholds: Iterable[Threshold]) -> list[CheckRow]:
    """How each threshold came out."""
    return [judgement(result, threshold).row for threshold in thresholds]


def judgement(result: Result, threshold: Threshold) -> Judgement:
    """How a threshold came out, and since when it fails."""
    return _over_the_run(result, threshold) if threshold.over is None else _slide(result, threshold, threshold.over)


def _over_the_run(result: Result, threshold: Threshold) -> Judgement:
    from queuesim.metrics.meter import meter, moment_of

    where = threshold.where.chosen()
    value = meter(result, threshold.metric, threshold.statistic, where)(None, None)
    at = moment_of(result, threshold.metric, threshold.statistic, where, threshold.limit, threshold.operator)
    failed_at = None if threshold.holds(value) else at
    return Judgement(_row(threshold, value, at, NOTHING if math.isnan(value) else ""), failed_at)


def _slide(result: Result, threshold: Threshold, over: float) -> Judgement:
    """The window that meets the threshold worst. Windows in which there is nothing to measure pass."""
    from queuesim.metrics.sliding import worst_window

    where = threshold.where.chosen()
    worst = worst_window(
        result, threshold.metric, threshold.statistic, where, over, threshold.operator, threshold.limit
    )
    if math.isnan(worst.value):
        row = _row(threshold, worst.value, None, f"{NOTHING} in any window")
        row.ok, row.judged = True, 0.0
        return Judgement(row, None)
    detail = f"worst window: from {_moment(worst.start)} to {_moment(worst.end)}"
    if worst.failed_at is not None and worst.failed_at < worst.end:
        detail += f"; failed first in the window until {_moment(worst.failed_at)}"
    row = _row(threshold, worst.value, worst.end, detail)
    row.judged = worst.judged
    return Judgement(row, worst.failed_at)


def _row(threshold: Threshold, value: float, at: float | None, detail: str) -> CheckRow:
    limit = f"{threshold.operator} {threshold.text.rpartition(' ')[2]}"
    return CheckRow(describe(threshold), threshold.holds(value), value, limit, at, detail, unit=UNITS[threshold.metric])


def _moment(seconds: float) -> str:
    return format_duration(round(seconds, 3))


def describe(threshold: Threshold) -> str:
    """A threshold in words: ``latency.p95 < 30s of job task-created over 5m``."""
    parts = [threshold.text]
    for kind, chosen in (("job", threshold.where.job), ("load", threshold.where.load)):
        if chosen is not None:
            parts.append(f"of {kind} {chosen}")
    if threshold.over is not None:
        parts.append(f"over {format_duration(threshold.over)}")
    return " ".join(parts)
