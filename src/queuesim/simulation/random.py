"""Random streams: a generator of its own for each source of randomness, so that adding one never shifts another."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, repeat
from statistics import NormalDist
from typing import Protocol, Self, cast

import numpy as np
import numpy.typing as npt


class Streams:
    """Independent random generators by name, all from one seed.

    A generator depends on the seed and its name alone, neither on what else exists nor on the order of asking. Asking
    twice for a name gives the same stream from its beginning again.

    Args:
        seed: any whole number, 0 or more.

    Raises:
        ValueError: a seed below 0.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"a seed must be 0 or more, not {seed}")
        self.seed = seed

    def __repr__(self) -> str:
        return f"Streams({self.seed})"

    def named(self, name: str) -> np.random.Generator:
        """The stream `name`, as ``arrivals/office-hours``."""
        # PCG64 by name: what default_rng stands for may change, and with it all results
        return np.random.Generator(np.random.PCG64(self._sequence("numpy", name)))

    def python(self, name: str) -> random.Random:
        """The stream `name` as a generator of the standard library; independent of `named` with the same name."""
        words = self._sequence("python", name).generate_state(8)
        return random.Random(int.from_bytes(words.tobytes(), "little"))

    def _sequence(self, kind: str, name: str) -> np.random.SeedSequence:
        digest = hashlib.sha256(f"{kind}:{name}".encode()).digest()
        words = np.frombuffer(digest, dtype="<u4")
        return np.random.SeedSequence(self.seed, spawn_key=tuple(int(word) for word in words))


class Draws(chain["float"]):
    """An endless iterator over draws that are made in batches: about 40 ns each, where a single draw takes 500 ns.

    All of it runs in C, for a simulation takes several draws a job.

    Args:
        draw: makes so many draws at once.
        batch: how many to make at a time.
    """

    def __new__(cls, draw: Callable[[int], npt.NDArray[np.float64]], batch: int = 4096) -> Self:
        # iter() with a sentinel that never comes calls for the next batch when the last is used up
        batches = iter(lambda: cast("list[float]", draw(batch).tolist()), [])
        return cast("Self", cls.from_iterable(batches))


