"""Requirements: what a combination of values must meet, and how runs of it are judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from queuesim.experiments.figures import DRAINED, shown_value
from queuesim.experiments.interval import share_bounds, student_t
from queuesim.results.metrics import COMPARISONS, METRICS
from queuesim.scenario.thresholds import Threshold, ThresholdField, describe
from queuesim.text import counted, measured, percent, readable
from queuesim.units import parse_duration

if TYPE_CHECKING:
    from queuesim.experiments.task import CheckOutcome, Measured
    from queuesim.scenario.model import Scenario

ORDERED = ("<", "<=", ">", ">=")
"""Comparisons that a mean can be judged by. The others must hold in each run."""


class Verdict(StrEnum):
    """What runs say about a requirement."""

    MET = "met"
    """It is met, with the confidence that is asked for."""
    MISSED = "missed"
    """It is missed, with that confidence."""
    OPEN = "open"
    """Neither is shown by these runs."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How runs met a requirement."""

    requirement: Requirement
    verdict: Verdict
    value: float
    """The mean over the runs; infinity if one of them never came to a value. NaN: there is none."""
    bound: float
    """Up to where the mean may be, on the side of the limit, with the confidence that was asked for."""
    failed: int
    """In how many runs it was missed."""
    runs: int

    @property
    def miss(self) -> float:
        """By how much the bound is beyond the limit, as a part of the limit's size; below 0: on its right side."""
        limit, bound = self.requirement.limit, self.bound
        if math.isnan(limit) or math.isnan(bound):
            return self.failed / self.runs if self.failed else -1.0
        away = limit - bound if self.requirement.operator in (">", ">=") else bound - limit
        return away / abs(limit) if limit else away

    def __str__(self) -> str:
        """``waiting.p95 < 30s: 25.1 s on average, at most 27.3 s; missed in 1 of 20 runs``"""
        requirement, parts = self.requirement, []
        ordered = requirement.operator in ORDERED
        if not math.isnan(self.value) and (ordered or requirement.deadline is not None):
            text = requirement.shown(self.value)
            parts.append(f"{text} on average" if self.runs > 1 and math.isfinite(self.value) else text)
            if ordered and math.isfinite(self.bound) and self.bound != self.value:
                side = "at least" if requirement.operator in (">", ">=") else "at most"
                parts.append(f"{side} {requirement.shown(self.bound)}")
        text = ", ".join(parts)
        missed = f"missed in {self.failed} of {counted(self.runs, 'run')}" if self.failed else ""
        return f"{requirement.text}: {'; '.join(part for part in (text, missed) if part) or 'not missed'}"

    def in_words(self, confidence: float) -> str:
        """The same, and of what must hold in each run, how sure that is."""
        if self.failed or self.requirement.operator in ORDERED:
            return str(self)
        share = percent(share_bounds(0, self.runs, confidence=2 * confidence - 1).high)
        value = "" if self.requirement.deadline is None else f" {self.requirement.shown(self.value)} on average,"
        return f"{self.requirement.text}:{value} missed in none of {self.runs} runs, so in {share} of all at most"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must hold of the runs of a combination.

    Limits of the order (<, <=, >, >=) must hold for the mean over runs, by a one-sided t bound; everything else, such
    as ``lost == 0`` and a deadline, must hold in each run. With a share, all must hold in at least that share of runs,
    by Clopper and Pearson's one-sided bound.
    """

    text: str
    operator: str
    limit: float
    """NaN: there is no number to compare."""
    unit: str = ""
    deadline: float | None = None
    """Seconds of the run by which the backlog must be gone."""
    others: bool = False
    """Stands for all checks but thresholds."""

    @classmethod
    def of(cls, threshold: Threshold) -> Requirement:
        """A threshold as a requirement."""
        return cls(describe(threshold), threshold.operator, threshold.limit, METRICS[threshold.metric].unit)

    @classmethod
    def drained_by(cls, seconds: float, written: str) -> Requirement:
        """That the backlog is gone by a moment of the run."""
        return cls(f"backlog gone by {written}", "by", seconds, "s", deadline=seconds)

    @property
    def figure(self) -> str | None:
        """The figure that it needs beside the checks of a run."""
        return None if self.deadline is None else f"{DRAINED}@{self.deadline!r}"

    def shown(self, value: float) -> str:
        """A value as people read it."""
        if math.isinf(value):
            return "never in these runs" if self.deadline is not None else "infinity"
        if self.unit in ("s", "1/s", "share"):
            return measured(value, self.unit)
        return shown_value("", value)

    def judge(self, runs: Sequence[Measured], confidence: float, share: float | None = None) -> Judged:
        """How these runs meet it.

        Args:
            confidence: of each of the two verdicts met and missed, one-sided.
            share: of the runs that must meet it; None: see the class.
        """
        each = [self._of_run(run) for run in runs]
        failed, count = sum(not holds for holds, _ in each), len(each)
        values = np.array([value for _, value in each if not math.isnan(value)])
        mean = float(values.mean()) if len(values) else math.nan
        if share is not None:
            return Judged(self, _by_share(failed, count, share, confidence), mean, mean, failed, count)
        if self.operator not in ORDERED:
            # no number of runs without a failure shows that there never is one: it is met so far
            return Judged(self, Verdict.MISSED if failed else Verdict.MET, mean, mean, failed, count)
        if len(values) < count and failed:
            # runs with nothing to measure, which fail
            return Judged(self, Verdict.MISSED, mean, math.inf, failed, count)
        if not len(values):
            return Judged(self, Verdict.MET, mean, mean, failed, count)
        return self._by_mean(values, confidence, failed, count)

    def _by_mean(self, values: np.ndarray[Any, Any], confidence: float, failed: int, count: int) -> Judged:
        mean, upper = float(values.mean()), self.operator in ("<", "<=")
        if not math.isfinite(mean):
            return Judged(self, Verdict.MISSED, mean, mean, failed, count)
        spread = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        reach = (
            0.0
            if not spread
            else student_t(2 * confidence - 1, len(values) - 1) * spread
            if len(values) > 1
            else spread
        )
        bound, other = (mean + reach, mean - reach) if upper else (mean - reach, mean + reach)
        holds = COMPARISONS[self.operator]
        verdict = Verdict.OPEN
        if holds(bound, self.limit):
            verdict = Verdict.MET
        elif not holds(other, self.limit):
            verdict = Verdict.MISSED
        return Judged(self, verdict, mean, bound, failed, count)

    def _of_run(self, run: Measured) -> tuple[bool, float]:
        """Whether it holds in a run, and the value."""
        if self.others:
            bad = [check for check in run.checks if check.kind != "threshold" and check.status == "failed"]
            return not bad and not (run.stopped and not run.ok), math.nan
        if self.deadline is not None:
            value = run.figures[str(self.figure)]
            # not within the run
            value = math.inf if math.isnan(value) else value
            return value <= self.deadline, value
        check = self._check(run)
        return check.status != "failed", check.value

    def _check(self, run: Measured) -> CheckOutcome:
        return next(check for check in run.checks if check.kind == "threshold" and check.name == self.text)

    def values(self, runs: Sequence[Measured]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The value in each run; NaN where there is none."""
        return np.array([self._of_run(run)[1] for run in runs], dtype=np.float64)


