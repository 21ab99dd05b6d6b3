"""The events frame: a row for every transition that the queue announced."""

from __future__ import annotations

import numpy as np
import pandas as pd

from queuesim.events import EventKind
from queuesim.job import JobState
from queuesim.metrics.frames.columns import frame, labels, seconds
from queuesim.metrics.recording import Recording

KINDS = tuple(kind.value for kind in EventKind)
BEFORE = ("", *(state.value for state in JobState))
"""What `previous` of an event row points into."""


def events_frame(recording: Recording) -> pd.DataFrame:
    """Columns: time (seconds since the run began), job (its number; 0: an event of the queue), kind (EventKind),
    previous (the JobState that the job came from; missing where the event tells none)."""
    rows = recording.events
    return frame(
        {
            "time": seconds(rows, "time"),
            "job": np.ascontiguousarray(rows["number"]),
            "kind": labels(rows["kind"], KINDS),
            "previous": labels(rows["previous"], BEFORE, missing=""),
        }
    )
