"""Charts of blocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.results.views.terminal import BLOCKS, chart


def test_a_ramp() -> None:
    assert chart([0, 1, 2, 3, 4], 5.0, height=2) == [
        "     4 │   ▄█",
        "       │ ▄███",
        "     0 ┼─────",
        "        0 5 s",
    ]


def test_in_ascii() -> None:
    lines = chart([0, 1, 2, 3, 4], 5.0, height=2, ascii_only=True)
    assert lines[:3] == ["     4 |    #", "       |  ###", "     0 +-----"]
    assert all(line.isascii() for line in lines)


def test_hours_below() -> None:
    axis = chart([1.0] * 60, 4 * 3600.0)[-1]
    assert axis.split() == ["0", "1", "h", "2", "h", "3", "h", "4", "h"]
    assert [axis.index(f"{hour} h") for hour in (1, 2, 3)] == [8 + 15 * hour - 1 for hour in (1, 2, 3)]


@given(st.lists(st.one_of(st.floats(0, 1e9), st.just(math.nan)), min_size=1, max_size=100), st.integers(1, 8))
def test_every_column_is_as_high_as_its_value(values: list[float], height: int) -> None:
    lines = chart(values, 60.0, height)
    assert len(lines) == height + 2
    cells = [line.partition("│")[2].ljust(len(values)) for line in lines[:height]]
    top = max((value for value in values if value == value), default=0.0)
    for place, value in enumerate(values):
        eighths = sum(BLOCKS.index(row[place]) for row in cells)
        if value == value and value > 0:
            assert eighths == pytest.approx(value / top * height * 8, abs=1.0)
            assert eighths > 0
        else:
            assert eighths == 0


@pytest.mark.parametrize(("values", "duration"), [([], 10.0), ([0.0], 0.0), ([math.nan, math.nan], 1.0)])
def test_nothing_to_draw(values: list[float], duration: float) -> None:
    assert not any(block in line for line in chart(values, duration) for block in BLOCKS[1:])
