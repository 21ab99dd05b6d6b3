"""The overview: all plots of a run in one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.extras import need
from queuesim.results.levels import Array
from queuesim.results.plots.distributions import attempts, latency_distribution
from queuesim.results.plots.over_time import backlog_and_throughput, limiter_windows
from queuesim.results.summary import Run
from queuesim.results.views import digest
from queuesim.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SIZE = (16.0, 10.0)
"""Inches."""

PLACES = {"left": 0.066, "right": 0.985, "bottom": 0.075, "top": 0.925, "wspace": 0.14, "hspace": 0.2}
"""Where the panels are in a figure without a layout engine: matplotlib's draws everything twice more to find out."""


def overview(result: Run, figure: Figure | None) -> Array:
    """See `Plots.overview`."""
    need("matplotlib", "plot", "plots")
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=SIZE)
    places = PLACES if figure.get_layout_engine() is None else None
    panels: Array = figure.subplots(2, 2, gridspec_kw=places)
    backlog_and_throughput(result, panels[0, 0], None)
    latency_distribution(result, panels[0, 1])
    attempts(result, panels[1, 0])
    limiter_windows(result, panels[1, 1])
    facts = result.facts
    run = (
        f"{readable(facts.duration - facts.warmup)}{digest.after_warmup(result)} on {facts.backend}, seed {facts.seed}"
    )
    jobs = counted(result.summary().jobs.added, "job")
    figure.suptitle(f"{facts.scenario}: {jobs} in {run}")
    return panels
