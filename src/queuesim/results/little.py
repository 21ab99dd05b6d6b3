"""Little's law, L = λW (Little 1961), as a self-check of a run's records.

Over a finite time it is no limit theorem but an identity: the integral of the jobs in the system is the sum of the
times that they spent in it, each cut at both ends. Its sides are taken from records that come by different ways, L from
the broker's events, λ and W from producers and workers, so that what one of them lost or invented shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.fault_kinds import Effect, facts_of
from queuesim.results.levels import Array, Level, removed_at
from queuesim.results.recording import CheckRow, RunFrames, rows_of

if TYPE_CHECKING:
    import pandas as pd

NAME = "Little's law: L = λW"
TOLERANCE = 0.01
"""Relative difference that is no violation."""
RESOLUTION = 0.002
"""Seconds per job by which two records of one moment may differ in a simulation: queues on Redis have milliseconds."""
EARLY, LATE = 0.05, 5.0
"""Seconds by which, on a real server, the event of a job's end may be before and after its worker's record of it: an
outcome is on its way, or waits for the next exchange, for as long as the machine is busy."""


PARTING = Effect.SERVER | Effect.UNHEARD
"""Effects of faults by which the records of workers and those of the queue part."""
SETTLED, SETTLED_LATE = 5.0, 30.0
"""Seconds after which no trace is left of a fault; of one that delays commands."""


@dataclass(frozen=True, slots=True)
class Little:
    """Both sides of Little's law over a whole run; NaN if there is nothing to compare."""

    jobs: float
    """L: jobs in the system, averaged over time, by the events."""
    arrival_rate: float
    """λ: jobs that came per second."""
    time: float
    """W: seconds that a job spent in the system, cut at the end of the run, by the workers' records."""
    count: int
    """Jobs that came."""
    duration: float
    """Seconds of the run."""
    slack: float = 0.0
    """Jobs by which both sides may differ, since they are measured at different places."""

    @property
    def product(self) -> float:
        """λW."""
        return self.arrival_rate * self.time

    @property
    def difference(self) -> float:
        """How far L is off λW, as a fraction of the greater; 0 if both are 0."""
        greater = max(self.jobs, self.product)
        return abs(self.jobs - self.product) / greater if greater else 0.0 * greater

    @property
    def holds(self) -> bool:
        """Whether both sides agree, within TOLERANCE or `slack`."""
        return not (self.difference > TOLERANCE and abs(self.jobs - self.product) > self.slack)


def littles_law(frames: RunFrames) -> Little:
    """See `Analysis.littles_law`."""
    return _of(frames, np.ones(len(frames.jobs), dtype=bool))


def _of(frames: RunFrames, chosen: Array) -> Little:
    """Little's law for a part of the jobs: it holds for each."""
    duration, count = frames.facts.duration, int(chosen.sum())
    if not (count and duration > 0 and len(frames.events)):
        return Little(math.nan, math.nan, math.nan, count, duration)
    (came, _), (left, _) = _by_events(frames, chosen)
    area = float(Level(came, left).area(duration))
    added, finished = frames.jobs["added"].to_numpy()[chosen], _by_records(frames)[chosen]
    spent = np.minimum(np.nan_to_num(finished, nan=math.inf), duration) - np.minimum(added, duration)
    slack = RESOLUTION * count + (
        _on_the_way(frames, chosen, added, finished) if frames.facts.backend == "redis" else 0.0
    )
    return Little(area / duration, count / duration, float(spent.mean()), count, duration, slack / duration)


def _on_the_way(frames: RunFrames, chosen: Array, added: Array, finished: Array) -> float:
    """Seconds, over all jobs, between what producers and workers recorded and the events of the same moments. What
    lies further apart than it can on a healthy machine, or has no match, does not count."""
    events, jobs = frames.events, frames.jobs["job"].to_numpy()[chosen]
    total = 0.0
    for recorded, kinds in ((added, ["added"]), (finished, ["completed", "failed", "removed"])):
        # the last of each job's
        announced = events[events["kind"].isin(kinds)].drop_duplicates("job", keep="last")
        rows = rows_of(jobs, announced["job"].to_numpy())
        after = announced["time"].to_numpy()[rows >= 0] - recorded[rows[rows >= 0]]
        total += float(np.abs(after[(after >= -EARLY) & (after <= LATE)]).sum())
    return total


