"""Attempts whose worker did not live to report them: the event stream knows that they began, and how they ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from queuesim.events import EventKind
from queuesim.metrics.recorder import Names
from queuesim.metrics.recording import ATTEMPT_ROW, Ending, Recording

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
class Death:
    """A worker was killed."""

    time: float
    worker: str
    ids: list[str]
    """Of the jobs whose locks it left behind."""


def account_for(recording: Recording, deaths: Sequence[Death], number_of: Callable[[str], int]) -> Recording:
    """The recording with a row for every start that the event stream tells of and no worker reported.

    An attempt's number is its place among its job's starts, which both of them know. It ended when its worker was
    killed, if that is known, else when the event stream tells of it.
    """
    killed: dict[int, list[Death]] = {}
    for death in deaths:
        for job_id in death.ids:
            killed.setdefault(number_of(job_id), []).append(death)
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
        deadly = [death for death in killed.get(number, ()) if cut_off and started - TICK <= death.time]
        worker = KILLED
        if deadly:
            ending, ended, worker = Ending.LOST, max(deadly[0].time, started), f"{deadly[0].worker} {KILLED}"
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
