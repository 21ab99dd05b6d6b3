"""The heat map of a sweep: one measurement over two axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from queuesim.escaping import shown
from queuesim.metrics.metric import METRICS, Kind
from queuesim.metrics.plots import canvas
from queuesim.metrics.text import brief, percent, rate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def heat_map(frame: pd.DataFrame, x: str, y: str, value: str, ax: Axes | None = None) -> Axes:
    """Draw a column of a sweep's frame over two of its axes; several runs of one combination are averaged.

    Dark is high, and each cell has its number. The scale is logarithmic where the values span more than a factor of 30.
    Without `ax` in a new pyplot figure. Returns the axes.

    Raises:
        ValueError: the frame has no such column.
        MissingExtraError: matplotlib is not installed.
    """
    ax = canvas.axes(ax)
    for column in (x, y, value):
        if column not in frame:
            raise ValueError(f"the sweep has no column {column!r}; there are {', '.join(map(str, frame.columns))}")
    table = frame.pivot_table(index=y, columns=x, values=value, aggfunc="mean", dropna=False, sort=False)
    cells = table.to_numpy(dtype=np.float64)
    known = cells[np.isfinite(cells)]
    if not len(known):
        return canvas.nothing(ax, f"{value} was not measured in any run")
    scaled, low, high = _scaled(cells, known)
    image = ax.imshow(scaled, cmap="cividis_r", vmin=low, vmax=high, aspect="auto", origin="lower")
    for row, column in np.ndindex(*cells.shape):
        dark = np.isfinite(scaled[row, column]) and scaled[row, column] > (low + high) / 2
        text = _text(value, float(cells[row, column]))
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize="small")
    ax.set_xticks(range(len(table.columns)), [shown(str(label)) for label in table.columns])
    ax.set_yticks(range(len(table.index)), [shown(str(label)) for label in table.index])
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    image.set_clim(low, high)
    canvas.finish(ax, f"{value}, from {_text(value, float(known.min()))} to {_text(value, float(known.max()))}")
    ax.grid(False)
    canvas.literal(cast("Figure", ax.figure))
    return ax


def _scaled(cells: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float, float]:
    """What the colours show: the values, or their logarithms."""
    lowest, highest = float(known.min()), float(known.max())
    if lowest > 0 and highest / lowest > 30:
        return np.log(cells), float(np.log(lowest)), float(np.log(highest))
    return cells, lowest, highest if highest > lowest else lowest + 1.0


def _text(value: str, number: float) -> str:
    """A number as its metric is read."""
    metric = value.partition(".")[0]
    if np.isnan(number):
        return "–"
    if METRICS.get(metric) is Kind.SPREAD:
        return brief(number)
    if metric in ("utilisation", "success_rate"):
        return percent(number)
    return rate(number) if metric == "throughput" else f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"
