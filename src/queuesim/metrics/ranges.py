"""Statistics of many ranges of one array at once, as windows that slide over it need them.

A range is the values in [low, high), by two arrays of the same length. Each function takes O((n + ranges) log n) time
and O(n + ranges) memory, whatever the ranges are; empty ranges give NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


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
