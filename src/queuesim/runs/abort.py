"""Thresholds that end a run: whether one has failed at any moment so far, and when first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from queuesim.results.recording import CheckRow, Recording, Stop, StopReason
from queuesim.scenario.thresholds import Threshold, describe
from queuesim.units import format_duration

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.scenario.model import Scenario


FIRST = 0.01
"""A value over the whole run so far, such as a percentile, is judged once so large a part of the run is over: of its
very first jobs it would say nothing. A count, maximum or minimum that can't come back is judged from the beginning."""
MORE = 1.1
"""The run is looked at again when it has so many times as many rows as at the last look: each look takes as long as
the run so far is, so that all looks together take a dozen times as long as the last one, however long the run."""
PAUSE = 0.1
"""It is also looked at after so large a part of its duration, for what fails because nothing happens."""


@dataclass(frozen=True, slots=True)
class Failure:
    """That a threshold failed."""

    threshold: Threshold
    at: float
    """When first, in seconds since the run began."""
    value: float
    """What was measured then."""

    @property
    def name(self) -> str:
        """The threshold in words."""
        return describe(self.threshold)


class Abort:
    """The thresholds of a scenario that can end its run. It looks at the run now and then, but at all that happened
    in between, so that what it reports does not depend on when it looked.

    Args:
        thresholds: those with `abort`.
        duration: that was asked for, in seconds.
        warmup: seconds that don't count.
    """

    def __init__(self, thresholds: Sequence[Threshold], duration: float, warmup: float) -> None:
        self.thresholds = thresholds
        self.failure: Failure | None = None
        """The first one that failed, once one has."""
        self._duration = duration
        self._since = warmup + FIRST * (duration - warmup)
        self._rows = 0
        self._looked = 0.0

    @classmethod
    def of(cls, scenario: Scenario) -> Abort | None:
        """None if no threshold can end the run."""
        thresholds = [threshold for threshold in scenario.thresholds if threshold.abort]
        return cls(thresholds, scenario.duration, scenario.warmup) if thresholds else None

    def due(self, time: float, rows: int) -> bool:
        """Whether it is time to look again.

        Args:
            time: seconds since the run began.
            rows: how much was recorded until now.
        """
        if rows < MORE * max(self._rows, 1) and time < self._looked + PAUSE * self._duration:
            return False
        self._looked, self._rows = time, rows
        return True

    def look(self, recording: Recording) -> Failure | None:
        """Which threshold failed first in the run so far; None if none has."""
        from queuesim.results.result import Result

        return self.look_at(Result(recording))

    def look_at(self, result: Result) -> Failure | None:
        """As `look`."""
        failures = [
            Failure(threshold, *found)
            for threshold in self.thresholds
            if (found := first_failure(result, threshold, self._since)) is not None
        ]
        self.failure = min(failures, key=lambda failure: failure.at, default=None)
        return self.failure

    def confirm(self, stopped: Stop | None) -> Stop | None:
        """Why the run ended, by the last look at it. In real time some of what happened is known only after the run
        was ended, and a threshold may have failed earlier by that."""
        if stopped is None or stopped.reason is not StopReason.THRESHOLD or self.failure is None:
            return stopped
        return replace(stopped, at=self.failure.at, detail=self.failure.name)

    def mark(self, rows: Sequence[CheckRow]) -> None:
        """Let the check of the threshold that failed say so, also if it has recovered until the end of the run."""
        if self.failure is None:
            return
        row = next(row for row in rows if row.name == self.failure.name)
        if row.ok:
            ended = "" if row.value != row.value else "; it recovered later"
            row.detail = f"failed at {format_duration(round(self.failure.at, 3))}{ended}"
            row.value = self.failure.value
        row.ok, row.at, row.judged = False, self.failure.at, 1.0


def first_failure(result: Result, threshold: Threshold, since: float) -> tuple[float, float] | None:
    """When a threshold failed first in a run so far, and the value that was measured then; None: it has held.

    With `over`, that is the end of the first window that fails; windows that are not over yet don't count.

    Args:
        since: values over the whole run that can recover are judged from then on, in seconds.
    """
    from queuesim.results.sliding import first_failure_so_far, worst_window

    where, facts = threshold.where.chosen(), result.facts
    asked = (result, threshold.metric, threshold.statistic, where)
    if threshold.over is None:
        return first_failure_so_far(*asked, threshold.operator, threshold.limit, since)
    if facts.duration - facts.warmup < threshold.over:
        return None
    worst = worst_window(*asked, threshold.over, threshold.operator, threshold.limit)
    return None if worst.failed_at is None else (worst.failed_at, worst.value)
