"""A validation case: a scenario whose answer is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WARMUP = 0.05
"""Fraction of a run that is dropped at its start, before the steady state."""
TAIL = 0.02
"""Fraction dropped at its end: of the jobs before it, all have finished when the run ends."""


@dataclass(frozen=True)
class Quantity:
    """Something that both theory and a run can tell."""

    name: str
    expected: float
    """The closed form's value: seconds, or a probability."""
    measure: Callable[[pd.DataFrame], float]
    """The same from the settled jobs of one run: rows of `Result.jobs`."""


@dataclass(frozen=True)
class Case:
    """A station in steady state, as a scenario, and what is known of it."""

    name: str
    source: str
    """Where the closed form comes from."""
    arrival_rate: float
    """New jobs per second, over all classes."""
    settings: Mapping[str, Any]
    """The scenario's keys but for its duration, warm-up and seed."""
    quantities: tuple[Quantity, ...]

    def duration(self, jobs: int) -> float:
        """Seconds for about `jobs` arrivals. Raises ValueError for fewer jobs than 100."""
        if jobs < 100:
            raise ValueError(f"a validation run needs 100 jobs or more, not {jobs}")
        return jobs / self.arrival_rate

    def scenario(self, jobs: int) -> dict[str, Any]:
        """The scenario that lasts for about `jobs` arrivals. Raises ValueError for fewer jobs than 100."""
        duration = self.duration(jobs)
        return {**self.settings, "duration": f"{duration:.3f}s", "warmup": f"{WARMUP * duration:.3f}s"}

    def settled(self, frame: pd.DataFrame, jobs: int) -> pd.DataFrame:
        """The jobs of the steady state, from `Result.jobs` of a run of ``scenario(jobs)``: those that were scheduled
        after the warm-up and before the tail.

        Raises:
            ValueError: there are none, or some of them never finished: the run was cut short or is not stable.
        """
        kept = frame[~frame["warmup"] & (frame["scheduled"] < (1 - TAIL) * self.duration(jobs))]
        unfinished = int(kept["finished"].isna().sum())
        if unfinished or kept.empty:
            raise ValueError(f"{self.name}: of {len(kept)} jobs between warm-up and tail, {unfinished} did not finish")
        return kept


def mean_waiting(expected: float, name: str = "mean waiting time", **where: int) -> Quantity:
    """Mean seconds from ready to first start. `where` picks jobs by a column, as in ``priority=1``."""
    return Quantity(name, expected, lambda jobs: float(_pick(jobs, where)["waiting"].mean()))


def mean_latency(expected: float) -> Quantity:
    """Mean seconds from arrival to the end of the last attempt: the time in system."""
    return Quantity("mean time in system", expected, lambda jobs: float(jobs["latency"].mean()))


def waiting_percentile(expected: float, percent: float) -> Quantity:
    """Seconds within which `percent` % of the jobs start."""
    name = f"waiting time, {percent:g}th percentile"
    return Quantity(name, expected, lambda jobs: float(np.quantile(jobs["waiting"], percent / 100)))


def probability_of_waiting(expected: float) -> Quantity:
    """Fraction of the jobs that can't start at once."""
    # a difference of two times of 1e6 s is exact to 1e-10 s
    return Quantity("probability of waiting", expected, lambda jobs: float((jobs["waiting"] > 1e-9).mean()))


def _pick(jobs: pd.DataFrame, where: Mapping[str, int]) -> pd.DataFrame:
    for column, value in where.items():
        jobs = jobs[jobs[column] == value]
    return jobs
