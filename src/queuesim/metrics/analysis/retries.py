"""Retries: what they add to the load, by category of error and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from queuesim.metrics.rows import rows_of
from queuesim.metrics.timeline import bin_edges, count_in_bins

if TYPE_CHECKING:
    from queuesim.metrics.level import Array
    from queuesim.metrics.result import Result


def retries(result: Result) -> pd.DataFrame:
    """See `Analysis.retries`. Columns:

    errors (attempts that ended with one), retried (those that were to run again), failed (those that failed for good),
    jobs (that ever had such an error), saved (of these, those that completed in the end), amplification (what these
    retries add to one attempt per job; in the row `all`, attempts per job), service (seconds in which slots were busy
    with attempts that failed so), backoff (seconds that jobs waited for the next attempt).
    """
    attempts = result.attempts[_measured(result)]
    failed = attempts[attempts["outcome"].isin(["retried", "failed"])]
    started = int((result.jobs["started"].notna() & ~result.jobs["warmup"]).sum())
    named = failed.assign(category=failed["category"].cat.add_categories("(none)").fillna("(none)"))
    rows = {
        str(category): _row(result, group, started)
        for category, group in named.groupby("category", observed=True)
        if len(group)
    }
    frame = pd.DataFrame.from_dict(
        {**rows, "all": _row(result, failed, started)}, orient="index", columns=list(_row(result, failed[:0], 0))
    ).rename_axis("category")
    frame.loc["all", "amplification"] = len(attempts) / started if started else np.nan
    return frame.sort_values("errors", ascending=False, kind="stable", key=lambda errors: errors)


def _row(result: Result, failed: pd.DataFrame, started: int) -> dict[str, float]:
    retried = failed[failed["outcome"] == "retried"]
    numbers = np.unique(failed["job"].to_numpy())
    states = result.jobs["state"].to_numpy()[rows_of(result.jobs["job"].to_numpy(), numbers)]
    return {
        "errors": len(failed),
        "retried": len(retried),
        "failed": len(failed) - len(retried),
        "jobs": len(numbers),
        "saved": int((states == "completed").sum()),
        "amplification": len(retried) / started if started else np.nan,
        "service": float(failed["service"].sum()),
        "backoff": float(retried["backoff"].sum()),
    }


def _measured(result: Result) -> Array:
    """The attempts of jobs that are not of the warm-up."""
    jobs, attempts = result.jobs, result.attempts
    measured: Array = np.append(~jobs["warmup"].to_numpy(), False)
    return measured[rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())]


def retries_over_time(result: Result, every: str | float) -> pd.DataFrame:
    """See `Analysis.retries_over_time`. The index is the start of each bin in seconds; columns: first (first attempts
    started), again (later ones), amplification (attempts started per first attempt; NaN without one), and one for each
    category of error that was retried: attempts that failed so in the bin and were to run again."""
    attempts = result.attempts
    edges = bin_edges(result.facts.duration, every)
    started, first = attempts["started"].to_numpy(), (attempts["attempt"] == 1).to_numpy()
    news, all_starts = count_in_bins(edges, started[first]), count_in_bins(edges, started)
    amplification = np.full(len(news), np.nan)
    np.divide(all_starts, news, out=amplification, where=news > 0)
    retried = attempts[attempts["outcome"] == "retried"]
    by_category = {
        str(category): count_in_bins(edges, group.to_numpy())
        for category, group in retried["ended"].groupby(retried["category"], observed=True)
    }
    return pd.DataFrame(
        {"first": news, "again": all_starts - news, "amplification": amplification, **by_category},
        index=pd.Index(edges[:-1], name="time"),
    )
