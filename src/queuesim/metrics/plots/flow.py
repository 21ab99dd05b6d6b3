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


COUNTS = ("added", "started", "completed", "failed", "retried")
"""The timeline's columns that are counts."""


def backlog_and_throughput(result: Result, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog_and_throughput`."""
    ax = canvas.axes(ax)
    if not something(result):
        return canvas.nothing(ax, "no job was added")
    bins, edges, unit = _bins(result, every)
    ax.set_axis_off()
    rates, levels = ax.inset_axes((0, 0.5, 1, 0.5)), ax.inset_axes((0, 0, 1, 0.42))
    rates.sharex(levels)
    _rates(rates, result, bins, edges, unit)
    _levels(levels, bins, edges, unit)
    for panel in (rates, levels):
        _dress(panel, result, edges, unit, line=0.14)
        panel.yaxis.set_label_coords(-0.07, 0.5)
    rates.tick_params(labelbottom=False)
    rates.set_xlabel("")
    canvas.title(ax, _title(result))
    return ax


def throughput(result: Result, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.throughput`."""
    ax = canvas.axes(ax)
    if not something(result):
        return canvas.nothing(ax, "no job was added")
    bins, edges, unit = _bins(result, every)
    _rates(ax, result, bins, edges, unit)
    _dress(ax, result, edges, unit, _throughput_title(result))
    return ax


def backlog(result: Result, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog`."""
    ax = canvas.axes(ax)
    if not something(result):
        return canvas.nothing(ax, "no job was added")
    bins, edges, unit = _bins(result, every)
    _levels(ax, bins, edges, unit)
    _dress(ax, result, edges, unit, _backlog_title(result))
    return ax


def something(result: Result) -> bool:
    """Whether there is anything to draw over time."""
    return bool(len(result.jobs)) and result.facts.duration > 0


def _bins(result: Result, every: str | float | None) -> tuple[pd.DataFrame, Array, float]:
    """The timeline, its edges in seconds, and the unit of the axis in seconds."""
    return *whole_bins(result, bin_width_of(result) if every is None else every), _unit(result)


def whole_bins(result: Result, every: str | float) -> tuple[pd.DataFrame, Array]:
    """The timeline, and its edges in seconds. A last bin of less than half a width, in which a rate would be noise, is
    part of the one before."""
    bins = result.timeline(every)
    edges = np.append(bins.index.to_numpy(), result.facts.duration)
    if len(bins) < 2 or edges[-1] - edges[-2] >= (edges[1] - edges[0]) / 2:
        return bins, edges
    rest, bins, edges = bins.iloc[-1], bins.iloc[:-1].copy(), np.delete(edges, -2)
    for count in COUNTS:
        bins.loc[bins.index[-1], count] += int(rest[count])
    bins["throughput"] = bins["completed"] / np.diff(edges)
    return bins, edges


def _unit(result: Result) -> float:
    return canvas.time_unit(result.facts.duration)[0]


def _dress(ax: Axes, result: Result, edges: Array, unit: float, title: str = "", line: float = 0.06) -> None:
    name = canvas.time_unit(result.facts.duration)[1]
    canvas.time_axis(ax, result, unit, f"time since the start ({name}); averages over {readable(edges[1] - edges[0])}")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:,g}")
    canvas.finish(ax, title)
    canvas.legend(ax, line=line)


def bin_width_of(result: Result) -> float:
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
    return f"{_throughput_title(result)}; {_backlog_title(result)}"


def _throughput_title(result: Result) -> str:
    done = result.summary().throughput
    per, name = canvas.rate_unit(done if done > 0 else 1.0)
    return f"{done * per:.3g} jobs completed per {name}"


def _backlog_title(result: Result) -> str:
    summary = result.summary()
    if not summary.backlog_max:
        return "no backlog"
    return f"a backlog of up to {counted(summary.backlog_max, 'job')} at {readable(summary.backlog_max_at)}"
