"""The calendar: a result's frames with times of day in place of seconds since the run began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from queuesim.metrics.level import Array
    from queuesim.metrics.result import Result

MOMENTS = frozenset(
    {
        *("scheduled", "added", "ready", "started", "finished", "ended", "time", "opened", "closes", "last_start"),
        *("began", "drained", "at"),
    }
)
"""Columns that are points in time, in whichever frame they are."""


class Calendar:
    """The frames of a result on the virtual calendar: its second 0 is the scenario's `epoch`.

    Points in time are pandas times in UTC, to the microsecond, and NaT for what did not happen. Durations stay numbers
    of seconds, but of the nullable type Float64, with <NA> for what did not happen. Each frame is made anew.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    @property
    def epoch(self) -> pd.Timestamp:
        """The run's second 0."""
        return pd.Timestamp(moments(np.zeros(1), self._result.facts.epoch)[0])

    @property
    def jobs(self) -> pd.DataFrame:
        """See `Result.jobs`."""
        return self._placed(self._result.jobs)

    @property
    def attempts(self) -> pd.DataFrame:
        """See `Result.attempts`."""
        return self._placed(self._result.attempts)

    @property
    def events(self) -> pd.DataFrame:
        """See `Result.events`."""
        return self._placed(self._result.events)

    @property
    def limiter(self) -> pd.DataFrame:
        """See `Result.limiter`."""
        return self._placed(self._result.limiter)

    @property
    def overdue(self) -> pd.DataFrame:
        """See `Result.overdue`."""
        return self._placed(self._result.overdue)

    @property
    def faults(self) -> pd.DataFrame:
        """See `Result.faults`."""
        return self._placed(self._result.faults)

    @property
    def checks(self) -> pd.DataFrame:
        """See `Result.checks`."""
        return self._placed(self._result.checks)

    def timeline(self, every: str | float = "10s") -> pd.DataFrame:
        """See `Result.timeline`: the index is the time of day at which each bin begins."""
        bins = self._result.timeline(every)
        return bins.set_axis(moments(bins.index.to_numpy(), self._result.facts.epoch).rename("time"), axis=0)

    def _placed(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({str(name): self._column(str(name), column) for name, column in frame.items()}, copy=False)

    def _column(self, name: str, column: pd.Series[Any]) -> Any:
        if name in MOMENTS:
            return moments(column.to_numpy(), self._result.facts.epoch)
        if column.dtype == np.float64:
            values = column.to_numpy()
            return pd.arrays.FloatingArray(values, np.isnan(values))
        return column


def moments(seconds: Array, epoch: float) -> pd.DatetimeIndex:
    """Times in UTC, to the microsecond, from seconds since an epoch that is in seconds since 1970; NaT for NaN."""
    known = ~np.isnan(seconds)
    whole = np.full(len(seconds), np.iinfo(np.int64).min, dtype=np.int64)  # as numpy writes NaT
    # rounded apart: together they would have too many digits for a float
    whole[known] = np.round(seconds[known] * 1e6).astype(np.int64) + round(epoch * 1e6)
    return pd.DatetimeIndex(whole.view("datetime64[us]")).tz_localize("UTC")
