"""Readings: how a metric is measured over a span of a run, in windows that slide over it, and over the run so far.

A span is half open, [start, end): what happens at its start is in it, what happens at its end is not. Only a span that
ends with the run holds what happened at its very end. Times are whole nanoseconds, so that edges are exact.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.results.levels import Array, Level
from queuesim.results.recording import Facts


def percentile_of(statistic: str) -> float | None:
    """95.0 for "p95"; None if it is no percentile."""
    match = re.fullmatch(r"p(\d{1,3}(?:\.\d+)?)", statistic)
    value = float(match[1]) if match else math.nan
    return value if value <= 100 else None


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


@dataclass(frozen=True, slots=True)
class Windows:
    """A metric in windows of one length that slide over the run.

    Between two windows at which something enters or leaves, the value is constant, or changes linearly. So the windows
    at which something changes are all that must be looked at.
    """

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

    def so_far(self, changes: Array, first: int) -> SoFar:
        """Spans as windows of different lengths, each a nanosecond longer than its end for what happens there."""
        return SoFar(changes, lambda ends: self.values(np.full(len(ends), first), ends + 1))


@dataclass(frozen=True, slots=True)
class SoFar:
    """A metric over spans that all begin at one moment and end later and later."""

    changes: Array
    """The ends of spans whose value differs from that of the span before."""
    values: Callable[[Array], Array]
    """The values of the spans by their ends, ascending. What happens at an end is in its span."""
    crossing: Callable[[int, int, float], int | None] | None = None
    """For a value that changes between `changes`, too: when it passed the limit between two ends."""


class Reading(ABC):
    """A metric of some jobs of one result, ready to be measured. `over` takes seconds, the others nanoseconds."""

    direction: int = 0
    """1: measured so far, its value can only grow; -1: only fall; 0: it goes both ways."""

    @abstractmethod
    def over(self, start: float, end: float) -> float:
        """The value over [start, end) seconds; NaN where there is nothing to measure."""

    @abstractmethod
    def windows(self, seconds: float) -> Windows:
        """The values in windows of this length."""

    @abstractmethod
    def so_far(self, first: int) -> SoFar:
        """The values over spans that begin at `first`."""

    def moment(self, start: float, end: float, limit: float, comparison: str) -> float | None:
        """When, in seconds, the value over [start, end) was reached, or went beyond a limit; None: at no moment."""
        return None


class Count(Reading):
    """The number of times that something happened."""

    direction = 1

    def __init__(self, times: Times) -> None:
        self.times = times

    def over(self, start: float, end: float) -> float:
        return self.times.count(start, end)

    def windows(self, seconds: float) -> Windows:
        return self._windows(1.0)

    def _windows(self, unit: float) -> Windows:
        times = self.times.times

        def values(starts: Array, ends: Array) -> Array:
            counts: Array = _within(times, starts, ends) / unit
            return counts

        return Windows(_enter_and_leave(times), values, _one(values))

    def so_far(self, first: int) -> SoFar:
        return self._windows(1.0).so_far(self.times.times, first)

    def moment(self, start: float, end: float, limit: float, comparison: str) -> float | None:
        if comparison not in ("<", "<=", "=="):
            return None
        happened = self.times.times[self.times.span(start, end)]
        allowed = max(math.ceil(limit) - 1 if comparison == "<" else math.floor(limit), 0)
        return float(happened[allowed]) / 1e9 if allowed < len(happened) else None


class PerSecond(Count):
    """How often something happened per second: over the run so far it jumps up when it does and falls until then."""

    direction = 0

    def over(self, start: float, end: float) -> float:
        return _ratio(self.times.count(start, end), end - start)

    def windows(self, seconds: float) -> Windows:
        return self._windows(seconds)

    def so_far(self, first: int) -> SoFar:
        times = self.times.times

        def values(ends: Array) -> Array:
            spent = (ends - first) / 1e9
            count = np.searchsorted(times, ends, side="right") - np.searchsorted(times, first)
            rates: Array = np.divide(count, spent, out=np.full(len(ends), np.nan), where=spent > 0)
            return rates

        def crossing(start: int, end: int, limit: float) -> int | None:
            count = float(np.searchsorted(times, start, side="right") - np.searchsorted(times, first))
            moment = first + round(count / limit * 1e9) if limit > 0 else -1
            return moment if start < moment < end else None

        # just before one happens, the rate is at its lowest
        return SoFar(np.concatenate((times - 1, times)), values, crossing)

    def moment(self, start: float, end: float, limit: float, comparison: str) -> float | None:
        return None


class Unfinished(Reading):
    """The number of jobs that were added in a span and had not finished at its end.

    Args:
        added: when each was added; as values, when it finished: inf if it never did.
    """

    def __init__(self, added: Times) -> None:
        self.added = added
        never = np.isinf(added.values)
        self.done = np.full(len(never), np.iinfo(np.int64).max // 2)
        self.done[~never] = nanoseconds(added.values[~never])

    def over(self, start: float, end: float) -> float:
        added = self.added
        done = added.values[added.span(start, end)]
        return float(np.count_nonzero(np.isinf(done) if nanoseconds(end) >= added.finish else done >= end))

    def windows(self, seconds: float) -> Windows:
        """A job counts in the windows that it was added in, and that ended before it finished."""
        added, done = self.added.times, self.done

        def span(length: int) -> tuple[Array, Array]:
            """The starts of the first window in which each job counts, and of the one after the last."""
            enter = added - length + 1
            leave = np.minimum(added, done - length) + 1
            counts = leave > enter
            return enter[counts], leave[counts]

        def values(starts: Array, ends: Array) -> Array:
            enter, leave = (np.sort(moments) for moments in span(int(ends[0] - starts[0])))
            entered, left = (np.searchsorted(moments, starts, side="right") for moments in (enter, leave))
            return (entered - left).astype(np.float64)

        def exact(start: int, end: int) -> float:
            return float(np.count_nonzero((added >= start) & (added < end) & (done >= end)))

        return Windows(lambda length: list(span(length)), values, exact)

    def so_far(self, first: int) -> SoFar:
        added, done = self.added.times, np.sort(self.done[np.isfinite(self.added.values)])

        def values(ends: Array) -> Array:
            came, left = (np.searchsorted(moments, ends, side="right") for moments in (added, done))
            return (came - left).astype(np.float64)

        return SoFar(np.concatenate((added, done)), values)


class Share(Reading):
    """How often one thing happened, of all times that it or another one did."""

    def __init__(self, good: Times, bad: Times) -> None:
        self.good, self.bad = good, bad

    def over(self, start: float, end: float) -> float:
        good = self.good.count(start, end)
        return _ratio(good, good + self.bad.count(start, end))

    def windows(self, seconds: float) -> Windows:
        def values(starts: Array, ends: Array) -> Array:
            good, bad = _within(self.good.times, starts, ends), _within(self.bad.times, starts, ends)
            shares: Array = np.divide(good, good + bad, out=np.full(len(starts), np.nan), where=good + bad > 0)
            return shares

        return Windows(_enter_and_leave(self._times), values, _one(values))

    def so_far(self, first: int) -> SoFar:
        return self.windows(0.0).so_far(self._times, first)

    @property
    def _times(self) -> Array:
        return np.concatenate((self.good.times, self.bad.times))


class Statistic(Reading):
    """A statistic of values, each of which counts at a moment."""

    def __init__(self, times: Times, statistic: str) -> None:
        self.times, self.statistic = times, statistic
        self.direction = DIRECTIONS.get(statistic, 0)

    def over(self, start: float, end: float) -> float:
        return statistic_of(self.times.values[self.times.span(start, end)], self.statistic)

    def windows(self, seconds: float) -> Windows:
        times, statistic = self.times, self.statistic

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

        return Windows(_enter_and_leave(times.times), values, exact)

    def so_far(self, first: int) -> SoFar:
        return self.windows(0.0).so_far(self.times.times, first)

    def moment(self, start: float, end: float, limit: float, comparison: str) -> float | None:
        span = self.times.span(start, end)
        inside = self.times.values[span]
        if not (self.direction and len(inside)):
            return None
        place = int(inside.argmax() if self.direction > 0 else inside.argmin())
        return float(self.times.times[span][place]) / 1e9


class Mean(Reading):
    """The average of a level over time, as a share of `whole`."""

    def __init__(self, level: Level, whole: float = 1.0) -> None:
        self.level, self.whole = level, whole

    def over(self, start: float, end: float) -> float:
        return _ratio(self.level.mean(start, end), self.whole)

    def windows(self, seconds: float) -> Windows:
        level, whole = self.level, self.whole
        times = nanoseconds(level.times[1:])

        def values(starts: Array, ends: Array) -> Array:
            since, until = starts / 1e9, ends / 1e9
            mean: Array = (level.area(until) - level.area(since)) / (until - since) / whole
            return mean

        def exact(start: int, end: int) -> float:
            since, until = start / 1e9, end / 1e9
            first = int(np.searchsorted(level.times, since, side="right")) - 1
            after = int(np.searchsorted(level.times, until, side="left"))
            edges = np.concatenate(([since], level.times[first + 1 : after], [until]))
            areas = level.values[first:after] * np.diff(edges)
            # a level that never changed must come out as it is
            constant = after - first == 1
            return float(level.values[first] if constant else math.fsum(areas) / (until - since)) / whole

        return Windows(lambda length: [times - length, times], values, exact, linear=True, closed=False)

    def so_far(self, first: int) -> SoFar:
        level, whole, since = self.level, self.whole, first / 1e9
        before = float(level.area(since))

        def values(ends: Array) -> Array:
            spent = ends / 1e9 - since
            area = level.area(ends / 1e9) - before
            means: Array = np.divide(area, spent * whole, out=np.full(len(ends), np.nan), where=spent > 0)
            return means

        def crossing(start: int, end: int, limit: float) -> int | None:
            # in between the level is constant: area + level * t == limit * whole * (start - since + t)
            begun = start / 1e9
            # in the middle: the edges were rounded to nanoseconds
            area, now, share = float(level.area(begun)) - before, float(level.at((start + end) / 2e9)), limit * whole
            if now == share:
                return None
            moment = begun + (share * (begun - since) - area) / (now - share)
            return nanoseconds(moment) if start <= nanoseconds(moment) <= end else None

        return SoFar(nanoseconds(level.times[1:]), values, crossing)


class Last(Reading):
    """A level at the end of a span."""

    def __init__(self, level: Level) -> None:
        self.level = level

    def over(self, start: float, end: float) -> float:
        return float(self.level.at(end))

    def windows(self, seconds: float) -> Windows:
        so_far = self.so_far(0)

        def values(starts: Array, ends: Array) -> Array:
            return so_far.values(ends)

        return Windows(lambda length: [so_far.changes - length], values, _one(values), closed=False)

    def so_far(self, first: int) -> SoFar:
        times, values = nanoseconds(self.level.times[1:]), self.level.values.astype(np.float64)
        return SoFar(times, lambda ends: values[np.searchsorted(times, ends, side="right")])


class Extreme(Reading):
    """The highest or lowest that a level comes to."""

    def __init__(self, level: Level, statistic: str) -> None:
        self.level, self.direction = level, DIRECTIONS[statistic]

    def over(self, start: float, end: float) -> float:
        return self.level.extreme(start, end, self.direction > 0)[0]

    def windows(self, seconds: float) -> Windows:
        """A step from one change of the level to the next is in the windows that overlap it."""
        times = nanoseconds(self.level.times[1:])

        def values(starts: Array, ends: Array) -> Array:
            low, high = np.searchsorted(times, starts, side="right"), np.searchsorted(times, ends) + 1
            return range_extremes(self.level.values, low, high, self.direction > 0)

        return Windows(lambda length: [times - length + 1, times], values, _one(values), closed=False)

    def so_far(self, first: int) -> SoFar:
        times = nanoseconds(self.level.times[1:])

        def values(ends: Array) -> Array:
            place = np.searchsorted(times, ends, side="right")
            begun = int(np.searchsorted(times, first, side="right"))
            better = np.maximum if self.direction > 0 else np.minimum
            best: Array = better.accumulate(self.level.values[begun:])[place - begun]
            return best.astype(np.float64)

        return SoFar(times, values)

    def moment(self, start: float, end: float, limit: float, comparison: str) -> float | None:
        at = self.level.extreme(start, end, self.direction > 0)[1]
        return None if math.isnan(at) else at


DIRECTIONS = {"max": 1, "min": -1}
"""Where the statistics go that go one way as a run goes on."""


def level_reading(level: Level, statistic: str) -> Reading:
    """A statistic of a level: mean, min, max or last."""
    if statistic in DIRECTIONS:
        return Extreme(level, statistic)
    return Last(level) if statistic == "last" else Mean(level)


def _enter_and_leave(times: Array) -> Callable[[int], list[Array]]:
    """A moment is in the windows that start after moment - length, up to the one that starts with it."""
    return lambda length: [times - length + 1, times + 1]


def _within(times: Array, starts: Array, ends: Array) -> Array:
    count: Array = np.searchsorted(times, ends) - np.searchsorted(times, starts)
    return count


def _one(values: Callable[[Array, Array], Array]) -> Callable[[int, int], float]:
    return lambda start, end: float(values(np.array([start]), np.array([end]))[0])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


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
