"""Latency percentiles over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.plots import canvas
from queuesim.metrics.plots.flow import bin_width_of, something
from queuesim.metrics.text import readable
from queuesim.metrics.timeline import bin_edges, percentiles_in_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

PERCENTS = (50.0, 95.0, 99.0)


def latency_over_time(result: Result, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.latency_over_time`."""
    ax = canvas.axes(ax)
    jobs = result.jobs
    if not (something(result) and jobs["finished"].notna().any()):
        return canvas.nothing(ax, "no job finished")
    unit, name = canvas.time_unit(result.facts.duration)
    edges = bin_edges(result.facts.duration, bin_width_of(result) if every is None else every)
    p50, p95, p99 = percentiles_in_bins(edges, jobs["finished"].to_numpy(), jobs["latency"].to_numpy(), PERCENTS)
    shown = np.concatenate((p50, p99))
    shown = shown[np.isfinite(shown)]
    per, label = canvas.duration_unit(float(shown.max()))
    for low, high, alpha in ((p50, p95, 0.32), (p95, p99, 0.16)):
        ax.fill_between(
            edges / unit,
            _steps(low) / per,
            _steps(high) / per,
            step="post",
            color=canvas.BLUE,
            alpha=alpha,
            linewidth=0,
        )
    for values, percent, width in ((p50, 50, 2.0), (p95, 95, 1.4), (p99, 99, 0.8)):
        style = {50: "-", 95: "--", 99: ":"}[percent]
        ax.step(
            edges / unit,
            _steps(values) / per,
            style,
            where="post",
            color=canvas.BLUE,
            linewidth=width,
            label=f"p{percent}",
        )
    canvas.time_axis(
        ax, result, unit, f"when jobs finished ({name}); percentiles over {readable(float(edges[1] - edges[0]))}"
    )
    ax.set_ylim(0, float(shown.max()) / per * 1.25 or 1.0)
    ax.set_ylabel(f"latency ({label})")
    worst = float(np.nanmax(p95))
    canvas.finish(ax, f"highest p95 of a bin: {readable(worst)}{canvas.whole_run(result)}")
    canvas.legend(ax, columns=5)
    return ax


def _steps(values: np.ndarray) -> np.ndarray:
    """The values of bins at their edges: the last one holds until its end."""
    return np.append(values, values[-1:])
