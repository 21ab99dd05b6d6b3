"""The frame of a sweep, with a view of its own in notebooks."""

from __future__ import annotations

import pandas as pd

from queuesim.metrics.metric import METRICS, Kind
from queuesim.metrics.tables import html_table


class SweepFrame(pd.DataFrame):
    """A row a run, shown in a notebook with units and four digits. What is taken out of it is plain pandas."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        head = [f"{name}, {unit}" if (unit := unit_of(str(name))) else str(name) for name in self.columns]
        return html_table(head, self.astype(object).itertuples(index=False))


def unit_of(column: str) -> str:
    """Unit of a metric's column; "" if it has none."""
    metric = column.partition(".")[0]
    if metric == "throughput":
        return "1/s"
    return "s" if METRICS.get(metric) is Kind.SPREAD else ""
