"""The limiter frame: a row for each window of the rate limiter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame, seconds
from queuesim.metrics.recording import Recording


def limiter_frame(recording: Recording) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    opened, closes, max, starts (attempts that started in [opened, closes)), used (starts / max), last_start (NaN: there
    was none), time_limited (seconds from the start that used up the window to its close, or to the end of the run).
    Windows of a queue don't overlap, and come in order.
    """
    # workers in several processes report theirs when they can
    rows = recording.windows[np.argsort(recording.windows["opened"], kind="stable")]
    opened, closes = seconds(rows, "opened"), seconds(rows, "closes")
    # one that was cleared by hand, or by a server that counts whole milliseconds, closed when the next one opened
    closes[:-1] = np.minimum(closes[:-1], opened[1:])
    allowed = np.ascontiguousarray(rows["max"])
    started = np.sort(seconds(recording.attempts, "started"))
    first, after = np.searchsorted(started, opened), np.searchsorted(started, closes)
    starts = (after - first).astype(np.uint32)
    # a NaN at the end stands for "no such start", for windows that had none
    started = np.append(started, np.nan)
    last = np.where(starts > 0, started[np.where(starts > 0, after - 1, -1)], np.nan)
    full = (starts >= allowed) & (allowed > 0)
    used_up = started[np.where(full, first + allowed.astype(np.int64) - 1, -1)]
    shut = np.where(full, np.minimum(closes, recording.facts.duration) - used_up, 0.0)
    return frame(
        {
            "opened": opened,
            "closes": closes,
            "max": allowed,
            "starts": starts,
            "used": starts / np.maximum(allowed, 1),
            "last_start": last,
            "time_limited": np.maximum(shut, 0.0),
        }
    )
