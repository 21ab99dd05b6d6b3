"""Precision: how narrow an interval is to become before an experiment stops playing further runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from queuesim.experiments.figures import DRAINED, check_figure, shown_value
from queuesim.experiments.interval import replications
from queuesim.scenario.thresholds import parse_threshold
from queuesim.units import parse_duration, parse_percent

FEWEST = 10
"""Runs that are played before an interval may stop an experiment: of fewer the variance is too uncertain. Law,
Simulation Modeling and Analysis, section 9.4.1."""
MOST = 1000
"""Runs after which it stops in any case, unless another number is given."""

Width = str | float
"""A half width: a part of the mean as "5%"; otherwise in the figure's unit, as text ("100ms") or as a number."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A half width that the interval of a figure is to have at most."""

    figure: str
    width: float
    """In the figure's unit, or a part of the mean."""
    relative: bool
    written: str

    @classmethod
    def of(cls, figure: str, width: Width) -> Precision:
        """What a half width as users write it means.

        Raises:
            ValueError: there is no such figure, or the width is not a number above 0 in its unit.
        """
        check_figure(figure)
        relative = isinstance(width, str) and width.strip().endswith("%")
        if isinstance(width, str):
            value = parse_percent(width.strip()) if relative else _in_unit(figure, width)
        else:
            value = float(width)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{figure}: the half width of an interval must be above 0, not {width}")
        written = width if isinstance(width, str) else shown_value(figure, value)
        return cls(figure, value, relative, written)

    def reached(self, values: npt.ArrayLike, confidence: float) -> bool:
        """Whether the interval of these values, one a run, is narrow enough. Values that are NaN are left out.

        A relative width g is reached when the half width is at most g / (1 + g) of the mean's size: then it is at most
        g of the true mean, if the interval holds that. Source: Law, Simulation Modeling and Analysis, section 9.4.1.
        """
        known = np.asarray(values, dtype=np.float64)
        known = known[np.isfinite(known)]
        if len(known) < 2:
            return False
        found = replications(known, confidence=confidence)
        allowed = self.width / (1 + self.width) * abs(found.mean) if self.relative else self.width
        return found.half_width <= allowed

    def __str__(self) -> str:
        return f"{self.figure} within {self.written}"


def _in_unit(figure: str, width: str) -> float:
    if figure.partition("@")[0] == DRAINED:
        return parse_duration(width)
    return parse_threshold(f"{figure} < {width}").limit


def precisions(wanted: Mapping[str, Width] | None) -> list[Precision]:
    """All precisions that are wanted. Raises ValueError."""
    return [Precision.of(figure, width) for figure, width in (wanted or {}).items()]


def first_reached(
    wanted: Sequence[Precision], values: Mapping[str, Sequence[float]], count: int, confidence: float, since: int
) -> int | None:
    """With how many of `count` runs, `since` or more, all precisions are reached first; None: with none.

    The rule looks after each run in the order of the seeds, so that it stops at the same number of runs wherever and
    however many at a time they are played. It is the sequential procedure of Law, Simulation Modeling and Analysis,
    section 9.4.1; that its coverage comes close to the confidence as widths get smaller is shown by Chow & Robbins,
    Annals of Mathematical Statistics 36 (1965), and Nadas, ibid. 40 (1969).
    """
    for runs in range(max(since, 2), count + 1):
        if all(each.reached(values[each.figure][:runs], confidence) for each in wanted):
            return runs
    return None
