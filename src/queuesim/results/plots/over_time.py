"""Plots over the time of a run: throughput, backlog, latency, limiter windows, and batches that are worked off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.analysis import drained_at, find_batches
from queuesim.results.fault_kinds import BLUE, GREY, ORANGE, RED, SKY
from queuesim.results.levels import Array, bin_width
from queuesim.results.levels import backlog as backlog_of
from queuesim.results.plots import style
from queuesim.results.summary import Run
from queuesim.results.timeline import bin_edges, percentiles_in_bins, timeline
from queuesim.text import counted, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COUNTS = ("added", "started", "completed", "failed", "retried")
"""The timeline's columns that are counts."""
PERCENTS = ((50.0, "-", 2.0), (95.0, "--", 1.4), (99.0, ":", 1.0))
"""Percentiles of the latency that are drawn, each with the style and width of its line."""


def backlog_and_throughput(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog_and_throughput`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
    bins, edges = _bins(result, every)
    ax.set_axis_off()
    rates, levels = ax.inset_axes((0, 0.52, 1, 0.48)), ax.inset_axes((0, 0, 1, 0.42))
    rates.sharex(levels)
    titles = _rates(rates, result, bins, edges), _levels(levels, result, bins, edges)
    for panel in (rates, levels):
        style.finish(panel)
        panel.yaxis.set_label_coords(-0.1, 0.5)
    rates.tick_params(labelbottom=False)
    rates.set_xlabel("")
    style.title(ax, "; ".join(titles))
    return ax


def throughput(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.throughput`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
    style.finish(ax, _rates(ax, result, *_bins(result, every)))
    return ax


def backlog(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.backlog`."""
    ax = style.axes(ax)
    if not something(result):
        return style.nothing(ax, "no job was added")
    style.finish(ax, _levels(ax, result, *_bins(result, every)))
    return ax


def something(result: Run) -> bool:
    """Whether there is anything to draw over time."""
    return bool(len(result.jobs)) and result.facts.duration > 0


def _bins(result: Run, every: str | float | None) -> tuple[pd.DataFrame, Array]:
    return whole_bins(result, bin_width_of(result) if every is None else every)


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


def bin_width_of(result: Run) -> float:
    """Narrow bins for many jobs, wide ones for few: rates of a job or two a bin would be noise."""
    return bin_width(result.facts.duration, most=min(150, max(20, len(result.jobs) // 10)))


def _rates(ax: Axes, result: Run, bins: pd.DataFrame, edges: Array) -> str:
    """Draw what came and what was completed. Returns the title."""
    limiter, done = result.facts.limiter, result.summary().throughput
    added, completed = (bins[column].to_numpy() / np.diff(edges) for column in ("added", "completed"))
    top = max(style.top_of(added), style.top_of(completed))
    # the title and the axis have one unit, in which the usual rate is a number of one or more
    per, name = style.rate_unit(done if done > 0 else top)
    label, rate = "", 0.0
    if limiter is not None:
        rate = limiter[0] / limiter[1]
        label = f"limiter: {rate * per:,.3g}\n({limiter[0]:,}/{readable(limiter[1])})"
        shown = rate <= 4 * top
        top, label = (max(top, rate), label) if shown else (top, f"{label}\n(far above)")
    unit = style.time_axis(ax, [result], top * per, f"averages over {readable(edges[1] - edges[0])}")
    ax.stairs(added * per, edges / unit, fill=True, color=SKY, alpha=0.45, label="added")
    ax.stairs(completed * per, edges / unit, color=BLUE, linewidth=1.4, baseline=None, label="completed")
    ends = [(added[-1] * per, "added", SKY), (completed[-1] * per, "completed", BLUE)]
    if limiter is not None:
        if shown:
            ax.axhline(rate * per, color=RED, linestyle="--", linewidth=1.4, label=label)
        ends.append((min(rate * per, ax.get_ylim()[1]), label, RED))
    highest = int(added.argmax())
    if added[highest] > 1.5 * max(completed.max(), rate):
        text = f"{added[highest] * per:,.3g} added per {name}"
        style.mark_peak(ax, (edges[highest] + edges[highest + 1]) / 2 / unit, added[highest] * per, text)
    style.end_labels(ax, ends)
    ax.set_ylabel(f"jobs per {name}")
    return f"{done * per:,.3g} jobs were completed per {name}"


def _levels(ax: Axes, result: Run, bins: pd.DataFrame, edges: Array) -> str:
    """Draw how many jobs waited: the average of each bin, and its highest. Returns the title."""
    summary, facts, level = result.summary(), result.facts, backlog_of(result)
    means, delayed, highest = bins["backlog"].to_numpy(), bins["delayed"].to_numpy(), level.highest(edges)
    top = max(style.top_of(highest, facts.concurrency), style.top_of(delayed, facts.concurrency), 0.1)
    unit = style.time_axis(
        ax, [result], top, f"filled: averages over {readable(edges[1] - edges[0])}, line: the highest"
    )
    ax.stairs(means, edges / unit, fill=True, color=ORANGE, alpha=0.4, label="backlog (ready, not started)")
    ax.stairs(highest, edges / unit, color=ORANGE, linewidth=1.2, baseline=None, label="highest")
    ends = [(float(highest[-1]), "ready to\nstart", ORANGE)]
    if delayed.any():
        ax.stairs(delayed, edges / unit, color=GREY, linewidth=1.0, baseline=None, label="delayed or in backoff")
        ends.append((float(delayed[-1]), "delayed or\nin backoff", GREY))
    style.end_labels(ax, ends)
    ax.set_ylabel("jobs that wait")
    if not summary.backlog_max:
        return "no backlog"
    at = summary.backlog_max_at
    style.mark_peak(ax, at / unit, summary.backlog_max, f"{summary.backlog_max:,}")
    drained = drained_at(level, at, facts.duration) - at
    then = f"gone {readable(drained)} later" if drained == drained else "not gone at the end"
    return f"a backlog of up to {counted(summary.backlog_max, 'job')} at {readable(at)}, {then}"


def latency_over_time(result: Run, ax: Axes | None, every: str | float | None) -> Axes:
    """See `Plots.latency_over_time`."""
    ax = style.axes(ax)
    jobs = result.jobs
    if not (something(result) and jobs["finished"].notna().any()):
        return style.nothing(ax, "no job finished")
    edges = bin_edges(result.facts.duration, bin_width_of(result) if every is None else every)
    percents = tuple(percent for percent, _, _ in PERCENTS)
    found = percentiles_in_bins(edges, jobs["finished"].to_numpy(), jobs["latency"].to_numpy(), percents)
    top = style.top_of(found[-1])
    per, name = style.duration_unit(top)
    note = f"jobs finished in each {readable(float(edges[1] - edges[0]))}"
    unit = style.time_axis(ax, [result], top / per, note)
    moments, ends = edges / unit, []
    curves = [np.append(values, values[-1:]) / per for values in found]
    for low, high, alpha in ((curves[0], curves[1], 0.22), (curves[1], curves[2], 0.1)):
        ax.fill_between(moments, low, high, step="post", color=BLUE, alpha=alpha, linewidth=0)
    for values, (percent, line, width) in zip(curves, PERCENTS, strict=True):
        ax.step(moments, values, line, where="post", color=BLUE, linewidth=width, label=f"p{percent:g}")
        last = values[np.isfinite(values)][-1]
        ends.append((min(float(last), ax.get_ylim()[1]), f"p{percent:g}", BLUE))
    style.end_labels(ax, ends)
    ax.set_ylabel(f"latency ({name})")
    worst = int(np.nanargmax(found[1]))
    highest = readable(float(found[1][worst]))
    style.mark_peak(ax, (edges[worst] + edges[worst + 1]) / 2 / unit, float(found[1][worst]) / per, highest)
    style.finish(ax, f"latency p95 peaked at {highest}{style.whole_run(result)}")
    return ax


def limiter_windows(result: Run, ax: Axes | None) -> Axes:
    """See `Plots.limiter_windows`."""
    ax = style.axes(ax)
    windows, facts = result.limiter, result.facts
    if not len(windows):
        return style.nothing(ax, "no limiter" if facts.limiter is None else "no limiter window was opened")
    opened = windows["opened"].to_numpy()
    closes = np.minimum(windows["closes"].to_numpy(), facts.duration)
    starts, allowed = windows["starts"].to_numpy(), windows["max"].to_numpy()
    full = starts >= allowed
    top = max(int(starts.max()), int(allowed.max()))
    unit = style.time_axis(ax, [result], top, "gaps: no window was open")
    ends = [(float(allowed[-1]), f"allowed: {allowed[-1]:,}", "#000000")]
    for chosen, color, alpha, label in (
        (~full, BLUE, 0.3, "starts left over"),
        (full, RED, 0.4, "used up"),
    ):
        if chosen.any():
            times, heights = _outline(opened[chosen], closes[chosen], starts[chosen])
            ax.fill_between(times / unit, heights, color=color, alpha=alpha, linewidth=0, label=label)
            ends.append(((0.75 if label == "used up" else 0.3) * top, label.replace(" left", "\nleft"), color))
    times, heights = _outline(opened, closes, allowed)
    heights[heights == 0] = np.nan
    ax.plot(times / unit, heights, color="black", linewidth=1.2, label="allowed")
    style.end_labels(ax, ends)
    ax.set_ylabel("starts in a window")
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
    duration = result.facts.duration
    unit = style.time_axis(
        ax, [result], max(int(batch.own.sum()) for batch in batches) * 1.1, "a dot: the batch is done"
    )
    slowest, undrained, named, origin = (0.0, 0.0), 0, 0.0, ""
    for number, batch in enumerate(batches):
        finished = np.sort(result.jobs["finished"].to_numpy()[batch.own])
        done = finished[~np.isnan(finished)]
        count = len(finished)
        drained = len(done) == count
        until = float(done[-1]) if drained else duration
        slowest, undrained = max(slowest, (until - batch.began, until)), undrained + (not drained)
        color, line = (
            style.CURVES[number % len(style.CURVES)],
            style.LINES[number // len(style.CURVES) % len(style.LINES)],
        )
        moments = np.concatenate(([batch.began], done, [until])) / unit
        remaining = np.concatenate(([count], count - np.arange(1, len(done) + 1), [count - len(done)]))
        ax.step(moments, remaining, line, where="post", color=color, linewidth=1.6)
        ax.fill_between(moments, remaining, step="post", color=color, alpha=0.12, linewidth=0)
        if drained:
            ax.plot([until / unit], [0], "o", color=color, markersize=5, clip_on=False, zorder=3)
        # who sent it is said once, of batches that have the same origin
        text = f"{count:,}" if batch.origin == origin else f"{style.short(batch.origin)}: {counted(count, 'job')}"
        length = 0.075 * len(text) / style.inches(ax)[0] * duration
        first = min(batch.began, duration - length)
        if first >= named:
            ax.annotate(
                text,
                (first / unit, count),
                (0, 3),
                textcoords="offset points",
                fontsize="small",
                color=style.darker(color),
            )
            named, origin = first + length, batch.origin
    ax.set_ylabel("jobs of the batch that are not done")
    text = "the batch" if len(batches) == 1 else f"the slowest of {counted(len(batches), 'batch')}"
    text = f"{text} took {readable(slowest[0])}"
    if undrained:
        text = f"{undrained} of {counted(len(batches), 'batch')} were not done at the end"
    elif len(batches) > 1:
        style.mark_peak(ax, slowest[1] / unit, 0, readable(slowest[0]))
    style.finish(ax, f"{text}{style.whole_run(result)}")
    return ax
