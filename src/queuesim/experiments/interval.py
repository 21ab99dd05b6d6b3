"""Confidence intervals for the mean of what a simulation measured. Needs the extra `analysis`.

Successive waiting times of one run depend on each other, so the textbook interval over them is far too narrow. Two
remedies: means of independent replications, or means of long batches of one run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from queuesim.extras import need


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and how far off the true one may be."""

    mean: float
    half_width: float
    """The interval is `mean` plus and minus this."""
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
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, not {confidence}")
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


def _series(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers, not an array of shape {series.shape}")
    if not np.all(np.isfinite(series)):
        bad = int(np.flatnonzero(~np.isfinite(series))[0])
        raise ValueError(f"{name} must be finite, but number {bad} is {series[bad]}")
    return series
