"""Backlog and throughput over time, each in a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.bins import bin_width
from queuesim.metrics.level import Array
from queuesim.metrics.plots import canvas
from queuesim.metrics.text import counted, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result


def backlog_and_throughput(result: Result, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog_and_throughput`."""
    ax = canvas.axes(ax)
    facts = result.facts
    if not (len(result.jobs) and facts.duration > 0):
        return canvas.nothing(ax, "no job was added")
    bins = result.timeline(_bin_width(result) if every is None else every)
    edges = np.append(bins.index.to_numpy(), facts.duration)
    unit, name = canvas.time_unit(facts.duration)
    ax.set_axis_off()
    rates, levels = ax.inset_axes((0, 0.5, 1, 0.5)), ax.inset_axes((0, 0, 1, 0.42))
    rates.sharex(levels)
    _rates(rates, result, bins, edges, unit)
    _levels(levels, bins, edges, unit)
    for panel in (rates, levels):
        canvas.show_warmup(panel, facts.warmup, unit)
        panel.set_xlim(0, facts.duration / unit)
        panel.set_ylim(bottom=0)
        panel.yaxis.set_label_coords(-0.07, 0.5)
        panel.yaxis.set_major_formatter("{x:,g}")
        canvas.finish(panel)
        panel.legend(loc="upper left", fontsize="small", framealpha=0.8, ncols=4)
    rates.tick_params(labelbottom=False)
    levels.set_xlabel(f"time since the start ({name}); averages over {readable(edges[1] - edges[0])}")
    ax.set_title(_title(result), loc="left", fontsize="medium", fontweight="bold")
    return ax


def _bin_width(result: Result) -> float:
    """Narrow bins for many jobs, wide ones for few: rates of a job or two a bin would be noise."""
    return bin_width(result.facts.duration, most=min(150, max(20, len(result.jobs) // 10)))


def _rates(ax: Axes, result: Result, bins: pd.DataFrame, edges: Array, unit: float) -> None:
    limiter = result.facts.limiter
    offered, done = (bins[column].to_numpy() / np.diff(edges) for column in ("added", "completed"))
    per, name = canvas.rate_unit(float(max(offered.max(), done.max())))
    ax.stairs(offered * per, edges / unit, fill=True, color=canvas.SKY, alpha=0.45, label="added")
    ax.stairs(done * per, edges / unit, color=canvas.BLUE, linewidth=1.4, baseline=None, label="completed")
    highest = max(offered.max(), done.max()) * per
    if limiter is not None:
        rate = limiter[0] / limiter[1] * per
        label = f"limiter: {limiter[0]} per {readable(limiter[1])}"
        if rate <= 4 * highest:
            ax.axhline(rate, color=canvas.RED, linestyle="--", linewidth=1.4, label=label)
            highest = max(highest, rate)
        else:
            ax.plot([], [], color=canvas.RED, linestyle="--", label=f"{label} (far above)")
    ax.set_ylim(0, highest * 1.35)
    ax.set_ylabel(f"jobs per {name}")


def _levels(ax: Axes, bins: pd.DataFrame, edges: Array, unit: float) -> None:
    backlog, delayed = bins["backlog"].to_numpy(), bins["delayed"].to_numpy()
    ax.stairs(backlog, edges / unit, fill=True, color=canvas.ORANGE, alpha=0.6, label="backlog (ready, not started)")
    if delayed.any():
        ax.stairs(delayed, edges / unit, color=canvas.GREY, linewidth=1.0, baseline=None, label="delayed or in backoff")
    ax.set_ylim(0, max(float(backlog.max()), float(delayed.max()), 0.1) * 1.35)
    ax.set_ylabel("jobs")


def _title(result: Result) -> str:
    summary = result.summary()
    per, name = canvas.rate_unit(summary.throughput if summary.throughput > 0 else 1.0)
    done = f"{summary.throughput * per:.3g} jobs completed per {name}"
    if not summary.backlog_max:
        return f"{done}; no backlog"
    return f"{done}; a backlog of up to {counted(summary.backlog_max, 'job')} at {readable(summary.backlog_max_at)}"
