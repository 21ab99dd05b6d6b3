"""Rows: finding jobs by their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def rows_of(numbers: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The row of each wanted job number in the ascending `numbers`; -1 where it isn't there."""
    if not len(numbers):
        return np.full(len(wanted), -1, dtype=np.intp)
    rows = np.searchsorted(numbers, wanted)
    rows[rows == len(numbers)] = 0
    rows[numbers[rows] != wanted] = -1
    return rows
