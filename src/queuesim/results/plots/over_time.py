"""Plots over the time of a run: throughput, backlog, latency, limiter windows, and batches that are worked off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.analysis import find_batches
from queuesim.results.levels import Array, bin_width
from queuesim.results.plots import style
from queuesim.results.summary import Run
from queuesim.results.timeline import bin_edges, percentiles_in_bins, timeline
from queuesim.text import counted, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COUNTS = ("added", "started", "completed", "failed", "retried")
"""The timeline's columns that are counts."""
PERCENTS = (50.0, 95.0, 99.0)
COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PINK, style.SKY)
STYLES = ("-", "--", "-.", ":")
NAMED = 12
"""Batches with an entry in the legend."""


def backlog_and_throughput(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog_and_throughput`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
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
    style.title(ax, _title(result))
    return ax


def throughput(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.throughput`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
    bins, edges, unit = _bins(result, every)
    _rates(ax, result, bins, edges, unit)
    _dress(ax, result, edges, unit, _throughput_title(result))
    return ax


def backlog(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
    bins, edges, unit = _bins(result, every)
    _levels(ax, bins, edges, unit)
    _dress(ax, result, edges, unit, _backlog_title(result))
    return ax


def something(result: Run) -> bool:
    """Whether there is anything to draw over time."""
    return bool(len(result.jobs)) and result.facts.duration > 0


def _bins(result: Run, every: str | float | None) -> tuple[pd.DataFrame, Array, float]:
    """The timeline, its edges in seconds, and the unit of the axis in seconds."""
    return *whole_bins(result, bin_width_of(result) if every is None else every), _unit(result)


def whole_bins(result: Run, every: str | float) -> tuple[pd.DataFrame, Array]:
    """The timeline, and its edges in seconds. A last bin of less than half a width, in which a rate would be noise, is
    part of the one before."""
    bins = timeline(result, every)
    edges = np.append(bins.index.to_numpy(), result.facts.duration)
    if len(bins) < 2 or edges[-1] - edges[-2] >= (edges[1] - edges[0]) / 2:
        return bins, edges
    rest, bins, edges = bins.iloc[-1], bins.iloc[:-1].copy(), np.delete(edges, -2)
    for count in COUNTS:
        bins.loc[bins.index[-1], count] += int(rest[count])
    bins["throughput"] = bins["completed"] / np.diff(edges)
    return bins, edges


def _unit(result: Run) -> float:
    return style.time_unit(result.facts.duration)[0]


def _dress(ax: Axes, result: Run, edges: Array, unit: float, title: str = "", line: float = 0.06) -> None:
    name = style.time_unit(result.facts.duration)[1]
    style.time_axis(ax, result, unit, f"time since the start ({name}); averages over {readable(edges[1] - edges[0])}")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:,g}")
    style.finish(ax, title)
    style.legend(ax, line=line)


def bin_width_of(result: Run) -> float:
    """Narrow bins for many jobs, wide ones for few: rates of a job or two a bin would be noise."""
    return bin_width(result.facts.duration, most=min(150, max(20, len(result.jobs) // 10)))


def _rates(ax: Axes, result: Run, bins: pd.DataFrame, edges: Array, unit: float) -> None:
    limiter = result.facts.limiter
    offered, done = (bins[column].to_numpy() / np.diff(edges) for column in ("added", "completed"))
    per, name = style.rate_unit(float(max(offered.max(), done.max())))
    ax.stairs(offered * per, edges / unit, fill=True, color=style.SKY, alpha=0.45, label="added")
    ax.stairs(done * per, edges / unit, color=style.BLUE, linewidth=1.4, baseline=None, label="completed")
    highest = max(offered.max(), done.max()) * per
    if limiter is not None:
        rate = limiter[0] / limiter[1] * per
        label = f"limiter: {limiter[0]} per {readable(limiter[1])}"
        if rate <= 4 * highest:
            ax.axhline(rate, color=style.RED, linestyle="--", linewidth=1.4, label=label)
            highest = max(highest, rate)
        else:
            ax.plot([], [], color=style.RED, linestyle="--", label=f"{label} (far above)")
    ax.set_ylim(0, highest * 1.35)
    ax.set_ylabel(f"jobs per {name}")


def _levels(ax: Axes, bins: pd.DataFrame, edges: Array, unit: float) -> None:
    backlog, delayed = bins["backlog"].to_numpy(), bins["delayed"].to_numpy()
    ax.stairs(backlog, edges / unit, fill=True, color=style.ORANGE, alpha=0.6, label="backlog (ready, not started)")
    if delayed.any():
        ax.stairs(delayed, edges / unit, color=style.GREY, linewidth=1.0, baseline=None, label="delayed or in backoff")
    ax.set_ylim(0, max(float(backlog.max()), float(delayed.max()), 0.1) * 1.35)
    ax.set_ylabel("jobs")


def _title(result: Run) -> str:
    return f"{_throughput_title(result)}; {_backlog_title(result)}"


def _throughput_title(result: Run) -> str:
    done = result.summary().throughput
    per, name = style.rate_unit(done if done > 0 else 1.0)
    return f"{done * per:.3g} jobs completed per {name}"


def _backlog_title(result: Run) -> str:
    summary = result.summary()
    if not summary.backlog_max:
        return "no backlog"
    return f"a backlog of up to {counted(summary.backlog_max, 'job')} at {readable(summary.backlog_max_at)}"


def latency_over_time(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.latency_over_time`."""
    ax = style.axes(ax)
    jobs = result.jobs
    if not (something(result) and jobs["finished"].notna().any()):
        return style.nothing(ax, "no job finished")
    unit, name = style.time_unit(result.facts.duration)
    edges = bin_edges(result.facts.duration, bin_width_of(result) if every is None else every)
    p50, p95, p99 = percentiles_in_bins(edges, jobs["finished"].to_numpy(), jobs["latency"].to_numpy(), PERCENTS)
    shown = np.concatenate((p50, p99))
    shown = shown[np.isfinite(shown)]
    per, label = style.duration_unit(float(shown.max()))
    for low, high, alpha in ((p50, p95, 0.32), (p95, p99, 0.16)):
        ax.fill_between(
            edges / unit,
            _steps(low) / per,
            _steps(high) / per,
            step="post",
            color=style.BLUE,
            alpha=alpha,
            linewidth=0,
        )
    for values, percent, width in ((p50, 50, 2.0), (p95, 95, 1.4), (p99, 99, 0.8)):
        line = {50: "-", 95: "--", 99: ":"}[percent]
        ax.step(
            edges / unit,
            _steps(values) / per,
            line,
            where="post",
            color=style.BLUE,
            linewidth=width,
            label=f"p{percent}",
        )
    style.time_axis(
        ax, result, unit, f"when jobs finished ({name}); percentiles over {readable(float(edges[1] - edges[0]))}"
    )
    ax.set_ylim(0, float(shown.max()) / per * 1.25 or 1.0)
    ax.set_ylabel(f"latency ({label})")
    worst = float(np.nanmax(p95))
    style.finish(ax, f"highest p95 of a bin: {readable(worst)}{style.whole_run(result)}")
    style.legend(ax, columns=5)
    return ax


def _steps(values: np.ndarray) -> np.ndarray:
    """The values of bins at their edges: the last one holds until its end."""
    return np.append(values, values[-1:])


def limiter_windows(result: Run, ax: Axes | None) -> Axes:
    """See `Plots.limiter_windows`."""
    ax = style.axes(ax)
    windows, facts = result.limiter, result.facts
    if not len(windows):
        return style.nothing(ax, "no limiter" if facts.limiter is None else "no limiter window was opened")
    unit, name = style.time_unit(facts.duration)
    opened = windows["opened"].to_numpy()
    closes = np.minimum(windows["closes"].to_numpy(), facts.duration)
    starts, allowed = windows["starts"].to_numpy(), windows["max"].to_numpy()
    full = starts >= allowed
    for chosen, color, label in ((~full, style.BLUE, "starts left over"), (full, style.RED, "used up")):
        if chosen.any():
            times, heights = _outline(opened[chosen], closes[chosen], starts[chosen])
            ax.fill_between(times / unit, heights, color=color, alpha=0.75, linewidth=0, label=label)
    times, heights = _outline(opened, closes, allowed)
    heights[heights == 0] = np.nan
    ax.plot(times / unit, heights, color="black", linewidth=1.4, label="allowed")
    style.time_axis(ax, result, unit, f"time since the start ({name}); gaps: no window was open")
    ax.set_ylim(0, max(int(starts.max()), int(allowed.max())) * 1.25)
    ax.set_ylabel("starts in a window")
    style.legend(ax)
    style.finish(ax, _limiter_title(result))
    return ax


def _limiter_title(result: Run) -> str:
    """The numbers of the summary: windows that opened in the warm-up are drawn, and not counted."""
    use = result.summary().limiter
    if use is None:
        return "limiter windows"
    text = f"{use.full:,} of {counted(use.windows, 'limiter window')} were used up"
    return f"{text}: nothing could start for {readable(use.time_limited)}" if use.time_limited else text


def _outline(opened: Array, closes: Array, heights: Array) -> tuple[Array, Array]:
    """Corners of boxes side by side, down to zero at both ends of each: one path instead of thousands."""
    corners = np.column_stack((opened, opened, closes, closes)).ravel()
    zero = np.zeros(len(heights))
    return corners, np.column_stack((zero, heights, heights, zero)).ravel()


def overdue_batches(result: Run, ax: Axes | None, least: int) -> Axes:
    """See `Plots.overdue_batches`."""
    ax = style.axes(ax)
    batches = [batch for batch in find_batches(result, least) if batch.own.any()]
    if not batches:
        return style.nothing(ax, "no scan enqueued anything" if len(result.overdue) else "no batch of jobs came")
    unit, name = style.time_unit(result.facts.duration)
    jobs = result.jobs
    slowest, undrained, largest = 0.0, 0, 0
    for number, batch in enumerate(batches):
        finished = np.sort(jobs["finished"].to_numpy()[batch.own])
        done = finished[~np.isnan(finished)]
        count = len(finished)
        largest = max(largest, count)
        drained = len(done) == count
        until = float(done[-1]) if drained else result.facts.duration
        slowest, undrained = max(slowest, until - batch.began), undrained + (not drained)
        color, line = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        moments = np.concatenate(([batch.began], done, [until])) / unit
        remaining = np.concatenate(([count], count - np.arange(1, len(done) + 1), [count - len(done)]))
        label = f"{batch.origin} at {readable(batch.began)}: {counted(count, 'job')}" if number < NAMED else None
        ax.step(moments, remaining, line, where="post", color=color, linewidth=1.6, label=label)
        ax.fill_between(moments, remaining, step="post", color=color, alpha=0.15, linewidth=0)
        if drained:
            ax.plot([until / unit], [0], "o", color=color, markersize=6, clip_on=False, zorder=3)
    style.time_axis(ax, result, unit, f"time since the start ({name}); a dot: the batch is done")
    ax.set_ylim(0, largest * 1.15)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel("jobs of the batch that are not done")
    text = f"the slowest of {counted(len(batches), 'batch').replace('batchs', 'batches')} took {readable(slowest)}"
    text = f"{undrained} of {len(batches)} were not done at the end" if undrained else text
    style.finish(ax, f"{text}{style.whole_run(result)}")
    style.legend(ax, "upper right", columns=2)
    return ax
