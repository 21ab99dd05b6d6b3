"""Poisson probabilities as arrays, without overflow however large the mean is."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def poisson(mean: float, count: int) -> Array:
    """P(N = n) for n below `count`, of a Poisson variable with this mean (0 or more), computed by logarithms."""
    if mean == 0:
        return np.concatenate(([1.0], np.zeros(count - 1)))[:count]
    logs = np.cumsum(np.concatenate(([0.0], np.log(np.arange(1.0, count)))))
    return np.asarray(np.exp(np.arange(count) * math.log(mean) - mean - logs))


def poisson_tail(mean: float, count: int) -> Array:
    """P(N > n) for n below `count`: sums of the tail's own terms, so that no digits of small ones are lost."""
    enough = max(count, longest(mean)) + 1
    tail = np.cumsum(poisson(mean, enough)[::-1])[::-1]
    return np.minimum(tail[1 : count + 1], 1.0)


def longest(mean: float) -> int:
    """A number that a Poisson variable with this mean exceeds with a probability below 1e-17."""
    return math.ceil(mean + 9 * math.sqrt(mean) + 40)
