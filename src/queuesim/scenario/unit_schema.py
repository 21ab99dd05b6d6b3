"""Field types with units: floats in Python (seconds, per second, fractions), strings with units in files.

The validation context ``{"file": True}`` says that the input comes from a file: there a bare number other than 0 is
refused, for it does not say of what. In Python a float is in seconds or per second; strings are read there too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from numbers import Real
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from queuesim.scenario.wording import show
from queuesim.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    RATE_PATTERN,
    format_duration,
    format_rate,
    parse_duration,
    parse_percent,
    parse_rate,
)

UnitValidator = Callable[[Any, ValidationInfo], float]


def in_file(info: ValidationInfo) -> bool:
    """Whether the input comes from a scenario file."""
    return bool(info.context and info.context.get("file"))


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python or numpy; true and false are none."""
    return not isinstance(value, bool) and isinstance(value, Real)


def as_float(value: Any) -> float:
    """The nearest float to a real number; infinity for a whole number beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def refuse(problem: str) -> PydanticCustomError:
    """The error to raise for an input that is not right, in our own words."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def _with_unit(noun: str, parse: Callable[[str], float], examples: tuple[str, str]) -> UnitValidator:
    """Reads text with `parse`, and plain numbers where they are clear."""
    units = [example.lstrip("0123456789.") for example in examples]

    def validate(value: Any, info: ValidationInfo) -> float:
        if isinstance(value, str):
            try:
                return parse(value)
            except ValueError as error:
                raise refuse(str(error)) from None
        if not is_number(value):
            raise refuse(f"{show(value)} is not a {noun}: write it as {examples[0]} or {examples[1]}")
        number = as_float(value)
        if not (number >= 0 and math.isfinite(number)):
            raise refuse(f"{show(value)} is not a {noun}: it must be 0 or more, and finite")
        if number and in_file(info):
            raise refuse(f"{show(value)} has no unit: write {show(value)}{units[0]} or {show(value)}{units[1]}")
        return number

    return validate


seconds = _with_unit("duration", parse_duration, ("30s", "30ms"))
"""Validates a duration of 0 or more."""

per_second = _with_unit("rate", parse_rate, ("60/min", "1.5/s"))
"""Validates a rate of 0 or more."""


def positive_seconds(value: Any, info: ValidationInfo) -> float:
    """Validates a duration above 0."""
    number = seconds(value, info)
    if not number > 0:
        raise refuse("it must be longer than 0")
    return number


def _schema(pattern: str, examples: list[str], description: str, *, zero: bool = True) -> WithJsonSchema:
    text = {"type": "string", "pattern": pattern, "examples": examples, "description": description}
    return WithJsonSchema({"anyOf": [text, {"const": 0}], "description": description} if zero else text)


_DURATION = "A duration: numbers with the units d, h, m, s, ms, us."
_RATE = "A rate: a number per s, min, h or day."

Seconds = Annotated[
    float,
    PlainValidator(seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    _schema(DURATION_PATTERN, ["4h", "1h30m", "500ms"], _DURATION),
]
"""A duration of 0 or more."""

PositiveSeconds = Annotated[
    float,
    PlainValidator(positive_seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    _schema(DURATION_PATTERN, ["4h", "1h30m", "500ms"], _DURATION, zero=False),
]
"""A duration above 0."""

PerSecond = Annotated[
    float,
    PlainValidator(per_second),
    PlainSerializer(format_rate, return_type=str, when_used="json"),
    _schema(RATE_PATTERN, ["60/min", "1.5/s", "3/day"], _RATE),
]
"""A rate of 0 or more."""


def _probability(value: Any) -> float:
    if isinstance(value, str):
        try:
            number = parse_percent(value)
        except ValueError as error:
            raise refuse(str(error)) from None
    elif is_number(value):
        number = as_float(value)
    else:
        raise refuse(f"{show(value)} is not a probability: write a number from 0 to 1, or a percent")
    if not 0 <= number <= 1:
        raise refuse(f"{show(value)} is not a probability: it must be from 0 to 1 (0% to 100%)")
    return number


Probability = Annotated[
    float,
    PlainValidator(_probability),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": PERCENT_PATTERN}],
            "description": "A probability from 0 to 1, or a percent.",
        }
    ),
]
"""A fraction from 0 to 1."""

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number, 1 or more."""

CountFromZero = Annotated[int, Field(strict=True, ge=0)]
"""A whole number, 0 or more."""

Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""A number of 0 or more without a unit."""

T = TypeVar("T", bound=Sized)


def _not_empty(value: T) -> T:
    if not len(value):
        raise refuse("it can't be empty")
    return value


NOT_EMPTY = AfterValidator(_not_empty)
"""For lists and mappings. Unlike pydantic's min_length it does not count elements that are wrong as missing."""

Word = Annotated[str, Field(strict=True, min_length=1)]
"""Text that is not empty."""
