"""Text: durations, rates, shares and counts as people read them."""

from __future__ import annotations

import math

COUNTED = {
    "jobs": ("job", "jobs"),
    "jobs added": ("job was added", "jobs were added"),
    "jobs completed": ("job completed", "jobs completed"),
    "jobs failed": ("job failed", "jobs failed"),
    "jobs unfinished": ("job had not finished", "jobs had not finished"),
    "jobs removed": ("job was removed", "jobs were removed"),
    "jobs lost": ("job was lost", "jobs were lost"),
    "dead letters": ("dead letter", "dead letters"),
    "attempts": ("attempt", "attempts"),
    "retries": ("retry", "retries"),
    "stalls": ("stall", "stalls"),
    "violations": ("violation", "violations"),
}
"""What a value with such a unit says of one thing, and of several."""


def measured(value: float, unit: str) -> str:
    """A measured value with its unit: 45.6589 "s" is "45.7 s", 0.031 "share" is "3.1 %", 12 "jobs lost" is "12 jobs
    were lost"; NaN is "nothing to measure"."""
    if math.isnan(value):
        return "nothing to measure"
    if unit == "s":
        return readable(value)
    if unit == "1/s":
        return rate(value)
    if unit == "share":
        return percent(value)
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    one, several = COUNTED.get(unit, (unit, unit))
    return f"{number} {one if value == 1 else several}".rstrip()


UNITS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit."""


def readable(seconds: float) -> str:
    """About three digits and a unit: 0.00123 is "1.23 ms", 93.5 is "93.5 s", 120 is "2 min"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size < 0.9995:
        return "0 s" if size == 0 else f"{seconds * 1000:.3g} ms"
    if size < 99.95 and size != 60:
        return f"{seconds:.3g} s"
    if size < 3599.5:
        return _two(seconds, 60, "min", 1, "s")
    return _two(seconds, 3600, "h", 60, "min") if size < 172_800 else _two(seconds, 86_400, "d", 3600, "h")


def brief(seconds: float) -> str:
    """Three digits and a unit, for a narrow column: "16.6us", "1.23ms", "93.5s", "12.5m", "3.2h"; NaN is a dash."""
    if math.isnan(seconds):
        return "–"
    size = abs(seconds)
    if size == 0:
        return "0s"
    limits = (("us", 0.0009995), ("ms", 0.9995), ("s", 99.95), ("m", 5997.0), ("h", 172_800.0), ("d", math.inf))
    unit = next(unit for unit, limit in limits if size < limit)
    return f"{_digits(seconds / UNITS[unit])}{unit}"


def rate(per_second: float) -> str:
    """A rate per second, minute or hour, whichever makes it a number of one or more: "1.5/s", "3/min"."""
    for seconds, unit in ((1.0, "s"), (60.0, "min")):
        if per_second * seconds >= 1 or per_second == 0:
            return f"{_digits(per_second * seconds)}/{unit}"
    return "–" if math.isnan(per_second) else f"{_digits(per_second * 3600)}/h"


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