def mixed(number: int) -> int:
    """A 64-bit number that looks random: the output function of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31


# -- Service time models: how long an attempt takes. Times are seconds; theory reads `mean`, `variance` and `scv`

Floats = npt.NDArray[np.float64]
Sampler = Callable[[], float]
"""Each call returns the next service time in seconds."""


class Service(Protocol):
    """A distribution of service times."""

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        ...

    @property
    def variance(self) -> float:
        """Variance in seconds squared."""
        ...

    @property
    def minimum(self) -> float:
        """Seconds below which no time is; 0 if times can be as short as they like."""
        ...

    @property
    def scv(self) -> float:
        """Squared coefficient of variation: variance over mean squared. 0 is constant, 1 exponential."""
        ...

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """So many service times, drawn from `rng`: the same numbers singly and in blocks."""
        ...

    def sampler(self, rng: np.random.Generator) -> Sampler:
        """A function that draws service times from `rng`."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same time; 0 is allowed. Raises ValueError for a negative time, as all models do for bad numbers."""

    mean: float
    """Seconds."""

    def __post_init__(self) -> None:
        _require("a constant service time", self.mean, zero=True)

    @property
    def variance(self) -> float:
        return 0.0

    @property
    def minimum(self) -> float:
        return self.mean

    @property
    def scv(self) -> float:
        return 0.0

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return np.full(count, float(self.mean))

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return repeat(float(self.mean)).__next__


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential times: memoryless, the M of M/M/c."""

    mean: float
    """Seconds."""

    def __post_init__(self) -> None:
        _require("the mean of an exponential", self.mean)

    @property
    def variance(self) -> float:
        return self.mean**2

    @property
    def minimum(self) -> float:
        return 0.0

    @property
    def scv(self) -> float:
        return 1.0

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.exponential(self.mean, count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return Draws(partial(self.draw, rng)).__next__


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Lognormal times: what most measured handlers look like."""

    mean: float
    """Seconds; of the times themselves, not of their logarithm."""
    sigma: float
    """Standard deviation of the logarithm of the times."""

    def __post_init__(self) -> None:
        _require("the mean of a lognormal", self.mean)
        _require("the sigma of a lognormal", self.sigma, zero=True)

    @classmethod
    def from_percentile(cls, mean: float, percentile: float, value: float) -> Self:
        """The lognormal with this mean, whose percentile (50 <= percentile < 100) is `value` seconds.

        With z the standard normal quantile, ``value = exp(mu + z sigma)`` and ``mean = exp(mu + sigma**2 / 2)``, so
        ``sigma**2 - 2 z sigma + 2 ln(value / mean) = 0``. Of the two roots the smaller is taken: the larger one, above
        z, belongs to times of which almost all are far below their mean.

        Raises:
            ValueError: no such lognormal exists: `value` is outside `percentile_bounds`.
        """
        _require(f"p{percentile:g} of a lognormal", value)
        low, high = cls.percentile_bounds(mean, percentile)
        if not low <= value <= high:
            raise ValueError(
                f"p{percentile:g} of a lognormal with mean {mean:g} s can't be {value:g} s: it is from {low:g} s "
                f"to {high:.4g} s"
            )
        z = _normal_quantile(percentile)
        root = math.sqrt(max(0.0, z * z - 2 * math.log(value / mean)))
        return cls(mean, root if percentile == 50 else z - root)

    @staticmethod
    def percentile_bounds(mean: float, percentile: float) -> tuple[float, float]:
        """The least and the largest value in seconds of a percentile (50 to below 100) that `from_percentile` takes.

        From the mean to ``mean * exp(z**2 / 2)``; for the median, where z is 0, anything up to the mean.
        """
        _require("the mean of a lognormal", mean)
        if not 50 <= percentile < 100:
            raise ValueError(f"the percentile of a lognormal must be from 50 to below 100, not {percentile:g}")
        if percentile == 50:
            return 0.0, mean
        return mean, mean * math.exp(_normal_quantile(percentile) ** 2 / 2)

    @property
    def variance(self) -> float:
        return self.scv * self.mean**2

    @property
    def minimum(self) -> float:
        return self.mean if self.sigma == 0 else 0.0

    @property
    def scv(self) -> float:
        return math.expm1(self.sigma**2)

    def percentile(self, percentile: float) -> float:
        """Seconds below which so many percent (above 0, below 100) of the times are."""
        z = _normal_quantile(percentile)
        return self.mean * math.exp(z * self.sigma - self.sigma**2 / 2)

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.lognormal(math.log(self.mean) - self.sigma**2 / 2, self.sigma, count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return Draws(partial(self.draw, rng)).__next__


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma times; shape 1 is the exponential, a larger shape is more regular."""

    mean: float
    """Seconds."""
    shape: float

    def __post_init__(self) -> None:
        _require("the mean of a gamma", self.mean)
        _require("the shape of a gamma", self.shape)

    @classmethod
    def from_cv(cls, mean: float, cv: float) -> Self:
        """By the coefficient of variation: standard deviation over mean."""
        _require("the cv of a gamma", cv)
        return cls(mean, 1 / cv**2)

    @classmethod
    def from_std(cls, mean: float, std: float) -> Self:
        """By the standard deviation in seconds."""
        _require("the mean of a gamma", mean)
        _require("the standard deviation of a gamma", std)
        return cls(mean, (mean / std) ** 2)

    @property
    def variance(self) -> float:
        return self.mean**2 / self.shape

    @property
    def minimum(self) -> float:
        return 0.0

    @property
    def scv(self) -> float:
        return 1 / self.shape

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.gamma(self.shape, self.mean / self.shape, count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return Draws(partial(self.draw, rng)).__next__


@dataclass(frozen=True, slots=True)
class Uniform:
    """Times between two bounds, all equally likely."""

    low: float
    """Seconds, 0 or more."""
    high: float
    """Seconds, above `low`."""

    def __post_init__(self) -> None:
        _require("low of a uniform", self.low, zero=True)
        _require("high of a uniform", self.high)
        if not self.low < self.high:
            raise ValueError(f"a uniform needs low < high, not {self.low:g} s and {self.high:g} s")

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def variance(self) -> float:
        return (self.high - self.low) ** 2 / 12

    @property
    def minimum(self) -> float:
        return self.low

    @property
    def scv(self) -> float:
        return self.variance / self.mean**2

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.uniform(self.low, self.high, count)

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return Draws(partial(self.draw, rng)).__next__


@dataclass(frozen=True)
class Empirical:
    """Measured times, resampled: each draw is one of them, all equally likely."""

    values: Sequence[float]
    """Seconds, 0 or more; not empty, not all 0."""

    def __post_init__(self) -> None:
        if not len(self.values):
            raise ValueError("an empirical service time needs at least one value")
        for i, value in enumerate(self.values):
            _require(f"value {i} of an empirical service time", value, zero=True)
        if not any(self.values):
            raise ValueError("an empirical service time needs a value above 0; for none at all, take a constant 0")

    @cached_property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @cached_property
    def variance(self) -> float:
        return float(np.var(self.values))

    @cached_property
    def minimum(self) -> float:
        return float(np.min(self.values))

    @property
    def scv(self) -> float:
        return self.variance / self.mean**2

    @cached_property
    def _array(self) -> Floats:
        return np.asarray(self.values, dtype=np.float64)

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        return self._array[rng.integers(len(self._array), size=count)]

    def sampler(self, rng: np.random.Generator) -> Sampler:
        return Draws(partial(self.draw, rng)).__next__


def _normal_quantile(percentile: float) -> float:
    return NormalDist().inv_cdf(percentile / 100)


def _require(what: str, value: float, *, zero: bool = False) -> None:
    """Raise ValueError unless `value` is finite and above 0 (or 0, if `zero`)."""
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise ValueError(f"{what} must be {'0 or more' if zero else 'above 0'} and finite, not {value:g}")
