"""Occupancy in numbers: levels over time, weighted by time, and what each worker did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from queuesim.metrics.occupancy import active, backlog, delayed

if TYPE_CHECKING:
    from queuesim.metrics.level import Level
    from queuesim.metrics.result import Result

SHARES = (0.5, 0.95, 0.99)


def occupancy(result: Result, start: float | None, end: float | None) -> pd.DataFrame:
    """See `Analysis.occupancy`. Columns: mean, p50, p95, p99 (at most so much for that share of the time), max,
    max_at (when that was first reached, in seconds), end."""
    facts = result.facts
    start = facts.warmup if start is None else start
    end = facts.duration if end is None else end
    running = active(result)
    slots = facts.concurrency or np.nan
    return pd.DataFrame.from_dict(
        {
            "backlog": _row(backlog(result), start, end),
            "active": _row(running, start, end),
            "delayed": _row(delayed(result), start, end),
            "utilisation": _row(running, start, end, slots),
        },
        orient="index",
    )


def _row(level: Level, start: float, end: float, unit: float = 1.0) -> dict[str, float]:
    highest, at = level.extreme(start, end)
    spread = level.quantiles(start, end, SHARES)
    return {
        "mean": level.mean(start, end) / unit,
        **{f"p{share * 100:g}": value / unit for share, value in zip(SHARES, spread, strict=True)},
        "max": highest / unit,
        "max_at": at,
        "end": float(level.at(end)) / unit if end > start else np.nan,
    }


def workers(result: Result) -> pd.DataFrame:
    """See `Analysis.workers`. Columns: slots, attempts (starts of measured jobs), failed (of these, those with an
    error), busy (seconds in the measured time, over all slots, for jobs of the warm-up too), utilisation (busy over its
    slots and the measured time). Of a worker that the scenario does not ask for, or in a result of an older version,
    `slots` are those that it used."""
    facts, attempts = result.facts, result.attempts
    span = facts.duration - facts.warmup
    # an attempt counts for the part of it that is in the measured time
    ended = attempts["ended"].fillna(facts.duration).clip(facts.warmup, facts.duration)
    busy = ended - attempts["started"].clip(facts.warmup, facts.duration)
    counted = attempts["job"].isin(result.jobs["job"][~result.jobs["warmup"]])
    told = attempts.assign(busy=busy, measured=counted, error=counted & attempts["error_type"].notna())
    by = told.groupby("worker", observed=True)
    used = by["slot"].nunique()
    workers = list(dict.fromkeys((*facts.slots, *map(str, used.index))))
    slots = pd.Series([facts.slots.get(name) or used[name] for name in workers], workers, dtype=np.int64)
    spent = by["busy"].sum().reindex(workers, fill_value=0.0)
    frame = pd.DataFrame(
        {
            "slots": slots,
            "attempts": by["measured"].sum().reindex(workers, fill_value=0),
            "failed": by["error"].sum().reindex(workers, fill_value=0),
            "busy": spent,
            "utilisation": spent / (slots * span) if span > 0 else np.nan,
        }
    )
    return frame.rename_axis("worker")
