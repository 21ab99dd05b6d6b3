"""Analysis: what a result's frames come to, one question a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.metrics.analysis.limiter import LimiterCost
    from queuesim.metrics.analysis.little import Little
    from queuesim.metrics.result import Result


class Analysis:
    """Answers about a result, as pandas frames or small records.

    Durations are seconds. Jobs of the warm-up are left out, and what is averaged over time is averaged over the time
    after it, except where a method says that it tells of the whole run. Where nothing happened the frames are empty and
    the numbers NaN.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def percentiles(
        self,
        of: str = "latency",
        by: str | None = None,
        percents: Sequence[float] = (50, 90, 95, 99, 99.9),
    ) -> pd.DataFrame:
        """How `latency`, `waiting` or `service` is spread, in a row for each label of the jobs' column `by`, or one.

        Raises:
            ValueError: there is nothing such to measure, no such column, or a percentile outside 0 to 100.
        """
        from queuesim.metrics.analysis.percentiles import percentiles

        return percentiles(self._result, of, by, percents)

    def occupancy(self, start: float | None = None, end: float | None = None) -> pd.DataFrame:
        """Backlog, active, delayed jobs and utilisation: averages, percentiles and extremes, weighted by time.

        A row each, over [start, end) seconds; without them over the measured time.
        """
        from queuesim.metrics.analysis.occupancy import occupancy

        return occupancy(self._result, start, end)

    def workers(self) -> pd.DataFrame:
        """What each worker did: a row a worker."""
        from queuesim.metrics.analysis.occupancy import workers

        return workers(self._result)

    def retries(self) -> pd.DataFrame:
        """What retries cost, by category of error: a row a category, and the row `all`."""
        from queuesim.metrics.analysis.retries import retries

        return retries(self._result)

    def errors(self, warmup: bool = False) -> pd.DataFrame:
        """The errors of attempts, the most frequent first: a row for each job type, error type and message.

        Columns: error_type, category, name (the job type), message (numbers and ids in it that differ are replaced by
        an ellipsis), count (attempts), jobs (different ones), failed (attempts after which the job failed for good),
        first (when the first of these attempts ended, in seconds). An attempt that lost its job's lock and left no
        error has the type "lost attempt". With `warmup` jobs of the warm-up count too.
        """
        from queuesim.metrics.top_errors import errors_frame, errors_of_result

        return errors_frame(errors_of_result(self._result, warmup))

    def retries_over_time(self, every: str | float = "1m") -> pd.DataFrame:
        """Retry amplification in each bin of time, and what was retried by category: of the whole run."""
        from queuesim.metrics.analysis.retries import retries_over_time

        return retries_over_time(self._result, every)

    def time_to_drain(self, since: float | None = None) -> float:
        """Seconds from a moment until no job waits that could start; without one, from when most did.

        NaN: the run ended before. 0: none waited then.
        """
        from queuesim.metrics.analysis.draining import time_to_drain

        return time_to_drain(self._result, since)

    def backlogs(self, least: int | None = None) -> pd.DataFrame:
        """Each time that a backlog built up and drained, in the whole run: a row for each that reached `least` jobs.

        Without `least`, for those that reached a hundredth of the highest, and two jobs.
        """
        from queuesim.metrics.analysis.draining import backlogs

        return backlogs(self._result, least)

    def limiter(self) -> LimiterCost | None:
        """How far the rate limiter was used, and what it cost; None without one."""
        from queuesim.metrics.analysis.limiter import limiter_cost

        return limiter_cost(self._result)

    def batches(self, least: int = 10) -> pd.DataFrame:
        """The anatomy of each batch of the whole run: overdue scans if there were any, else `least` jobs or more that
        came at once."""
        from queuesim.metrics.analysis.batches import batches

        return batches(self._result, least)

    def littles_law(self) -> Little:
        """L = λW over the whole run, its sides from records that know nothing of each other: events, and attempts."""
        from queuesim.metrics.analysis.little import littles_law

        return littles_law(self._result)

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"<Analysis: {', '.join(names)}>"
