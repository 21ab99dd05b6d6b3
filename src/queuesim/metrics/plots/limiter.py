"""Limiter windows: how far each was used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.level import Array
from queuesim.metrics.plots import canvas
from queuesim.metrics.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result


def limiter_windows(result: Result, ax: Axes | None) -> Axes:
    """See `Plots.limiter_windows`."""
    ax = canvas.axes(ax)
    windows, facts = result.limiter, result.facts
    if not len(windows):
        return canvas.nothing(ax, "no limiter" if facts.limiter is None else "no limiter window was opened")
    unit, name = canvas.time_unit(facts.duration)
    opened = windows["opened"].to_numpy()
    closes = np.minimum(windows["closes"].to_numpy(), facts.duration)
    starts, allowed = windows["starts"].to_numpy(), windows["max"].to_numpy()
    full = starts >= allowed
    for chosen, color, label in ((~full, canvas.BLUE, "starts left over"), (full, canvas.RED, "used up")):
        if chosen.any():
            times, heights = _outline(opened[chosen], closes[chosen], starts[chosen])
            ax.fill_between(times / unit, heights, color=color, alpha=0.75, linewidth=0, label=label)
    times, heights = _outline(opened, closes, allowed)
    heights[heights == 0] = np.nan
    ax.plot(times / unit, heights, color="black", linewidth=1.4, label="allowed")
    canvas.time_axis(ax, result, unit, f"time since the start ({name}); gaps: no window was open")
    ax.set_ylim(0, max(int(starts.max()), int(allowed.max())) * 1.25)
    ax.set_ylabel("starts in a window")
    canvas.legend(ax)
    canvas.finish(ax, _title(result))
    return ax


def _title(result: Result) -> str:
    """The numbers of the summary: windows that opened in the warm-up are drawn, and not counted."""
    use = result.summary().limiter
    if use is None:
        return "limiter windows"
    told = f"{use.full:,} of {counted(use.windows, 'limiter window')} were used up"
    return f"{told}: nothing could start for {readable(use.time_limited)}" if use.time_limited else told


def _outline(opened: Array, closes: Array, heights: Array) -> tuple[Array, Array]:
    """Corners of boxes side by side, down to zero at both ends of each: one path instead of thousands."""
    corners = np.column_stack((opened, opened, closes, closes)).ravel()
    zero = np.zeros(len(heights))
    return corners, np.column_stack((zero, heights, heights, zero)).ravel()
