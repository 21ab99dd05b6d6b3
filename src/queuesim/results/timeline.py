"""The timeline: what happened in each bin of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.levels import Array, Level, active, backlog, delayed
from queuesim.results.recording import RunFrames
from queuesim.units import parse_duration

if TYPE_CHECKING:
    import pandas as pd

MOST_BINS = 1_000_000


def timeline(frames: RunFrames, every: str | float = "10s") -> pd.DataFrame:
    """A row a bin of `every`, over the whole run, warm-up included; the last bin ends with the run.

    The index, `time`, is the start of the bin in seconds since the run began. Columns:

    - added, started, completed, failed, retried: jobs added, attempts started, jobs completed and failed for good,
      attempts that failed and were to run again;
    - throughput: jobs completed per second;
    - backlog, active, delayed: averages over the bin of the jobs that could start and didn't, of the attempts that ran,
      and of the jobs in a delay or backoff; backlog_end: the backlog at the end of the bin;
    - utilisation: active, over the number of slots; NaN without any;
    - waiting_p50, waiting_p95, latency_p95: of the jobs that finished in the bin, in seconds; NaN if none did.

    Raises:
        ValueError: `every` is no duration above zero, or makes more than a million bins.
    """
    import pandas as pd

    facts = frames.facts
    edges = bin_edges(facts.duration, every)
    widths = np.diff(edges)
    jobs, attempts = frames.jobs, frames.attempts
    finished = jobs["finished"].to_numpy()
    completed = count_in_bins(edges, finished[(jobs["state"] == "completed").to_numpy()])
    waiting, running = backlog(frames), active(frames)
    busy = _mean(running, edges)
    waiting_p50, waiting_p95 = percentiles_in_bins(edges, finished, jobs["waiting"].to_numpy(), (50, 95))
    (latency_p95,) = percentiles_in_bins(edges, finished, jobs["latency"].to_numpy(), (95,))
    return pd.DataFrame(
        {
            "added": count_in_bins(edges, jobs["added"].to_numpy()),
            "started": count_in_bins(edges, attempts["started"].to_numpy()),
            "completed": completed,
            "failed": count_in_bins(edges, finished[(jobs["state"] == "failed").to_numpy()]),
            "retried": count_in_bins(
                edges, attempts["ended"].to_numpy()[(attempts["outcome"] == "retried").to_numpy()]
            ),
            "throughput": completed / widths,
            "backlog": _mean(waiting, edges),
            "backlog_end": waiting.at(edges[1:]),
            "active": busy,
            "utilisation": busy / (facts.concurrency or math.nan),
            "delayed": _mean(delayed(frames), edges),
            "waiting_p50": waiting_p50,
            "waiting_p95": waiting_p95,
            "latency_p95": latency_p95,
        },
        index=pd.Index(edges[:-1], name="time"),
    )


def _seconds(every: str | float) -> float:
    width = parse_duration(every) if isinstance(every, str) else float(every)
    if not (width > 0 and math.isfinite(width)):
        raise ValueError(f"a bin must be longer than 0 s, not {every!r}")
    return width


def bin_edges(duration: float, width: str | float) -> Array:
    """Bin edges from 0 to the end of a run. Raises ValueError as `timeline` does."""
    every = _seconds(width)
    # an end that is a hair past an edge, by rounding, opens no bin of its own
    bins = max(0, math.ceil(duration / every * (1 - 1e-12)))
    if bins > MOST_BINS:
        raise ValueError(f"bins of {every:g} s make {bins} of a run of {duration:g} s: at most {MOST_BINS} are allowed")
    return np.append(np.arange(bins) * every, duration)


def count_in_bins(edges: Array, times: Array) -> Array:
    """How many of `times` fall into each bin; the last one holds its end."""
    if len(edges) < 2:
        return np.zeros(0, dtype=np.int64)
    return np.histogram(times[~np.isnan(times)], edges)[0]


def _mean(level: Level, edges: Array) -> Array:
    means: Array = np.diff(level.area(edges)) / np.diff(edges)
    # a level is never below zero: what is, is the rounding of a difference between large areas
    return np.maximum(means, 0.0)


def percentiles_in_bins(edges: Array, times: Array, values: Array, percents: tuple[float, ...]) -> list[Array]:
    """Percentiles of `values` in the bins of their `times`, interpolated linearly as numpy does."""
    bins = len(edges) - 1
    known = ~np.isnan(times) & ~np.isnan(values) & (times <= edges[-1])
    place = np.clip(np.searchsorted(edges, times[known], side="right") - 1, 0, max(bins - 1, 0))
    values = values[known]
    order = np.lexsort((values, place))
    values = values[order]
    counts = np.bincount(place, minlength=bins)[:bins]
    first = np.cumsum(counts) - counts
    some = counts > 0
    results = []
    for percent in percents:
        rank = percent / 100 * (counts[some] - 1)
        low = np.floor(rank).astype(np.intp)
        high = np.minimum(low + 1, counts[some] - 1)
        below, above = values[first[some] + low], values[first[some] + high]
        column = np.full(bins, np.nan)
        column[some] = below + (above - below) * (rank - low)
        results.append(column)
    return results
