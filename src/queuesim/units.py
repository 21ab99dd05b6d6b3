"""Units as files write them: durations (1h30m, 250ms), rates (60/min) and percents (95%)."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from fractions import Fraction

SECONDS_IN = {
    "d": Fraction(86400),
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 1_000_000),
}
"""The units of a duration, the longest first: the order in which they are written."""

RATE_UNITS = {"s": 1, "min": 60, "h": 3600, "day": 86400}
"""The units of a rate, in seconds."""

_NUMBER = r"[0-9]+(\.[0-9]+)?"

DURATION_PATTERN = (
    rf"^(0|(?=[0-9])({_NUMBER}d)?({_NUMBER}h)?({_NUMBER}m(?!s))?({_NUMBER}s)?({_NUMBER}ms)?({_NUMBER}us)?)$"
)
"""Numbers with units, the longest unit first, each at most once. Also valid in ECMAScript, for JSON Schema."""

RATE_PATTERN = rf"^(0|{_NUMBER}/(s|min|h|day))$"
PERCENT_PATTERN = rf"^{_NUMBER}%$"

_DURATION = re.compile(DURATION_PATTERN)
_PART = re.compile(rf"({_NUMBER})(d|h|ms|m|s|us)")
_RATE = re.compile(RATE_PATTERN)
_PERCENT = re.compile(PERCENT_PATTERN)

_HABITS = {
    "day": "d", "days": "d",
    "hour": "h", "hours": "h", "hr": "h", "hrs": "h",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "msec": "ms", "millisecond": "ms", "milliseconds": "ms", "millis": "ms",
    "µs": "us", "μs": "us", "usec": "us", "microseconds": "us",
}  # fmt: skip
"""Units as people also write them, for a hint at what to write."""


def parse_duration(text: str) -> float:
    """Seconds of a duration: ``4h``, ``1h30m``, ``500ms``, ``1.5s``, or ``0``; the nearest float to what is written.

    Raises:
        ValueError: it is not a duration; the message says what to write.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f'"{text}" is not a duration: {_duration_hint(text)}')
    return _float(sum(Fraction(number) * SECONDS_IN[unit] for number, _, unit in _PART.findall(text)), text)


def parse_rate(text: str) -> float:
    """Events per second of a rate: ``60/min``, ``25/s``, ``100/h``, ``3/day``, or ``0``. Raises ValueError."""
    if not _RATE.fullmatch(text):
        raise ValueError(f'"{text}" is not a rate: {_rate_hint(text)}')
    number, _, unit = text.partition("/")
    return _float(Fraction(number) / RATE_UNITS[unit or "s"], text)


def parse_percent(text: str) -> float:
    """The fraction of a percent: ``95%`` is 0.95. Raises ValueError if it is not a percent; it may be above 1."""
    if not _PERCENT.fullmatch(text):
        raise ValueError(f'"{text}" is neither a percent nor a number: write 95% or 0.95')
    return _float(Fraction(text[:-1]) / 100, text)


def format_duration(seconds: float) -> str:
    """The shortest usual way to write a duration of 0 s or more; `parse_duration` reads the same float from it."""
    if seconds == 0:
        return "0s"
    # Decimal of repr: the digits that stand for this very float, so that nothing is lost
    exact = Decimal(repr(float(seconds)))
    if seconds < 1:
        unit, scale = ("ms", 1000) if exact * 1000 >= 1 else ("us", 1_000_000)
        return f"{_plain(exact * scale)}{unit}"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        # a whole day or more with a remainder in seconds reads worse than hours
        count, rest = _WIDE.divmod(exact, size)
        if count and not (unit == "d" and rest):
            parts.append(f"{_plain(count)}{unit}")
            exact = rest
    if exact:
        parts.append(f"{_plain(exact)}s")
    return "".join(parts)


_WIDE = Context(prec=400)
"""Digits enough for the days in the largest float."""


def format_rate(per_second: float) -> str:
    """A rate of 0/s or more with a whole number, if a unit gives one; `parse_rate` reads the same float from it."""
    exact = f"{_plain(Decimal(repr(float(per_second))))}/s"
    texts = [exact]
    for unit, size in RATE_UNITS.items():
        text = f"{_plain(Decimal(repr(round(per_second * size, 6))))}/{unit}"
        if parse_rate(text) == per_second:
            if "." not in text:
                return text
            texts.append(text)
    return min(texts, key=len)


def format_percent(fraction: float) -> str:
    """``95%`` for 0.95; `parse_percent` reads the same float from it."""
    return f"{_plain(Decimal(repr(float(fraction))) * 100)}%"


def _plain(number: Decimal) -> str:
    """Without exponent and without zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _float(exact: Fraction | int, text: str) -> float:
    try:
        return float(exact)
    except OverflowError:
        raise ValueError(f'"{text[:20]}..." is too large') from None


def _duration_hint(text: str) -> str:
    """What to write instead."""
    if text.lstrip().startswith("-"):
        return "it can't be negative"
    units = _UNIT_WORD.sub(lambda word: _HABITS.get(word[0].lower(), word[0]), re.sub(r"[\s,]|and", "", text))
    if units != text and _DURATION.fullmatch(units):
        return f"write {units}"
    if re.fullmatch(_NUMBER, text):
        return f"it has no unit: write {text}s or {text}ms"
    return "write numbers with units, the longest first, as 30s, 1h30m or 250ms"


_UNIT_WORD = re.compile(r"[^\W\d_]+")


def _rate_hint(text: str) -> str:
    """What to write instead."""
    if text.lstrip().startswith("-"):
        return "it can't be negative"
    if re.fullmatch(_NUMBER, text):
        return f"it has no unit: write {text}/s or {text}/min"
    words = re.fullmatch(rf"({_NUMBER})\s*(?:/|per|a)\s*([a-zA-Z]+)", text.strip())
    unit = _RATE_HABITS.get(words[3].lower()) if words else None
    if words and unit:
        return f"write {words[1]}/{unit}"
    return "write a number and a unit, as 60/min or 1.5/s"


_RATE_HABITS = {
    "s": "s", "sec": "s", "second": "s",
    "m": "min", "min": "min", "minute": "min",
    "h": "h", "hr": "h", "hour": "h",
    "d": "day", "day": "day",
}  # fmt: skip
