"""Batch means: estimates with intervals from one long run, whose measured time is cut into batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from queuesim.experiments.estimates import Estimates
from queuesim.experiments.figures import check_figure
from queuesim.extras import need
from queuesim.results.metrics import METRICS, Kind, meter
from queuesim.text import listing

if TYPE_CHECKING:
    from queuesim.results.result import Result

BATCHES = 30
"""Source: Schmeiser, Batch size effects in the analysis of simulation output, Operations Research 30 (1982): more than
30 batches hardly make an interval narrower, and make it less safe."""
MEASURED = tuple(
    f"{metric.name}.{statistic}".rstrip(".")
    for metric in METRICS.values()
    if metric.kind is not Kind.COUNT
    for statistic in {Kind.RATE: ("",), Kind.SPREAD: ("mean", "p50", "p95", "p99"), Kind.LEVEL: ("mean",)}[metric.kind]
)
"""Figures whose value does not grow with the length of a batch."""
SUSPICION = 0.99
"""Probability with which batches that do not depend on each other are not said to."""


class BatchMeans(Estimates):
    """Estimates from the batches of one run."""

    word = "batches"

    @property
    def dependent(self) -> list[str]:
        """Figures whose successive batches go up and down together, so that their intervals are too narrow.

        The correlation of successive batches of n is compared with the quantile of a normal distribution with variance
        1 / n, on one side. Source: von Neumann's ratio as a test of batches: Fishman, Grouping observations in digital
        simulation, Management Science 24 (1978).
        """
        return [name for name in self.names if self._correlation(name) > self._largest(name)]

    def _correlation(self, name: str) -> float:
        values = self.values(name)
        if len(values) < 3 or not values.std():
            return 0.0
        away = values - values.mean()
        return float((away[1:] * away[:-1]).sum() / (away**2).sum())

    def _largest(self, name: str) -> float:
        return NormalDist().inv_cdf(SUSPICION) / math.sqrt(max(len(self.values(name)), 1))

    @property
    def notes(self) -> list[str]:
        """What must be known of the estimates, a sentence each."""
        if not self.dependent:
            return []
        return [f"the batches are too short for {listing(self.dependent)}: successive ones depend on each other"]

    def __repr__(self) -> str:
        return f"<BatchMeans of {len(self._values)} batches: {listing(self.names[:5])}>"


def batch_means(
    result: Result, batches: int = BATCHES, *, measured: Sequence[str] = MEASURED, confidence: float = 0.95
) -> BatchMeans:
    """Estimate figures, with intervals, from one long run: the measured time is cut into batches of equal length.

    A batch must be much longer than the time over which the queue remembers: near saturation that is of the order of
    1 / (1 - utilisation)**2 service times. `BatchMeans.dependent` names figures for which it is not. A figure of a
    batch is measured as that of a run: waiting times are those of jobs that start in it.

    Source: Law, Simulation Modeling and Analysis, section 9.5.3 (batch means).

    Raises:
        ValueError: fewer than 2 batches, no measured time, no such figure, or a confidence outside (0, 1).
        MissingExtraError: scipy is not installed.
    """
    need("scipy", "analysis", "confidence intervals")
    facts = result.facts
    if batches < 2:
        raise ValueError(f"an interval needs 2 batches or more, not {batches}")
    if not facts.duration > facts.warmup:
        raise ValueError("the run has no time after its warm-up to cut into batches")
    for name in measured:
        check_figure(name)
        if name.partition(".")[0] not in METRICS:
            raise ValueError(f"{name} is a figure of a whole run, and batches have none")
    edges = np.linspace(facts.warmup, facts.duration, batches + 1)
    columns = {}
    for name in measured:
        metric, _, statistic = name.partition(".")
        read = meter(result, metric, statistic or None)
        columns[name] = [read(start, end) for start, end in itertools.pairwise(edges.tolist())]
    return BatchMeans(pd.DataFrame(columns), confidence)
