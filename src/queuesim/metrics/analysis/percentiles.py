"""Percentiles of durations, for all jobs or for each label of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

DURATIONS = ("latency", "waiting", "service")


def percentiles(result: Result, of: str, by: str | None, percents: Sequence[float]) -> pd.DataFrame:
    """See `Analysis.percentiles`. Columns: count, mean, min, one a percentile as p95, max."""
    jobs = result.jobs
    if of not in DURATIONS:
        raise ValueError(f"there are percentiles of {', '.join(DURATIONS)}, not of {of!r}")
    if by is not None and by not in jobs:
        raise ValueError(f"jobs have no column {by!r}; there are {', '.join(jobs.columns)}")
    if wrong := [percent for percent in percents if not 0 <= percent <= 100]:
        raise ValueError(f"a percentile is a number from 0 to 100, not {wrong[0]:g}")
    measured = ~jobs["warmup"].to_numpy() & jobs[of].notna().to_numpy()
    if of != "waiting":
        measured &= jobs["finished"].notna().to_numpy()
    values = jobs.loc[measured, of]
    if by is None:
        rows = {"all": _row(values.to_numpy(), percents)}
        return pd.DataFrame.from_dict(rows, orient="index")
    groups = values.groupby(jobs.loc[measured, by], observed=True)
    rows = {label: _row(group.to_numpy(), percents) for label, group in groups}
    columns = list(_row(np.zeros(0), percents))
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(by)


def _row(values: np.ndarray, percents: Sequence[float]) -> dict[str, float]:
    if not len(values):
        return {"count": 0, "mean": np.nan, "min": np.nan, **{f"p{p:g}": np.nan for p in percents}, "max": np.nan}
    found = np.percentile(values, list(percents)) if percents else []
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "min": float(values.min()),
        **{f"p{percent:g}": float(value) for percent, value in zip(percents, found, strict=True)},
        "max": float(values.max()),
    }
