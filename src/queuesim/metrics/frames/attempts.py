"""The attempts frame: a row an attempt, unfinished ones too, in the order in which they started."""

from __future__ import annotations

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import Array, frame, labels
from queuesim.metrics.frames.starts import Starts
from queuesim.metrics.recording import ENDINGS, Recording


def attempts_frame(recording: Recording, starts: Starts) -> pd.DataFrame:
    """Columns, times in seconds since the run began:

    job, name, attempt (1 is the first start), worker, slot, ready, started, ended (NaN: unfinished),
    waiting (started - ready), service (ended - started), outcome (ENDINGS), error_type, category, retryable and
    message (missing without an error), backoff (seconds until the next attempt; NaN: there is none), clock_error
    (seconds that the worker's clock was ahead when it started; all other times are by the run's own clock).
    """
    started, ended = starts.take("started"), starts.take("ended")
    names = np.append(starts.jobs["name"].astype(np.int32), np.int32(-1))
    return frame(
        {
            "job": starts.take("number"),
            "name": labels(names[starts.job], recording.names),
            "attempt": starts.take("attempt"),
            "worker": labels(starts.take("worker"), recording.workers),
            "slot": starts.take("slot"),
            "ready": starts.ready,
            "started": started,
            "ended": ended,
            "waiting": started - starts.ready,
            "service": ended - started,
            "outcome": labels(starts.take("ending"), ENDINGS),
            **_errors(recording, starts),
            "message": labels(starts.take("message"), recording.messages, missing=""),
            "backoff": starts.take("backoff"),
            "clock_error": _clock_error(recording, starts),
        }
    )


def _clock_error(recording: Recording, starts: Starts) -> Array:
    skew = np.zeros(len(starts.attempts))
    if recording.skews:
        skew[list(recording.skews)] = list(recording.skews.values())
    return skew[starts.order]


def _errors(recording: Recording, starts: Starts) -> dict[str, object]:
    error = starts.take("error")
    retryable = np.array([retryable for _, _, retryable in recording.errors], dtype=bool)
    return {
        "error_type": labels(error, [kind for kind, _, _ in recording.errors], missing=""),
        "category": labels(error, [category for _, category, _ in recording.errors], missing=""),
        "retryable": pd.arrays.BooleanArray(retryable[error], error == 0),
    }
