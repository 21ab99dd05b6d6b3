"""Batches: how the jobs of each overdue scan, or of any other batch, were worked off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.analysis.batches import find_batches
from queuesim.metrics.plots import canvas
from queuesim.metrics.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

COLORS = (canvas.BLUE, canvas.ORANGE, canvas.GREEN, canvas.RED, canvas.PINK, canvas.SKY)
STYLES = ("-", "--", "-.", ":")
NAMED = 12
"""Batches with an entry in the legend."""


def overdue_batches(result: Result, ax: Axes | None, least: int) -> Axes:
    """See `Plots.overdue_batches`."""
    ax = canvas.axes(ax)
    batches = [batch for batch in find_batches(result, least) if batch.own.any()]
    if not batches:
        return canvas.nothing(ax, "no scan enqueued anything" if len(result.overdue) else "no batch of jobs came")
    unit, name = canvas.time_unit(result.facts.duration)
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
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        moments = np.concatenate(([batch.began], done, [until])) / unit
        remaining = np.concatenate(([count], count - np.arange(1, len(done) + 1), [count - len(done)]))
        label = f"{batch.origin} at {readable(batch.began)}: {counted(count, 'job')}" if number < NAMED else None
        ax.step(moments, remaining, style, where="post", color=color, linewidth=1.6, label=label)
        ax.fill_between(moments, remaining, step="post", color=color, alpha=0.15, linewidth=0)
        if drained:
            ax.plot([until / unit], [0], "o", color=color, markersize=6, clip_on=False, zorder=3)
    canvas.time_axis(ax, result, unit, f"time since the start ({name}); a dot: the batch is done")
    ax.set_ylim(0, largest * 1.15)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel("jobs of the batch that are not done")
    told = f"the slowest of {counted(len(batches), 'batch').replace('batchs', 'batches')} took {readable(slowest)}"
    told = f"{undrained} of {len(batches)} were not done at the end" if undrained else told
    canvas.finish(ax, f"{told}{canvas.whole_run(result)}")
    canvas.legend(ax, "upper right", columns=2)
    return ax
