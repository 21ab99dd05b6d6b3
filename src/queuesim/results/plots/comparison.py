"""Runs beside each other: one quantity of several runs over time, and a measurement of a sweep over two axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from queuesim.results.metrics import METRICS
from queuesim.results.plots import style
from queuesim.results.plots.over_time import bin_width_of, whole_bins
from queuesim.results.summary import Run
from queuesim.text import brief, measured, percent, rate, readable
from queuesim.units import parse_duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AS_TEXT = {"s": brief, "share": percent, "1/s": rate}
"""By the unit of a metric."""
LOGARITHMIC = 10.0
"""A heat map has a logarithmic scale where its values, other than shares, span more than this factor."""


def overlay(
    runs: Mapping[str, Run],
    what: str = "backlog",
    ax: Axes | None = None,
    every: str | float | None = None,
) -> Axes:
    """Draw a column of the timeline of several results, each by its name, into `ax` or a new pyplot figure.

    Args:
        what: any column of `Result.timeline`: backlog, throughput, latency_p95, utilisation, ...
        every: width of the bins; without it about 150 are made of the longest run.

    Raises:
        ValueError: there is no such column.
        MissingExtraError: matplotlib is not installed.
    """
    ax = style.axes(ax)
    drawn = {name: result for name, result in runs.items() if result.facts.duration > 0}
    if not drawn:
        return style.nothing(ax, "no run to draw")
    longest = max(drawn.values(), key=lambda result: result.facts.duration)
    width = bin_width_of(longest) if every is None else every
    curves = {}
    for name, result in drawn.items():
        bins, edges = whole_bins(result, width)
        if what not in bins:
            raise ValueError(f"the timeline has no column {what!r}; there are {', '.join(bins.columns)}")
        curves[name] = edges, bins[what].to_numpy(dtype=np.float64)
    tops = {
        name: float(np.nanmax(values)) if np.isfinite(values).any() else 0.0 for name, (_, values) in curves.items()
    }
    named, quantity = what.replace("_", " "), METRICS.get(what.partition("_")[0])
    metric_unit = quantity.unit if quantity else ""
    size, unit_name = axis_unit(metric_unit, max(tops.values()))
    seconds = parse_duration(width) if isinstance(width, str) else width
    unit = style.time_axis(ax, list(drawn.values()), max(tops.values()) / size, f"bins of {readable(seconds)}")
    lines = zip(itertools.cycle(style.CURVES), itertools.cycle(style.LINES), strict=False)
    for (name, (edges, values)), (color, line) in zip(curves.items(), lines, strict=False):
        heights = np.append(values, values[-1:]) / size
        label = f"{style.short(name, 50)}: highest {measured(tops[name], metric_unit)}"
        ax.step(edges / unit, heights, line, where="post", color=color, linewidth=1.6, label=label)
    ax.set_ylabel(f"{named} ({unit_name})" if unit_name else named)
    style.legend_below(ax, ax.lines)
    most = max(tops, key=tops.__getitem__)
    highest = f"{measured(tops[most], metric_unit)} of {style.short(most)}"
    style.finish(ax, f"{named}: the highest is {highest}{style.whole_run(*drawn.values())}")
    style.literal(cast("Figure", ax.figure))
    return ax


def axis_unit(unit: str, highest: float) -> tuple[float, str]:
    """By what the values of an axis are divided, and the name of its unit."""
    if unit == "s":
        return style.duration_unit(highest)
    if unit == "1/s":
        per, name = style.rate_unit(highest or 1.0)
        return 1 / per, f"per {name}"
    return (0.01, "%") if unit == "share" else (1.0, unit)


def heat_map(frame: pd.DataFrame, x: str, y: str, value: str, ax: Axes | None = None) -> Axes:
    """Draw a column of a sweep's frame over two of its axes; several runs of one combination are averaged.

    Dark is high, and each cell has its number. Without `ax` in a new pyplot figure. Returns the axes. The scale is
    logarithmic where values span more than a factor of ten, shares excepted.

    Raises:
        ValueError: the frame has no such column.
        MissingExtraError: matplotlib is not installed.
    """
    ax = style.axes(ax)
    for column in (x, y, value):
        if column not in frame:
            raise ValueError(f"the sweep has no column {column!r}; there are {', '.join(map(str, frame.columns))}")
    table = frame.pivot_table(index=y, columns=x, values=value, aggfunc="mean", dropna=False, sort=False)
    cells = table.to_numpy(dtype=np.float64)
    known = cells[np.isfinite(cells)]
    if not len(known):
        return style.nothing(ax, f"{value} was not measured in any run")
    scaled, low, high = _scaled(cells, known, value)
    ax.imshow(scaled, cmap="Blues", vmin=low, vmax=high + (high - low) / 3, aspect="auto", origin="lower")
    for row, column in np.ndindex(*cells.shape):
        dark = np.isfinite(scaled[row, column]) and scaled[row, column] > low + (high - low) * 0.8
        text = cell_text(value, float(cells[row, column]))
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize="medium")
    ax.set_xticks(range(len(table.columns)), [style.short(str(label)) for label in table.columns])
    ax.set_yticks(range(len(table.index)), [style.short(str(label)) for label in table.index])
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    note = "; the colours are logarithmic" if scaled is not cells else ""
    lowest, highest = (cell_text(value, float(bound)) for bound in (known.min(), known.max()))
    style.finish(ax, f"{value}: from {lowest} to {highest}{note}")
    ax.grid(False)
    style.literal(cast("Figure", ax.figure))
    return ax


def _scaled(cells: np.ndarray, known: np.ndarray, value: str) -> tuple[np.ndarray, float, float]:
    """What the colours show: the values, or their logarithms."""
    lowest, highest = float(known.min()), float(known.max())
    metric = METRICS.get(value.partition(".")[0])
    share = metric is not None and metric.unit == "share"
    positive = known[known > 0]
    if not share and lowest >= 0 and len(positive) and highest / positive.min() > LOGARITHMIC:
        # zero has no logarithm: it is shown as a third of the least value that has
        floor = float(positive.min()) / (1 if lowest > 0 else 3)
        return np.log(np.maximum(cells, floor)), math.log(floor), math.log(highest)
    return cells, lowest, highest if highest > lowest else lowest + 1.0


def cell_text(value: str, number: float) -> str:
    """A number as its metric is read."""
    if np.isnan(number):
        return "–"
    metric = METRICS.get(value.partition(".")[0])
    if metric is not None and metric.unit in AS_TEXT:
        return AS_TEXT[metric.unit](number)
    return f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"
