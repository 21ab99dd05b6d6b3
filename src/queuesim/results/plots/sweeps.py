"""A sweep: figures over one axis, as lines with their intervals, or over two, as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from queuesim.extras import need
from queuesim.results.fault_kinds import BLUE
from queuesim.results.plots import style
from queuesim.results.plots.comparison import axis_unit, cell_text, heat_map

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (4.6, 3.2)
"""Inches of a panel."""
COLUMNS = 2
"""Panels beside each other."""


def draw_sweep(frame: pd.DataFrame, moving: Sequence[str], figures: Sequence[str], figure: Figure | None) -> Figure:
    """Draw a panel for each figure.

    Args:
        frame: over one axis, a sweep's intervals; over two, its runs.
        moving: the one or two axes.
    """
    need("matplotlib", "plot", "plots")
    columns = min(COLUMNS, len(figures))
    rows = -(-len(figures) // columns)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, name in zip(panels, figures, strict=False):
        if len(moving) == 2:
            heat_map(frame, moving[0], moving[1], name, ax)
        else:
            line(frame, moving[0], name, ax)
    for ax in panels[len(figures) :]:
        ax.set_axis_off()
    style.literal(figure)
    return figure


def line(frame: pd.DataFrame, x: str, name: str, ax: Axes) -> Axes:
    """Draw the means of a figure over an axis, with their intervals as bars. Numbers have their places, other values
    are beside each other."""
    metric, _, statistic = name.partition(".")
    rows = frame[(frame["metric"] == metric) & (frame["statistic"] == statistic)]
    values = rows[x].tolist()
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    places = np.array(values, dtype=np.float64) if numbers else np.arange(len(values), dtype=np.float64)
    means, halves = (rows[column].to_numpy(dtype=np.float64) for column in ("mean", "half_width"))
    known = np.isfinite(means)
    if not known.any():
        return style.nothing(ax, f"{name} was not measured in any run")
    size, unit = axis_unit(str(rows["unit"].iloc[0]), float(np.nanmax(means)))
    ax.errorbar(
        places[known], means[known] / size, yerr=np.nan_to_num(halves[known]) / size,
        marker="o", markersize=4, color=BLUE, linewidth=1.6, capsize=3,
    )  # fmt: skip
    if not numbers:
        ax.set_xticks(places, [style.short(str(value), 16) for value in values])
    elif all(value == int(value) for value in values):
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=min(0.0, float(ax.get_ylim()[0])))
    ax.set_xlabel(x)
    ax.set_ylabel(f"{name.replace('.', ' ')}{f' ({unit})' if unit else ''}")
    low, high = (cell_text(name, float(bound)) for bound in (np.nanmin(means), np.nanmax(means)))
    style.finish(ax, f"{name}: from {low} to {high}")
    return ax
