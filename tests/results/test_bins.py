"""Widths of bins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.results.levels import WIDTHS, bin_width


@given(st.floats(1e-3, 1e9), st.integers(1, 500))
def test_never_more_bins_than_asked_for(duration: float, most: int) -> None:
    assert duration / bin_width(duration, most) <= most * (1 + 1e-9)


@pytest.mark.parametrize(
    ("duration", "most", "width"), [(14400, 68, 240), (14400, 150, 120), (60, 60, 1), (86400, 24, 3600)]
)
def test_widths_that_people_think_in(duration: float, most: int, width: float) -> None:
    assert bin_width(duration, most) == width
    assert width in WIDTHS


def test_no_time() -> None:
    assert bin_width(0.0, 10) > 0
