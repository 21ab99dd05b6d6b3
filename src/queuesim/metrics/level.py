"""Level: a number that steps up and down over time, such as the jobs that wait, with its averages over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Level:
    """How many of some intervals hold at each moment. An interval begins at `up` and holds until just before `down`.

    Both are seconds, paired or not; NaN in `down` and times after the end of the run are fine: that interval stays.
    """

    def __init__(self, up: Array, down: Array) -> None:
        down = down[np.isfinite(down)]
        times = np.concatenate((up, down))
        steps = np.ones(len(times), dtype=np.int8)
        steps[len(up) :] = -1
        order = np.argsort(times, kind="stable")
        times, values = times[order], np.cumsum(steps[order], dtype=np.int64)
        # of all steps at one moment only the last counts: a job that starts when it is ready never waited
        settled = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, dtype=bool)
        self.times: npt.NDArray[np.float64] = np.concatenate(([-np.inf], times[settled]))
        """When the level changes; the first stands for the time before."""
        self.values: npt.NDArray[np.int64] = np.concatenate(([0], values[settled]))
        """The level from each of `times` on."""
        spans = np.diff(self.times[1:])
        self._areas = np.concatenate(([0.0, 0.0], np.cumsum(self.values[1:-1] * spans)))[: len(self.times)]

    def at(self, time: Any) -> Any:
        """The level at `time`, a number or an array, after everything that happened at that moment."""
        return self.values[np.searchsorted(self.times, time, side="right") - 1]

    def before(self, time: Any) -> Any:
        """The level just before `time`, a number or an array: before anything that happened at that moment."""
        return self.values[np.maximum(np.searchsorted(self.times, time, side="left") - 1, 0)]

    def area(self, time: Any) -> Any:
        """The level's integral up to `time`, a number or an array."""
        step = np.searchsorted(self.times, time, side="right") - 1
        since = np.where(step > 0, time - np.where(step > 0, self.times[step], 0.0), 0.0)
        return self._areas[step] + self.values[step] * since

    def mean(self, start: float, end: float) -> float:
        """The average over [start, end), weighted by time. NaN if that is no time at all."""
        return float(self.area(end) - self.area(start)) / (end - start) if end > start else float("nan")

    def extreme(self, start: float, end: float, highest: bool = True) -> tuple[float, float]:
        """The highest (or lowest) level in [start, end), and when it was first reached. NaN if that is no time."""
        if not end > start:
            return float("nan"), float("nan")
        first = int(np.searchsorted(self.times, start, side="right")) - 1
        after = int(np.searchsorted(self.times, end, side="left"))
        values = self.values[first:after]
        place = int(values.argmax() if highest else values.argmin())
        return float(values[place]), max(start, float(self.times[first + place]))

    def quantiles(self, start: float, end: float, shares: Sequence[float]) -> list[float]:
        """Levels that are not exceeded for these shares of the time in [start, end). NaN if that is no time."""
        if not end > start:
            return [float("nan")] * len(shares)
        first = int(np.searchsorted(self.times, start, side="right")) - 1
        after = int(np.searchsorted(self.times, end, side="left"))
        edges = np.concatenate(([start], self.times[first + 1 : after], [end]))
        levels, place = np.unique(self.values[first:after], return_inverse=True)
        held = np.cumsum(np.bincount(place, weights=np.diff(edges), minlength=len(levels)))
        return [float(levels[min(int(np.searchsorted(held, share * held[-1])), len(levels) - 1)]) for share in shares]
