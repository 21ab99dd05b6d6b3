"""Bins: widths in time that people think in."""

from __future__ import annotations

PARTS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 48, 168)
WIDTHS = (*PARTS, *(60 * part for part in PARTS), *(3600 * hour for hour in HOURS))
"""Seconds that divide a minute, an hour, a day or a week evenly."""


def bin_width(duration: float, most: int) -> float:
    """The narrowest such width, in seconds, that makes at most so many bins of a duration.

    Durations too short or too long for any of WIDTHS are divided evenly.
    """
    wanted = duration / most
    if wanted <= 0:
        return 1.0
    if not WIDTHS[0] / 2 <= wanted <= WIDTHS[-1]:
        return wanted
    return float(next(width for width in WIDTHS if width >= wanted))
