"""When jobs arrive: evenly spaced or Poisson, at a rate that changes over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from queuesim.scenario.load_schema import Segment


def arrival_times(segments: Iterable[Segment], gap: Callable[[], float]) -> Iterator[float]:
    """Seconds from the start at which jobs arrive.

    The k-th job arrives when the expected number of arrivals, the integral of the rate, reaches the sum of k gaps. Gaps
    of 1 make evenly spaced arrivals; exponential gaps with mean 1 a Poisson process, homogeneous or not (time change by
    the cumulative rate; Çinlar, Introduction to Stochastic Processes, 1975, section 4.7).

    Args:
        segments: the course of the rate, without gaps.
        gap: the next gap, in expected arrivals.
    """
    needed = gap()
    for segment in segments:
        if not (segment.rate or segment.target):
            continue
        expected = (segment.rate + segment.target) / 2 * segment.duration
        passed = 0.0
        start, rate, steady = segment.start, segment.rate, segment.rate == segment.target
        while passed + needed <= expected:
            passed += needed
            yield start + (passed / rate if steady else _time_of(passed, segment))
            needed = gap()
        needed -= expected - passed


def _time_of(passed: float, segment: Segment) -> float:
    """Seconds into the segment at which so many arrivals are expected: solves r t + (r' - r) t**2 / (2 d) for t."""
    if not passed:
        return 0.0
    slope = (segment.target - segment.rate) / segment.duration
    root = math.sqrt(max(segment.rate**2 + 2 * slope * passed, 0.0))
    return min(2 * passed / (segment.rate + root), segment.duration)
