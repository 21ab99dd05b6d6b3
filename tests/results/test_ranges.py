"""Statistics of many ranges, against numpy's of one range at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.results.readings import order_statistics, range_deviations, range_extremes, range_means, range_percentiles

VALUES = st.lists(st.one_of(st.integers(0, 5).map(float), st.floats(0, 1e4)), max_size=40)
RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20)


def arrays(values: list[float], ranges: list[tuple[int, int]]) -> tuple[Any, Any, Any]:
    """Values, and ranges that lie within them."""
    ends = [sorted((min(a, len(values)), min(b, len(values)))) for a, b in ranges]
    low, high = (np.array([end[i] for end in ends], dtype=np.int64) for i in (0, 1))
    return np.array(values, dtype=np.float64), low, high


def one_by_one(function: Callable[[Any], Any], values: Any, low: Any, high: Any) -> list[float]:
    return [float(function(values[a:b])) if b > a else np.nan for a, b in zip(low, high, strict=True)]


@given(VALUES, RANGES, st.sampled_from([0.0, 12.5, 50.0, 95.0, 99.9, 100.0]))
def test_percentiles(values: list[float], ranges: list[tuple[int, int]], percentile: float) -> None:
    given = arrays(values, ranges)
    expected = one_by_one(lambda part: np.percentile(part, percentile), *given)
    np.testing.assert_allclose(range_percentiles(*given, percentile), expected, rtol=1e-12)


@given(VALUES, RANGES, st.booleans())
def test_extremes(values: list[float], ranges: list[tuple[int, int]], highest: bool) -> None:
    given = arrays(values, ranges)
    expected = one_by_one(np.max if highest else np.min, *given)
    np.testing.assert_array_equal(range_extremes(*given, highest), expected)


@given(VALUES, RANGES)
def test_means_and_deviations(values: list[float], ranges: list[tuple[int, int]]) -> None:
    given = arrays(values, ranges)
    np.testing.assert_allclose(range_means(*given), one_by_one(np.mean, *given), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(range_deviations(*given), one_by_one(np.std, *given), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("rank", [-0, 2, 3])
def test_a_rank_that_a_range_does_not_have_gives_nan(rank: int) -> None:
    values = np.array([3.0, 1.0, 2.0])
    found = order_statistics(values, np.array([0, 1]), np.array([3, 1]), np.array([rank, rank]))
    np.testing.assert_array_equal(found, [sorted(values)[rank] if rank < 3 else np.nan, np.nan])
