"""Starts: the attempts of a recording in the order in which they started, each with the row of its job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from queuesim.events import EventKind
from queuesim.metrics.frames.columns import Array, seconds
from queuesim.metrics.recording import Ending, Recording, Rows
from queuesim.metrics.rows import rows_of


@dataclass(slots=True)
class Starts:
    """Attempts in the order of their starts."""

    jobs: Rows
    """The job rows, by number."""
    attempts: Rows
    """The attempt rows as recorded."""
    order: Array
    """Positions in `attempts`, in the order of their starts."""
    job: Array
    """The row in `jobs` of each attempt, in the order of their starts; -1: a job that the recording doesn't know."""
    ready: npt.NDArray[np.float64]
    """When each attempt could have started at the earliest, in seconds, in the order of their starts."""
    due: Array
    """When the first attempt of each job could start, in seconds, in the order of `jobs`; NaN: not yet."""

    def take(self, name: str) -> Array:
        """A column of the attempts, in the order of their starts."""
        return np.ascontiguousarray(self.attempts[name])[self.order]


def link(recording: Recording) -> Starts:
    """Order the attempts and find their jobs."""
    jobs = _by_number(recording.jobs)
    attempts = recording.attempts
    order = np.argsort(seconds(attempts, "started"), kind="stable")
    job = rows_of(np.ascontiguousarray(jobs["number"]), np.ascontiguousarray(attempts["number"])[order])
    starts = Starts(jobs, attempts, order, job, seconds(attempts, "ready")[order], _released(recording, jobs))
    _fill_ready(starts)
    return starts


def _released(recording: Recording, jobs: Rows) -> Array:
    """For each job, when it could start: when its delay was over, or, of a parent of a flow, when its children had let
    it go; NaN: they have not yet."""
    due: Array = jobs["added"] + jobs["delay"]
    events = recording.events
    parents = np.unique(events["number"][events["kind"] == EventKind.WAITING_CHILDREN.code])
    if not len(parents):
        return due
    numbers = np.ascontiguousarray(jobs["number"])
    rows = rows_of(numbers, parents)
    due[rows[rows >= 0]] = np.nan
    waiting = events[(events["kind"] == EventKind.WAITING.code) & np.isin(events["number"], parents)][::-1]
    rows = rows_of(numbers, np.ascontiguousarray(waiting["number"]))
    # numpy keeps the last value assigned to a repeated index, so backwards the first event stays
    due[rows[rows >= 0]] = waiting["time"][rows >= 0]
    return due


def _by_number(jobs: Rows) -> Rows:
    numbers = jobs["number"]
    if len(jobs) > 1 and not bool(np.all(numbers[1:] > numbers[:-1])):
        return jobs[np.argsort(numbers, kind="stable")]
    return jobs


def _fill_ready(starts: Starts) -> None:
    """Where a broker could not say since when a job was ready: the job's due time, or the end of its last backoff."""
    unknown = np.isnan(starts.ready) & (starts.job >= 0)
    if not unknown.any():
        return
    previous = _previous(starts.job)
    ended, backoff = starts.take("ended"), starts.take("backoff")
    again = ended[previous] + np.nan_to_num(backoff[previous])
    again[(previous < 0) | (starts.take("ending")[previous] == Ending.UNFINISHED)] = np.nan
    guess = np.where(previous < 0, starts.due[starts.job], again)
    starts.ready[unknown] = np.minimum(guess, starts.take("started"))[unknown]


def _previous(job: Array) -> Array:
    """The position of the attempt before, of the same job; -1: it is the first."""
    grouped = np.argsort(job, kind="stable")
    same = job[grouped[1:]] == job[grouped[:-1]]
    previous = np.full(len(job), -1, dtype=np.intp)
    previous[grouped[1:][same]] = grouped[:-1][same]
    return previous
