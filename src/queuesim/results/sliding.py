"""Sliding windows: a threshold in every window of one length that slides over a run, and the worst of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from queuesim.results.levels import Array
from queuesim.results.metrics import COMPARISONS, Where, prepare, start_of
from queuesim.results.readings import Windows, nanoseconds
from queuesim.results.recording import RunFrames

SAME = 1e-9
"""Values that differ by less than this share were rounded differently, and are equally bad."""
FOR_GOOD = {1: {"<": "<", "<=": "<=", "==": "<="}, -1: {">": ">", ">=": ">=", "==": ">="}}
"""For a value that only grows (1) or falls (-1): the operators by which it can fail for good, with what they come to
while the run goes on. By others it may still come to meet its limit."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst window."""

    value: float
    """What was measured in it; NaN: there was nothing to measure in any window."""
    start: float
    """Seconds since the run began."""
    end: float
    judged: float
    """Share of the windows in which there was something to measure."""
    failed_at: float | None
    """End of the first window that failed, in seconds; None: all hold, or there is nothing to measure."""


def worst_window(
    frames: RunFrames,
    metric: str,
    statistic: str | None,
    where: Where,
    length: float,
    operator: str,
    limit: float,
) -> Worst:
    """The window of `length` seconds, of all that lie between the warm-up and the end of the run, that meets
    ``metric operator limit`` worst; the first of several that are equally bad. A run shorter than that is one window.

    Windows in which there is nothing to measure meet every limit.

    Raises:
        ValueError: see `queuesim.results.metrics.measure`.
    """
    reading = prepare(frames, metric, statistic, where)
    first, finish = nanoseconds(frames.facts.warmup), nanoseconds(frames.facts.duration)
    width = max(min(nanoseconds(length), finish - first), 1)
    last = max(finish - width, first)
    sliding = reading.windows(width / 1e9)
    starts = _starts(sliding, first, last, width)
    ends = starts + width
    values = sliding.values(starts, ends)
    if sliding.closed:
        # the last window holds what happened at its very end, and there is no other that starts with it
        ends[-1], values[-1] = finish + 1, sliding.exact(last, finish + 1)
    known = ~np.isnan(values)
    if not known.any():
        return Worst(math.nan, last / 1e9, finish / 1e9, 0.0, None)
    chosen = _worst(values, operator, limit)
    value = sliding.exact(int(starts[chosen]), int(ends[chosen]))
    start = int(starts[chosen])
    if operator == "!=" and sliding.linear and (crossing := _crossing(starts, values, limit)) is not None:
        value, start = limit, crossing
    failed_at = (
        None if COMPARISONS[operator](value, limit) else _first_failure(sliding, starts, values, operator, limit)
    )
    return Worst(
        value,
        start / 1e9,
        (start + width) / 1e9,
        _share(starts, known, last),
        None if failed_at is None else (failed_at + width) / 1e9,
    )


def first_failure_so_far(
    frames: RunFrames, metric: str, statistic: str | None, where: Where, operator: str, limit: float, since: float
) -> tuple[float, float] | None:
    """When a metric of the run so far, from the end of the warm-up to each moment, first failed to meet
    ``metric operator limit``, in seconds, and its value then. None: it never did, or may still come to meet it.

    Args:
        since: values that can meet the limit again are looked at from then on, in seconds.

    Raises:
        ValueError: see `queuesim.results.metrics.measure`.
    """
    reading = prepare(frames, metric, statistic, where)
    first, finish = nanoseconds(frames.facts.warmup), nanoseconds(frames.facts.duration)
    begin = max(first, nanoseconds(since))
    if reading.direction:
        for_good = FOR_GOOD[reading.direction].get(operator)
        if for_good is None:
            return None
        operator, begin, first = for_good, first, nanoseconds(start_of(metric, frames.facts))
    if finish < begin:
        return None
    growing = reading.so_far(first)
    changes = growing.changes[(growing.changes > begin) & (growing.changes < finish)]
    ends = np.unique(np.concatenate((np.array([begin, finish], dtype=np.int64), changes)))
    values = growing.values(ends)
    failed = ~COMPARISONS[operator](values, limit) & ~np.isnan(values)
    if not failed.any():
        return None
    row = int(np.argmax(failed))
    at, value = int(ends[row]), float(values[row])
    if row and growing.crossing is not None:
        crossed = growing.crossing(int(ends[row - 1]), at, limit)
        if crossed is not None:
            at, value = crossed, limit
    return at / 1e9, value


def _starts(sliding: Windows, first: int, last: int, width: int) -> Array:
    """The windows that are looked at, ascending."""
    inside = [changes[(changes > first) & (changes < last)] for changes in sliding.changes(width)]
    # the parts are in order nearly always, and then a merge sort is many times faster than numpy.unique
    starts = np.sort(np.concatenate([np.array([first, last], dtype=np.int64), *inside]), kind="stable")
    distinct: Array = starts[np.append(True, starts[1:] != starts[:-1])]
    return distinct


def _badness(values: Array, operator: str, limit: float) -> Array:
    """The larger, the worse; NaN stays."""
    if operator in ("<", "<="):
        return values
    if operator in (">", ">="):
        return -values
    distance = np.abs(values - limit)
    return distance if operator == "==" else -distance


def _worst(values: Array, operator: str, limit: float) -> int:
    """The first of the worst."""
    bad = _badness(values, operator, limit)
    worst = float(np.nanmax(bad))
    slack = SAME * max(abs(float(values[np.nanargmax(bad)])), abs(worst))
    with np.errstate(invalid="ignore"):
        return int(np.argmax(bad >= worst - slack))


def _first_failure(sliding: Windows, starts: Array, values: Array, operator: str, limit: float) -> int:
    """Start of the first window that fails. The worst one does, so there is one, unless by a rounding error."""
    failed = ~COMPARISONS[operator](values, limit) & ~np.isnan(values)
    row = int(np.argmax(failed)) if failed.any() else _worst(values, operator, limit)
    begins = int(starts[row])
    if operator == "!=" and sliding.linear and (crossing := _crossing(starts, values, limit)) is not None:
        return min(crossing, begins) if failed.any() else crossing
    if not sliding.linear or row == 0 or np.isnan(values[row - 1]) or values[row] == values[row - 1]:
        return begins
    share = (limit - values[row - 1]) / (values[row] - values[row - 1])
    return int(starts[row - 1] + math.ceil((begins - int(starts[row - 1])) * min(max(share, 0.0), 1.0)))


def _crossing(starts: Array, values: Array, limit: float) -> int | None:
    """Start of the first window at which a value that changes linearly passes through the limit."""
    side = np.sign(values - limit)
    crossed = np.flatnonzero(side[1:] * side[:-1] < 0)
    if not len(crossed):
        return None
    row = int(crossed[0])
    share = (limit - values[row]) / (values[row + 1] - values[row])
    return int(starts[row] + round((int(starts[row + 1]) - int(starts[row])) * float(share)))


def _share(starts: Array, known: Array, last: int) -> float:
    """Share of the windows that have a value. Each value holds until the next."""
    total = last - int(starts[0])
    if not total:
        return 1.0
    return float(np.diff(starts)[known[:-1]].sum() / total) or 1 / total
