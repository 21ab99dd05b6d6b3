"""Durations: spans of time as people write and read them."""

from __future__ import annotations

import math
import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit."""

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*")


def seconds_in(duration: str | float) -> float:
    """Seconds in "10s", "500ms", "1h30m", or a number of seconds.

    Raises:
        ValueError: it is neither, or not above zero.
    """
    if isinstance(duration, str):
        text = duration.strip()
        parts = _PART.findall(text)
        if not parts or _PART.sub("", text):
            raise ValueError(f"{duration!r} is no duration: write one like 500ms, 10s, 5m or 1h30m")
        value = sum(float(number) * UNITS[unit] for number, unit in parts)
    else:
        value = float(duration)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"a duration must be above 0 s, not {duration!r}")
    return value


def readable(seconds: float) -> str:
    """About three digits and a unit: 0.00123 is "1.23 ms", 93.5 is "1 min 34 s"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size < 1:
        return "0 s" if size == 0 else f"{seconds * 1000:.3g} ms"
    if size < 99.95:
        return f"{seconds:.3g} s"
    if size < 5940:
        return _two(seconds, 60, "min", 1, "s")
    return _two(seconds, 3600, "h", 60, "min") if size < 172_800 else _two(seconds, 86_400, "d", 3600, "h")


def _two(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    whole, rest = divmod(round(abs(seconds) / small), large // small)
    sign = "-" if seconds < 0 else ""
    return f"{sign}{whole} {large_unit}" + (f" {rest} {small_unit}" if rest else "")