HEALTHY = Requirement("all other checks pass", "all", math.nan, others=True)
"""That nothing but thresholds fails in any run: no oracle, invariant or health check."""


def _by_share(failed: int, count: int, share: float, confidence: float) -> Verdict:
    bounds = share_bounds(failed, count, confidence=2 * confidence - 1)
    if bounds.high <= 1 - share:
        return Verdict.MET
    return Verdict.MISSED if bounds.low > 1 - share else Verdict.OPEN


# -- Requirements as users write them

_THRESHOLD: TypeAdapter[Threshold] = TypeAdapter(ThresholdField)


def thresholds_of(scenario: Scenario, given: Sequence[Any]) -> list[Threshold]:
    """The thresholds that are given, or those of the scenario. None of them ends a run.

    Raises:
        ValueError: what is given is not a threshold.
    """
    try:
        chosen = [_THRESHOLD.validate_python(each) for each in given] if given else list(scenario.thresholds)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
    return [replace(each, abort=False) for each in chosen]


def parse_deadline(text: str, scenario: Scenario) -> float:
    """Seconds of the run until a deadline: ``3h`` from its beginning, ``09:00`` by the calendar of its epoch (the first
    such moment after it), or a date with a time.

    Raises:
        ValueError: it is none of these, or not within the run.
    """
    seconds = _deadline(text.strip(), scenario.epoch)
    end = scenario.duration + scenario.drain_time
    if not 0 < seconds <= end:
        raise ValueError(
            f"the deadline {text} is {readable(seconds)} after the run begins, which lasts for {readable(end)}: choose "
            "a longer duration, or let it drain"
            if seconds > 0
            else f"the deadline {text} is before the run begins, {scenario.epoch.isoformat()}"
        )
    return seconds


def _deadline(text: str, epoch: datetime) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        clock = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        pass
    else:
        moment = epoch.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
        moment += timedelta(days=1) if moment <= epoch else timedelta(0)
        return (moment - epoch).total_seconds()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a deadline: write 09:00, 3h or 2025-01-02T09:00') from None
    moment = moment.replace(tzinfo=epoch.tzinfo) if moment.tzinfo is None else moment
    return (moment - epoch).total_seconds()


def share_text(share: float) -> str:
    """A share of runs in words."""
    return f"in at least {percent(share)} of the runs"
