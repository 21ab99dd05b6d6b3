"""Named random streams as blocks of numbers: the very numbers that the virtual loop draws one by one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Block = Callable[[int], Floats]
"""Draws so many numbers."""

BATCH = 4096
"""Numbers that are drawn at once, as by `Draws`."""


def uniform_blocks(rng: Random) -> Block:
    """Blocks of what ``rng.random()`` returns. Numpy's Mersenne Twister makes a float of two words as Python's does."""
    _, state, _ = rng.getstate()
    twister: Any = np.random.RandomState()
    twister.set_state(("MT19937", np.array(state[:-1], dtype=np.uint32), state[-1]))

    def draw(count: int) -> Floats:
        numbers: Floats = twister.random_sample(count)
        return numbers

    return draw


class Buffers:
    """The streams of one run, as rows of one array that is filled again when one of them runs low.

    Args:
        size: numbers that a row holds.
    """

    def __init__(self, blocks: list[Block], size: int) -> None:
        self._blocks = blocks
        size = max(size, 2 * BATCH)
        self.draws = np.empty((max(len(blocks), 1), size), dtype=np.float64)
        self.streams = np.zeros((max(len(blocks), 1), 2), dtype=np.int64)
        """Of each row, the position of the next number, and how many there are."""
        self.fill()

    def fill(self) -> None:
        """Draw on for the streams of which little is left."""
        for stream, block in enumerate(self._blocks):
            row, first, last = self.draws[stream], int(self.streams[stream, 0]), int(self.streams[stream, 1])
            left = last - first
            if left > BATCH // 4:
                continue
            row[:left] = row[first:last]
            while left + BATCH <= len(row):
                row[left : left + BATCH] = block(BATCH)
                left += BATCH
            self.streams[stream] = 0, left