def _by_events(frames: RunFrames, chosen: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """When jobs came into the system and left it, each with which jobs they are. One that finished and is put back
    comes again."""
    events = frames.events
    finished = _is_one_of(events["previous"], "completed", "failed")
    came = _is_one_of(events["kind"], "added") | (_is_one_of(events["kind"], "waiting", "delayed") & finished)
    left = _is_one_of(events["kind"], "completed", "failed") | (_is_one_of(events["kind"], "removed") & ~finished)
    rows = rows_of(frames.jobs["job"].to_numpy(), events["job"].to_numpy())
    known = (rows >= 0) & chosen[rows]
    time, entering, leaving = events["time"].to_numpy(), came & known, left & known
    return (time[entering], rows[entering]), (time[leaving], rows[leaving])


def _is_one_of(column: pd.Series[str], *names: str) -> Array:
    """Where a categorical column has one of these values. `Series.isin` takes five times as long."""
    # the last element is for the code -1: no value
    found: Array = np.append(column.cat.categories.isin(names), False)[column.cat.codes.to_numpy()]
    return found


def _by_records(frames: RunFrames) -> Array:
    """When each job left the system: it finished, or was removed; NaN: it never did."""
    left: Array = np.fmin(frames.jobs["finished"].to_numpy(), removed_at(frames))
    return left


def check(frames: RunFrames) -> CheckRow:
    """Little's law as a row of the checks: for the jobs that no fault touched by which records part."""
    if not len(frames.jobs):
        return _unjudged("nothing to measure")
    chosen = _untouched(frames)
    judged = float(chosen.mean())
    if not judged:
        return _unjudged("workers whose Redis is away, or who die, don't hear how jobs ended")
    little = _of(frames, chosen)
    if math.isnan(little.jobs):
        return _unjudged("nothing to measure")
    detail = (
        "" if little.holds else f"L = {little.jobs:.6g} jobs by the events, λW = {little.product:.6g} by the workers"
    )
    row = CheckRow(NAME, little.holds, float(not little.holds), "== 0", detail=detail, kind="oracle", unit="violations")
    row.judged = judged
    return row


def _unjudged(why: str) -> CheckRow:
    return CheckRow(NAME, True, math.nan, "== 0", detail=f"not judged: {why}", kind="oracle", judged=0.0)


def _untouched(frames: RunFrames) -> Array:
    """The jobs that were not in the system, by either record, while a fault parted the two."""
    spans = _parted(frames)
    untouched = np.ones(len(frames.jobs), dtype=bool)
    if not spans:
        return untouched
    since, until = frames.jobs["added"].to_numpy(), np.nan_to_num(_by_records(frames), nan=math.inf)
    _, (left, rows) = _by_events(frames, untouched)
    last = np.full(len(since), -math.inf)
    np.maximum.at(last, rows, left)
    until = np.maximum(until, np.where(np.isinf(last), math.inf, last))
    for began, over in spans:
        untouched &= (until < began) | (since > over)
    return untouched


def _parted(frames: RunFrames) -> list[tuple[float, float]]:
    """From when until when what workers know and what the queue knows may differ."""
    faults = frames.faults
    spans = []
    for kind, began, ended, lost in zip(faults["fault"], faults["began"], faults["ended"], faults["lost"], strict=True):
        effects = facts_of(kind).effects
        if effects & PARTING:
            settling = SETTLED_LATE if Effect.LATE_COMMANDS in effects else SETTLED
            over = math.inf if math.isnan(ended) else ended + settling
            spans.append((began - (0.0 if math.isnan(lost) else lost), over))
    return spans
