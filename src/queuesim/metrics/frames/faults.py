"""The faults frame: a row for each fault that was injected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame, known_labels
from queuesim.metrics.recording import FaultRow


def faults_frame(faults: Sequence[FaultRow]) -> pd.DataFrame:
    """Columns: fault (its kind), target (what it happened to), began, ended (seconds since the run began; NaN: still on
    at the end), detail, lost (seconds of the server's memory that it lost; inf: all of it; NaN: none)."""
    return frame(
        {
            "fault": known_labels([fault.kind for fault in faults]),
            "target": known_labels([fault.target for fault in faults]),
            "began": np.array([fault.began for fault in faults], dtype=np.float64),
            "ended": np.array([fault.ended for fault in faults], dtype=np.float64),
            "detail": pd.Series([fault.detail for fault in faults], dtype=str),
            "lost": np.array([np.nan if fault.lost is None else fault.lost for fault in faults], dtype=np.float64),
        }
    )
