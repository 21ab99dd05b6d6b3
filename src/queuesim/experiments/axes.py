"""Axes: paths of a scenario, each with the values to try, and the combinations of them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from queuesim.error import QueuesimError
from queuesim.scenario.loading import parse_set, vary
from queuesim.scenario.model import Scenario
from queuesim.text import show

RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?")
"""``1..5``, or with a step ``0.5..2..0.5``. Both ends belong to it."""
MOST_TRIED = 200
"""Values of an axis that are tried before anything is played."""
MOST_VALUES = 100_000
"""Values of an axis."""


class AxisError(QueuesimError, ValueError):
    """An axis is wrong; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Paths of a scenario as `vary` takes them, each with its values."""

    values: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, given: Mapping[str, Sequence[Any]]) -> Axes:
        """The axes that are given.

        Raises:
            AxisError: one has no values, the same value twice, one that is not finite, or a text in place of a list.
        """
        for path, values in given.items():
            if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
                raise AxisError(f"the axis {path!r} needs a list of values, not {show(values)}: write [{show(values)}]")
            if isinstance(values, Sized) and len(values) > MOST_VALUES:
                raise AxisError(f"the axis {path!r} has {len(values):,} values; the most are {MOST_VALUES:,}")
        axes = {path: tuple(values) for path, values in given.items()}
        for path, values in axes.items():
            if not values:
                raise AxisError(f"the axis {path!r} has no values")
            seen = set()
            for value in values:
                if isinstance(value, float) and not math.isfinite(value):
                    raise AxisError(f"the axis {path!r} has the value {value}, which is not a finite number")
                written = json.dumps(value, sort_keys=True, default=str)
                if written in seen:
                    raise AxisError(f"the axis {path!r} has the value {show(value)} twice")
                seen.add(written)
        return cls(axes)

    def __len__(self) -> int:
        """How many combinations there are; 1 without any axis."""
        return math.prod(len(values) for values in self.values.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each combination: by path, its value. The last axis changes fastest."""
        for values in itertools.product(*self.values.values()):
            yield dict(zip(self.values, values, strict=True))

    def at(self, place: int) -> dict[str, Any]:
        """The combination at a place of the order in which they come."""
        chosen = {}
        for path, values in reversed(list(self.values.items())):
            place, index = divmod(place, len(values))
            chosen[path] = values[index]
        return {path: chosen[path] for path in self.values}

    def check(self, scenario: Scenario) -> None:
        """Raise AxisError for a path or a value that the scenario can't have, each tried alone; of very many values
        some, evenly spread."""
        for path, values in self.values.items():
            for place in sorted({*range(0, len(values), -(-len(values) // MOST_TRIED)), len(values) - 1}):
                value = values[place]
                try:
                    vary(scenario, {path: value})
                except (ValueError, TypeError) as error:
                    place = "" if str(error).startswith(path) else f"{path}: "
                    raise AxisError(f"the axis {path!r}: {place}{error}") from None


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """A path and its values as a command line has them: ``workers.count=1..5``, ``queue.attempts=1,3,5``, or one value.

    Values are YAML. A range has whole numbers or numbers with a point, both ends included, and a third number is its
    step: ``load=0.5..2..0.25``.

    Raises:
        ScenarioError: it has another form.
        AxisError: the range is empty or too long.
    """
    override = parse_set(text)
    value = override.value
    if isinstance(value, list):
        return override.path, tuple(value)
    if not isinstance(value, str):
        return override.path, (value,)
    if found := RANGE.fullmatch(value.strip()):
        return override.path, tuple(_range(override.path, *found.groups()))
    if "," in value:
        parts = [part.strip() for part in value.split(",")]
        if not all(parts):
            raise AxisError(f"{override.source}: a value is missing between two commas")
        return override.path, tuple(parse_set(f"{override.path}={part}").value for part in parts)
    return override.path, (value,)


def _range(path: str, first: str, last: str, step: str | None) -> list[int | float]:
    low, high, width = Decimal(first), Decimal(last), Decimal(step or 1)
    if width <= 0 or high < low:
        raise AxisError(f"the axis {path!r}: {first}..{last} is empty: write the smaller number first, as 1..5")
    count = int((high - low) / width) + 1
    if count > MOST_VALUES:
        raise AxisError(f"the axis {path!r} has {count:,} values; the most are {MOST_VALUES:,}")
    whole = all("." not in part for part in (first, last, step or "1"))
    return [int(low + i * width) if whole else float(low + i * width) for i in range(count)]


def parse_axes(texts: Sequence[str]) -> Axes:
    """Several axes, as `parse_axis` reads each. Raises what it raises, and AxisError for one that is there twice."""
    axes: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        path, values = parse_axis(text)
        if path in axes:
            raise AxisError(f"the axis {path!r} is there twice")
        axes[path] = values
    return Axes.of(axes)
