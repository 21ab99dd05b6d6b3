"""Attempts whose worker did not live to report them: the event stream knows that they began, and how they ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.core.events import EventKind
from queuesim.oracles import judge
from queuesim.oracles.run_view import Expectations, FinalState, unjudged
from queuesim.results.recorder import Names
from queuesim.results.recording import ATTEMPT_ROW, CheckRow, Ending, FaultRow, Recording

ENDINGS = {
    EventKind.COMPLETED.code: Ending.OK,
    EventKind.FAILED.code: Ending.FAILED,
    EventKind.DELAYED.code: Ending.RETRIED,
    EventKind.STALLED.code: Ending.LOST,
    EventKind.WAITING.code: Ending.LOST,
    EventKind.ACTIVE.code: Ending.LOST,
}
"""What the next event of a job says of the attempt before it."""
TICK = 0.001
"""Seconds: the event stream knows whole milliseconds."""
KILLED = "(killed)"
"""Stands behind the name of a worker that was killed: in which of its slots its jobs ran is not known."""


@dataclass(frozen=True, slots=True)
class WorkerKill:
    """A worker was killed."""

    time: float
    worker: str
    ids: list[str]
    """Of the jobs whose locks it left behind."""


def account_for(recording: Recording, kills: Sequence[WorkerKill], number_of: Callable[[str], int]) -> Recording:
    """The recording with a row for every start that the event stream tells of and no worker reported.

    An attempt's number is its place among its job's starts, which both of them know. It ended when its worker was
    killed, if that is known, else when the event stream tells of it.
    """
    killed: dict[int, list[WorkerKill]] = {}
    for kill in kills:
        for job_id in kill.ids:
            killed.setdefault(number_of(job_id), []).append(kill)
    reported = set(zip(recording.attempts["number"].tolist(), recording.attempts["attempt"].tolist(), strict=True))
    workers = [*recording.workers]
    missing = [row for row in _starts(recording) if (row[0], row[1]) not in reported]
    if not missing:
        return recording
    places = Names({name: place for place, name in enumerate(workers)})
    rows = np.zeros(len(missing), ATTEMPT_ROW)
    for row, (number, attempt, started, ended, ending) in zip(rows, missing, strict=True):
        # what it did in time is no one's loss
        cut_off = ending in (Ending.LOST, Ending.UNFINISHED)
        fatal = [kill for kill in killed.get(number, ()) if cut_off and started - TICK <= kill.time]
        worker = KILLED
        if fatal:
            ending, ended, worker = Ending.LOST, max(fatal[0].time, started), f"{fatal[0].worker} {KILLED}"
        row["number"], row["attempt"], row["worker"] = number, attempt, places[worker]
        row["ready"], row["started"], row["ended"] = np.nan, started, ended
        row["ending"], row["backoff"] = ending, np.nan
    return replace(recording, attempts=np.concatenate([recording.attempts, rows]), workers=list(places))


def _starts(recording: Recording) -> list[tuple[int, int, float, float, Ending]]:
    """Every start by the event stream: job number, attempt, started, ended (NaN: not yet), how it ended."""
    starts: list[tuple[int, int, float, float, Ending]] = []
    under_way: dict[int, tuple[int, float]] = {}
    counts: dict[int, int] = {}
    codes: Any = recording.events["kind"].tolist()
    for time, number, code in zip(
        recording.events["time"].tolist(), recording.events["number"].tolist(), codes, strict=True
    ):
        begun = under_way.get(number)
        if begun is not None and code in ENDINGS:
            starts.append((number, begun[0], begun[1], time, ENDINGS[code]))
            del under_way[number]
        if code == EventKind.ACTIVE.code:
            counts[number] = counts.get(number, 0) + 1
            under_way[number] = (counts[number], time)
    starts += [(number, attempt, time, np.nan, Ending.UNFINISHED) for number, (attempt, time) in under_way.items()]
    return starts


# -- Judging a live run: the oracles of every run, with moments that come from several clocks laid on the server's

Array = npt.NDArray[Any]

RESOLUTION = 0.002
"""Seconds: what the server tells, and what clients tell it, are whole milliseconds."""
PATIENCE = 5.0
"""Seconds that a start may be late: machines are busy, and whoever missed a word looks again after that time."""


def judge_live(
    recording: Recording,
    promises: Expectations,
    evidence: FinalState,
    began: Mapping[str, float],
    gaps: Sequence[float] = (),
) -> list[CheckRow]:
    """What the oracles say of a live run: nothing, if events are missing that no fault of the run took.

    Args:
        began: when each worker first took jobs, by its own word.
        gaps: times before which events are gone; see EventStreamReader.
    """
    started = starts_by_server(recording)
    reported = recording.attempts["started"]
    under_way = started - reported
    known = under_way[np.isfinite(under_way)]
    attempts = recording.attempts.copy()
    attempts["started"] = np.where(np.isnan(started), reported, started)
    slack = RESOLUTION + (max(float(known.max()), 0.0) if len(known) else 0.0)
    promises = replace(
        promises,
        # one that never began has no slot that could be idle
        starts={name: began.get(name, np.inf) for name in promises.concurrency},
        resolution=RESOLUTION,
        slack=slack,
        pickup=PATIENCE + slack,
    )
    rows = judge(replace(recording, attempts=attempts), promises, evidence)
    unknown = unexplained(gaps, recording.faults)
    if not unknown:
        return rows
    why = f"the server lost or trimmed events before second {unknown[0]:.3f} that nobody had read"
    return [unjudged(row.name, why) for row in rows]


def unexplained(gaps: Sequence[float], faults: Sequence[FaultRow]) -> list[float]:
    """Gaps that are no consequence of a fault that took the server's memory, which makes one gap at most."""
    losses = sorted(fault.began for fault in faults if fault.lost is not None)
    left = []
    for gap in sorted(gaps):
        if losses and losses[0] <= gap:
            del losses[0]
        else:
            left.append(gap)
    return left


def starts_by_server(recording: Recording) -> Array:
    """When each attempt began, by the server's clock; NaN: the event stream does not tell.

    A worker's own word is the time at which it asked for a job: earlier than it got one, by as long as a command takes.
    """
    events = recording.events
    active = events[events["kind"] == EventKind.ACTIVE.code]
    order = np.argsort(active["number"], kind="stable")
    number, time = active["number"][order].astype(np.int64), active["time"][order]
    if not len(number):
        return np.full(len(recording.attempts), np.nan)
    first = np.concatenate(([True], number[1:] != number[:-1]))
    begins = np.maximum.accumulate(np.where(first, np.arange(len(number)), 0))
    # the attempt's number is its place among its job's starts
    key = (number << 16) + np.arange(len(number)) - begins + 1
    wanted = (recording.attempts["number"].astype(np.int64) << 16) + recording.attempts["attempt"]
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    found: Array = np.where(key[place] == wanted, time[place], np.nan)
    return found
