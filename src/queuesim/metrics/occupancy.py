"""Occupancy: how many jobs were waiting, running and delayed at each moment, worked out from the attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.level import Array, Level
from queuesim.metrics.rows import rows_of

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

PENDING = ("waiting", "prioritized", "delayed", "removed")
"""States of jobs that wait, or did until they were removed."""


@dataclass(slots=True)
class Selection:
    """Some of a result's jobs, with their attempts: masks over the rows of both frames."""

    jobs: Array
    attempts: Array


def everything(result: Result) -> Selection:
    """All jobs and attempts of a result."""
    return Selection(np.ones(len(result.jobs), dtype=bool), np.ones(len(result.attempts), dtype=bool))


def backlog(result: Result, chosen: Selection | None = None) -> Level:
    """Jobs that could start, but did not yet. Jobs that were lost don't count: nobody knows until when they waited."""
    chosen = chosen or everything(result)
    ready, started = _attempts(result, chosen, "ready", "started")
    up, down = _pending(result, chosen)
    known = ~np.isnan(ready)
    return Level(
        np.concatenate((np.minimum(ready, started)[known], np.minimum(up, down))),
        np.concatenate((started[known], down)),
    )


def active(result: Result, chosen: Selection | None = None) -> Level:
    """Attempts that run. One that never ended runs until the end."""
    started, ended = _attempts(result, chosen or everything(result), "started", "ended")
    return Level(started, ended)


def delayed(result: Result, chosen: Selection | None = None) -> Level:
    """Jobs that wait for their delay or backoff to be over."""
    chosen = chosen or everything(result)
    jobs = result.jobs
    late = chosen.jobs & (jobs["delay"].to_numpy() > 0)
    added, ready = jobs["added"].to_numpy()[late], jobs["ready"].to_numpy()[late]
    until = np.fmin(ready, removed_at(result)[late])
    ended, backoff = _attempts(result, chosen, "ended", "backoff")
    again = backoff > 0
    return Level(
        np.concatenate((np.minimum(added, until), ended[again])),
        np.concatenate((until, (ended + backoff)[again])),
    )


def _attempts(result: Result, chosen: Selection, *names: str) -> list[Array]:
    """Columns of the chosen attempts whose start is known."""
    rows = chosen.attempts & result.attempts["started"].notna().to_numpy()
    return [result.attempts[name].to_numpy()[rows] for name in names]


def _pending(result: Result, chosen: Selection) -> tuple[Array, Array]:
    """Since when each job without a next attempt could have had one, and until when: for ever, or its removal."""
    jobs, attempts = result.jobs, result.attempts
    since = jobs["ready"].to_numpy().copy()
    row = rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())
    ended, backoff = attempts["ended"].to_numpy(), attempts["backoff"].to_numpy()
    # attempts are in the order of their starts, and numpy keeps the last value assigned to a repeated index
    since[row[row >= 0]] = (ended + np.nan_to_num(backoff))[row >= 0]
    removed = (jobs["state"] == "removed").to_numpy()
    pending = chosen.jobs & jobs["state"].isin(PENDING).to_numpy() & ~np.isnan(since)
    until = np.full(len(jobs), np.inf)
    if removed.any():
        until[removed] = np.nan_to_num(removed_at(result)[removed], nan=-np.inf)
        pending &= until > since
    return since[pending], until[pending]


def removed_at(result: Result) -> Array:
    """When each job was removed, in seconds; NaN: it was not, or no event tells."""
    jobs = result.jobs
    moment = np.full(len(jobs), np.nan)
    if not (jobs["state"] == "removed").any():
        return moment
    events = result.events[result.events["kind"] == "removed"]
    row = rows_of(jobs["job"].to_numpy(), events["job"].to_numpy())
    moment[row[row >= 0]] = events["time"].to_numpy()[row >= 0]
    return moment
