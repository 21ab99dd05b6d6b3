"""Sliding windows: a metric in every window of one length that slides over a run, and the worst of them.

A window is the half-open span [start, start + length), as every span of a run is: what happens at its start is in it,
what happens at its end is not, but the window that ends with the run holds what happened at its very end. Times are
whole nanoseconds, so that there are only so many windows, and edges are exact.

Between two windows at which something enters or leaves, a metric is constant; the mean of a level changes linearly. So
the windows at which something changes are all that have to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from queuesim.results.levels import Array, Level
from queuesim.results.metrics import (
    COMPARISONS,
    KIND_OF_METRIC,
    Kind,
    Times,
    Where,
    check_metric,
    counted,
    level,
    nanoseconds,
    percentile_of,
    select,
    spread,
    started,
    statistic_of,
    unfinished,
)
from queuesim.results.recording import RunFrames

# -- Statistics of many ranges of one array at once, as windows that slide over it need them


def range_means(values: Array, low: Array, high: Array) -> Array:
    """The mean of each range, from sums: exact to about 12 digits."""
    # of the differences from a value in the middle, so that little is lost when large sums are subtracted
    centre = float(values.mean()) if len(values) else 0.0
    means: Array = centre + _divided(_range_sums(values - centre, low, high), high - low)
    return means


def range_deviations(values: Array, low: Array, high: Array) -> Array:
    """The standard deviation (of a population) of each range, from sums: exact to about 6 digits."""
    centred = values - (values.mean() if len(values) else 0.0)
    squares = _divided(_range_sums(centred**2, low, high), high - low)
    means = _divided(_range_sums(centred, low, high), high - low)
    deviations: Array = np.sqrt(np.maximum(squares - means**2, 0.0))
    return deviations


def range_extremes(values: Array, low: Array, high: Array, highest: bool) -> Array:
    """The highest (or lowest) value of each range.

    Two blocks of 2^k values cover a range of 2^k to 2^(k+1) values. The blocks of one k at a time are kept, not the
    whole sparse table.
    """
    better = np.maximum if highest else np.minimum
    found = np.full(len(low), np.nan)
    size = high - low
    power = np.where(size > 0, np.frexp(size.astype(np.float64))[1] - 1, -1)
    order = np.argsort(power, kind="stable")
    bounds = np.searchsorted(power[order], np.arange(max(int(power.max(initial=-1)), -1) + 2))
    blocks = values.astype(np.float64)
    for k in range(len(bounds) - 1):
        rows = order[bounds[k] : bounds[k + 1]]
        found[rows] = better(blocks[low[rows]], blocks[high[rows] - 2**k])
        blocks = better(blocks[: -(2**k)], blocks[2**k :]) if len(blocks) > 2**k else blocks[:0]
    return found


def range_percentiles(values: Array, low: Array, high: Array, percentile: float) -> Array:
    """A percentile of each range, with linear interpolation as `numpy.percentile` does it."""
    size = high - low
    place = np.maximum(size - 1, 0) * (percentile / 100)
    below = np.floor(place).astype(np.int64)
    share = place - below
    found = order_statistics(values, low, high, below)
    between = np.flatnonzero((share > 0) & (size > 0))
    above = order_statistics(values, low[between], high[between], below[between] + 1)
    found[between] += (above - found[between]) * share[between]
    return found


def order_statistics(values: Array, low: Array, high: Array, rank: Array) -> Array:
    """The value of this rank, from 0, in each range.

    A wavelet matrix (Claude and Navarro, 2012) over the ranks of the values, walked from the highest bit to the lowest:
    at each bit every range is narrowed to those of its values that have the bit of the value that is looked for. One
    bit at a time is kept.
    """
    found = np.full(len(low), np.nan)
    asked = np.flatnonzero((low < high) & (rank < high - low))
    if not len(asked):
        return found
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=np.int32)
    ranks[order] = np.arange(len(values), dtype=np.int32)
    low, high, rank = (part[asked].astype(np.int32) for part in (low, high, rank))
    answer = np.zeros(len(asked), dtype=np.int32)
    for bit in reversed(range(int(len(values) - 1).bit_length())):
        zero = (ranks >> bit) & 1 == 0
        zeros = np.concatenate(([0], np.cumsum(zero, dtype=np.int32)), dtype=np.int32)
        zeros_low, zeros_high = zeros[low], zeros[high]
        count = zeros_high - zeros_low
        one = rank >= count
        rank = np.where(one, rank - count, rank)
        low = np.where(one, zeros[-1] + low - zeros_low, zeros_low)
        high = np.where(one, zeros[-1] + high - zeros_high, zeros_high)
        answer |= one.astype(np.int32) << bit
        ranks = np.concatenate((ranks[zero], ranks[~zero]))
    found[asked] = values[order[answer]]
    return found


def _range_sums(values: Array, low: Array, high: Array) -> Array:
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.longdouble)))
    sums_of: Array = (sums[high] - sums[low]).astype(np.float64)
    return sums_of


def _divided(sums: Array, size: Array) -> Array:
    quotients: Array = np.divide(sums, size, out=np.full(len(sums), np.nan), where=size > 0)
    return quotients


SAME = 1e-9
"""Values that differ by less than this share were rounded differently, and are equally bad."""


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


@dataclass(frozen=True, slots=True)
class _Sliding:
    """A metric, as windows that slide over it need it. All times are in nanoseconds."""

    changes: Callable[[int], list[Array]]
    """For a length: the starts of the windows whose value can differ from that of the window before."""
    values: Callable[[Array, Array], Array]
    """The values of windows of one length, by their starts and ends, the former ascending."""
    exact: Callable[[int, int], float]
    """The value of one window, free of rounding errors that add up."""
    linear: bool = False
    """Whether the value changes linearly between `changes`; else it stays."""
    closed: bool = True
    """Whether something that happens at the very end of the run belongs to the last window."""


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
    check_metric(metric, statistic)
    first, finish = nanoseconds(frames.facts.warmup), nanoseconds(frames.facts.duration)
    width = max(min(nanoseconds(length), finish - first), 1)
    last = max(finish - width, first)
    sliding = _sliding(frames, metric, statistic, where, width / 1e9)
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
    check_metric(metric, statistic)
    first, finish = nanoseconds(frames.facts.warmup), nanoseconds(frames.facts.duration)
    begin = max(first, nanoseconds(since))
    if (one_way := _one_way(metric, statistic)) is not None:
        if operator not in one_way:
            return None
        operator, begin, first = one_way[operator], first, 0 if metric == "lost" else first
    if finish < begin:
        return None
    growing = _growing(frames, metric, statistic, where, first)
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


def _one_way(metric: str, statistic: str | None) -> dict[str, str] | None:
    """For a value over the run so far that only ever grows, or only falls: the operators by which it can fail for good,
    with what they come to while the run goes on. By others it may still come to meet its limit. None: it goes both
    ways."""
    if statistic == "min":
        return {">": ">", ">=": ">=", "==": ">="}
    if statistic == "max" or (KIND_OF_METRIC[metric] is Kind.COUNT and metric != "unfinished"):
        return {"<": "<", "<=": "<=", "==": "<="}
    return None


@dataclass(frozen=True, slots=True)
class _Growing:
    """A metric over spans that all begin at one moment and end later and later. All times are in nanoseconds."""

    changes: Array
    """The ends of spans whose value differs from that of the span before."""
    values: Callable[[Array], Array]
    """The values of the spans by their ends, ascending. What happens at an end is in its span."""
    crossing: Callable[[int, int, float], int | None] | None = None
    """For a value that changes between `changes`, too: when it passed the limit between two ends."""


def _growing(frames: RunFrames, metric: str, statistic: str | None, where: Where, first: int) -> _Growing:
    chosen = select(frames, where)
    kind = KIND_OF_METRIC[metric]
    if kind is Kind.LEVEL or metric == "utilisation":
        steps = level(frames, metric, chosen)
        whole = frames.facts.concurrency if metric == "utilisation" else 1
        if statistic in (None, "mean"):
            return _growing_mean(steps, whole, first)
        return _growing_level(steps, statistic or "last", first)
    if metric == "throughput":
        return _growing_rate(counted(frames, metric, chosen), first)
    if metric == "unfinished":
        added = unfinished(frames, chosen)
        done = np.sort(nanoseconds(added.values[np.isfinite(added.values)]))
        return _Growing(
            np.concatenate((added.times, done)),
            lambda ends: (
                np.searchsorted(added.times, ends, side="right") - np.searchsorted(done, ends, side="right")
            ).astype(np.float64),
        )
    if metric == "success_rate":
        good, bad = (counted(frames, name, chosen) for name in ("completed", "failed"))
        return _spans(_success(good, bad), np.concatenate((good.times, bad.times)), first)
    if kind is Kind.COUNT:
        times = counted(frames, metric, chosen)
        return _spans(_counts(times, 1.0), times.times, first)
    if metric == "retry_amplification":
        times, statistic = started(frames, chosen), "mean"
    else:
        times = spread(frames, metric, chosen)
    return _spans(_statistics(times, statistic or "mean"), times.times, first)


def _spans(sliding: _Sliding, changes: Array, first: int) -> _Growing:
    """Spans as windows of different lengths, each a nanosecond longer than its end for what happens there."""
    return _Growing(changes, lambda ends: sliding.values(np.full(len(ends), first), ends + 1))


def _growing_level(steps: Level, statistic: str, first: int) -> _Growing:
    changes = nanoseconds(steps.times[1:])

    def values(ends: Array) -> Array:
        place = np.searchsorted(changes, ends, side="right")
        if statistic == "last":
            return steps.values[place].astype(np.float64)
        begun = int(np.searchsorted(changes, first, side="right"))
        better = np.maximum if statistic == "max" else np.minimum
        best: Array = better.accumulate(steps.values[begun:])[place - begun]
        return best.astype(np.float64)

    return _Growing(changes, values)


def _growing_mean(steps: Level, whole: float, first: int) -> _Growing:
    since = first / 1e9
    before = float(steps.area(since))

    def values(ends: Array) -> Array:
        spent = ends / 1e9 - since
        area = steps.area(ends / 1e9) - before
        means: Array = np.divide(area, spent * whole, out=np.full(len(ends), np.nan), where=spent > 0)
        return means

    def crossing(start: int, end: int, limit: float) -> int | None:
        # in between the level is constant: area + level * t == limit * whole * (start - since + t)
        begun = start / 1e9
        # in the middle: the edges were rounded to nanoseconds
        area, now, share = float(steps.area(begun)) - before, float(steps.at((start + end) / 2e9)), limit * whole
        if now == share:
            return None
        moment = begun + (share * (begun - since) - area) / (now - share)
        return nanoseconds(moment) if start <= nanoseconds(moment) <= end else None

    return _Growing(nanoseconds(steps.times[1:]), values, crossing)


def _growing_rate(times: Times, first: int) -> _Growing:
    """Things that happened, per second: it jumps up when one does and falls until the next."""

    def values(ends: Array) -> Array:
        spent = (ends - first) / 1e9
        count = np.searchsorted(times.times, ends, side="right") - np.searchsorted(times.times, first)
        rates: Array = np.divide(count, spent, out=np.full(len(ends), np.nan), where=spent > 0)
        return rates

    def crossing(start: int, end: int, limit: float) -> int | None:
        count = float(np.searchsorted(times.times, start, side="right") - np.searchsorted(times.times, first))
        moment = first + round(count / limit * 1e9) if limit > 0 else -1
        return moment if start < moment < end else None

    # just before one happens, the rate is at its lowest
    return _Growing(np.concatenate((times.times - 1, times.times)), values, crossing)


def _starts(sliding: _Sliding, first: int, last: int, width: int) -> Array:
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


def _first_failure(sliding: _Sliding, starts: Array, values: Array, operator: str, limit: float) -> int:
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


def _sliding(frames: RunFrames, metric: str, statistic: str | None, where: Where, seconds: float) -> _Sliding:
    """
    Args:
        seconds: length of the windows.
    """
    chosen = select(frames, where)
    kind = KIND_OF_METRIC[metric]
    if metric == "unfinished":
        return _unfinished(unfinished(frames, chosen))
    if metric == "success_rate":
        return _success(counted(frames, "completed", chosen), counted(frames, "failed", chosen))
    if kind is Kind.COUNT or metric == "throughput":
        return _counts(counted(frames, metric, chosen), seconds if metric == "throughput" else 1.0)
    if metric == "retry_amplification":
        return _statistics(started(frames, chosen), "mean")
    if kind is Kind.SPREAD:
        return _statistics(spread(frames, metric, chosen), statistic or "mean")
    steps = level(frames, metric, chosen)
    if metric == "utilisation":
        return _means(steps, frames.facts.concurrency)
    if statistic == "mean":
        return _means(steps, 1)
    return _last(steps) if statistic == "last" else _extremes(steps, statistic == "max")


def _enter_and_leave(times: Array) -> Callable[[int], list[Array]]:
    """A moment is in the windows that start after moment - length, up to the one that starts with it."""
    return lambda length: [times - length + 1, times + 1]


def _counts(times: Times, seconds: float) -> _Sliding:
    def values(starts: Array, ends: Array) -> Array:
        counts: Array = _within(times.times, starts, ends) / seconds
        return counts

    return _Sliding(_enter_and_leave(times.times), values, _one(values))


def _within(times: Array, starts: Array, ends: Array) -> Array:
    count: Array = np.searchsorted(times, ends) - np.searchsorted(times, starts)
    return count


def _one(values: Callable[[Array, Array], Array]) -> Callable[[int, int], float]:
    return lambda start, end: float(values(np.array([start]), np.array([end]))[0])


def _success(completed: Times, failed: Times) -> _Sliding:
    def values(starts: Array, ends: Array) -> Array:
        good, bad = _within(completed.times, starts, ends), _within(failed.times, starts, ends)
        shares: Array = np.divide(good, good + bad, out=np.full(len(starts), np.nan), where=good + bad > 0)
        return shares

    return _Sliding(_enter_and_leave(np.concatenate((completed.times, failed.times))), values, _one(values))


def _unfinished(added: Times) -> _Sliding:
    """A job counts in the windows that it was added in, and that ended before it finished."""
    never = np.isinf(added.values)
    done = np.full(len(never), np.iinfo(np.int64).max // 2)
    done[~never] = nanoseconds(added.values[~never])

    def span(length: int) -> tuple[Array, Array]:
        """The starts of the first window in which each job counts, and of the one after the last."""
        enter = added.times - length + 1
        leave = np.minimum(added.times, done - length) + 1
        counts = leave > enter
        return enter[counts], leave[counts]

    def values(starts: Array, ends: Array) -> Array:
        enter, leave = (np.sort(moments) for moments in span(int(ends[0] - starts[0])))
        entered, left = (np.searchsorted(moments, starts, side="right") for moments in (enter, leave))
        return (entered - left).astype(np.float64)

    def exact(start: int, end: int) -> float:
        return float(np.count_nonzero((added.times >= start) & (added.times < end) & (done >= end)))

    return _Sliding(lambda length: list(span(length)), values, exact)


def _statistics(times: Times, statistic: str) -> _Sliding:
    def values(starts: Array, ends: Array) -> Array:
        low, high = np.searchsorted(times.times, starts), np.searchsorted(times.times, ends)
        percentile = 50.0 if statistic == "median" else percentile_of(statistic)
        if percentile is not None:
            return range_percentiles(times.values, low, high, percentile)
        if statistic == "mean":
            return range_means(times.values, low, high)
        if statistic == "std":
            return range_deviations(times.values, low, high)
        return range_extremes(times.values, low, high, statistic == "max")

    def exact(start: int, end: int) -> float:
        low, high = np.searchsorted(times.times, [start, end])
        return statistic_of(times.values[low:high], statistic)

    return _Sliding(_enter_and_leave(times.times), values, exact)


def _means(steps: Level, whole: float) -> _Sliding:
    times = nanoseconds(steps.times[1:])

    def values(starts: Array, ends: Array) -> Array:
        since, until = starts / 1e9, ends / 1e9
        mean: Array = (steps.area(until) - steps.area(since)) / (until - since) / whole
        return mean

    def exact(start: int, end: int) -> float:
        since, until = start / 1e9, end / 1e9
        first = int(np.searchsorted(steps.times, since, side="right")) - 1
        after = int(np.searchsorted(steps.times, until, side="left"))
        edges = np.concatenate(([since], steps.times[first + 1 : after], [until]))
        areas = steps.values[first:after] * np.diff(edges)
        # a level that never changed must come out as it is
        constant = after - first == 1
        return float(steps.values[first] if constant else math.fsum(areas) / (until - since)) / whole

    return _Sliding(lambda length: [times - length, times], values, exact, linear=True, closed=False)


def _last(steps: Level) -> _Sliding:
    times = nanoseconds(steps.times[1:])

    def values(starts: Array, ends: Array) -> Array:
        return steps.values[np.searchsorted(times, ends, side="right")].astype(np.float64)

    return _Sliding(lambda length: [times - length], values, _one(values), closed=False)


def _extremes(steps: Level, highest: bool) -> _Sliding:
    """A step from one change of the level to the next is in the windows that overlap it."""
    times = nanoseconds(steps.times[1:])

    def values(starts: Array, ends: Array) -> Array:
        low, high = np.searchsorted(times, starts, side="right"), np.searchsorted(times, ends) + 1
        return range_extremes(steps.values, low, high, highest)

    return _Sliding(lambda length: [times - length + 1, times], values, _one(values), closed=False)
