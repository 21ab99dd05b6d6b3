"""Plots: pictures of a result, by matplotlib, which is loaded when the first one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from queuesim.extras import need
from queuesim.results.levels import Array
from queuesim.results.plots import distributions, over_time
from queuesim.results.plots.comparison import heat_map, overlay
from queuesim.results.plots.gantt import gantt as draw_gantt
from queuesim.results.plots.style import literal
from queuesim.results.summary import Run
from queuesim.results.views.digest import after_warmup
from queuesim.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


T = TypeVar("T")
SIZE = (16.0, 10.0)
"""Inches of an overview."""
PLACES = {"left": 0.065, "right": 0.93, "bottom": 0.075, "top": 0.9, "wspace": 0.36, "hspace": 0.28}
"""Where the panels are in a figure without a layout engine: matplotlib's draws everything twice more to find out."""


class Plots:
    """The pictures of a result.

    Each draws into `ax`, or into a new pyplot figure, which a notebook shows, and returns the axes. Those that hold two
    panels have them as `child_axes`. Where there is nothing to draw the picture says so. Without matplotlib each
    raises MissingExtraError.
    """

    def __init__(self, result: Run) -> None:
        self._result = result

    def backlog_and_throughput(self, ax: Axes | None = None, every: str | float | None = None) -> Axes:
        """Offered load, throughput and the limiter's rate over time, above the backlog.

        Both are averages over bins of `every` (as `Result.timeline` takes it); without it about 150 bins are made.
        """
        return _literal(over_time.backlog_and_throughput(self._result, ax, every))

    def throughput(self, ax: Axes | None = None, every: str | float | None = None) -> Axes:
        """Offered load, throughput and the limiter's rate over time; `every` as above."""
        return _literal(over_time.throughput(self._result, ax, every))

    def backlog(self, ax: Axes | None = None, every: str | float | None = None) -> Axes:
        """The jobs that could start and did not, and those in a delay or backoff, over time; `every` as above."""
        return _literal(over_time.backlog(self._result, ax, every))

    def latency_over_time(self, ax: Axes | None = None, every: str | float | None = None) -> Axes:
        """Percentiles 50, 95 and 99 of the latency, by when jobs finished; `every` as above."""
        return _literal(over_time.latency_over_time(self._result, ax, every))

    def latency_distribution(self, ax: Axes | None = None) -> Axes:
        """The share of jobs that waited, and took, at most a given time; the slowest jobs are drawn large."""
        return _literal(distributions.latency_distribution(self._result, ax))

    def attempts(self, ax: Axes | None = None) -> Axes:
        """How many jobs came to a first, second, ... attempt, and how these ended, by category of error."""
        return _literal(distributions.attempts(self._result, ax))

    def retry_waterfall(self, ax: Axes | None = None) -> Axes:
        """How the jobs that had an error ended: saved by which attempt, or failed for good."""
        return _literal(distributions.retry_waterfall(self._result, ax))

    def gantt(self, ax: Axes | None = None, start: float | None = None, end: float | None = None) -> Axes:
        """What each slot of each worker did from `start` to `end`, in seconds, coloured by outcome.

        Without them, of a long run, around the moment when the most jobs waited. Raises ValueError if `end` is not
        after `start`.
        """
        return _literal(draw_gantt(self._result, ax, start, end))

    def overdue_batches(self, ax: Axes | None = None, least: int = 10) -> Axes:
        """How the jobs of each overdue scan were worked off; without scans, of any `least` jobs that came at once."""
        return _literal(over_time.overdue_batches(self._result, ax, least))

    def limiter_windows(self, ax: Axes | None = None) -> Axes:
        """Starts in each window of the rate limiter, beside what it allows."""
        return _literal(over_time.limiter_windows(self._result, ax))

    def overview(self, figure: Figure | None = None) -> Array:
        """All four in one figure, the given one or a new one; returns their axes, two by two."""
        need("matplotlib", "plot", "plots")
        if figure is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=SIZE)
        places = PLACES if figure.get_layout_engine() is None else None
        panels: Array = figure.subplots(2, 2, gridspec_kw=places)
        result = self._result
        over_time.backlog_and_throughput(result, panels[0, 0], None)
        distributions.latency_distribution(result, panels[0, 1])
        distributions.attempts(result, panels[1, 0])
        over_time.limiter_windows(result, panels[1, 1])
        figure.suptitle(overview_title(result))
        return _literal(panels)

    def beside(
        self,
        others: Mapping[str, Run],
        what: str = "backlog",
        ax: Axes | None = None,
        every: str | float | None = None,
    ) -> Axes:
        """This run and others, each by its name, overlaid: any column of the timeline.

        Raises ValueError if there is no such column.
        """
        return _literal(overlay({self._result.facts.scenario: self._result, **others}, what, ax, every))

    def __repr__(self) -> str:
        return f"<Plots: {', '.join(name for name in vars(type(self)) if not name.startswith('_'))}>"


__all__ = ["Plots", "heat_map", "overlay"]


def overview_title(result: Run) -> str:
    """What was run: the scenario, its jobs, the time, the backend and the seed."""
    facts, jobs = result.facts, counted(result.summary().jobs.added, "job")
    run = f"{readable(facts.duration - facts.warmup)}{after_warmup(result)} on {facts.backend}, seed {facts.seed}"
    return f"{facts.scenario}: {jobs} in {run}"


def _literal(drawn: T) -> T:
    """The axes that were drawn, with all names in their figure as they are."""
    axes: Any = drawn.flat[0] if hasattr(drawn, "flat") else drawn
    literal(axes.figure)
    return drawn
