"""The overdue frame: a row for each scan for overdue tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame, known_labels
from queuesim.metrics.recording import ScanRow


def overdue_frame(scans: Sequence[ScanRow]) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    scan (its number), trigger (cron, manual, ...), began, ended (NaN: it never did), pages, found, enqueued, duplicates
    (notifications that were there already), drained (when the last notification ended; NaN: not all did), duration
    (ended - began).
    """
    began, ended, drained = (
        np.array([getattr(scan, name) for scan in scans], dtype=np.float64) for name in ("began", "ended", "drained")
    )
    counts = ("pages", "found", "enqueued", "duplicates")
    return frame(
        {
            "scan": np.array([scan.scan for scan in scans], dtype=np.uint32),
            "trigger": known_labels([scan.trigger for scan in scans]),
            "began": began,
            "ended": ended,
            **{name: np.array([getattr(scan, name) for scan in scans], dtype=np.uint32) for name in counts},
            "drained": drained,
            "duration": ended - began,
        }
    )
