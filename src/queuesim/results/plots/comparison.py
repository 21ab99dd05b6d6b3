"""Runs beside each other: one quantity of several runs over time, and a measurement of a sweep over two axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from queuesim.results.metrics import METRICS
from queuesim.results.plots import style
from queuesim.results.plots.over_time import bin_width_of, whole_bins
from queuesim.results.summary import Run
from queuesim.text import brief, percent, rate, readable, shown
from queuesim.units import parse_duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = (
    (style.BLUE, "-"),
    (style.ORANGE, "--"),
    (style.GREEN, "-."),
    (style.RED, ":"),
    (style.PINK, "-"),
    (style.SKY, "--"),
)
"""Colour and style of each run: either is enough to tell two apart."""
LONGEST = 80
"""Characters of a title above axes of the usual size."""
AS_TEXT = {"s": brief, "share": percent, "1/s": rate}
"""By the unit of a metric."""


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
    unit, name = style.time_unit(longest.facts.duration)
    highest = []
    for (title, result), (color, line) in zip(drawn.items(), (LINES * len(drawn))[: len(drawn)], strict=True):
        bins, edges = whole_bins(result, width)
        if what not in bins:
            raise ValueError(f"the timeline has no column {what!r}; there are {', '.join(bins.columns)}")
        values = bins[what].to_numpy(dtype=np.float64)
        ax.step(
            edges / unit, np.append(values, values[-1:]), line, where="post", color=color, linewidth=1.6, label=title
        )
        highest.append(float(np.nanmax(values)) if np.isfinite(values).any() else np.nan)
    for result in drawn.values():
        style.shade(ax, result, unit)
    ax.set_xlim(0, longest.facts.duration / unit)
    tallest = max((top for top in highest if top == top), default=0.0)
    ax.set_ylim(0, tallest * 1.25 or 1.0)
    ax.set_xlabel(
        f"time since the start ({name}); bins of {readable(parse_duration(width) if isinstance(width, str) else width)}"
    )
    ax.set_ylabel(what.replace("_", " "))
    ax.yaxis.set_major_formatter("{x:,g}")
    tops = dict(zip(drawn, highest, strict=True))
    style.finish(ax, _title(what.replace("_", " "), tops, style.whole_run(*drawn.values())))
    style.legend(ax)
    style.literal(cast("Figure", ax.figure))
    return ax


def _title(what: str, highest: Mapping[str, float], scope: str) -> str:
    """The highest bin of each run; of many runs, or runs with long names, only of the highest one."""
    text = f"{what}, highest bin: {', '.join(f'{name} {top:,.4g}' for name, top in highest.items())}{scope}"
    known = {name: top for name, top in highest.items() if top == top}
    if len(text) <= LONGEST or not known:
        return text
    name = max(known, key=known.__getitem__)
    text = f"{what}, highest bin: {known[name]:,.4g} of {name}"
    # what a title has no room for is in the documentation
    return f"{text}{scope}" if len(text) + len(scope) <= LONGEST else text


def heat_map(frame: pd.DataFrame, x: str, y: str, value: str, ax: Axes | None = None) -> Axes:
    """Draw a column of a sweep's frame over two of its axes; several runs of one combination are averaged.

    Dark is high, and each cell has its number. The scale is logarithmic where the values span more than a factor of 30.
    Without `ax` in a new pyplot figure. Returns the axes.

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
    scaled, low, high = _scaled(cells, known)
    image = ax.imshow(scaled, cmap="cividis_r", vmin=low, vmax=high, aspect="auto", origin="lower")
    for row, column in np.ndindex(*cells.shape):
        dark = np.isfinite(scaled[row, column]) and scaled[row, column] > (low + high) / 2
        text = cell_text(value, float(cells[row, column]))
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize="small")
    ax.set_xticks(range(len(table.columns)), [shown(str(label)) for label in table.columns])
    ax.set_yticks(range(len(table.index)), [shown(str(label)) for label in table.index])
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    image.set_clim(low, high)
    style.finish(ax, f"{value}, from {cell_text(value, float(known.min()))} to {cell_text(value, float(known.max()))}")
    ax.grid(False)
    style.literal(cast("Figure", ax.figure))
    return ax


def _scaled(cells: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float, float]:
    """What the colours show: the values, or their logarithms."""
    lowest, highest = float(known.min()), float(known.max())
    if lowest > 0 and highest / lowest > 30:
        return np.log(cells), float(np.log(lowest)), float(np.log(highest))
    return cells, lowest, highest if highest > lowest else lowest + 1.0


def cell_text(value: str, number: float) -> str:
    """A number as its metric is read."""
    if np.isnan(number):
        return "–"
    metric = METRICS.get(value.partition(".")[0])
    if metric is not None and metric.unit in AS_TEXT:
        return AS_TEXT[metric.unit](number)
    return f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"
