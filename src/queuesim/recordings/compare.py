"""Two runs side by side: waits, outcomes and limiter windows, whatever made them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.recordings.observation import Array, Observation, of_result

if TYPE_CHECKING:
    from queuesim.results.result import Result


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of both runs."""

    name: str
    unit: str
    """ "s", "per s" or "" for a count."""
    first: float
    second: float

    @property
    def difference(self) -> float:
        """How far the first is off the second, as a fraction of the second; NaN if that is 0 and the first is not."""
        if self.first == self.second:
            return 0.0
        return (self.first - self.second) / self.second if self.second else math.nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common and what not."""

    first: str
    second: str
    rows: tuple[Row, ...]
    attempts_compared: int
    """Attempts of either run, each known by its job and its number."""
    attempts_differing: tuple[str, ...]
    """Those that only one run has, or that ended differently: in words."""
    states_differing: tuple[str, ...]
    """Jobs that ended in another state."""

    @property
    def identical(self) -> bool:
        """Whether every attempt and every job ended the same way in both."""
        return not self.attempts_differing and not self.states_differing

    def row(self, name: str) -> Row:
        """A quantity by its name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def _repr_html_(self) -> str:
        from queuesim.results.markup import html_table

        rows = ((row.name, row.unit, row.first, row.second, f"{row.difference:+.2%}") for row in self.rows)
        return html_table(("", "unit", self.first, self.second, "difference"), rows)

    def within(self, tolerance: float) -> bool:
        """Whether mean and 95th percentile of the waiting time are within this fraction of the second run's."""
        return all(abs(self.row(name).difference) <= tolerance for name in ("waiting mean", "waiting p95"))


def compare(first: Result | Observation, second: Result | Observation) -> Comparison:
    """Put `first`, say a simulation, beside `second`, say a recording. Jobs are matched by their order of adding.

    Args:
        first: a result, or an observation of a queue elsewhere (`queuesim.recordings.observation.of_recording`).
        second: the same; the differences are fractions of this one.
    """
    first, second = _observed(first), _observed(second)
    return Comparison(
        first.name,
        second.name,
        tuple(_rows(first, second)),
        len(set(_attempts(first)) | set(_attempts(second))),
        tuple(_differing_attempts(first, second)),
        tuple(_differing_states(first, second)),
    )


def _observed(run: Result | Observation) -> Observation:
    return run if isinstance(run, Observation) else of_result(run)


def _rows(first: Observation, second: Observation) -> list[Row]:
    def row(name: str, unit: str, value: Callable[[Observation], float]) -> Row:
        return Row(name, unit, value(first), value(second))

    rows = [
        row("jobs", "", lambda run: len(run.added)),
        row("completed", "", lambda run: int((run.state == "completed").sum())),
        row("failed", "", lambda run: int((run.state == "failed").sum())),
        row("attempts", "", lambda run: len(run.job)),
    ]
    rows += [
        row(f"attempts: {outcome}", "", lambda run, o=outcome: int((run.outcome == o).sum()))  # type: ignore[misc]
        for outcome in sorted({*first.outcome, *second.outcome})
    ]
    for name in ("waiting", "latency"):
        rows.append(row(f"{name} mean", "s", lambda run, n=name: _mean(getattr(run, n))))  # type: ignore[misc]
        rows.append(row(f"{name} p95", "s", lambda run, n=name: _p95(getattr(run, n))))  # type: ignore[misc]
    rows.append(row("throughput", "per s", lambda run: run.throughput))
    if first.limiter is not None or second.limiter is not None:
        rows.append(row("limiter windows", "", lambda run: len(run.window_starts())))
        rows.append(row("windows used up", "", _full_windows))
        rows.append(row("starts in a window, mean", "", lambda run: _mean(run.window_starts().astype(np.float64))))
        rows.append(row("starts in a window, most", "", lambda run: max(run.window_starts(), default=0)))
    return rows


def _full_windows(run: Observation) -> float:
    return 0 if run.limiter is None else int((run.window_starts() >= run.limiter[0]).sum())


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def _p95(values: Array) -> float:
    return float(np.percentile(values, 95)) if len(values) else math.nan


def _attempts(run: Observation) -> dict[tuple[int, int], str]:
    return {(int(j), int(n)): str(o) for j, n, o in zip(run.job, run.attempt, run.outcome, strict=True)}


def _differing_attempts(first: Observation, second: Observation) -> list[str]:
    ours, theirs = _attempts(first), _attempts(second)
    return [
        f"job {job} attempt {number}: {ours.get((job, number), 'none')}, not {theirs.get((job, number), 'none')}"
        for job, number in sorted(set(ours) | set(theirs))
        if ours.get((job, number)) != theirs.get((job, number))
    ]


def _differing_states(first: Observation, second: Observation) -> list[str]:
    if len(first.state) != len(second.state):
        counts = [Counter(map(str, run.state)) for run in (first, second)]
        return [f"{len(first.state)} jobs, not {len(second.state)}: {dict(counts[0])}, not {dict(counts[1])}"]
    return [
        f"job {job}: {ours}, not {theirs}"
        for job, (ours, theirs) in enumerate(zip(first.state, second.state, strict=True))
        if ours != theirs
    ]
