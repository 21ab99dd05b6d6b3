"""Confidence intervals for what a simulation measured. Needs the extra `analysis`.

Successive waiting times of one run depend on each other, so the textbook interval over them is far too narrow. Two
remedies: means of independent replications, or means of long batches of one run. Quantiles and shares of independent
values have intervals of their own, which assume no distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from queuesim.extras import need


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and how far off the true one may be."""

    mean: float
    half_width: float
    """The interval is `mean` plus and minus this; NaN: nothing is known of it."""
    confidence: float
    """Probability that an interval made so holds the true mean."""
    samples: int
    """Replications or batches that it was made from."""

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.mean:.6g} ± {self.half_width:.2g} ({self.confidence:.0%})"


def student_t(confidence: float, degrees_of_freedom: int) -> float:
    """The two-sided quantile of Student's t: its absolute value stays below this with probability `confidence`.

    Raises:
        ValueError: a confidence outside (0, 1), or fewer degrees of freedom than 1.
        MissingExtraError: scipy is not installed.
    """
    _require_confidence(confidence)
    if degrees_of_freedom < 1:
        raise ValueError(f"degrees_of_freedom must be 1 or more, not {degrees_of_freedom}")
    special = need("scipy.special", "analysis", "confidence intervals")
    return float(special.stdtrit(degrees_of_freedom, (1 + confidence) / 2))


def replications(means: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """The interval from independent replications: one mean a run, each run with a seed of its own and its warm-up cut.

    Source: Law & Kelton, Simulation Modeling and Analysis, the method of replication/deletion.

    Raises:
        ValueError: fewer than 2 means, one that is no finite number, or a confidence outside (0, 1).
        MissingExtraError: scipy is not installed.
    """
    values = _series("means", means)
    if values.size < 2:
        raise ValueError(f"an interval needs 2 means or more, not {values.size}")
    error = float(np.std(values, ddof=1)) / float(np.sqrt(values.size))
    half_width = student_t(confidence, values.size - 1) * error
    return Interval(float(np.mean(values)), half_width, confidence, int(values.size))


def batch_means(values: npt.ArrayLike, *, batches: int = 30, warmup: int = 0, confidence: float = 0.95) -> Interval:
    """The interval from one long run: its observations, in order, are cut into batches whose means are compared.

    The first `warmup` observations are dropped, then as many more as make the rest divide into `batches` equal ones.
    A batch must be much longer than the time over which observations depend on each other, or the interval is too
    narrow: near saturation that is of the order of 1 / (1 - rho)**2 jobs.

    Source: Law & Kelton, Simulation Modeling and Analysis, the method of (non-overlapping) batch means; Schmeiser
    1982 for 10 to 30 batches.

    Raises:
        ValueError: fewer than 2 batches, fewer observations than batches after the warm-up, a negative warm-up, an
            observation that is no finite number, or a confidence outside (0, 1).
        MissingExtraError: scipy is not installed.
    """
    series = _series("values", values)
    if batches < 2:
        raise ValueError(f"an interval needs 2 batches or more, not {batches}")
    if warmup < 0:
        raise ValueError(f"warmup must be 0 observations or more, not {warmup}")
    length = max(0, series.size - warmup) // batches
    if length == 0:
        raise ValueError(f"{series.size} observations less {warmup} of warm-up don't fill {batches} batches")
    return replications(
        series[series.size - length * batches :].reshape(batches, length).mean(axis=1), confidence=confidence
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate between two bounds that need not be as far from it on both sides."""

    estimate: float
    low: float
    high: float
    confidence: float
    """Probability, at least, that bounds made so hold the true value."""
    samples: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def share_bounds(count: int, of: int, *, confidence: float = 0.95) -> Bounds:
    """Bounds of a probability, from how often something happened in independent trials.

    Source: Clopper & Pearson, Biometrika 26 (1934): exact, and never less sure than stated.

    Raises:
        ValueError: no trials, a count outside of 0 to `of`, or a confidence outside (0, 1).
        MissingExtraError: scipy is not installed.
    """
    _require_confidence(confidence)
    if of < 1 or not 0 <= count <= of:
        raise ValueError(f"a share needs trials, and a count of 0 to as many, not {count} of {of}")
    special = need("scipy.special", "analysis", "confidence intervals")
    error = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(special.betaincinv(count, of - count + 1, error))
    high = 1.0 if count == of else float(special.betaincinv(count + 1, of - count, 1 - error))
    return Bounds(count / of, low, high, confidence, of)


def quantile_bounds(values: npt.ArrayLike, probability: float, *, confidence: float = 0.95) -> Bounds:
    """Bounds of a quantile of the distribution that independent values come from: two of the values themselves.

    How many of n values are below a quantile is binomial, whatever their distribution. So the i-th smallest value is
    above it with the probability that fewer than i are below. A bound is infinite if there are too few values for it:
    for the upper bound of a 95th percentile at 95 %, fewer than 72. The values must be independent: one of each
    replication, never the waiting times of one run.

    Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2; Hahn & Meeker, Statistical Intervals,
    section 5.2.

    Raises:
        ValueError: no values, one that is not finite, or a probability or confidence outside (0, 1).
        MissingExtraError: scipy is not installed.
    """
    _require_confidence(confidence)
    series = np.sort(_series("values", values))
    if not 0 < probability < 1:
        raise ValueError(f"the probability of a quantile must be above 0 and below 1, not {probability}")
    if not len(series):
        raise ValueError("a quantile needs 1 value or more")
    special = need("scipy.special", "analysis", "confidence intervals")
    count, error = len(series), (1 - confidence) / 2
    # at_most[i]: the probability that at most i of the values are below the quantile
    at_most = special.bdtr(np.arange(count), count, probability)
    # the i-th smallest is at or above the quantile unless i or more are below
    below = int(np.searchsorted(at_most, error, side="right"))
    above = int(np.searchsorted(at_most, 1 - error, side="left"))
    low = float(series[below - 1]) if below >= 1 else -math.inf
    high = float(series[above]) if above < count else math.inf
    return Bounds(float(np.quantile(series, probability)), low, high, confidence, count)


def paired(values: npt.ArrayLike, base: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """The interval of a mean difference, from values that belong together in pairs: replications with common seeds.

    What two runs with the same seed have in common, such as their arrivals, cancels out, so that the interval is
    narrower than one from different seeds.

    Source: Law, Simulation Modeling and Analysis, section 10.2.1 (paired t) with 11.2 (common random numbers).

    Raises:
        ValueError: as `replications`, or different numbers of values.
        MissingExtraError: scipy is not installed.
    """
    first, second = _series("values", values), _series("base", base)
    if first.size != second.size:
        raise ValueError(f"a paired interval needs as many values as of the base, not {first.size} and {second.size}")
    return replications(first - second, confidence=confidence)


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, not {confidence}")


def _series(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers, not an array of shape {series.shape}")
    if not np.all(np.isfinite(series)):
        bad = int(np.flatnonzero(~np.isfinite(series))[0])
        raise ValueError(f"{name} must be finite, but number {bad} is {series[bad]}")
    return series
