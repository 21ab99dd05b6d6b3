"""Estimates of several runs: the value of each run, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.fault_kinds import BLUE, GREY, RED
from queuesim.results.levels import Array
from queuesim.results.plots import style
from queuesim.results.plots.comparison import axis_unit, cell_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 1.15
"""Inches of a panel."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of an experiment, as it is drawn."""

    name: str
    unit: str
    values: Array
    """One a run."""
    mean: float
    low: float
    high: float
    """NaN: there is no interval."""
    limits: tuple[float, ...] = ()
    """Of thresholds."""


def draw_intervals(drawn: Sequence[Drawn], confidence: str, word: str, figure: Figure | None = None) -> Figure:
    """Draw figures below each other, each with an axis of its own: dots for the runs, a bar for the interval."""
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(style.SIZE[0], 0.6 + HEIGHT * max(len(drawn), 1)), layout="constrained")
    panels = figure.subplots(max(len(drawn), 1), 1, squeeze=False)[:, 0]
    if not drawn:
        style.nothing(panels[0], "nothing was measured")
    for ax, each in zip(panels, drawn, strict=False):
        highest = float(np.abs(each.values).max()) if len(each.values) else 0.0
        size, unit = axis_unit(each.unit, highest)
        # the heights are no data: they only keep dots apart, always in the same way
        heights = np.random.default_rng(0).uniform(-0.7, 0.7, len(each.values))
        ax.plot(each.values / size, heights, "o", color=GREY, markersize=3.5, alpha=0.7)
        if each.low == each.low:
            ax.plot([each.low / size, each.high / size], [0, 0], color=BLUE, linewidth=5, solid_capstyle="butt")
        ax.plot([each.mean / size], [0], "o", color="black", markersize=5, zorder=4)
        for limit in each.limits:
            ax.axvline(limit / size, color=RED, linestyle="--", linewidth=1.2)
        ax.set_ylim(-1, 1)
        ax.set_yticks([])
        style.finish(ax, f"{each.name.replace('.', ' ')}{f' ({unit})' if unit else ''}: {_said(each)}")
        ax.spines["left"].set_visible(False)
    panels[-1].set_xlabel(f"dots: {word}; bars: {confidence} intervals; dashes: thresholds")
    style.literal(figure)
    return figure


def _said(each: Drawn) -> str:
    mean = cell_text(each.name, each.mean)
    if each.low != each.low:
        return f"{mean}, no interval"
    return f"{mean}, from {cell_text(each.name, each.low)} to {cell_text(each.name, each.high)}"
