"""Text: durations and counts as people write and read them."""

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
    """About three digits and a unit: 0.00123 is "1.23 ms", 93.5 is "93.5 s", 120 is "2 min"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size < 1:
        return "0 s" if size == 0 else f"{seconds * 1000:.3g} ms"
    if size < 99.95 and size != 60:
        return f"{seconds:.3g} s"
    if size < 3599.5:
        return _two(seconds, 60, "min", 1, "s")
    return _two(seconds, 3600, "h", 60, "min") if size < 172_800 else _two(seconds, 86_400, "d", 3600, "h")


def brief(seconds: float) -> str:
    """Three digits and a unit, for a narrow column: "1.23ms", "93.5s", "12.5m", "3.2h"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size == 0:
        return "0s"
    limits = (("ms", 0.9995), ("s", 99.95), ("m", 5997.0), ("h", 172_800.0), ("d", math.inf))
    unit = next(unit for unit, limit in limits if size < limit)
    return f"{_digits(seconds / UNITS[unit])}{unit}"


def rate(per_second: float, noun: str = "") -> str:
    """A rate per second, minute or hour, whichever makes it a number of one or more: "1.5/s", "3 jobs/min"."""
    for seconds, unit in ((1.0, "s"), (60.0, "min")):
        if per_second * seconds >= 1 or per_second == 0:
            return f"{_digits(per_second * seconds)}{noun and ' ' + noun}/{unit}"
    return "–" if math.isnan(per_second) else f"{_digits(per_second * 3600)}{noun and ' ' + noun}/h"


def percent(share: float) -> str:
    """A share in percent, never rounded up to 100: "99.99 %"; NaN is a dash."""
    if math.isnan(share):
        return "–"
    if 0.995 <= share < 1:
        return f"{math.floor(share * 100_000) / 1000:g} %"
    return f"{share * 100:.3g} %"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _two(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    whole, rest = divmod(round(abs(seconds) / small), large // small)
    sign = "-" if seconds < 0 else ""
    return f"{sign}{whole} {large_unit}" + (f" {rest} {small_unit}" if rest else "")


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 job", "2,000 jobs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
