"""The jobs frame: a row a job, with what its attempts came to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from queuesim.events import EventKind
from queuesim.job import JobState
from queuesim.metrics.frames.columns import Array, categories, frame, labels, seconds
from queuesim.metrics.frames.starts import Starts
from queuesim.metrics.recording import Ending, Recording
from queuesim.metrics.rows import rows_of

LOST = "lost"
"""The state of a job that is in no state at all: it was added, never finished, and the queue doesn't have it."""

STATES = (*(state.value for state in JobState), "removed", LOST)
"""What a job's `state` can be."""


def jobs_frame(recording: Recording, starts: Starts) -> pd.DataFrame:
    """Columns, times in seconds since the run began and NaN for what did not happen:

    job (its number), id (only if some job has an id of its own), name, load (the load entry that made it), scheduled
    (when it was meant to arrive), added, ready (when its first attempt could start: when its delay was over, or its
    children had let it go), started (its first start), finished, state (STATES), attempts (number started), priority,
    delay, waiting (started - ready), latency (finished - (scheduled + delay)), service (time in attempts that ended),
    warmup (scheduled before the end of the warm-up).
    """
    rows = starts.jobs
    scheduled, delay = seconds(rows, "scheduled"), seconds(rows, "delay")
    started, ready = _first_start(starts)
    state, finished = _ends(recording, starts)
    return frame(
        {
            "job": np.ascontiguousarray(rows["number"]),
            **_ids(recording, rows["number"]),
            "name": labels(rows["name"], recording.names),
            "load": labels(rows["load"], recording.loads),
            "scheduled": scheduled,
            "added": seconds(rows, "added"),
            "ready": ready,
            "started": started,
            "finished": finished,
            "state": pd.Categorical.from_codes(state, categories=categories(STATES)),
            "attempts": np.bincount(_known(starts), minlength=len(rows)).astype(np.uint32),
            "priority": np.ascontiguousarray(rows["priority"]),
            "delay": delay,
            "waiting": started - ready,
            "latency": finished - (scheduled + delay),
            "service": _service(starts),
            "warmup": scheduled < recording.facts.warmup,
        }
    )


def _known(starts: Starts) -> Array:
    return starts.job[starts.job >= 0]


def _ids(recording: Recording, numbers: Array) -> dict[str, Any]:
    """Every job's id as text, where any job has one that isn't its number."""
    if not recording.ids:
        return {}
    ids = pd.Series(numbers).astype(str).astype(object)
    own = rows_of(numbers, np.fromiter(recording.ids, dtype=np.uint32, count=len(recording.ids)))
    ids.iloc[own[own >= 0]] = np.array(list(recording.ids.values()), dtype=object)[own >= 0]
    return {"id": ids.astype(str)}


def _first_start(starts: Starts) -> tuple[Array, Array]:
    """First start of each job, and since when it could have started."""
    started = np.full(len(starts.jobs), np.nan)
    ready = starts.due.copy()
    known = starts.job >= 0
    # numpy keeps the last value assigned to a repeated index, so backwards the first start stays
    job = starts.job[known][::-1]
    started[job] = starts.take("started")[known][::-1]
    told = starts.ready[known][::-1]
    ready[job] = np.where(np.isnan(told), ready[job], told)
    return started, ready


def _service(starts: Starts) -> Array:
    spent = starts.take("ended") - starts.take("started")
    counted = (starts.job >= 0) & ~np.isnan(spent)
    job = starts.job[counted]
    # without any attempt numpy counts in integers, whatever the weights
    service = np.bincount(job, weights=spent[counted], minlength=len(starts.jobs)).astype(np.float64)
    service[np.bincount(job, minlength=len(starts.jobs)) == 0] = np.nan
    return service


def _ends(recording: Recording, starts: Starts) -> tuple[Array, Array]:
    """The state of each job at the end, as a code of STATES, and when it finished.

    The queue's own word on what is left in it goes first: a failed job may have been put back by hand. Else the
    attempt that started last decides. An attempt that lost its lock decides nothing: another one took its place. Where
    nobody knows, for a worker died before it heard that its outcome had been applied, the queue's events do.
    """
    ending, ended = starts.take("ending"), starts.take("ended")
    state = np.full(len(starts.jobs), STATES.index(LOST), dtype=np.int8)
    finished = np.full(len(starts.jobs), np.nan)
    counts = (starts.job >= 0) & (ending != Ending.LOST)
    verdict = np.full(len(Ending), STATES.index(LOST), dtype=np.int8)
    verdict[Ending.OK] = STATES.index(JobState.COMPLETED)
    verdict[Ending.FAILED] = STATES.index(JobState.FAILED)
    job = starts.job[counts]
    state[job] = verdict[ending[counts]]
    finished[job] = ended[counts]
    if recording.left:
        left = np.fromiter(recording.left, dtype=np.uint32, count=len(recording.left))
        codes = np.array([STATES.index(name) for name in recording.left.values()], dtype=np.int8)
        rows = rows_of(np.ascontiguousarray(starts.jobs["number"]), left)
        state[rows[rows >= 0]] = codes[rows >= 0]
    _tell(recording, starts, state, finished, verdict)
    finished[~np.isin(state, verdict[[Ending.OK, Ending.FAILED]])] = np.nan
    return state, finished


def _tell(recording: Recording, starts: Starts, state: Array, finished: Array, verdict: Array) -> None:
    """Fill in how jobs ended that no attempt and no queue tell of."""
    unknown = state == STATES.index(LOST)
    if not unknown.any():
        return
    events, numbers = recording.events, np.ascontiguousarray(starts.jobs["number"])
    for kind, ending in ((EventKind.FAILED, Ending.FAILED), (EventKind.COMPLETED, Ending.OK)):
        told = events[events["kind"] == kind.code]
        row = rows_of(numbers, np.ascontiguousarray(told["number"]))
        mine = (row >= 0) & unknown[row]
        state[row[mine]] = verdict[ending]
        finished[row[mine]] = told["time"][mine]
