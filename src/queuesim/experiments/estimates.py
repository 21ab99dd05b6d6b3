"""Estimates: the means of figures over runs, or over the batches of one run, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from queuesim.experiments.figures import parts_of, shown_value, unit_of
from queuesim.experiments.interval import Bounds, Interval, quantile_bounds, replications
from queuesim.extras import need
from queuesim.results.markup import html_table
from queuesim.text import listing, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

COLUMNS = ("metric", "statistic", "mean", "low", "high", "half_width", "replications", "unit")
"""Columns of the frame of estimates."""
DRAWN = ("latency.p95", "waiting.p95", "utilisation", "throughput", "backlog.max")
"""Figures that a picture has unless others are asked for, as far as they were measured."""


def in_percent(confidence: float) -> str:
    """A confidence as people read it: "95 %"."""
    return f"{confidence * 100:g} %"


class Estimates:
    """Values of figures, a row a run or a batch, and the mean of each with its interval.

    Args:
        values: a column a figure, by its name; NaN where there was nothing to measure.
        confidence: of the intervals.
        withheld: figures that get no interval, with the reason.

    Raises:
        ValueError: a confidence outside (0, 1).
    """

    word = "replications"
    """What a row of values is."""

    def __init__(self, values: pd.DataFrame, confidence: float, withheld: Mapping[str, str] | None = None) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be above 0 and below 1, not {confidence}")
        self.confidence = confidence
        self._values = values
        self._withheld = dict(withheld or {})
        self._frame: pd.DataFrame | None = None

    @property
    def names(self) -> list[str]:
        """The names of the figures."""
        return [str(name) for name in self._values.columns]

    @property
    def frame(self) -> pd.DataFrame:
        """A row a figure: metric, statistic ("" for a single number), mean, low, high, half_width, replications (that
        had something to measure), unit. Without an interval low, high and half_width are NaN."""
        if self._frame is None:
            rows = [self._row(name) for name in self.names]
            self._frame = pd.DataFrame(rows, columns=list(COLUMNS))
        return self._frame.copy()

    def _row(self, name: str) -> tuple[Any, ...]:
        found = self.interval(name)
        return (*parts_of(name), found.mean, found.low, found.high, found.half_width, found.samples, unit_of(name))

    def values(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values of a figure that are known, one a run. Raises ValueError if it was not measured."""
        if name not in self._values:
            raise ValueError(unknown("figure", name, self.names, "measured"))
        column = self._values[name].to_numpy(dtype=np.float64)
        known: np.ndarray[Any, np.dtype[np.float64]] = column[np.isfinite(column)]
        return known

    def interval(self, name: str) -> Interval:
        """The mean of a figure with its t-interval. Its half width is NaN if there is none: of a single value, and of a
        figure without a steady state.

        Raises:
            ValueError: the figure was not measured.
            MissingExtraError: scipy is not installed.
        """
        values = self.values(name)
        if len(values) < 2 or name in self._withheld:
            mean = float(values.mean()) if len(values) else math.nan
            return Interval(mean, math.nan, self.confidence, len(values))
        return replications(values, confidence=self.confidence)

    def quantile(self, name: str, probability: float) -> Bounds:
        """A quantile of a figure over runs, with bounds by the binomial rule: ``quantile("backlog.max", 0.9)`` is a
        backlog that nine of ten runs do not exceed. See `queuesim.experiments.interval.quantile_bounds`.

        Raises:
            ValueError: the figure was not measured, or a probability outside (0, 1).
            MissingExtraError: scipy is not installed.
        """
        return quantile_bounds(self.values(name), probability, confidence=self.confidence)

    # -- views

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For each figure that is not 0 in all runs: its name, mean, interval, and half width, as people read them."""
        shown = []
        for name in self.names:
            values, found = self.values(name), self.interval(name)
            if not len(values) or values.any():
                shown.append((name.replace(".", " "), *self._cells(name, found)))
        return shown

    def _cells(self, name: str, found: Interval) -> tuple[str, str, str]:
        if math.isnan(found.half_width):
            return shown_value(name, found.mean), "–", "–"
        low, high = shown_value(name, found.low), shown_value(name, found.high)
        relative = found.half_width / abs(found.mean) if found.mean else 0.0
        return shown_value(name, found.mean), f"{low} to {high}", f"{relative:.1%}" if found.mean else "0"

    @property
    def nothing(self) -> str:
        """The figures that are 0 in all runs, in a line; "" if there are none."""
        zero = [name for name in self.names if len(self.values(name)) and not self.values(name).any()]
        return f"0 in all {self.word}: {listing(zero)}" if zero else ""

    @property
    def heads(self) -> tuple[str, str, str, str]:
        """The heads of `rows`."""
        return "figure", "mean", f"{in_percent(self.confidence)} interval", "±"

    def table(self, console: Console) -> Table:
        """The estimates as a table for a terminal."""
        from rich.box import ASCII, SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        plain = console.options.ascii_only
        table = Table(box=ASCII if plain else SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for head in self.heads:
            text = head.replace("±", "+-") if plain else head
            table.add_column(text, justify="left" if head == "figure" else "right")
        for row in self.rows():
            table.add_row(*(Text(cell.replace("–", "-") if plain else cell) for cell in row))
        return table

    def _repr_html_(self) -> str:
        return html_table(self.heads, self.rows())

    def plot(self, figures: Sequence[str] | None = None, figure: Figure | None = None) -> Figure:
        """Draw the values and intervals of some figures, a panel each, into `figure` or a new pyplot figure.

        Raises:
            ValueError: a figure was not measured.
            MissingExtraError: matplotlib is not installed.
        """
        need("matplotlib", "plot", "plots")
        from queuesim.results.plots.intervals import Drawn, draw_intervals

        names = figures if figures is not None else [name for name in DRAWN if name in self.names] or self.names[:5]
        drawn = []
        for name in names:
            found = self.interval(name)
            unit = unit_of(name)
            drawn.append(Drawn(name, unit, self.values(name), found.mean, found.low, found.high, self._limits(name)))
        return draw_intervals(drawn, in_percent(self.confidence), self.word, figure)

    def _limits(self, name: str) -> tuple[float, ...]:
        """Limits that thresholds set to a figure."""
        return ()
