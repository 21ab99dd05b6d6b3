"""What a run measured of the figures that models predict, and how exact that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from queuesim.experiments.interval import Interval, batch_means
from queuesim.results.levels import Level, active, backlog
from queuesim.results.metrics import measure
from queuesim.results.recording import RunFrames
from queuesim.theory.assumption import Aspect, Assumption, Fact, violated

Array = npt.NDArray[np.float64]

BATCHES = 20
"""Batches that a run is cut into: between the 10 and 30 of Schmeiser 1982."""
LONG = 10.0
"""Settling times that a batch must last at least, so that the means of two batches hardly depend on each other."""
LEAST = 20
"""Jobs of a batch at least."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measurements:
    """The figures of a run between two times."""

    result: RunFrames
    start: float
    """Seconds."""
    end: float
    settling_time: float
    """About how many seconds the queue takes to forget its state."""

    def value(self, figure: str, jobs: tuple[str, ...] = ()) -> float:
        """A metric with its statistic, of some types of jobs or of all; NaN if there was nothing to measure."""
        metric, _, statistic = figure.partition(".")
        where = {"job": list(jobs)} if jobs else None
        return measure(self.result, metric, statistic or None, where, self.start, self.end)

    def interval(self, figure: str, predicted: float, jobs: tuple[str, ...] = ()) -> Interval | Assumption:
        """The interval of a figure by batch means, or why there is none.

        For a percentile it is that of the share of jobs that wait no longer than predicted: a mean, unlike a
        percentile of a batch, which few jobs would bias.
        """
        if math.isinf(self.settling_time):
            return violated(Aspect.RUN, Fact.NO_SAMPLES)
        needed = BATCHES * LONG * self.settling_time
        if not self.end - self.start >= needed:
            return violated(Aspect.RUN, Fact.TOO_SHORT, batches=BATCHES, seconds=needed)
        values = self._series(figure, predicted, jobs)
        if len(values) < (BATCHES * LEAST if figure.startswith("waiting") else BATCHES):
            return violated(Aspect.RUN, Fact.FEW_JOBS, jobs=len(values))
        return batch_means(values, batches=BATCHES, confidence=CONFIDENCE)

    def _series(self, figure: str, predicted: float, jobs: tuple[str, ...]) -> Array:
        """What the batches are means of: jobs in the order of their starts, or stretches of time."""
        if figure == "waiting.mean":
            return self._waiting(jobs)
        if figure == "waiting.p95":
            return (self._waiting(jobs) <= predicted).astype(np.float64)
        edges = np.linspace(self.start, self.end, BATCHES + 1)
        if figure == "throughput":
            return np.histogram(self._completed, edges)[0] / np.diff(edges)
        level, unit = (self._backlog, 1) if figure == "backlog.mean" else (self._active, self.result.facts.concurrency)
        return np.asarray(np.diff(level.area(edges)) / np.diff(edges) / unit)

    def _waiting(self, jobs: tuple[str, ...]) -> Array:
        frame = self.result.jobs
        started = frame["started"].to_numpy()
        chosen = ~frame["warmup"].to_numpy() & (started >= self.start) & (started < self.end)
        if jobs:
            chosen &= frame["name"].isin(list(jobs)).to_numpy()
        order = np.argsort(started[chosen], kind="stable")
        return np.asarray(frame["waiting"].to_numpy()[chosen][order], dtype=np.float64)

    @cached_property
    def _completed(self) -> Array:
        frame = self.result.jobs
        return np.asarray(frame["finished"].to_numpy()[(frame["state"] == "completed").to_numpy()])

    @cached_property
    def _backlog(self) -> Level:
        return backlog(self.result)

    @cached_property
    def _active(self) -> Level:
        return active(self.result)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A predicted figure beside the one that was measured."""

    predicted: float
    measured: float
    half_width: float
    """Of the interval of what was measured; NaN if there is none. Of a percentile it is unknown: NaN."""
    half_widths: float
    """How far the run is off in half widths of its interval: within 1, the prediction is in it. NaN: no interval."""
    note: Assumption | None
    """Why there is no interval."""

    @property
    def difference(self) -> float:
        """How far the run is off, relative to the prediction; NaN if that is 0."""
        return self.measured / self.predicted - 1 if self.predicted else math.nan


def compare(measurements: Measurements, figure: str, predicted: float, jobs: tuple[str, ...] = ()) -> Comparison:
    """Measure a figure, and compare it with its prediction."""
    measured = measurements.value(figure, jobs)
    interval = measurements.interval(figure, predicted, jobs)
    if isinstance(interval, Assumption):
        return Comparison(predicted, measured, math.nan, math.nan, interval)
    width = interval.half_width
    if figure == "waiting.p95":
        # fewer jobs than 95 % within the predicted time: the run's percentile is above it
        return Comparison(predicted, measured, math.nan, _over(0.95 - interval.mean, width), None)
    return Comparison(predicted, measured, width, _over(interval.mean - predicted, width), None)


def _over(difference: float, width: float) -> float:
    if width:
        return difference / width
    return 0.0 if not difference else math.copysign(math.inf, difference)
