"""Charts of Unicode blocks: a series of numbers over time, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from queuesim.metrics.bins import bin_width
from queuesim.metrics.text import readable

BLOCKS = " ▁▂▃▄▅▆▇█"
PLAIN = "     ####"
"""The same for a terminal that knows only ASCII."""


def chart(values: Sequence[float], duration: float, height: int = 5, ascii_only: bool = False) -> list[str]:
    """Columns, one a value, above an axis of time from 0 to `duration` seconds, as lines of text.

    The highest value reaches the top line, and is written there; NaN leaves a gap.
    """
    shades, rule, corner = (PLAIN, "-", "+") if ascii_only else (BLOCKS, "─", "┼")
    upright = "|" if ascii_only else "│"
    top = max((value for value in values if not math.isnan(value)), default=0.0)
    label = _label(top)
    margin = max(len(label), 6)
    lines = []
    for row in range(height - 1, -1, -1):
        cells = "".join(shades[_eighths(value, top, height, row)] for value in values)
        lines.append(f"{label if row == height - 1 else '':>{margin}} {upright}{cells}".rstrip())
    lines.append(f"{0:>{margin}} {corner}{rule * len(values)}")
    lines.append(" " * (margin + 2) + _ticks(len(values), duration))
    return lines


def _eighths(value: float, top: float, height: int, row: int) -> int:
    """How much of a cell of this row is filled, in eighths. What is above zero always shows."""
    if math.isnan(value) or top <= 0 or value <= 0:
        return 0
    filled = max(1, round(value / top * height * 8))
    return min(8, max(0, filled - row * 8))


def _label(top: float) -> str:
    return f"{top:,.0f}" if top >= 100 else f"{top:.3g}"


def _ticks(width: int, duration: float) -> str:
    """Times below the axis, as many as have room."""
    if not (duration > 0 and width):
        return ""
    step = bin_width(duration, most=max(1, width // 12))
    line = "0"
    for count in range(1, int(duration / step * (1 + 1e-9)) + 1):
        text = readable(count * step)
        place = round(count * step / duration * width) - len(text) // 2
        place = min(place, width - len(text))
        if place > len(line):
            line = line.ljust(place) + text
    return line
