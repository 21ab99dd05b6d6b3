"""Plots: pictures of a result, by matplotlib, which is loaded when the first one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from queuesim.metrics.level import Array
    from queuesim.metrics.result import Result


class Plots:
    """The pictures of a result.

    Each draws into `ax`, or into a new pyplot figure, which a notebook shows, and returns the axes. Those that hold two
    panels have them as `child_axes`. Where there is nothing to draw the picture says so. Without matplotlib each
    raises MissingExtraError.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def backlog_and_throughput(self, ax: Axes | None = None, every: str | float | None = None) -> Axes:
        """Offered load, throughput and the limiter's rate over time, above the backlog.

        Both are averages over bins of `every` (as `Result.timeline` takes it); without it about 150 bins are made.
        """
        from queuesim.metrics.plots.flow import backlog_and_throughput

        return backlog_and_throughput(self._result, ax, every)

    def latency_distribution(self, ax: Axes | None = None) -> Axes:
        """The share of jobs that waited, and took, at most so long; the slowest jobs are drawn large."""
        from queuesim.metrics.plots.distribution import latency_distribution

        return latency_distribution(self._result, ax)

    def attempts(self, ax: Axes | None = None) -> Axes:
        """How many jobs came to a first, second, ... attempt, and how these ended, by category of error."""
        from queuesim.metrics.plots.attempts import attempts

        return attempts(self._result, ax)

    def limiter_windows(self, ax: Axes | None = None) -> Axes:
        """Starts in each window of the rate limiter, beside what it allows."""
        from queuesim.metrics.plots.limiter import limiter_windows

        return limiter_windows(self._result, ax)

    def overview(self, figure: Figure | None = None) -> Array:
        """All four in one figure, the given one or a new one; returns their axes, two by two."""
        from queuesim.metrics.plots.overview import overview

        return overview(self._result, figure)

    def __repr__(self) -> str:
        return "<Plots: backlog_and_throughput, latency_distribution, attempts, limiter_windows, overview>"
