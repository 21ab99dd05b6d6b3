"""The checks frame: a row for each threshold and invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame
from queuesim.metrics.recording import CheckRow


def checks_frame(checks: Sequence[CheckRow]) -> pd.DataFrame:
    """Columns: check (its name), ok, value (what was measured; NaN: there was nothing to measure), limit (what was
    asked for), at (end of the sliding window that failed, in seconds; NaN: none), detail."""
    return frame(
        {
            "check": pd.Series([check.name for check in checks], dtype=str),
            "ok": np.array([check.ok for check in checks], dtype=bool),
            "value": np.array([check.value for check in checks], dtype=np.float64),
            "limit": pd.Series([check.limit for check in checks], dtype=str),
            "at": np.array([math.nan if check.at is None else check.at for check in checks], dtype=np.float64),
            "detail": pd.Series([check.detail for check in checks], dtype=str),
        }
    )
