"""Levels against a count by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.results.levels import Level

moments = st.integers(0, 20).map(float)
intervals = st.lists(st.tuples(moments, st.one_of(moments, st.just(math.nan), st.just(math.inf))), max_size=12).map(
    lambda pairs: [(up, max(up, down) if down == down else down) for up, down in pairs]
)


def level_of(pairs: list[tuple[float, float]]) -> Level:
    return Level(np.array([up for up, _ in pairs], dtype=float), np.array([down for _, down in pairs], dtype=float))


def held(pairs: list[tuple[float, float]], time: float) -> int:
    """How many intervals hold at a moment: NaN never ends."""
    return sum(up <= time and not down <= time for up, down in pairs)


@given(intervals, st.floats(-5, 30))
def test_at(pairs: list[tuple[float, float]], time: float) -> None:
    assert level_of(pairs).at(time) == held(pairs, time)


@given(intervals, st.integers(-3, 25), st.integers(0, 20))
def test_mean_and_extremes(pairs: list[tuple[float, float]], start: int, length: int) -> None:
    level, end = level_of(pairs), start + length
    # all steps are at whole seconds, so one look a second sees everything
    seen = [held(pairs, second) for second in range(start, end)]
    if not seen:
        assert math.isnan(level.mean(start, end))
        assert math.isnan(level.extreme(start, end)[0])
        return
    assert level.mean(start, end) == pytest.approx(sum(seen) / len(seen))
    assert level.extreme(start, end) == (max(seen), start + seen.index(max(seen)))
    assert level.extreme(start, end, highest=False) == (min(seen), start + seen.index(min(seen)))


def test_what_starts_when_it_is_ready_never_counts() -> None:
    level = level_of([(3.0, 3.0), (3.0, 3.0)])
    assert level.extreme(0.0, 10.0) == (0.0, 0.0)


def test_many_moments_at_once() -> None:
    level = level_of([(1.0, 4.0), (2.0, math.nan)])
    assert level.at(np.array([0.0, 1.0, 2.0, 4.0])).tolist() == [0, 1, 2, 1]
    assert level.area(np.array([0.0, 1.0, 2.0, 4.0, 10.0])).tolist() == [0.0, 0.0, 1.0, 5.0, 11.0]


@given(intervals, st.integers(1, 7))
def test_the_highest_of_each_bin_is_that_of_its_span(pairs: list[tuple[float, float]], bins: int) -> None:
    level, edges = level_of(pairs), np.linspace(0.0, 21.0, bins + 1)
    spans = pairwise(edges)
    assert list(level.highest(edges)) == [level.extreme(start, end)[0] for start, end in spans]
    assert len(level.highest(edges[:1])) == 0
